//! Element by element over f32: unary and binary operations, clamping, softmax.
#![allow(unsafe_code)]

mod add_8bit;
mod binary;
pub(crate) mod math;
mod softmax;
#[cfg(test)]
mod tests;
mod unary;

pub use add_8bit::{Add8Bit, add_8bit};
pub use binary::{Binary, RowsF32, binary_f32, binary_f32_inplace};
pub use softmax::{log_softmax_rows, softmax_rows, softmax_rows_inplace};
pub use unary::{Unary, unary_f32, unary_f32_inplace};

/// Elements below which another task is not worth waking a thread.
pub(crate) const GRAIN: usize = 16 << 10;
