//! Gradients of pooling.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// One image.
pub(crate) struct Image<'a> {
    shape: &'a ConvShape,
    /// Null where the gradient does not depend on it.
    input: *const f32,
    dy: *const f32,
    dx: *mut f32,
}

/// The element of an image that tap (ky, kx) of window (y, x) sees.
#[inline(always)]
fn at(s: &ConvShape, y: usize, x: usize, ky: usize, kx: usize) -> usize {
    let iy = (s.top(y) + (ky * s.dilation.0) as isize) as usize;
    let ix = (s.left(x) + (kx * s.dilation.1) as isize) as usize;
    (iy * s.in_w + ix) * s.in_stride
}

#[inline(always)]
unsafe fn max_grad<V: F32v>(m: &Image<'_>) {
    let s = m.shape;
    for y in 0..s.out_h {
        for x in 0..s.out_w {
            let (ky, kx) = (s.rows_inside(y), s.cols_inside(x));
            for c in (0..s.in_c).step_by(V::N) {
                let n = (s.in_c - c).min(V::N);
                // SAFETY: taps inside the image and channels inside a pixel only.
                unsafe {
                    // The number of the first greatest tap, lane by lane.
                    let (mut best, mut which) = (V::splat(f32::NEG_INFINITY), V::splat(-1.0));
                    let mut t = 0.0f32;
                    for ky in ky.clone() {
                        for kx in kx.clone() {
                            let v = V::load_n(m.input.add(at(s, y, x, ky, kx) + c), n);
                            which = v.gt_select(best, V::splat(t), which);
                            best = v.gt_select(best, v, best);
                            t += 1.0;
                        }
                    }
                    // Nothing was greater than negative infinity: the first tap.
                    which = which.max(V::splat(0.0));
                    let d = V::load_n(m.dy.add((y * s.out_w + x) * s.out_stride + c), n);
                    let (zero, half) = (V::splat(0.0), V::splat(0.5));
                    t = 0.0;
                    for ky in ky.clone() {
                        for kx in kx.clone() {
                            let to = m.dx.add(at(s, y, x, ky, kx) + c);
                            let mine = half.gt_select(which.sub(V::splat(t)).abs(), d, zero);
                            V::load_n(to, n).add(mine).store_n(to, n);
                            t += 1.0;
                        }
                    }
                }
            }
        }
    }
}
crate::simd::isa_table!(MAX_GRAD = F "max_pool2d_grad_f32" max_grad(m: &Image<'_>));

#[inline(always)]
unsafe fn avg_grad<V: F32v>(m: &Image<'_>) {
    let s = m.shape;
    for y in 0..s.out_h {
        for x in 0..s.out_w {
            let (ky, kx) = (s.rows_inside(y), s.cols_inside(x));
            let count = ((ky.len() * kx.len()).max(1)) as f32;
            for c in (0..s.in_c).step_by(V::N) {
                let n = (s.in_c - c).min(V::N);
                // SAFETY: taps inside the image and channels inside a pixel only.
                unsafe {
                    let d = V::load_n(m.dy.add((y * s.out_w + x) * s.out_stride + c), n).div(V::splat(count));
                    for ky in ky.clone() {
                        for kx in kx.clone() {
                            let to = m.dx.add(at(s, y, x, ky, kx) + c);
                            V::load_n(to, n).add(d).store_n(to, n);
                        }
                    }
                }
            }
        }
    }
}
crate::simd::isa_table!(AVG_GRAD = F "avg_pool2d_grad_f32" avg_grad(m: &Image<'_>));

/// Runs `f` over every image; images are the tasks, since windows overlap.
fn images(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: Option<&[f32]>,
    dy: &[f32],
    dx: &mut [f32],
    f: unsafe fn(&Image<'_>),
) {
    shape.check();
    let s = shape;
    assert_eq!(s.in_c, s.out_c, "channels");
    assert!(
        input.is_none_or(|x| x.len() >= s.input_len()) && dx.len() >= s.input_len() && dy.len() >= s.output_len(),
        "slice too short"
    );
    if s.rows() == 0 || s.in_c == 0 || s.in_h * s.in_w == 0 {
        return;
    }
    let shared = Shared::new(dx);
    let grain = 20_000 / (s.out_h * s.out_w * s.k_h * s.k_w * s.in_c).max(1) + 1;
    pool.run_chunks(s.batch, grain, &|range: Range<usize>| {
        for b in range {
            let (i, o) = (b * s.in_h * s.in_w * s.in_stride, b * s.out_h * s.out_w * s.out_stride);
            let (input, dy) = (input.map_or(std::ptr::null(), |x| x[i..].as_ptr()), dy[o..].as_ptr());
            // SAFETY: picked through an `Isa`; the lengths are checked above, and images do not overlap.
            unsafe { f(&Image { shape: s, input, dy, dx: shared.at(i) }) };
        }
    });
}

/// The gradient of maximum pooling, added into `dx` (laid out like the input): the first greatest element of a window, by rows,
/// gets the window's gradient.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn max_pool2d_grad(pool: &ThreadPool, isa: Isa, shape: &ConvShape, input: &[f32], dy: &[f32], dx: &mut [f32]) {
    images(pool, shape, Some(input), dy, dx, pick(MAX_GRAD, isa).run);
}

/// The gradient of average pooling, added into `dx` (laid out like the input).
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn avg_pool2d_grad(pool: &ThreadPool, isa: Isa, shape: &ConvShape, dy: &[f32], dx: &mut [f32]) {
    images(pool, shape, None, dy, dx, pick(AVG_GRAD, isa).run);
}
