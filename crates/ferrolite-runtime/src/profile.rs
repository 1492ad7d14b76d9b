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
    /// How often it ran.
    pub calls: u64,
    /// Total time.
    pub time: Duration,
}

/// One entry per step, in execution order.
pub type Profile = Vec<NodeProfile>;
