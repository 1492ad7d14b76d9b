//! Errors of planning and running.

use ferrolite_model::{Model, ModelError, TensorId};
use ferrolite_ops::OpError;

/// Why a model cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The file or graph is damaged.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A node cannot be prepared or run.
    #[error("subgraph {subgraph}, node {node} ({op}): {source}")]
    Node {
        /// Subgraph index.
        subgraph: usize,
        /// Node index.
        node: usize,
        /// Operator name.
        op: String,
        /// What is wrong.
        source: OpError,
    },
    /// No definition of an operator.
    #[error(
        "subgraph {subgraph}, node {node}: operator {op} is not known; \
         add it with Catalog::with, or convert the model without it"
    )]
    UnknownOperator {
        /// Subgraph index.
        subgraph: usize,
        /// Node index.
        node: usize,
        /// Operator name.
        op: String,
    },
    /// More memory than [`crate::Limits`] allow.
    #[error("{what} would take {bytes} bytes, the limit is {limit}; see Limits")]
    Limit {
        /// What would take it.
        what: String,
        /// How much.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A call that does not fit the model.
    #[error("{0}")]
    Usage(String),
}

impl RuntimeError {
    pub(crate) fn node(model: &Model, subgraph: usize, node: usize, source: OpError) -> RuntimeError {
        let op = model.operator(&model.subgraphs[subgraph].nodes[node]).to_string();
        RuntimeError::Node { subgraph, node, op, source }
    }

    pub(crate) fn tensor_limit(model: &Model, subgraph: usize, tensor: TensorId, bytes: usize, limit: usize) -> Self {
        let what = format!("tensor {tensor} ({:?})", model.subgraphs[subgraph].tensors[tensor].name());
        RuntimeError::Limit { what, bytes, limit }
    }
}
