//! The operator catalogue: one folder (or one file, for a small operator) per operator, listed once in [`OPS`].

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod catalog;
pub mod common;
mod error;
pub mod gradient;
pub mod op;
pub mod quantize;
pub mod tensor;

pub use catalog::Catalog;
pub use error::OpError;
pub use op::{FastKernel, Inferred, Io, Kernel, NodeView, OpDef, OpId};
pub use tensor::{AlignedBytes, Element, Shape, TensorInfo, TensorMut, TensorRef, copy_elements};

/// Declares each operator's module and lists its definitions in [`OPS`].
macro_rules! operators {
    ($($module:ident: [$($op:ident),+],)+) => {
        $(mod $module;)+

        /// Every builtin operator that ferrolite runs.
        pub const OPS: &[&dyn OpDef] = &[$($(&$module::$op),+),+];
    };
}

// One line per folder or file, in alphabetical order.
operators! {
    batch_matmul: [BatchMatMul],
    conv_2d: [Conv2d],
    depthwise_conv_2d: [DepthwiseConv2d],
    fully_connected: [FullyConnected],
    pool_2d: [AVERAGE_POOL_2D, MAX_POOL_2D],
    reshape: [Reshape],
    softmax: [Softmax, LogSoftmax],
    transpose_conv: [TransposeConv],
}
