//! Maximum and average pooling over NHWC. `in_c` and `out_c` of the shape are equal; padding takes no part.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::{F32v, I32v};
use std::ops::Range;

/// One output row.
pub(crate) struct Row<'a, T> {
    shape: &'a ConvShape,
    /// The image.
    input: *const T,
    /// The output row.
    out: *mut T,
    y: usize,
}

/// Calls `$body` with the channel `c`, the `n` lanes there, the window's rows and columns, for every pixel of a row.
macro_rules! for_windows {
    ($r:ident, $lanes:expr, |$x:ident, $c:ident, $n:ident, $ky:ident, $kx:ident| $body:expr) => {
        let s = $r.shape;
        let $ky = s.rows_inside($r.y);
        for $x in 0..s.out_w {
            let $kx = s.cols_inside($x);
            for $c in (0..s.out_c).step_by($lanes) {
                let $n = (s.out_c - $c).min($lanes);
                $body
            }
        }
    };
}

/// The element of the image that tap (ky, kx) of output column `x` sees.
#[inline(always)]
fn at<T>(r: &Row<'_, T>, x: usize, ky: usize, kx: usize) -> usize {
    let s = r.shape;
    let iy = (s.top(r.y) + (ky * s.dilation.0) as isize) as usize;
    let ix = (s.left(x) + (kx * s.dilation.1) as isize) as usize;
    (iy * s.in_w + ix) * s.in_stride
}

#[inline(always)]
unsafe fn float<V: F32v>(r: &Row<'_, f32>, max: bool, range: (f32, f32)) {
    // SAFETY: taps inside the image and channels inside a pixel only; the output row is as long as the shape says.
    unsafe {
        let (lo, hi) = (V::splat(range.0), V::splat(range.1));
        for_windows!(r, V::N, |x, c, n, ky, kx| {
            let mut acc = V::splat(if max { f32::NEG_INFINITY } else { 0.0 });
            for ky in ky.clone() {
                for kx in kx.clone() {
                    let p = r.input.add(at(r, x, ky, kx) + c);
                    let v = if n == V::N { V::load(p) } else { V::load_n(p, n) };
                    acc = if max { v.max(acc) } else { acc.add(v) };
                }
            }
            if !max {
                acc = acc.div(V::splat((ky.len() * kx.len()).max(1) as f32));
            }
            acc.clamp(lo, hi).store_n(r.out.add(x * r.shape.out_stride + c), n);
        });
    }
}
crate::simd::isa_table!(FLOAT = F "pool2d_f32" float(r: &Row<'_, f32>, max: bool, range: (f32, f32)));

#[inline(always)]
unsafe fn int<V: I32v>(r: &Row<'_, i8>, max: bool, range: (i32, i32)) {
    // SAFETY: as in `float`.
    unsafe {
        let (lo, hi) = (V::splat(range.0), V::splat(range.1));
        for_windows!(r, V::N, |x, c, n, ky, kx| {
            let mut acc = V::splat(if max { -128 } else { 0 });
            for ky in ky.clone() {
                for kx in kx.clone() {
                    let p = r.input.add(at(r, x, ky, kx) + c);
                    let v = if n == V::N { V::load_i8(p) } else { V::load_i8_n(p, n) };
                    acc = if max { acc.max(v) } else { acc.add(v) };
                }
            }
            if !max {
                // Half away from zero. The quotient is at most 129 and the count below 65 000, so that the nearest float is
                // never rounded up to a whole number that it does not reach.
                let count = (ky.len() * kx.len()).max(1);
                let magnitude = acc.max(V::splat(0).sub(acc)).add(V::splat((count / 2) as i32));
                let q = V::from_f32(magnitude.to_f32().div(V::F::splat(count as f32)));
                // The sign of the sum: -1, 0 or 1.
                let sign = acc.max(V::splat(-1)).min(V::splat(1));
                acc = q.mul(sign);
            }
            acc.max(lo).min(hi).store_i8_n(r.out.add(x * r.shape.out_stride + c), n);
        });
    }
}
crate::simd::isa_table!(INT = I "pool2d_i8" int(r: &Row<'_, i8>, max: bool, range: (i32, i32)));

/// Runs `f` over every output row.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
fn rows<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: &[T],
    out: &mut [T],
    f: &(dyn Fn(&Row<'_, T>) + Sync),
) {
    shape.check();
    assert_eq!(shape.in_c, shape.out_c, "channels");
    assert!(input.len() >= shape.input_len() && out.len() >= shape.output_len(), "input or output too short");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    let grain = 20_000 / (shape.out_w * shape.out_c * shape.k_h * shape.k_w).max(1) + 1;
    let shared = Shared::new(out);
    pool.run_chunks(shape.batch * shape.out_h, grain, &|rows: Range<usize>| {
        for row in rows {
            let image = row / shape.out_h * shape.in_h * shape.in_w * shape.in_stride;
            f(&Row {
                shape,
                input: input[image.min(input.len())..].as_ptr(),
                out: shared.at(row * shape.out_w * shape.out_stride),
                y: row % shape.out_h,
            });
        }
    });
}

/// The greatest element of every window, clamped; negative infinity (clamped) where a window is outside the input.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn max_pool2d_f32(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    out: &mut [f32],
    range: (f32, f32),
) {
    let run = pick(FLOAT, isa).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, true, range) });
}

/// The sum of the elements of every window that are inside the input, by their number, clamped; 0 where there is none.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn avg_pool2d_f32(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    out: &mut [f32],
    range: (f32, f32),
) {
    let run = pick(FLOAT, isa).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, false, range) });
}

