//! The reference interpreter.

use crate::delegate::{Delegate, GraphView, Partition};
use ferrolite_ops::{Kernel, OpError};

/// Runs every node by its operator's reference kernel. It refuses nothing.
pub struct Reference;

impl Delegate for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn claim(&self, graph: &GraphView<'_>) -> Vec<Vec<usize>> {
        graph.nodes().iter().map(|&node| vec![node]).collect()
    }

    fn compile(&self, partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let node = partition.nodes[0];
        let (op, view) = (partition.graph.op(node), partition.graph.view(node));
        match (op, view) {
            (Some(op), Some(view)) => op.reference(&view),
            _ => Err(OpError::invalid("its inputs are not known")),
        }
    }
}
