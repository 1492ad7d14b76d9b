//! What the float and the integer matrix multiplications share: shapes, rows of A as addresses, and the loop over blocks.

mod conv_shape;
pub(crate) mod drive;
pub(crate) mod rows;
pub(crate) mod window;

pub use conv_shape::ConvShape;

/// How a weight matrix lies in memory before packing. `n` is the number of output columns, `k = taps · kc` the depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[n][k]`, as the filters of a convolution (OHWI) and of a fully-connected layer lie.
    RowsOfK,
    /// `[k][n]`, an ordinary row-major right operand.
    RowsOfN,
}
