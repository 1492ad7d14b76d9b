//! Depthwise convolution of i16 by filters of i8, as the reference kernels of int16 activations requantize.
#![allow(unsafe_code)]

use super::{BLOCK, for_rows};
use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::{AlignedVec, Shared};
use crate::pool::ThreadPool;
use crate::requant::multiply_by_quantized_multiplier_i64;
use crate::simd::I32v;
use std::ops::Range;

/// The filters of a depthwise convolution of i16 with what belongs to their channels.
#[derive(Clone, Debug)]
pub struct DepthwiseI16 {
    isa: Isa,
    shape: ConvShape,
    /// Per 16 channels a row of 16 for each tap.
    weights: AlignedVec<i32>,
    /// Per channel bias, multiplier and shift.
    channels: Vec<(i64, i32, i32)>,
}

impl DepthwiseI16 {
    /// Whether sums of so many taps are exact in 32 bits.
    pub fn fits(shape: &ConvShape) -> bool {
        shape.k_h.checked_mul(shape.k_w).is_some_and(|taps| taps <= 256)
    }

    /// Packs `filter` (`[k_h][k_w][out_c]`), whose zero point is 0, for convolutions of `shape` (whose batch may differ later).
    /// `channels` has bias, multiplier and shift of every output channel.
    ///
    /// # Panics
    /// If the shape is inconsistent or does not fit, or a slice has the wrong length.
    pub fn pack(isa: Isa, shape: &ConvShape, filter: &[i8], channels: Vec<(i64, i32, i32)>) -> DepthwiseI16 {
        super::check(shape);
        assert!(DepthwiseI16::fits(shape), "too many taps");
        let (n, taps) = (shape.out_c, shape.k_h * shape.k_w);
        assert!(filter.len() == taps * n && channels.len() == n, "filter or channels");
        let mut weights = AlignedVec::zeroed(n.next_multiple_of(BLOCK) * taps);
        for (i, w) in filter.iter().enumerate() {
            let (tap, c) = (i / n, i % n);
            weights.as_mut_slice()[(c / BLOCK * taps + tap) * BLOCK + c % BLOCK] = i32::from(*w);
        }
        DepthwiseI16 { isa, shape: *shape, weights, channels }
    }
}

/// One output row.
pub(crate) struct Row<'a> {
    shape: &'a ConvShape,
    /// The image.
    input: *const i16,
    weights: *const i32,
    channels: &'a [(i64, i32, i32)],
    /// The output row.
    out: *mut i16,
    y: usize,
    range: (i32, i32),
}

/// `W` neighbouring output pixels from `x`, all of whose filter columns `kx` are inside.
#[inline(always)]
unsafe fn pixels<V: I32v, const W: usize>(r: &Row<'_>, x: usize, kx: Range<usize>) {
    let s = r.shape;
    let ky = s.rows_inside(r.y);
    let taps = s.k_h * s.k_w;
    // SAFETY: the filter taps `ky` × `kx` of the pixels are inside the image; packed rows are whole vectors long; the output
    // is as long as the shape says.
    unsafe {
        for c in (0..s.out_c).step_by(V::N) {
            let n = (s.out_c - c).min(V::N);
            let weights = r.weights.add(c / BLOCK * taps * BLOCK + c % BLOCK);
            let mut acc = [V::splat(0); W];
            for ky in ky.clone() {
                let iy = (s.top(r.y) + (ky * s.dilation.0) as isize) as usize;
                for kx in kx.clone() {
                    let ix = (s.left(x) + (kx * s.dilation.1) as isize) as usize;
                    let w = V::load(weights.add((ky * s.k_w + kx) * BLOCK));
                    let p = r.input.wrapping_add((iy * s.in_w + ix) * s.in_stride + c);
                    for (i, a) in acc.iter_mut().enumerate() {
                        *a = a.add(V::load_i16(p.wrapping_add(i * s.stride.1 * s.in_stride), n).mul(w));
                    }
                }
            }
            let channels = &r.channels[c..c + n];
            for (i, a) in acc.into_iter().enumerate() {
                let mut sums = [0i32; BLOCK];
                a.store(sums.as_mut_ptr());
                let to = r.out.add((x + i) * s.out_stride + c);
                for (k, (sum, (bias, multiplier, shift))) in sums.iter().zip(channels).enumerate() {
                    let sum = i64::from(*sum).wrapping_add(*bias);
                    let y = multiply_by_quantized_multiplier_i64(sum, *multiplier, *shift);
                    *to.add(k) = y.max(r.range.0).min(r.range.1) as i16;
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn row<V: I32v>(r: &Row<'_>) {
    let s = r.shape;
    let inside = s.whole_columns();
    let mut x = 0;
    // SAFETY: as in `pixels`: inside `whole_columns` every filter column is inside the image.
    unsafe {
        while x < s.out_w {
            if x >= inside.start && x + 4 <= inside.end {
                pixels::<V, 4>(r, x, 0..s.k_w);
                x += 4;
            } else {
                pixels::<V, 1>(r, x, s.cols_inside(x));
                x += 1;
            }
        }
    }
}
crate::simd::isa_table!(ROW = I "depthwise_i16" row(r: &Row<'_>));

/// A depthwise convolution with packed filters, clamped to `range`, which is inside that of i16:
/// [`multiply_by_quantized_multiplier_i64`] of the sums.
///
/// # Panics
/// If `shape` is neither the one that the filters were packed for nor a band of it (but for the batch), a slice is too short
/// or the range outside of i16.
pub fn depthwise_conv2d_i16(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: &[i16],
    filter: &DepthwiseI16,
    out: &mut [i16],
    range: (i32, i32),
) {
    super::check(shape);
    let of =
        ConvShape { batch: shape.batch, in_h: shape.in_h, out_h: shape.out_h, pad_top: shape.pad_top, ..filter.shape };
    assert!(of == *shape, "filters packed for another convolution");
    assert!(i32::from(i16::MIN) <= range.0 && range.1 <= i32::from(i16::MAX), "bounds of the output");
    assert!(input.len() >= shape.input_len() && out.len() >= shape.output_len(), "input or output too short");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    let run = pick(ROW, filter.isa).run;
    let shared = Shared::new(out);
    for_rows(pool, shape, input, &|shape, input, b, y| {
        let weights = filter.weights.as_slice().as_ptr();
        let out = shared.at((b * shape.out_h + y) * shape.out_w * shape.out_stride);
        let r = Row { shape, input, weights, channels: &filter.channels, out, y, range };
        // SAFETY: picked through an `Isa`; lengths are checked above, and rows do not overlap.
        unsafe { run(&r) };
    });
}
