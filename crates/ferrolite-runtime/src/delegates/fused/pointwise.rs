//! Elementwise nodes that are together a function of one tensor: swish as LOGISTIC and MUL, hard-swish in parts, a RELU
//! after a QUANTIZE …

use super::Uses;
use crate::delegate::{GraphView, Partition};
use ferrolite_model::TensorId;
use ferrolite_ops::pointwise::{Function, Operand};
use ferrolite_ops::{Kernel, OpError};

/// Nodes of a function at most.
const MAX_NODES: usize = 16;

/// Adds the nodes of every function that consists of several nodes, none of which is claimed yet.
pub(super) fn claim(graph: &GraphView<'_>, uses: &Uses, claimed: &mut Vec<Vec<usize>>) {
    let mut is_free = vec![false; graph.nodes().last().map_or(0, |last| last + 1)];
    graph.nodes().iter().for_each(|&node| is_free[node] = true);
    claimed.iter().flatten().for_each(|&node| is_free[node] = false);
    for &last in graph.nodes().iter().rev() {
        if is_free[last] && graph.op(last).is_some_and(|op| op.is_pointwise()) {
            let nodes = before(graph, uses, &is_free, last);
            nodes.iter().flatten().for_each(|&node| is_free[node] = false);
            claimed.extend(nodes);
        }
    }
}

/// The longest function that ends with a node, if it has several nodes: those that only the function reads are taken in,
/// the latest first.
fn before(graph: &GraphView<'_>, uses: &Uses, is_free: &[bool], last: usize) -> Option<Vec<usize>> {
    let mut nodes = vec![last];
    let mut best = None;
    while nodes.len() < MAX_NODES {
        let makers = variables(graph, &nodes).into_iter().filter_map(|id| uses.maker[id].map(|maker| (maker, id)));
        let Some((maker, id)) = makers.max() else { break };
        let is_inner = uses.readers[id].iter().all(|reader| nodes.contains(reader));
        let is_pointwise = graph.op(maker).is_some_and(|op| op.is_pointwise());
        if !(is_inner && is_pointwise && is_free[maker] && graph.node(maker).outputs.len() == 1) {
            break;
        }
        nodes.push(maker);
        let mut sorted = nodes.clone();
        sorted.sort_unstable();
        if function(graph, &sorted).is_some_and(|(function, _)| function.is_supported()) {
            best = Some(sorted);
        }
    }
    best
}

/// Tensors that the nodes read and do not make, other than constants.
fn variables(graph: &GraphView<'_>, nodes: &[usize]) -> Vec<TensorId> {
    let made = |id: TensorId| nodes.iter().any(|&node| graph.node(node).outputs.contains(&id));
    let mut found: Vec<TensorId> = Vec::new();
    for &id in nodes.iter().flat_map(|&node| graph.node(node).inputs.iter().flatten()) {
        let id = graph.storage(id);
        if graph.facts.constants[id].is_none() && !made(id) && !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

/// The nodes, in rising order, as a function of the tensor that is given too.
fn function<'a>(graph: &GraphView<'a>, nodes: &[usize]) -> Option<(Function<'a>, TensorId)> {
    let &[variable] = &variables(graph, nodes)[..] else { return None };
    let operand = |id: &Option<TensorId>| {
        let id = graph.storage((*id)?);
        let maker = nodes.iter().position(|&node| graph.node(node).outputs.contains(&id));
        Some(match maker {
            Some(i) => Operand::Made(i),
            None if id == variable => Operand::Variable,
            None => Operand::Constant,
        })
    };
    let of = |&node: &usize| {
        let operands = graph.node(node).inputs.iter().map(operand).collect::<Option<_>>()?;
        Some((graph.op(node)?, graph.view(node)?, operands))
    };
    Some((Function { nodes: nodes.iter().map(of).collect::<Option<_>>()? }, variable))
}

/// The kernel of nodes that [`claim`] has found.
pub(super) fn compile(partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let graph = partition.graph;
    let unknown = || OpError::unsupported("no fused kernel takes these nodes");
    let (function, variable) = function(graph, partition.nodes).ok_or_else(unknown)?;
    let is_variable = |id: &Option<TensorId>| id.is_some_and(|id| graph.storage(id) == variable);
    let position = partition.inputs.iter().position(is_variable).ok_or_else(unknown)?;
    function.prepare(position, graph.isa())
}
