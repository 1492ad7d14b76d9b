//! Reverse-mode differentiation: from a graph to the same graph with its gradients, as ordinary nodes.

use crate::TrainError;
use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, Model, Node, OperatorCode, Subgraph, Tensor, TensorId, TensorType,
};
use ferrolite_ops::Catalog;
use ferrolite_ops::gradient::GradientCtx;

/// Appends to a subgraph the nodes that compute the gradients of `wrt`, and returns the tensors that hold them; `None`
/// where the seeds do not depend on a tensor.
///
/// `seeds` are pairs of a computed tensor and the (given) gradient of the loss with respect to it. The model's shapes
/// must be the true ones, batch included: gradients are emitted for them. Nodes that need no gradient get none.
///
/// ```
/// use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, TensorType};
/// use ferrolite_train::differentiate;
///
/// let mut b = ModelBuilder::new();
/// let x = b.input("x", TensorType::Float32, &[3, 4]);
/// let w = b.input("w", TensorType::Float32, &[2, 4]);
/// let y = b.tensor("y", TensorType::Float32, &[3, 2]);
/// let options = BuiltinOptions::FullyConnectedOptions(Box::default());
/// b.node(BuiltinOperator::FULLY_CONNECTED, 1, options, &[Some(x), Some(w), None], &[y]);
/// let seed = b.input("seed", TensorType::Float32, &[3, 2]);
/// let mut model = b.build()?;
///
/// let gradients = differentiate(&mut model, 0, &[(y, seed)], &[w], &Default::default())?;
/// let dw = gradients[0].unwrap();
/// assert_eq!(model.subgraphs[0].tensors[dw].shape, [2, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When an operator on the way from `wrt` to a seed has no gradient.
pub fn differentiate(
    model: &mut Model,
    subgraph: usize,
    seeds: &[(TensorId, TensorId)],
    wrt: &[TensorId],
    catalog: &Catalog,
) -> Result<Vec<Option<TensorId>>, TrainError> {
    let Some(graph) = model.subgraphs.get(subgraph) else {
        return Err(TrainError::usage(format!("there is no subgraph {subgraph}")));
    };
    if let Some(id) =
        seeds.iter().flat_map(|s| [s.0, s.1]).chain(wrt.iter().copied()).find(|&t| t >= graph.tensors.len())
    {
        return Err(TrainError::usage(format!("there is no tensor {id}")));
    }
    let needs = needs(graph, wrt);
    let forward: Vec<Node> = graph.nodes.clone();
    // Contributions to each tensor's gradient, from all its readers.
    let mut contributions: Vec<Vec<TensorId>> = vec![Vec::new(); graph.tensors.len()];
    for &(tensor, seed) in seeds {
        contributions[tensor].push(seed);
    }
    for (index, node) in forward.iter().enumerate().rev() {
        let reached = node.outputs.iter().any(|&id| !contributions[id].is_empty());
        let wanted: Vec<bool> = node.inputs.iter().map(|id| id.is_some_and(|id| needs[id])).collect();
        if !reached || !wanted.contains(&true) {
            continue;
        }
        let mut grad_outputs = Vec::with_capacity(node.outputs.len());
        for &id in &node.outputs {
            grad_outputs.push(sum(model, subgraph, catalog, &mut contributions[id]));
        }
        for (id, gradient) in backward(model, subgraph, index, node, &grad_outputs, &wanted, catalog)? {
            contributions[id].push(gradient);
        }
    }
    Ok(wrt.iter().map(|&id| sum(model, subgraph, catalog, &mut contributions[id])).collect())
}

/// Removes the nodes of a subgraph that none of its outputs depends on.
pub fn remove_dead_nodes(graph: &mut Subgraph) {
    let mut alive = vec![false; graph.tensors.len()];
    graph.outputs.iter().for_each(|&id| alive[id] = true);
    let mut keep = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        keep[index] = node.outputs.iter().any(|&id| alive[id]);
        if keep[index] {
            node.inputs.iter().flatten().for_each(|&id| alive[id] = true);
        }
    }
    let mut kept = keep.into_iter();
    graph.nodes.retain(|_| kept.next().unwrap_or(true));
}

