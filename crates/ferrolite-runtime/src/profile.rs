//! Where the time goes.

use std::time::Duration;

/// Times of one step, summed over the profiled invocations.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeProfile {
    /// Index of the step's first node.
    pub node: usize,
    /// Operator name.
    pub op: String,
    /// Name of the kernel that ran it.
    pub kernel: String,
    /// Name of the step's first output tensor.
    pub output: String,
    /// Multiply-accumulates of one run, 0 where they are not counted.
    pub macs: u64,
    /// Whether integers are multiplied: an input is an integer tensor with a scale, be it the weights alone.
    pub is_integer: bool,
    /// Bytes of the tensors that it reads, constants and state too, with the shapes of the last run.
    pub bytes_read: u64,
    /// Bytes of the tensors that it writes.
    pub bytes_written: u64,
    /// How often it ran.
    pub calls: u64,
    /// Total time.
    pub time: Duration,
}

/// One entry per step, in execution order.
pub type Profile = Vec<NodeProfile>;
