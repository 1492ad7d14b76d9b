//! The fast CPU path.

use crate::delegate::{Delegate, GraphView, Partition};
use ferrolite_ops::{FastKernel, Kernel, NodeView, OpError};

/// Runs the nodes for which their operator lists a fast kernel, one step per node.
pub struct Cpu;

impl Cpu {
    fn choose<'a>(graph: &GraphView<'a>, node: usize) -> Option<(&'a FastKernel, NodeView<'a>)> {
        let view = graph.view(node)?;
        let kernel = graph.op(node)?.fast().iter().find(|kernel| (kernel.supports)(&view))?;
        Some((kernel, view))
    }
}

impl Delegate for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn claim(&self, graph: &GraphView<'_>) -> Vec<Vec<usize>> {
        let nodes = graph.nodes().iter().copied();
        nodes.filter(|&node| Cpu::choose(graph, node).is_some()).map(|node| vec![node]).collect()
    }

    fn compile(&self, partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match Cpu::choose(partition.graph, partition.nodes[0]) {
            Some((kernel, view)) => (kernel.prepare)(&view, partition.graph.isa()),
            None => Err(OpError::unsupported("no fast kernel takes this node")),
        }
    }
}