/// The tensors that depend on `wrt` by floats alone.
fn needs(graph: &Subgraph, wrt: &[TensorId]) -> Vec<bool> {
    let mut needs = vec![false; graph.tensors.len()];
    wrt.iter().for_each(|&id| needs[id] = true);
    for node in &graph.nodes {
        if node.inputs.iter().flatten().any(|&id| needs[id]) {
            let floats = node.outputs.iter().filter(|&&id| graph.tensors[id].ty == TensorType::Float32);
            floats.for_each(|&id| needs[id] = true);
        }
    }
    needs
}

/// Emits the gradient of one node; returns the tensors that got a contribution, with it.
fn backward(
    model: &mut Model,
    subgraph: usize,
    index: usize,
    node: &Node,
    grad_outputs: &[Option<TensorId>],
    wanted: &[bool],
    catalog: &Catalog,
) -> Result<Vec<(TensorId, TensorId)>, TrainError> {
    let op = catalog.find(model.operator(node));
    let Some(gradient) = op.and_then(|op| op.gradient()) else {
        return Err(TrainError::no_gradient(model, subgraph, index, "its operator has no gradient"));
    };
    let grads = gradient(&mut GradientCtx { model, subgraph, node, grad_outputs, needs: wanted });
    let grads = grads.map_err(|source| {
        let op = model.operator(node).name().to_owned();
        TrainError::Gradient { node: index, op, source }
    })?;
    let mut contributions = Vec::new();
    for (i, &id) in node.inputs.iter().enumerate() {
        match (id, grads.get(i).copied().flatten()) {
            (Some(id), Some(gradient)) if wanted[i] => {
                let tensors = &model.subgraphs[subgraph].tensors;
                if tensors[gradient].shape != tensors[id].shape {
                    let (given, wanted) = (&tensors[gradient].shape, &tensors[id].shape);
                    let reason = format!("the gradient of input {i} has shape {given:?}, the input {wanted:?}");
                    return Err(TrainError::no_gradient(model, subgraph, index, reason));
                }
                contributions.push((id, gradient));
            }
            (Some(_), None) if wanted[i] => {
                let reason = format!("its operator has no gradient with respect to input {i}");
                return Err(TrainError::no_gradient(model, subgraph, index, reason));
            }
            _ => {}
        }
    }
    Ok(contributions)
}

/// The sum of all contributions, which replaces them.
fn sum(model: &mut Model, subgraph: usize, catalog: &Catalog, parts: &mut Vec<TensorId>) -> Option<TensorId> {
    if parts.len() > 2 && is_known(catalog, BuiltinOperator::ADD_N) {
        let options = BuiltinOptions::AddNOptions(Box::default());
        let total = emit(model, subgraph, BuiltinOperator::ADD_N, options, parts);
        *parts = vec![total];
    }
    while let [a, b, ..] = parts[..] {
        let options = BuiltinOptions::AddOptions(Box::default());
        let total = emit(model, subgraph, BuiltinOperator::ADD, options, &[a, b]);
        parts.splice(..2, [total]);
    }
    parts.first().copied()
}

/// Appends a node whose output has the shape of its first input.
fn emit(
    model: &mut Model,
    subgraph: usize,
    op: BuiltinOperator,
    options: BuiltinOptions,
    inputs: &[TensorId],
) -> TensorId {
    let opcode = model.operator_index(op, 1);
    let graph = &mut model.subgraphs[subgraph];
    let id = graph.tensors.len();
    let shape = graph.tensors[inputs[0]].shape.clone();
    graph.tensors.push(Tensor::new(format!("gradient/sum_{id}"), TensorType::Float32, &shape));
    graph.nodes.push(Node::new(opcode, inputs.iter().copied().map(Some).collect(), vec![id], options));
    id
}

fn is_known(catalog: &Catalog, builtin: BuiltinOperator) -> bool {
    catalog.find(&OperatorCode { builtin, custom: None, version: 1 }).is_some()
}
