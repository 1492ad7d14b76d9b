//! Attention: BATCH_MATMUL, binary operators on the scores, SOFTMAX, BATCH_MATMUL.

use super::Uses;
use crate::delegate::{GraphView, Partition};
use ferrolite_model::{BuiltinOperator, TensorId};
use ferrolite_ops::attention::{Chain, Operands};
use ferrolite_ops::{Kernel, OpError, OpId};

/// The nodes of every attention.
pub(super) fn claim(graph: &GraphView<'_>, uses: &Uses) -> Vec<Vec<usize>> {
    let softmax = graph.nodes().iter().copied().filter(|&node| is(graph, node, BuiltinOperator::SOFTMAX));
    softmax.filter_map(|node| around(graph, uses, node)).collect()
}

pub(super) fn is(graph: &GraphView<'_>, node: usize, op: BuiltinOperator) -> bool {
    graph.nodes().binary_search(&node).is_ok() && graph.op(node).is_some_and(|def| def.id() == OpId::Builtin(op))
}

/// The nodes of attention around a SOFTMAX.
fn around(graph: &GraphView<'_>, uses: &Uses, softmax: usize) -> Option<Vec<usize>> {
    let output = uses.reader(graph, softmax).filter(|&node| is(graph, node, BuiltinOperator::BATCH_MATMUL))?;
    let mut nodes = vec![output, softmax];
    let mut from = graph.node(softmax).inputs.first().copied().flatten()?;
    loop {
        let maker = uses.maker[graph.storage(from)]?;
        if uses.reader(graph, maker) != nodes.last().copied() || graph.nodes().binary_search(&maker).is_err() {
            return None;
        }
        nodes.push(maker);
        if is(graph, maker, BuiltinOperator::BATCH_MATMUL) {
            nodes.reverse();
            return chain(graph, &nodes).is_some_and(|chain| chain.is_supported()).then_some(nodes);
        }
        graph.op(maker)?.binary_f32(&graph.view(maker)?)?;
        // The scores are as large as the result; a mask need not be.
        let elements = |id: TensorId| graph.facts.shapes[id].as_ref().map(|shape| shape.iter().product::<usize>());
        let whole = elements(graph.node(maker).outputs[0])?;
        let made = |id: &TensorId| elements(*id) == Some(whole) && uses.maker[graph.storage(*id)].is_some();
        from = graph.node(maker).inputs.iter().flatten().copied().find(made)?;
    }
}

/// The nodes of [`around`], first one first, as the kernel's maker takes them.
fn chain<'a>(graph: &GraphView<'a>, nodes: &[usize]) -> Option<Chain<'a>> {
    let [scores, steps @ .., softmax, output] = nodes else { return None };
    let mut before = *scores;
    let mut chained = Vec::new();
    for &node in steps {
        let i = chained_input(graph, before, node)?;
        chained.push((graph.op(node)?, graph.view(node)?, i));
        before = node;
    }
    // The softmax is the left operand.
    (chained_input(graph, *softmax, *output)? == 0).then_some(())?;
    Some(Chain {
        scores: graph.view(*scores)?,
        steps: chained,
        softmax: graph.view(*softmax)?,
        output: graph.view(*output)?,
    })
}

/// Which of a node's two inputs is the result of the one before, and not the other as well.
fn chained_input(graph: &GraphView<'_>, before: usize, node: usize) -> Option<usize> {
    let made = *graph.node(before).outputs.first()?;
    let is_made = |id: &Option<TensorId>| id.is_some_and(|id| graph.storage(id) == made);
    match &graph.node(node).inputs[..] {
        [a, b] => match (is_made(a), is_made(b)) {
            (true, false) => Some(0),
            (false, true) => Some(1),
            _ => None,
        },
        _ => None,
    }
}

/// The kernel of nodes that [`claim`] has found.
pub(super) fn compile(partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let graph = partition.graph;
    let unknown = || OpError::unsupported("no fused kernel takes these nodes");
    let chain = chain(graph, partition.nodes).ok_or_else(unknown)?;
    let position = |node: usize, i: usize| {
        let id = graph.node(node).inputs.get(i).copied().flatten();
        partition.inputs.iter().position(|input| input.is_some() && *input == id).ok_or_else(unknown)
    };
    let [scores, steps @ .., _, output] = partition.nodes else { return Err(unknown()) };
    let others = steps.iter().zip(&chain.steps).map(|(&node, (_, _, chained))| position(node, 1 - chained));
    let operands = Operands {
        matrices: [position(*scores, 0)?, position(*scores, 1)?, position(*output, 1)?],
        others: others.collect::<Result<_, _>>()?,
    };
    chain.prepare(operands, graph.isa())
}
