//! Depthwise convolution over NHWC: every output channel sees one input channel.
//!
//! Filters lie as in TensorFlow Lite, `[k_h][k_w][out_c]`, with `out_c = in_c · multiplier` and output channel `o` of input
//! channel `o / multiplier`. Kernels know a multiplier of 1 only: for a greater one the input channels of the rows at hand
//! are repeated first.
#![allow(unsafe_code)]

mod float;
mod int;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;
mod wide;

pub use float::{depthwise_conv2d_f32, depthwise_packed_len, pack_depthwise_f32};
pub use int::{DepthwiseI8, depthwise_conv2d_i8};
pub use wide::{DepthwiseI16, depthwise_conv2d_i16};

use crate::gemm::ConvShape;
use crate::mem::{Pod, with_scratch};
use crate::pool::ThreadPool;
use std::ops::Range;

/// Channels of a block of packed parameters.
const BLOCK: usize = 16;

/// Bytes of repeated input that are made at once, about.
const SPREAD: usize = 128 << 10;

/// # Panics
/// If the shape is inconsistent.
fn check(shape: &ConvShape) -> usize {
    shape.check();
    let multiplier = shape.out_c.checked_div(shape.in_c).unwrap_or(1);
    assert!(shape.out_c == shape.in_c * multiplier, "{} output channels of {}", shape.out_c, shape.in_c);
    multiplier
}

/// Calls `row(shape, image, batch, y)` for every output row: the shape has a multiplier of 1, and `image` is where the image
/// would start, of which the rows that the output row sees are there. `input` is as long as `shape` says.
fn for_rows<T: Pod>(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: &[T],
    row: &(dyn Fn(&ConvShape, *const T, usize, usize) + Sync),
) {
    let multiplier = shape.out_c / shape.in_c;
    let wide = ConvShape { in_c: shape.out_c, in_stride: shape.out_c, ..*shape };
    let length = shape.in_w * shape.out_c;
    // Output rows whose input is repeated at once.
    let group = (SPREAD / (length * shape.stride.0 * size_of::<T>()).max(1)).max(1);
    let grain = 20_000 / (shape.out_w * shape.out_c * shape.k_h * shape.k_w).max(1) + 1;
    pool.run_chunks(shape.batch * shape.out_h, grain, &|rows: Range<usize>| {
        let mut at = rows.start;
        while at < rows.end {
            let (b, y) = (at / shape.out_h, at % shape.out_h);
            let image = &input[(b * shape.in_h * shape.in_w * shape.in_stride).min(input.len())..];
            if multiplier == 1 {
                row(shape, image.as_ptr(), b, y);
                at += 1;
                continue;
            }
            let last = (y + group).min(shape.out_h).min(y + rows.end - at) - 1;
            let reach = (shape.k_h - 1) * shape.dilation.0 + 1;
            let clip = |i: isize| i.clamp(0, shape.in_h as isize) as usize;
            let seen = clip(shape.top(y))..clip(shape.top(last) + reach as isize);
            with_scratch(|scratch| {
                let spread = scratch.patch.typed::<T>(seen.len() * length);
                let pixels = spread.chunks_exact_mut(shape.out_c).zip(seen.start * shape.in_w..);
                for (to, pixel) in pixels {
                    let from = &image[pixel * shape.in_stride..][..shape.in_c];
                    for (to, x) in to.chunks_exact_mut(multiplier).zip(from) {
                        to.fill(*x);
                    }
                }
                let start = spread.as_ptr().wrapping_sub(seen.start * length);
                (y..=last).for_each(|y| row(&wide, start, b, y));
            });
            at += last + 1 - y;
        }
    });
}
