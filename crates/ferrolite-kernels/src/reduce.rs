//! Sums and extremes over rows and over columns.
#![allow(unsafe_code)]

use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::{F32v, I32v};
use std::ops::Range;

/// Inputs below which another task is not worth waking a thread.
const GRAIN: usize = 8 << 10;
/// Columns are shared between threads in pieces of a cache line of bytes, or of whole lines of floats.
const PIECE: usize = 64;

/// Calls `run(first, count)` for parts of `cols` columns of `rows` rows each, in parallel.
fn each_columns(pool: &ThreadPool, rows: usize, cols: usize, run: &(dyn Fn(usize, usize) + Sync)) {
    pool.run_chunks(cols.div_ceil(PIECE), GRAIN / rows.saturating_mul(PIECE).max(1) + 1, &|pieces: Range<usize>| {
        let first = pieces.start * PIECE;
        run(first, (pieces.end * PIECE).min(cols) - first);
    });
}

/// What numbers are folded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// a + x.
    Sum,
    /// The greater one; what is NaN is left out.
    Max,
    /// The smaller one; what is NaN is left out.
    Min,
}

trait With {
    unsafe fn with<V: F32v>(a: V, x: V) -> V;
}

struct Sum;
struct Max;
struct Min;

impl With for Sum {
    #[inline(always)]
    unsafe fn with<V: F32v>(a: V, x: V) -> V {
        // SAFETY: the contract of the vector traits.
        unsafe { a.add(x) }
    }
}

impl With for Max {
    #[inline(always)]
    unsafe fn with<V: F32v>(a: V, x: V) -> V {
        // SAFETY: the contract of the vector traits.
        unsafe { x.max(a) }
    }
}

impl With for Min {
    #[inline(always)]
    unsafe fn with<V: F32v>(a: V, x: V) -> V {
        // SAFETY: the contract of the vector traits.
        unsafe { x.min(a) }
    }
}

#[inline(always)]
unsafe fn columns_with<V: F32v, W: With>(x: *const f32, rows: usize, stride: usize, acc: *mut f32, cols: usize) {
    // SAFETY: `x` is good for `rows` rows of `cols` elements at distance `stride`, `acc` for `cols`.
    unsafe {
        let mut c = 0;
        while c + 4 * V::N <= cols {
            let mut a = [V::splat(0.0); 4];
            for (i, a) in a.iter_mut().enumerate() {
                *a = V::load(acc.add(c + i * V::N));
            }
            for r in 0..rows {
                for (i, a) in a.iter_mut().enumerate() {
                    *a = W::with(*a, V::load(x.add(r * stride + c + i * V::N)));
                }
            }
            for (i, a) in a.into_iter().enumerate() {
                a.store(acc.add(c + i * V::N));
            }
            c += 4 * V::N;
        }
        while c < cols {
            let n = (cols - c).min(V::N);
            let mut a = V::load_n(acc.add(c), n);
            for r in 0..rows {
                a = W::with(a, V::load_n(x.add(r * stride + c), n));
            }
            a.store_n(acc.add(c), n);
            c += n;
        }
    }
}

#[inline(always)]
unsafe fn columns<V: F32v>(fold: Fold, x: *const f32, rows: usize, stride: usize, acc: *mut f32, cols: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        match fold {
            Fold::Sum => columns_with::<V, Sum>(x, rows, stride, acc, cols),
            Fold::Max => columns_with::<V, Max>(x, rows, stride, acc, cols),
            Fold::Min => columns_with::<V, Min>(x, rows, stride, acc, cols),
        }
    }
}
crate::simd::isa_table!(
    COLUMNS = F "reduce_columns_f32"
        columns(fold: Fold, x: *const f32, rows: usize, stride: usize, acc: *mut f32, cols: usize)
);

