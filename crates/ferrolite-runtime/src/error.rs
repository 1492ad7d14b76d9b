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
    #[error("subgraph {subgraph}, node {node}: operator {op} {}", why_unknown(.op))]
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

/// What an operator without a definition is, and what can be done about it.
fn why_unknown(op: &str) -> String {
    match op.strip_prefix("Flex") {
        Some(name) => format!(
            "is a TensorFlow operator (Flex), which needs TensorFlow itself: convert the model without SELECT_TF_OPS, \
             or add {name} as an operator of your own ({op}) with Catalog::with"
        ),
        None => "is not known; add it with Catalog::with, or convert the model without it".to_owned(),
    }
}

impl RuntimeError {
    pub(crate) fn unknown_operator(model: &Model, subgraph: usize, node: usize) -> RuntimeError {
        let op = model.operator(&model.subgraphs[subgraph].nodes[node]).name().to_owned();
        RuntimeError::UnknownOperator { subgraph, node, op }
    }

    pub(crate) fn node(model: &Model, subgraph: usize, node: usize, source: OpError) -> RuntimeError {
        let op = model.operator(&model.subgraphs[subgraph].nodes[node]).to_string();
        RuntimeError::Node { subgraph, node, op, source }
    }

    pub(crate) fn tensor_limit(model: &Model, subgraph: usize, tensor: TensorId, bytes: usize, limit: usize) -> Self {
        let what = format!("tensor {tensor} ({:?})", model.subgraphs[subgraph].tensors[tensor].name());
        RuntimeError::Limit { what, bytes, limit }
    }
}
