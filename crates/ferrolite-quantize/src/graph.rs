//! A subgraph with what deciding and rewriting ask of it.

use crate::QuantizeError;
use crate::calibrate::min_max;
use crate::params::{Channels, Params};
use ferrolite_model::{BuiltinOperator, Model, Node, Subgraph, TensorId, TensorType};
use ferrolite_ops::tensor::copy_elements;

/// Why a model has nothing to quantize, if no node of it computes with floats.
pub(crate) fn without_floats(model: &Model) -> Option<String> {
    let mut graphs = model.subgraphs.iter().map(|graph| Graph::new(model, graph));
    if graphs.any(|graph| graph.graph.nodes.iter().any(|node| graph.computes_with_floats(node))) {
        return None;
    }
    let tensors = || model.subgraphs.iter().flat_map(|graph| &graph.tensors);
    let quantized = tensors()
        .find(|tensor| !tensor.ty.is_float() && tensor.quantization.as_ref().is_some_and(|q| !q.scale.is_empty()));
    Some(match quantized {
        _ if model.subgraphs.iter().all(|graph| graph.nodes.is_empty()) => "the model has no nodes".into(),
        Some(tensor) => format!("the model is quantized already: its tensor {:?} is {}", tensor.name(), tensor.ty),
        None => "the model has no float32 tensors that a node computes with".into(),
    })
}

/// A subgraph of a verified model.
pub(crate) struct Graph<'a> {
    pub(crate) model: &'a Model,
    pub(crate) graph: &'a Subgraph,
    /// The node that computes each tensor.
    producers: Vec<Option<usize>>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(model: &'a Model, graph: &'a Subgraph) -> Graph<'a> {
        let mut producers = vec![None; graph.tensors.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|&id| producers[id] = Some(i));
        }
        Graph { model, graph, producers }
    }

    pub(crate) fn name(&self, id: TensorId) -> String {
        self.graph.tensors[id].name().to_owned()
    }

    pub(crate) fn is_float(&self, id: TensorId) -> bool {
        self.graph.tensors[id].ty == TensorType::Float32
    }

    /// Whether a node does arithmetic on, or moves, float32 values.
    pub(crate) fn computes_with_floats(&self, node: &Node) -> bool {
        !matches!(self.builtin(node), BuiltinOperator::QUANTIZE | BuiltinOperator::DEQUANTIZE)
            && node.inputs.iter().flatten().chain(&node.outputs).any(|&id| self.is_float(id))
    }

    pub(crate) fn builtin(&self, node: &Node) -> BuiltinOperator {
        self.model.operator(node).builtin
    }

    /// The tensor that a DEQUANTIZE turns into `id`.
    pub(crate) fn dequantized(&self, id: TensorId) -> Option<TensorId> {
        let node = &self.graph.nodes[self.producers[id]?];
        let is_dequantize = self.builtin(node) == BuiltinOperator::DEQUANTIZE;
        node.inputs.first().copied().flatten().filter(|_| is_dequantize)
    }

    /// A per-tensor quantized integer tensor that a DEQUANTIZE turns into `id`.
    pub(crate) fn integer_source(&self, id: TensorId) -> Option<(TensorId, Params)> {
        let source = self.dequantized(id)?;
        Some((source, self.params(source)?))
    }

    /// Parameters of a per-tensor quantized activation.
    pub(crate) fn params(&self, id: TensorId) -> Option<Params> {
        let tensor = &self.graph.tensors[id];
        let (scale, zero_point) = tensor.quantization.as_ref()?.as_per_tensor()?;
        let is_activation = matches!(tensor.ty, TensorType::Int8 | TensorType::UInt8 | TensorType::Int16);
        (is_activation && scale > 0.0).then_some(Params { ty: tensor.ty, scale, zero_point })
    }

    /// The float that a QUANTIZE turns into integers, those, and their parameters.
    pub(crate) fn quantized_by(&self, node: &Node) -> Option<(TensorId, TensorId, Params)> {
        let (&[Some(float)], &[integers]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
        let is = self.builtin(node) == BuiltinOperator::QUANTIZE && self.is_float(float);
        Some((float, integers, self.params(integers).filter(|_| is)?))
    }

    /// Whether `float_constant` would give something, but cheaply.
    pub(crate) fn is_float_constant(&self, id: TensorId) -> bool {
        let is = |id: TensorId, ty| {
            let tensor = &self.graph.tensors[id];
            tensor.ty == ty
                && tensor.sparsity.is_none()
                && self.model.constant(tensor).is_some()
                && !self.graph.inputs.contains(&id)
        };
        is(id, TensorType::Float32) || self.dequantized(id).is_some_and(|source| is(source, TensorType::Float16))
    }

    /// Whether a float constant is computed from one of float16.
    pub(crate) fn is_widened_constant(&self, id: TensorId) -> bool {
        self.dequantized(id).is_some() && self.is_float_constant(id)
    }

    /// Values of a dense float constant: float32, or float16 behind a DEQUANTIZE.
    pub(crate) fn float_constant(&self, id: TensorId) -> Option<Vec<f32>> {
        if !self.is_float_constant(id) {
            return None;
        }
        match self.model.constant(&self.graph.tensors[id]) {
            Some(data) => Some(copy_elements::<f32>(data)),
            None => {
                let data = self.model.constant(&self.graph.tensors[self.dequantized(id)?])?;
                Some(copy_elements::<half::f16>(data).into_iter().map(half::f16::to_f32).collect())
            }
        }
    }

    /// Values of a float constant, which must be finite.
    pub(crate) fn finite_constant(&self, id: TensorId) -> Option<Result<Vec<f32>, QuantizeError>> {
        let values = self.float_constant(id)?;
        Some(match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let what = format!("is a constant whose element {at} is {}", values[at]);
                Err(QuantizeError::NotFinite { tensor: id, name: self.name(id), what })
            }
        })
    }

    /// Range of a float constant.
    pub(crate) fn constant_range(&self, id: TensorId) -> Option<Result<(f32, f32), QuantizeError>> {
        Some(self.finite_constant(id)?.map(|values| min_max(&values).unwrap_or((0.0, 0.0))))
    }

    /// Channels of a weight tensor.
    pub(crate) fn channels(&self, id: TensorId, axis: Option<usize>) -> Option<Channels> {
        Channels::new(&self.graph.tensors[id].shape, axis)
    }
}