/// Folds every row of `x` into `acc`, in order.
///
/// # Panics
/// If `x` is not made of rows as long as `acc`.
pub fn reduce_columns_f32(pool: &ThreadPool, isa: Isa, fold: Fold, x: &[f32], acc: &mut [f32]) {
    let cols = acc.len();
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    let (run, rows, acc) = (pick(COLUMNS, isa).run, x.len() / cols, Shared::new(acc));
    each_columns(pool, rows, cols, &|first, count| {
        // SAFETY: picked through an `Isa`; sizes as checked; no other task has these columns.
        unsafe { run(fold, x.as_ptr().wrapping_add(first), rows, cols, acc.at(first), count) };
    });
}

#[inline(always)]
unsafe fn row_with<V: F32v, W: With>(x: *const f32, n: usize, start: f32) -> (V, usize) {
    // SAFETY: `x` is good for `n` elements.
    unsafe {
        let mut a = [V::splat(start); 4];
        let mut i = 0;
        while i + 4 * V::N <= n {
            for (k, a) in a.iter_mut().enumerate() {
                *a = W::with(*a, V::load(x.add(i + k * V::N)));
            }
            i += 4 * V::N;
        }
        while i + V::N <= n {
            a[0] = W::with(a[0], V::load(x.add(i)));
            i += V::N;
        }
        (W::with(W::with(a[0], a[1]), W::with(a[2], a[3])), i)
    }
}

#[inline(always)]
unsafe fn rows<V: F32v>(fold: Fold, x: *const f32, n: usize, acc: *mut f32, count: usize) {
    // SAFETY: `x` is good for `count` rows of `n`, `acc` for `count` elements.
    unsafe {
        for r in 0..count {
            let (x, acc) = (x.add(r * n), acc.add(r));
            match fold {
                Fold::Sum => {
                    let (sums, i) = row_with::<V, Sum>(x, n, 0.0);
                    let rest = if i < n { V::load_n(x.add(i), n - i) } else { V::splat(0.0) };
                    *acc += sums.add(rest).sum();
                }
                Fold::Max => {
                    let (best, i) = row_with::<V, Max>(x, n, f32::NEG_INFINITY);
                    let greater = |a: f32, x: f32| if x > a { x } else { a };
                    *acc = (i..n).fold(greater(*acc, best.top()), |a, k| greater(a, *x.add(k)));
                }
                Fold::Min => {
                    let (best, i) = row_with::<V, Min>(x, n, f32::INFINITY);
                    let best = -best.mul(V::splat(-1.0)).top();
                    let smaller = |a: f32, x: f32| if x < a { x } else { a };
                    *acc = (i..n).fold(smaller(*acc, best), |a, k| smaller(a, *x.add(k)));
                }
            }
        }
    }
}
crate::simd::isa_table!(
    ROWS = F "reduce_rows_f32" rows(fold: Fold, x: *const f32, n: usize, acc: *mut f32, count: usize)
);

/// Folds every row of `x` into one element of `acc`.
///
/// # Panics
/// If `x` is not made of as many rows of one length as `acc` has elements.
pub fn reduce_rows_f32(pool: &ThreadPool, isa: Isa, fold: Fold, x: &[f32], acc: &mut [f32]) {
    assert!(!acc.is_empty() && x.len().is_multiple_of(acc.len()), "{} rows in {}", acc.len(), x.len());
    let (run, n, acc) = (pick(ROWS, isa).run, x.len() / acc.len(), Shared::new(acc));
    pool.run_chunks(acc.len(), GRAIN / n.max(1) + 1, &|rows: Range<usize>| {
        // SAFETY: picked through an `Isa`; sizes as checked; no other task has these rows.
        unsafe { run(fold, x[rows.start * n..].as_ptr(), n, acc.at(rows.start), rows.len()) };
    });
}

/// Bytes of either sign.
#[inline(always)]
pub(crate) unsafe fn load_byte<V: I32v>(signed: bool, x: *const u8, n: usize) -> V {
    // SAFETY: `x` is good for `n <= N` bytes.
    unsafe {
        match (signed, n == V::N) {
            (true, true) => V::load_i8(x.cast()),
            (true, false) => V::load_i8_n(x.cast(), n),
            (false, true) => V::load_u8(x),
            (false, false) => V::load_u8_n(x, n),
        }
    }
}