/// As [`max_pool2d_f32`], of bytes; -128 (clamped) where a window is outside the input. `range` is inside -128..=127.
///
/// # Panics
/// If the shape is inconsistent, a slice too short or the range outside of the bytes.
pub fn max_pool2d_i8(pool: &ThreadPool, isa: Isa, shape: &ConvShape, input: &[i8], out: &mut [i8], range: (i32, i32)) {
    assert!(-128 <= range.0 && range.0 <= range.1 && range.1 <= 127, "bounds of the output");
    let run = pick(INT, isa).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, true, range) });
}

/// As [`avg_pool2d_f32`], of bytes: `(sum ± count / 2) / count`, that is half away from zero. `range` is inside -128..=127.
///
/// # Panics
/// If the shape is inconsistent, a slice too short, the range outside of the bytes, or the window has 65 000 elements or more.
pub fn avg_pool2d_i8(pool: &ThreadPool, isa: Isa, shape: &ConvShape, input: &[i8], out: &mut [i8], range: (i32, i32)) {
    assert!(-128 <= range.0 && range.0 <= range.1 && range.1 <= 127, "bounds of the output");
    assert!(shape.k_h.min(shape.in_h) * shape.k_w.min(shape.in_w) < 65_000, "window too great");
    let run = pick(INT, isa).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, false, range) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm_f32::tests::random_shape;
    use crate::testutil::Rng;

    fn window(s: &ConvShape, row: usize, c: usize) -> Vec<usize> {
        let (x, y, b) = (row % s.out_w, row / s.out_w % s.out_h, row / (s.out_w * s.out_h));
        let mut v = Vec::new();
        for t in 0..s.k_h * s.k_w {
            let iy = (y * s.stride.0 + t / s.k_w * s.dilation.0).wrapping_sub(s.pad_top);
            let ix = (x * s.stride.1 + t % s.k_w * s.dilation.1).wrapping_sub(s.pad_left);
            if iy < s.in_h && ix < s.in_w {
                v.push(((b * s.in_h + iy) * s.in_w + ix) * s.in_stride + c);
            }
        }
        v
    }

    #[test]
    fn pools_equal_the_definition() {
        let mut r = Rng::new(51);
        let pool = ThreadPool::new(2);
        for round in 0..60 {
            let mut s = random_shape(&mut r);
            if round % 2 == 0 {
                s.in_c = r.usize(1, 50);
                s.in_stride = s.in_c;
            }
            (s.out_c, s.out_stride) = (s.in_c, s.in_c + round % 3);
            let (f, b) = (r.f32s(s.input_len()), r.i8s(s.input_len()));
            for isa in Isa::available() {
                let n = s.output_len();
                let (mut fm, mut fa, mut bm, mut ba) = (vec![0.0; n], vec![0.0; n], vec![0; n], vec![0; n]);
                max_pool2d_f32(&pool, isa, &s, &f, &mut fm, (-0.5, 0.9));
                avg_pool2d_f32(&pool, isa, &s, &f, &mut fa, (-0.2, 0.3));
                max_pool2d_i8(&pool, isa, &s, &b, &mut bm, (-20, 120));
                avg_pool2d_i8(&pool, isa, &s, &b, &mut ba, (-128, 100));
                for row in 0..s.rows() {
                    for c in 0..s.out_c {
                        let (w, at) = (window(&s, row, c), row * s.out_stride + c);
                        let max = w.iter().map(|i| f[*i]).fold(f32::NEG_INFINITY, f32::max);
                        assert_eq!(fm[at], max.clamp(-0.5, 0.9));
                        let count = w.len().max(1) as i32;
                        let mean = w.iter().map(|i| f[*i]).sum::<f32>() / count as f32;
                        assert!((fa[at] - mean.clamp(-0.2, 0.3)).abs() < 1e-6);
                        let max = w.iter().map(|i| i32::from(b[*i])).max().unwrap_or(-128);
                        assert_eq!(i32::from(bm[at]), max.clamp(-20, 120));
                        let sum: i32 = w.iter().map(|i| i32::from(b[*i])).sum();
                        let mean = if sum > 0 { (sum + count / 2) / count } else { (sum - count / 2) / count };
                        assert_eq!(i32::from(ba[at]), mean.clamp(-128, 100));
                    }
                }
            }
        }
    }
}
