//! A [`QuantPlan`]: all decisions, as data. Only [`QuantPlan::apply`] changes a model, and it knows no policy.

use crate::params::Params;
use ferrolite_model::TensorType;

/// What becomes of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantPlan {
    /// By subgraph.
    pub graphs: Vec<GraphPlan>,
}

/// What becomes of a subgraph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphPlan {
    /// By node.
    pub nodes: Vec<NodePlan>,
    /// By tensor: what it becomes, or `None` where it stays as it is.
    pub homes: Vec<Option<Params>>,
    /// By output: how the caller reads it.
    pub outputs: Vec<Form>,
}

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePlan {
    /// What was decided.
    pub decision: Decision,
    /// How it reads each of its inputs.
    pub inputs: Vec<Form>,
}

/// How a node is computed in the result.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// In integers.
    Integer,
    /// In float, with int8 or int4 weights.
    Hybrid,
    /// In float, with weights that are stored as integers.
    WeightOnly,
    /// In float, with constants stored as float16.
    Half,
    /// In float as before, and why.
    Float(String),
    /// As before: it does not compute with floats.
    Untouched,
}

/// How a tensor is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// As it is in the result.
    AsIs,
    /// As float32.
    Float,
    /// As integers.
    Integer(Params),
    /// As integer weights.
    Weights(Weights),
    /// As float32 that is stored as integer weights.
    Dequantized(Weights),
    /// As a bias in wide integers, zero point 0.
    Bias {
        /// `Int32` or `Int64`.
        ty: TensorType,
        /// One scale, or one per element.
        scales: Vec<f32>,
    },
    /// As a float32 constant of its own, where it is computed from a float16 one.
    Constant,
    /// As float32 that is stored as float16.
    Half,
}

/// How weights are stored: as integers, zero point 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `Int8` or `Int4`.
    pub ty: TensorType,
    /// Dimension of the scales, `None` for a single one.
    pub axis: Option<usize>,
    /// The scales.
    pub scales: Vec<f32>,
}

impl QuantPlan {
    /// Nodes that were decided to be computed otherwise than before.
    pub fn changed(&self) -> usize {
        let nodes = self.graphs.iter().flat_map(|graph| &graph.nodes);
        nodes.filter(|n| !matches!(n.decision, Decision::Float(_) | Decision::Untouched)).count()
    }

    /// Nodes that stay in float, as (subgraph, node, reason).
    pub fn kept_in_float(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.graphs.iter().enumerate().flat_map(|(g, graph)| {
            graph.nodes.iter().enumerate().filter_map(move |(n, node)| match &node.decision {
                Decision::Float(reason) => Some((g, n, reason.as_str())),
                _ => None,
            })
        })
    }
}