#[inline(always)]
unsafe fn byte_columns<V: I32v>(signed: bool, x: *const u8, rows: usize, stride: usize, acc: *mut i32, cols: usize) {
    // SAFETY: `x` is good for `rows` rows of `cols` bytes at distance `stride`, `acc` for `cols` sums.
    unsafe {
        let mut c = 0;
        while c + 4 * V::N <= cols {
            let mut sums = [V::splat(0); 4];
            for r in 0..rows {
                for (u, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(load_byte::<V>(signed, x.add(r * stride + c + u * V::N), V::N));
                }
            }
            for (u, sum) in sums.into_iter().enumerate() {
                let acc = acc.add(c + u * V::N);
                sum.add(V::load(acc)).store(acc);
            }
            c += 4 * V::N;
        }
        while c < cols {
            let n = (cols - c).min(V::N);
            let mut sums = V::splat(0);
            for r in 0..rows {
                sums = sums.add(load_byte::<V>(signed, x.add(r * stride + c), n));
            }
            let mut before = [0i32; 16];
            sums.store(before.as_mut_ptr());
            for (k, sum) in before[..n].iter().enumerate() {
                *acc.add(c + k) = (*acc.add(c + k)).wrapping_add(*sum);
            }
            c += n;
        }
    }
}
crate::simd::isa_table!(
    BYTE_COLUMNS = I "sum_columns_8bit"
        byte_columns(signed: bool, x: *const u8, rows: usize, stride: usize, acc: *mut i32, cols: usize)
);

/// Adds every row of `x` (of i8 if `signed`, else of u8) to `acc`.
///
/// # Panics
/// If `x` is not made of rows as long as `acc`.
pub fn sum_columns_8bit(pool: &ThreadPool, isa: Isa, signed: bool, x: &[u8], acc: &mut [i32]) {
    let cols = acc.len();
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    let (run, rows, acc) = (pick(BYTE_COLUMNS, isa).run, x.len() / cols, Shared::new(acc));
    each_columns(pool, rows, cols, &|first, count| {
        // SAFETY: picked through an `Isa`; sizes as checked; no other task has these columns.
        unsafe { run(signed, x.as_ptr().wrapping_add(first), rows, cols, acc.at(first), count) };
    });
}

#[inline(always)]
unsafe fn byte_rows<V: I32v>(signed: bool, x: *const u8, n: usize, acc: *mut i32, count: usize) {
    // SAFETY: `x` is good for `count` rows of `n` bytes, `acc` for `count` sums.
    unsafe {
        for r in 0..count {
            let x = x.add(r * n);
            let mut sums = V::splat(0);
            let mut i = 0;
            while i < n {
                let left = (n - i).min(V::N);
                sums = sums.add(load_byte::<V>(signed, x.add(i), left));
                i += left;
            }
            let mut lanes = [0i32; 16];
            sums.store(lanes.as_mut_ptr());
            *acc.add(r) = lanes[..V::N].iter().fold(*acc.add(r), |a, &x| a.wrapping_add(x));
        }
    }
}
crate::simd::isa_table!(
    BYTE_ROWS = I "sum_rows_8bit" byte_rows(signed: bool, x: *const u8, n: usize, acc: *mut i32, count: usize)
);

/// Adds the bytes of every row of `x` (of i8 if `signed`, else of u8) to one element of `acc`, wrapping.
///
/// # Panics
/// As [`reduce_rows_f32`].
pub fn sum_rows_8bit(pool: &ThreadPool, isa: Isa, signed: bool, x: &[u8], acc: &mut [i32]) {
    assert!(!acc.is_empty() && x.len().is_multiple_of(acc.len()), "{} rows in {}", acc.len(), x.len());
    let (run, n, acc) = (pick(BYTE_ROWS, isa).run, x.len() / acc.len(), Shared::new(acc));
    pool.run_chunks(acc.len(), GRAIN / n.max(1) + 1, &|rows: Range<usize>| {
        // SAFETY: picked through an `Isa`; sizes as checked; no other task has these rows.
        unsafe { run(signed, x[rows.start * n..].as_ptr(), n, acc.at(rows.start), rows.len()) };
    });
}
