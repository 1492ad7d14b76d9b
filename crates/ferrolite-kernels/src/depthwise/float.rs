//! Depthwise convolution of f32.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// One output row.
pub(crate) struct Row<'a> {
    pub(crate) shape: &'a ConvShape,
    /// The image.
    pub(crate) input: *const f32,
    pub(crate) filter: *const f32,
    /// Or null.
    pub(crate) bias: *const f32,
    /// The output row.
    pub(crate) out: *mut f32,
    pub(crate) y: usize,
    pub(crate) range: (f32, f32),
}

/// `W` neighbouring output pixels from `x`, all of whose filter columns `kx` are inside.
#[inline(always)]
unsafe fn pixels<V: F32v, const W: usize>(r: &Row<'_>, x: usize, ky: Range<usize>, kx: Range<usize>) {
    let s = r.shape;
    let pixel = s.stride.1 * s.in_stride;
    let (line, step) = (s.dilation.0 * s.in_w * s.in_stride, s.dilation.1 * s.in_stride);
    // The first tap inside; wrapping, since without one nothing is read.
    let (iy, ix) = (s.top(r.y) + (ky.start * s.dilation.0) as isize, s.left(x) + (kx.start * s.dilation.1) as isize);
    let first = r.input.wrapping_offset((iy * s.in_w as isize + ix).wrapping_mul(s.in_stride as isize));
    // SAFETY: the filter taps `ky` × `kx` of the pixels are inside the image; filter, bias and output are as long as the
    // shape says.
    unsafe {
        let (lo, hi) = (V::splat(r.range.0), V::splat(r.range.1));
        for c in (0..s.out_c).step_by(V::N) {
            let n = (s.out_c - c).min(V::N);
            let whole = n == V::N;
            let load = |p: *const f32| if whole { V::load(p) } else { V::load_n(p, n) };
            let mut acc = [if r.bias.is_null() { V::splat(0.0) } else { load(r.bias.add(c)) }; W];
            let mut row = first.wrapping_add(c);
            for ky in ky.clone() {
                let mut p = row;
                let mut w = r.filter.add((ky * s.k_w + kx.start) * s.out_c + c);
                for _ in kx.clone() {
                    let weight = load(w);
                    for (i, a) in acc.iter_mut().enumerate() {
                        *a = load(p.wrapping_add(i * pixel)).fma(weight, *a);
                    }
                    p = p.wrapping_add(step);
                    w = w.wrapping_add(s.out_c);
                }
                row = row.wrapping_add(line);
            }
            for (i, a) in acc.into_iter().enumerate() {
                let to = r.out.add((x + i) * s.out_stride + c);
                let a = a.clamp(lo, hi);
                if whole { a.store(to) } else { a.store_n(to, n) }
            }
        }
    }
}

#[inline(always)]
unsafe fn row<V: F32v>(r: &Row<'_>) {
    let s = r.shape;
    let inside = s.whole_columns();
    let ky = s.rows_inside(r.y);
    let mut x = 0;
    // SAFETY: as in `pixels`: inside `whole_columns` every filter column is inside the image.
    unsafe {
        while x < s.out_w {
            let left = if x >= inside.start && x < inside.end { inside.end - x } else { 0 };
            let (kx, ky) = (0..s.k_w, ky.clone());
            x += match left {
                0 => {
                    pixels::<V, 1>(r, x, ky, s.cols_inside(x));
                    1
                }
                8.. => {
                    pixels::<V, 8>(r, x, ky, kx);
                    8
                }
                4.. => {
                    pixels::<V, 4>(r, x, ky, kx);
                    4
                }
                2.. => {
                    pixels::<V, 2>(r, x, ky, kx);
                    2
                }
                1 => {
                    pixels::<V, 1>(r, x, ky, kx);
                    1
                }
            };
        }
    }
}
crate::simd::isa_table!(ROW = F "depthwise_f32" row(r: &Row<'_>));

/// Any multiplier, one result at a time.
unsafe fn row_by_one(r: &Row<'_>, multiplier: usize) {
    let s = r.shape;
    for x in 0..s.out_w {
        for o in 0..s.out_c {
            // SAFETY: taps inside the image only; filter, bias and output are as long as the shape says.
            unsafe {
                let mut acc = if r.bias.is_null() { 0.0 } else { *r.bias.add(o) };
                for ky in s.rows_inside(r.y) {
                    let iy = (s.top(r.y) + (ky * s.dilation.0) as isize) as usize;
                    for kx in s.cols_inside(x) {
                        let ix = (s.left(x) + (kx * s.dilation.1) as isize) as usize;
                        let v = *r.input.add((iy * s.in_w + ix) * s.in_stride + o / multiplier);
                        acc += v * *r.filter.add((ky * s.k_w + kx) * s.out_c + o);
                    }
                }
                let acc = if acc < r.range.0 { r.range.0 } else { acc };
                *r.out.add(x * s.out_stride + o) = if acc > r.range.1 { r.range.1 } else { acc };
            }
        }
    }
}

/// A depthwise convolution: `out = clamp(Σ input · filter + bias, min, max)`. `shape.out_c` is a multiple of `shape.in_c`;
/// only a multiplier of 1 is fast. `filter` is `[k_h][k_w][out_c]`, `bias` is `out_c` long.
///
/// # Panics
/// If the shape is inconsistent or a slice has the wrong length.
pub fn depthwise_conv2d_f32(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    filter: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    range: (f32, f32),
) {
    let multiplier = super::check(shape);
    assert!(input.len() >= shape.input_len() && out.len() >= shape.output_len(), "input or output too short");
    assert_eq!(filter.len(), shape.k_h * shape.k_w * shape.out_c, "filter");
    assert!(bias.is_none_or(|b| b.len() == shape.out_c), "bias");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    let run = pick(ROW, isa).run;
    let shared = Shared::new(out);
    pool.run_chunks(shape.batch * shape.out_h, super::grain(shape), &|rows: Range<usize>| {
        for row in rows {
            let image = row / shape.out_h * shape.in_h * shape.in_w * shape.in_stride;
            let r = Row {
                shape,
                input: input[image.min(input.len())..].as_ptr(),
                filter: filter.as_ptr(),
                bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
                out: shared.at(row * shape.out_w * shape.out_stride),
                y: row % shape.out_h,
                range,
            };
            // SAFETY: picked through an `Isa`; lengths are checked above, and rows do not overlap.
            unsafe { if multiplier == 1 { run(&r) } else { row_by_one(&r, multiplier) } };
        }
    });
}
