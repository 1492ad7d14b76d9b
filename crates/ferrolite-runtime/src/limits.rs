//! Bounds on what a model may ask for.

/// What a model may take at most. The defaults suit a server that runs files from strangers; raise them for large
/// models of one's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of one computed tensor.
    pub max_tensor_bytes: usize,
    /// Bytes of all memory that a plan takes: arena, folded constants, tensors sized at run time.
    pub max_total_bytes: usize,
    /// How often one run of a WHILE node may run its body.
    pub max_iterations: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_tensor_bytes: 1 << 30, max_total_bytes: 2 << 30, max_iterations: 10_000_000 }
    }
}
