//! Why a model cannot be quantized.

use ferrolite_model::ModelError;
use ferrolite_runtime::RuntimeError;
use std::fmt;

/// Why a model cannot be quantized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The mode needs ranges of activations.
    #[error(
        "{mode} quantization needs the ranges of activations: feed a Calibrator some hundred representative inputs \
         (as they come in use, preprocessed alike) and pass what it finishes with"
    )]
    NeedsCalibration {
        /// The mode.
        mode: &'static str,
    },
    /// The calibration never saw a tensor.
    #[error(
        "tensor {tensor} ({name:?}) has no calibrated range: it was never computed during calibration, or the \
         Calibrator was fed nothing; feed it inputs that reach this tensor, or set the range by Calibration::set_range"
    )]
    NoRange {
        /// Tensor index in the main subgraph.
        tensor: usize,
        /// Tensor name.
        name: String,
    },
    /// The ranges suit 8 bits only.
    #[error("calibration by {method} finds ranges for 8 bits; for {mode} take min-max, moving-average or percentile")]
    Method {
        /// How ranges were found.
        method: crate::Method,
        /// The mode.
        mode: &'static str,
    },
    /// The calibration belongs to another model.
    #[error("the calibration is of another model: {0}")]
    OtherModel(String),
    /// A number that is not finite, where a range is taken.
    #[error("tensor {tensor} ({name:?}) {what}")]
    NotFinite {
        /// Tensor index.
        tensor: usize,
        /// Tensor name.
        name: String,
        /// What it holds, and when.
        what: String,
    },
    /// The model has nothing that this mode quantizes.
    #[error("nothing to quantize: {0}")]
    Nothing(String),
    /// Integer-only quantization was asked for and nodes would stay in float.
    #[error("{}", list(nodes))]
    Unquantizable {
        /// The nodes.
        nodes: Vec<Refusal>,
    },
    /// Input or output type that the mode cannot give.
    #[error("{mode} quantization gives inputs and outputs of type {possible}, not {ty}")]
    IoType {
        /// The mode.
        mode: &'static str,
        /// What was asked for.
        ty: ferrolite_model::TensorType,
        /// What there is.
        possible: &'static str,
    },
    /// The model is damaged, or became so.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Calibration could not run the model.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// A node that stays in float, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Subgraph index.
    pub subgraph: usize,
    /// Node index.
    pub node: usize,
    /// Operator name.
    pub op: String,
    /// Name of its first output, to find it in the network.
    pub output: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subgraph {}, node {} ({}, output {:?}): ", self.subgraph, self.node, self.op, self.output)?;
        f.write_str(&self.reason)
    }
}

fn list(nodes: &[Refusal]) -> String {
    let lines: Vec<String> = nodes.iter().map(|node| format!("\n  {node}")).collect();
    let count = nodes.len();
    let verb = if count == 1 { "node cannot" } else { "nodes cannot" };
    format!("{count} {verb} be quantized to integers (Int8 mode leaves them in float):{}", lines.concat())
}
