//! Several nodes as one kernel.

mod attention;
mod pointwise;

use crate::delegate::{Delegate, GraphView, Partition};
use ferrolite_model::BuiltinOperator;
use ferrolite_ops::{Kernel, OpError};

/// Runs attention, BATCH_MATMUL to BATCH_MATMUL, as one step that keeps its scores in the cache, and elementwise nodes that
/// are a function of one tensor in one pass.
pub struct Fused;

/// For every tensor with data of its own: the nodes that read it, and who made it.
struct Uses {
    /// `usize::MAX` stands for the caller.
    readers: Vec<Vec<usize>>,
    maker: Vec<Option<usize>>,
}

impl Uses {
    fn new(graph: &GraphView<'_>) -> Uses {
        let definition = &graph.model.subgraphs[graph.subgraph];
        let mut readers = vec![Vec::new(); definition.tensors.len()];
        let mut maker = vec![None; definition.tensors.len()];
        for (i, node) in definition.nodes.iter().enumerate() {
            if node.outputs.iter().any(|&id| graph.storage(id) != id) {
                continue;
            }
            node.inputs.iter().flatten().for_each(|&id| readers[graph.storage(id)].push(i));
            node.outputs.iter().for_each(|&id| maker[id] = Some(i));
        }
        definition.outputs.iter().for_each(|&id| readers[graph.storage(id)].push(usize::MAX));
        Uses { readers, maker }
    }

    /// The only reader of a node's only output.
    fn reader(&self, graph: &GraphView<'_>, node: usize) -> Option<usize> {
        let &[output] = &graph.node(node).outputs[..] else { return None };
        match self.readers[output][..] {
            [reader] if reader != usize::MAX => Some(reader),
            _ => None,
        }
    }
}

impl Delegate for Fused {
    fn name(&self) -> &str {
        "fused"
    }

    fn claim(&self, graph: &GraphView<'_>) -> Vec<Vec<usize>> {
        let is_candidate = |&node: &usize| {
            attention::is(graph, node, BuiltinOperator::SOFTMAX) || graph.op(node).is_some_and(|op| op.is_pointwise())
        };
        if graph.nodes().len() < 2 || !graph.nodes().iter().any(is_candidate) {
            return Vec::new();
        }
        let uses = Uses::new(graph);
        let mut claimed = attention::claim(graph, &uses);
        pointwise::claim(graph, &uses, &mut claimed);
        claimed
    }

    fn compile(&self, partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let is_softmax = |&node: &usize| attention::is(partition.graph, node, BuiltinOperator::SOFTMAX);
        if partition.nodes.iter().any(is_softmax) {
            attention::compile(partition)
        } else {
            pointwise::compile(partition)
        }
    }
}
