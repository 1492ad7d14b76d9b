//! Depthwise convolution over NHWC: every output channel sees one input channel.
//!
//! Filters lie as in TensorFlow Lite, `[k_h][k_w][out_c]`, with `out_c = in_c · multiplier` and output channel `o` of input
//! channel `o / multiplier`.
#![allow(unsafe_code)]

mod float;
mod int;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use float::depthwise_conv2d_f32;
pub use int::{DepthwiseI8, depthwise_conv2d_i8};

use crate::gemm::ConvShape;

/// # Panics
/// If the shape is inconsistent.
fn check(shape: &ConvShape) -> usize {
    shape.check();
    let multiplier = shape.out_c.checked_div(shape.in_c).unwrap_or(1);
    assert!(shape.out_c == shape.in_c * multiplier, "{} output channels of {}", shape.out_c, shape.in_c);
    multiplier
}

/// Output rows that are worth a task.
fn grain(shape: &ConvShape) -> usize {
    20_000 / (shape.out_w * shape.out_c * shape.k_h * shape.k_w).max(1) + 1
}
