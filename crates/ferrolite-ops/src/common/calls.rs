//! Operators that run other subgraphs.

use crate::op::{Inferred, Io, NodeView};
use crate::session::{Argument, TensorValue};
use crate::tensor::{Shape, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_model::{Subgraph, TensorId, TensorType};
use smallvec::SmallVec;

/// The subgraph with an index from a node's options.
pub fn subgraph<'a>(node: &NodeView<'a>, index: i32) -> Result<(usize, &'a Subgraph), OpError> {
    let found = usize::try_from(index).ok().and_then(|i| Some((i, node.model.subgraphs.get(i)?)));
    found.ok_or_else(|| OpError::invalid(format!("there is no subgraph {index}")))
}

/// Checks that a subgraph takes the node's inputs from `first` on and gives as many outputs as the node; returns its index.
pub fn check_callee(node: &NodeView<'_>, index: i32, first: usize) -> Result<usize, OpError> {
    let (index, graph) = subgraph(node, index)?;
    ensure!(node.inputs.len() >= first, "has {} inputs", node.inputs.len());
    let given = (first..node.inputs.len()).map(|i| node.input(i).map(|t| t.ty)).collect::<Result<Vec<_>, _>>()?;
    check_types(graph, index, "input", &graph.inputs, &given)?;
    let wanted: Vec<TensorType> = node.outputs.iter().map(|t| t.ty).collect();
    check_types(graph, index, "output", &graph.outputs, &wanted)?;
    Ok(index)
}

/// Checks number and types of a subgraph's inputs or outputs.
pub fn check_types(
    graph: &Subgraph,
    index: usize,
    what: &str,
    ids: &[TensorId],
    types: &[TensorType],
) -> Result<(), OpError> {
    ensure!(ids.len() == types.len(), "subgraph {index} has {} {what}s, not {}", ids.len(), types.len());
    for (i, (&id, &ty)) in ids.iter().zip(types).enumerate() {
        let declared = graph.tensors.get(id).map(|t| t.ty);
        ensure!(declared == Some(ty), "{what} {i} of subgraph {index} is {}, not {ty}", graph.tensors[id].ty);
    }
    Ok(())
}

/// Outputs of the declared types. Shapes that are not known are set by the run.
pub fn outputs(node: &NodeView<'_>, shapes: Option<Vec<Shape>>) -> SmallVec<[Inferred; 2]> {
    let inferred = |(i, output): (usize, &TensorInfo<'_>)| Inferred {
        ty: output.ty,
        shape: shapes.as_ref().and_then(|shapes| shapes.get(i).cloned()),
    };
    node.outputs.iter().enumerate().map(inferred).collect()
}

/// Shapes of a subgraph's outputs for the shapes of the node's inputs from `first` on, if they can be told.
pub fn callee_shapes(node: &NodeView<'_>, subgraph: usize, first: usize) -> Option<Vec<Shape>> {
    let inputs: Option<Vec<Shape>> = node.inputs.iter().skip(first).map(|t| Some(t.as_ref()?.shape.clone())).collect();
    node.callees?.output_shapes(subgraph, &inputs?)
}

/// Checks for a single element of this type.
pub fn check_single(tensor: &TensorInfo<'_>, types: &[TensorType]) -> Result<(), OpError> {
    ensure!(types.contains(&tensor.ty), "tensor {:?} has type {}, not {types:?}", tensor.name, tensor.ty);
    ensure!(tensor.elements() == 1, "tensor {:?} of shape {:?} has to be a single value", tensor.name, tensor.shape);
    Ok(())
}

/// Runs a subgraph on the inputs from `first` on and takes its outputs for the node's.
pub fn call(io: &mut Io<'_>, subgraph: usize, first: usize) -> Result<(), OpError> {
    let inputs = io.inputs.iter().skip(first);
    let mut arguments: SmallVec<[Argument<'_>; 8]> = inputs.flatten().map(|&t| Argument::Copied(t)).collect();
    let mut results = Vec::new();
    io.session.call(subgraph, &mut arguments, &mut results)?;
    give(io, &mut results)
}

/// Hands results over to the node's outputs.
pub fn give(io: &mut Io<'_>, results: &mut [TensorValue]) -> Result<(), OpError> {
    ensure!(results.len() == io.outputs.len(), "{} results for {} outputs", results.len(), io.outputs.len());
    io.outputs.iter_mut().zip(results).try_for_each(|(output, result)| result.move_into(output))
}
