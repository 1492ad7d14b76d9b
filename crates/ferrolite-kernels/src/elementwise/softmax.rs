//! Softmax and its logarithm over rows.

use super::math;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// The greatest element, and the sum of e^(beta · (x - max)), whose terms go to `out` if it is there.
#[inline(always)]
unsafe fn max_and_sum<V: F32v, const STORE: bool>(x: *const f32, out: *mut f32, n: usize, beta: f32) -> (f32, f32) {
    // SAFETY: `x` and, where stored, `out` are good for `n >= 1` elements.
    unsafe {
        let whole = n / V::N * V::N;
        let mut tops = [V::splat(f32::NEG_INFINITY); 2];
        let mut i = 0;
        while i + 2 * V::N <= n {
            tops[0] = V::load(x.add(i)).max(tops[0]);
            tops[1] = V::load(x.add(i + V::N)).max(tops[1]);
            i += 2 * V::N;
        }
        if i < whole {
            tops[0] = V::load(x.add(i)).max(tops[0]);
        }
        let mut top = tops[0].max(tops[1]).top();
        for i in whole..n {
            top = if *x.add(i) > top { *x.add(i) } else { top };
        }
        let (max, scale) = (V::splat(top), V::splat(beta));
        let mut sum = V::splat(0.0);
        for i in (0..whole).step_by(V::N) {
            let e = math::exp(V::load(x.add(i)).sub(max).mul(scale));
            if STORE {
                e.store(out.add(i));
            }
            sum = sum.add(e);
        }
        let mut total = sum.sum();
        if whole < n {
            // Only the lanes that exist count.
            let mut last = [0.0; 16];
            math::exp(V::load_n(x.add(whole), n - whole).sub(max).mul(scale)).store_n(last.as_mut_ptr(), n - whole);
            let e = V::load(last.as_ptr());
            if STORE {
                e.store_n(out.add(whole), n - whole);
            }
            total += e.sum();
        }
        (top, total)
    }
}

#[inline(always)]
unsafe fn softmax<V: F32v>(x: *const f32, out: *mut f32, n: usize, beta: f32) {
    // SAFETY: both are good for `n >= 1` elements.
    unsafe {
        let (_, total) = max_and_sum::<V, true>(x, out, n, beta);
        let scale = V::splat(1.0 / total);
        let whole = n / V::N * V::N;
        for i in (0..whole).step_by(V::N) {
            V::load(out.add(i)).mul(scale).store(out.add(i));
        }
        if whole < n {
            V::load_n(out.add(whole), n - whole).mul(scale).store_n(out.add(whole), n - whole);
        }
    }
}
crate::simd::isa_table!(SOFTMAX = F "softmax_f32" softmax(x: *const f32, out: *mut f32, n: usize, beta: f32));

#[inline(always)]
unsafe fn log_softmax<V: F32v>(x: *const f32, out: *mut f32, n: usize, _beta: f32) {
    // SAFETY: both are good for `n >= 1` elements.
    unsafe {
        let (max, total) = max_and_sum::<V, false>(x, out, n, 1.0);
        let (max, log) = (V::splat(max), V::splat(total.ln()));
        for i in (0..n).step_by(V::N) {
            let left = (n - i).min(V::N);
            V::load_n(x.add(i), left).sub(max).sub(log).store_n(out.add(i), left);
        }
    }
}
crate::simd::isa_table!(LOG_SOFTMAX = F "log_softmax_f32" log_softmax(x: *const f32, out: *mut f32, n: usize, beta: f32));

type RowFn = unsafe fn(x: *const f32, out: *mut f32, n: usize, beta: f32);

fn each_row(pool: &ThreadPool, run: RowFn, x: &[f32], cols: usize, beta: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    if x.is_empty() {
        return;
    }
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    let shared = Shared::new(out);
    pool.run_chunks(x.len() / cols, 4096 / cols + 1, &|r: Range<usize>| {
        for row in r {
            // SAFETY: picked through an `Isa`; the row is inside both slices, and no other task writes it.
            unsafe { run(x[row * cols..].as_ptr(), shared.at(row * cols), cols, beta) };
        }
    });
}

/// Softmax of every row of `cols`: `e^(beta · (x - max)) / Σ`. What would be denormal before the division is 0.
///
/// # Panics
/// If the lengths differ or are no multiple of `cols`.
pub fn softmax_rows(pool: &ThreadPool, isa: Isa, x: &[f32], cols: usize, beta: f32, out: &mut [f32]) {
    each_row(pool, pick(SOFTMAX, isa).run, x, cols, beta, out);
}

/// The logarithm of the softmax of every row of `cols`: `x - max - ln Σ e^(x - max)`.
///
/// # Panics
/// If the lengths differ or are no multiple of `cols`.
pub fn log_softmax_rows(pool: &ThreadPool, isa: Isa, x: &[f32], cols: usize, out: &mut [f32]) {
    each_row(pool, pick(LOG_SOFTMAX, isa).run, x, cols, 1.0, out);
}

/// As [`softmax_rows`], in place and on this thread.
///
/// # Panics
/// If the length is no multiple of `cols`.
pub fn softmax_rows_inplace(isa: Isa, x: &mut [f32], cols: usize, beta: f32) {
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    let run = pick(SOFTMAX, isa).run;
    for row in x.chunks_exact_mut(cols) {
        let row = row.as_mut_ptr();
        // SAFETY: picked through an `Isa`; the row is inside the slice, and a vector is read before it is written.
        unsafe { run(row, row, cols, beta) };
    }
}
