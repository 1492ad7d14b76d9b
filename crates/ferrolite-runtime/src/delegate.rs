//! Delegates: who computes which nodes.
//!
//! A delegate claims partitions of a graph and compiles each into a kernel. The model is never changed: the plan gets
//! one step per partition. Delegates are asked in order; the reference interpreter, asked last, refuses nothing.

use crate::facts::{Facts, KnownData};
use crate::plan::Place;
use ferrolite_kernels::Isa;
use ferrolite_model::{Model, Node, TensorId};
use ferrolite_ops::{Catalog, Kernel, NodeView, OpDef, OpError};

/// A backend that computes nodes.
pub trait Delegate: Send + Sync {
    /// Name, for reports.
    fn name(&self) -> &str;

    /// Chooses among [`GraphView::nodes`]. Each returned list of nodes becomes one partition; lists must not overlap, and
    /// between the first and the last node of one nothing outside of it may depend on its results. Must be pure.
    fn claim(&self, graph: &GraphView<'_>) -> Vec<Vec<usize>>;

    /// Compiles a partition that this delegate claimed.
    fn compile(&self, partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError>;
}

/// A subgraph with what is known when it is planned.
pub struct GraphView<'a> {
    pub(crate) model: &'a Model,
    pub(crate) subgraph: usize,
    pub(crate) catalog: &'a Catalog,
    pub(crate) isa: Isa,
    pub(crate) facts: &'a Facts,
    pub(crate) known: &'a [KnownData<'a>],
    pub(crate) candidates: &'a [usize],
    pub(crate) places: &'a [Place],
}

impl<'a> GraphView<'a> {
    /// The model.
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// Indices of the nodes that are free to be claimed; the shapes of their tensors are known.
    pub fn nodes(&self) -> &'a [usize] {
        self.candidates
    }

    /// A node of the model.
    pub fn node(&self, index: usize) -> &'a Node {
        &self.model.subgraphs[self.subgraph].nodes[index]
    }

    /// Definition of a node's operator.
    pub fn op(&self, index: usize) -> Option<&'a dyn OpDef> {
        self.catalog.find(self.model.operator(self.node(index)))
    }

    /// The node with shapes, constants and quantization.
    pub fn view(&self, index: usize) -> Option<NodeView<'a>> {
        self.facts.view(self.model, self.subgraph, self.node(index), self.known, None)
    }

    /// The tensor whose data a tensor shares: its own, unless it is another shape of an earlier one.
    pub fn storage(&self, id: TensorId) -> TensorId {
        if let Some(Place::Same(root)) = self.places.get(id) { *root } else { id }
    }

    /// Instruction set that kernels may use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// Nodes that become one step.
pub struct Partition<'a> {
    /// The graph around them.
    pub graph: &'a GraphView<'a>,
    /// Node indices in execution order.
    pub nodes: &'a [usize],
    /// Tensors that the kernel reads, in the order of its `Io::inputs`: a single node's own inputs, otherwise those from
    /// outside of the partition in order of first use; other shapes of what it computes are inside.
    pub inputs: &'a [Option<TensorId>],
    /// Tensors that the kernel writes, in the order of its `Io::outputs`.
    pub outputs: &'a [TensorId],
}
