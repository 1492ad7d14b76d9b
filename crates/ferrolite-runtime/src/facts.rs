//! What is known about a subgraph's tensors while it is planned: shapes and constant data.

use crate::RuntimeError;
use ferrolite_model::{Bytes, Model, Node, Tensor, TensorId};
use ferrolite_ops::op::{Callees, InferResult};
use ferrolite_ops::{Known, NodeView, OpDef, OpError, Shape, TensorInfo};
use std::cell::Cell;

/// Data of a computed tensor while a node is prepared late.
pub(crate) struct KnownData<'a> {
    pub(crate) id: TensorId,
    pub(crate) bytes: &'a [u8],
    /// Whether somebody looked at it.
    pub(crate) seen: Cell<bool>,
}

impl<'a> KnownData<'a> {
    pub(crate) fn new(id: TensorId, bytes: &'a [u8]) -> KnownData<'a> {
        KnownData { id, bytes, seen: Cell::new(false) }
    }
}

/// Shapes and constants of one subgraph.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `None` until it is known.
    pub(crate) shapes: Vec<Option<Shape>>,
    /// Constants of the file, and results of folded nodes.
    pub(crate) constants: Vec<Option<Bytes>>,
}

impl Facts {
    /// Facts of the file alone: inputs, constants and variables have shapes, nothing else does.
    pub(crate) fn of_file(model: &Model, subgraph: usize) -> Result<Facts, RuntimeError> {
        let graph = &model.subgraphs[subgraph];
        let mut constants: Vec<_> = graph.tensors.iter().map(|t| model.constant(t).cloned()).collect();
        let mut shapes = vec![None; graph.tensors.len()];
        let mut produced = vec![false; graph.tensors.len()];
        graph.nodes.iter().flat_map(|n| &n.outputs).for_each(|&t| produced[t] = true);
        let mut given = vec![false; graph.tensors.len()];
        graph.inputs.iter().for_each(|&t| given[t] = true);
        for (id, tensor) in graph.tensors.iter().enumerate() {
            if !produced[id] || constants[id].is_some() {
                shapes[id] = Some(file_shape(id, tensor)?);
            }
            // A constant without elements, such as the shape of a scalar, has no data in the file.
            let is_empty = tensor.ty.bits() > 0 && tensor.elements() == Some(0);
            if is_empty && !produced[id] && !given[id] && !tensor.is_variable {
                constants[id].get_or_insert_with(Bytes::default);
            }
        }
        Ok(Facts { shapes, constants })
    }

    /// The node as its operator sees it; `None` when an input's shape is not known yet. `known` is data of computed
    /// tensors, as far as there is any.
    pub(crate) fn view<'a>(
        &'a self,
        model: &'a Model,
        subgraph: usize,
        node: &'a Node,
        known: &'a [KnownData<'a>],
        callees: Option<&'a dyn Callees>,
    ) -> Option<NodeView<'a>> {
        let tensors = &model.subgraphs[subgraph].tensors;
        let info = |id: TensorId, shape: Shape| {
            let tensor = &tensors[id];
            let constant = self.constants[id].as_ref();
            TensorInfo {
                name: tensor.name(),
                ty: tensor.ty,
                shape,
                is_open: tensor.shape_signature.iter().chain(&tensor.shape).any(|&d| d < 0),
                quantization: tensor.quantization.as_ref(),
                sparsity: tensor.sparsity.as_ref(),
                is_variable: tensor.is_variable,
                constant,
                known: match constant {
                    Some(data) => Some(Known::constant(data)),
                    None => known.iter().find(|k| k.id == id).map(|k| Known::computed(k.bytes, &k.seen)),
                },
            }
        };
        let inputs = node.inputs.iter().map(|&id| match id {
            None => Some(None),
            Some(id) => self.shapes[id].clone().map(|shape| Some(info(id, shape))),
        });
        let of_model = |&id: &TensorId| {
            let stale = || tensors[id].shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
            info(id, self.shapes[id].clone().unwrap_or_else(stale))
        };
        Some(NodeView {
            version: model.operator(node).version,
            options: &node.options,
            options2: &node.options2,
            custom_options: node.custom_options.as_ref(),
            model,
            subgraph,
            callees,
            inputs: inputs.collect::<Option<_>>()?,
            outputs: node.outputs.iter().map(of_model).collect(),
            intermediates: node.intermediates.iter().map(of_model).collect(),
        })
    }
}

/// Runs an operator's inference and checks its result against the model.
pub(crate) fn infer(op: &dyn OpDef, view: &NodeView<'_>) -> InferResult {
    if !op.versions().contains(&view.version) {
        return Err(OpError::unsupported(format!("version {} (known: {:?})", view.version, op.versions())));
    }
    let inferred = op.infer(view)?;
    if inferred.len() != view.outputs.len() {
        return Err(OpError::invalid(format!("has {} outputs, gives {}", view.outputs.len(), inferred.len())));
    }
    for (i, (computed, declared)) in inferred.iter().zip(&view.outputs).enumerate() {
        if computed.ty != declared.ty {
            let (given, wanted) = (computed.ty, declared.ty);
            return Err(OpError::unsupported(format!("output {i} is declared as {wanted}, computed as {given}")));
        }
    }
    Ok(inferred)
}

fn file_shape(id: TensorId, tensor: &Tensor) -> Result<Shape, RuntimeError> {
    let shape: Option<Shape> = tensor.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let usage =
        || RuntimeError::Usage(format!("tensor {id} ({:?}) has an open shape: {:?}", tensor.name(), tensor.shape));
    shape.ok_or_else(usage)
}
