//! Loops of training: gradients that are not matrix products, and optimiser steps.
#![allow(unsafe_code)]

mod col2im;
mod optimizer;
mod pool_grad;
#[cfg(test)]
mod tests;
mod weight_grad;

pub use col2im::col2im;
pub use optimizer::{Adam, Sgd, adam_step, sgd_step};
pub use pool_grad::{avg_pool2d_grad, max_pool2d_grad};
pub use weight_grad::{conv2d_weight_grad, conv2d_weight_grad_kernel};

use crate::elementwise::GRAIN;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

#[inline(always)]
unsafe fn add_scaled<V: F32v>(alpha: f32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: both are good for `n` elements.
    unsafe {
        let a = V::splat(alpha);
        let whole = n / V::N * V::N;
        for i in (0..whole).step_by(V::N) {
            a.fma(V::load(x.add(i)), V::load(y.add(i))).store(y.add(i));
        }
        if whole < n {
            let left = n - whole;
            a.fma(V::load_n(x.add(whole), left), V::load_n(y.add(whole), left)).store_n(y.add(whole), left);
        }
    }
}
crate::simd::isa_table!(AXPY = F "axpy_f32" add_scaled(alpha: f32, x: *const f32, y: *mut f32, n: usize));

/// `y += alpha · x`.
///
/// # Panics
/// If the lengths differ.
pub fn axpy(pool: &ThreadPool, isa: Isa, alpha: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let run = pick(AXPY, isa).run;
    let shared = Shared::new(y);
    pool.run_chunks(x.len(), GRAIN, &|r: Range<usize>| {
        // SAFETY: picked through an `Isa`; ranges are inside both slices and do not overlap.
        unsafe { run(alpha, x[r.start..].as_ptr(), shared.at(r.start), r.len()) };
    });
}

#[inline(always)]
unsafe fn pass<V: F32v>(y: *const f32, dy: *const f32, dx: *mut f32, n: usize, range: (f32, f32)) {
    // SAFETY: all are good for `n` elements.
    unsafe {
        let (lo, hi, zero) = (V::splat(range.0), V::splat(range.1), V::splat(0.0));
        for i in (0..n).step_by(V::N) {
            let left = (n - i).min(V::N);
            let (v, d) = (V::load_n(y.add(i), left), V::load_n(dy.add(i), left));
            v.gt_select(lo, hi.gt_select(v, d, zero), zero).store_n(dx.add(i), left);
        }
    }
}
crate::simd::isa_table!(
    PASS = F "clamp_grad_f32" pass(y: *const f32, dy: *const f32, dx: *mut f32, n: usize, range: (f32, f32))
);

/// The gradient of clamping: `dx = dy` where `min < y < max`, else 0. `y` may be the clamped or the unclamped value.
///
/// # Panics
/// If the lengths differ.
pub fn clamp_grad(pool: &ThreadPool, isa: Isa, y: &[f32], dy: &[f32], dx: &mut [f32], range: (f32, f32)) {
    assert!(y.len() == dy.len() && y.len() == dx.len());
    let run = pick(PASS, isa).run;
    let shared = Shared::new(dx);
    pool.run_chunks(y.len(), GRAIN, &|r: Range<usize>| {
        let at = r.start;
        // SAFETY: picked through an `Isa`; ranges are inside the slices and do not overlap.
        unsafe { run(y[at..].as_ptr(), dy[at..].as_ptr(), shared.at(at), r.len(), range) };
    });
}

/// The gradient of relu: `dx = dy` where `y > 0`, else 0.
///
/// # Panics
/// If the lengths differ.
pub fn relu_grad(pool: &ThreadPool, isa: Isa, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    clamp_grad(pool, isa, y, dy, dx, (0.0, f32::INFINITY));
}

#[inline(always)]
unsafe fn columns<V: F32v>(x: *const f32, ld: usize, m: usize, n: usize, out: *mut f32, add: bool) {
    // SAFETY: `m` rows of `n` at distance `ld`, and an output of `n`.
    unsafe {
        for c in (0..n).step_by(V::N) {
            let left = (n - c).min(V::N);
            let load = |p: *const f32| if left == V::N { V::load(p) } else { V::load_n(p, left) };
            let mut acc = [V::splat(0.0); 4];
            let mut r = 0;
            while r + 4 <= m {
                for (i, a) in acc.iter_mut().enumerate() {
                    *a = a.add(load(x.add((r + i) * ld + c)));
                }
                r += 4;
            }
            for r in r..m {
                acc[0] = acc[0].add(load(x.add(r * ld + c)));
            }
            let mut sum = acc[0].add(acc[1]).add(acc[2].add(acc[3]));
            if add {
                sum = sum.add(load(out.add(c)));
            }
            sum.store_n(out.add(c), left);
        }
    }
}
crate::simd::isa_table!(
    COLUMNS = F "sum_rows_f32" columns(x: *const f32, ld: usize, m: usize, n: usize, out: *mut f32, add: bool)
);

/// Sums the rows of an `m × n` matrix into one row of `n` (the gradient of a bias): `out[c] = Σ_r x[r][c]`, plus what `out` holds
/// if `accumulate`. Four interleaved sums per column.
///
/// # Panics
/// If `x` is not `m · n` long or `out` not `n`.
pub fn sum_rows(pool: &ThreadPool, isa: Isa, x: &[f32], m: usize, n: usize, out: &mut [f32], accumulate: bool) {
    assert!(m.checked_mul(n) == Some(x.len()) && out.len() == n);
    let run = pick(COLUMNS, isa).run;
    let shared = Shared::new(out);
    // Whole cache lines per task, so that a row is read by one task per line.
    let blocks = n.div_ceil(16);
    pool.run_chunks(blocks, GRAIN / (m * 16).max(1) + 1, &|r: Range<usize>| {
        let (from, to) = (r.start * 16, (r.end * 16).min(n));
        // SAFETY: picked through an `Isa`; columns are inside the matrix and do not overlap.
        unsafe { run(x.as_ptr().wrapping_add(from), n, m, to - from, shared.at(from), accumulate) };
    });
}
