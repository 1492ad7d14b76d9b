//! Element by element over f32: unary and binary operations, clamping, softmax.
#![allow(unsafe_code)]

mod binary;
mod bytes;
pub(crate) mod math;
mod softmax;
mod softmax_8bit;
#[cfg(test)]
mod tests;
mod unary;

pub use binary::{Binary, RowsF32, binary_f32, binary_f32_inplace};
pub use bytes::{Add8Bit, Mul8Bit, add_8bit, mul_8bit};
pub use softmax::{log_softmax_rows, softmax_rows, softmax_rows_inplace};
pub use softmax_8bit::Softmax8Bit;
pub use unary::{Unary, unary_f32, unary_f32_inplace};

/// Elements below which another task is not worth it: so few that to fetch them from the core whose thread has made them
/// takes longer than to compute them here.
pub(crate) const GRAIN: usize = 4 << 10;
