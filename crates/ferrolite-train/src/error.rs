//! What can go wrong in training.

use ferrolite_model::{Model, ModelError};
use ferrolite_ops::OpError;
use ferrolite_runtime::RuntimeError;

/// Why a model cannot be built, differentiated or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The graph breaks a rule.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The graph cannot be planned or run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A parameter's gradient has to pass through a node whose operator has none.
    #[error("node {node} ({op}) cannot be differentiated: {reason}")]
    NoGradient {
        /// Node index in the subgraph.
        node: usize,
        /// Operator name.
        op: String,
        /// What is missing.
        reason: String,
    },
    /// An operator failed to emit its gradient.
    #[error("gradient of node {node} ({op}): {source}")]
    Gradient {
        /// Node index in the subgraph.
        node: usize,
        /// Operator name.
        op: String,
        /// What is wrong.
        source: OpError,
    },
    /// A layer that cannot follow the ones before it.
    #[error("layer {layer} ({kind}): {reason}")]
    Layer {
        /// Position in the network, from 0.
        layer: usize,
        /// The layer.
        kind: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// Data, options or a model that do not fit each other.
    #[error("{0}")]
    Usage(String),
    /// The loss is not a number any more.
    #[error(
        "the loss became {loss} in epoch {epoch}, batch {batch}: try a lower learning rate, and inputs scaled to about 0..1"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
        /// The loss.
        loss: f32,
    },
}

impl TrainError {
    pub(crate) fn usage(what: impl Into<String>) -> TrainError {
        TrainError::Usage(what.into())
    }

    pub(crate) fn no_gradient(model: &Model, subgraph: usize, node: usize, reason: impl Into<String>) -> TrainError {
        let op = model.operator(&model.subgraphs[subgraph].nodes[node]).name().to_owned();
        TrainError::NoGradient { node, op, reason: reason.into() }
    }
}
