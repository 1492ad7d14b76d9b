//! Sums and extremes over rows and over columns.
#![allow(unsafe_code)]

use crate::isa::{Isa, pick};
use crate::simd::{F32v, I32v};

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
unsafe fn columns_with<V: F32v, W: With>(x: *const f32, rows: usize, cols: usize, acc: *mut f32) {
    // SAFETY: `x` is good for `rows · cols` elements, `acc` for `cols`.
    unsafe {
        let mut c = 0;
        while c + 4 * V::N <= cols {
            let mut a = [V::splat(0.0); 4];
            for (i, a) in a.iter_mut().enumerate() {
                *a = V::load(acc.add(c + i * V::N));
            }
            for r in 0..rows {
                for (i, a) in a.iter_mut().enumerate() {
                    *a = W::with(*a, V::load(x.add(r * cols + c + i * V::N)));
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
                a = W::with(a, V::load_n(x.add(r * cols + c), n));
            }
            a.store_n(acc.add(c), n);
            c += n;
        }
    }
}

#[inline(always)]
unsafe fn columns<V: F32v>(fold: Fold, x: *const f32, rows: usize, cols: usize, acc: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        match fold {
            Fold::Sum => columns_with::<V, Sum>(x, rows, cols, acc),
            Fold::Max => columns_with::<V, Max>(x, rows, cols, acc),
            Fold::Min => columns_with::<V, Min>(x, rows, cols, acc),
        }
    }
}
crate::simd::isa_table!(
    COLUMNS = F "reduce_columns_f32" columns(fold: Fold, x: *const f32, rows: usize, cols: usize, acc: *mut f32)
);

/// Folds every row of `x` into `acc`, in order.
///
/// # Panics
/// If `x` is not made of rows as long as `acc`.
pub fn reduce_columns_f32(isa: Isa, fold: Fold, x: &[f32], acc: &mut [f32]) {
    let cols = acc.len();
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    // SAFETY: picked through an `Isa`; sizes as checked.
    unsafe { (pick(COLUMNS, isa).run)(fold, x.as_ptr(), x.len() / cols, cols, acc.as_mut_ptr()) };
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
pub fn reduce_rows_f32(isa: Isa, fold: Fold, x: &[f32], acc: &mut [f32]) {
    assert!(!acc.is_empty() && x.len().is_multiple_of(acc.len()), "{} rows in {}", acc.len(), x.len());
    // SAFETY: picked through an `Isa`; sizes as checked.
    unsafe { (pick(ROWS, isa).run)(fold, x.as_ptr(), x.len() / acc.len(), acc.as_mut_ptr(), acc.len()) };
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
unsafe fn byte_columns<V: I32v>(signed: bool, x: *const u8, rows: usize, cols: usize, acc: *mut i32) {
    // SAFETY: `x` is good for `rows · cols` bytes, `acc` for `cols` sums.
    unsafe {
        let mut c = 0;
        while c + 4 * V::N <= cols {
            let mut sums = [V::splat(0); 4];
            for r in 0..rows {
                for (u, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(load_byte::<V>(signed, x.add(r * cols + c + u * V::N), V::N));
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
                sums = sums.add(load_byte::<V>(signed, x.add(r * cols + c), n));
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
    BYTE_COLUMNS = I "sum_columns_8bit" byte_columns(signed: bool, x: *const u8, rows: usize, cols: usize, acc: *mut i32)
);

/// Adds every row of `x` (of i8 if `signed`, else of u8) to `acc`.
///
/// # Panics
/// If `x` is not made of rows as long as `acc`.
pub fn sum_columns_8bit(isa: Isa, signed: bool, x: &[u8], acc: &mut [i32]) {
    let cols = acc.len();
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    // SAFETY: picked through an `Isa`; sizes as checked.
    unsafe { (pick(BYTE_COLUMNS, isa).run)(signed, x.as_ptr(), x.len() / cols, cols, acc.as_mut_ptr()) };
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
pub fn sum_rows_8bit(isa: Isa, signed: bool, x: &[u8], acc: &mut [i32]) {
    assert!(!acc.is_empty() && x.len().is_multiple_of(acc.len()), "{} rows in {}", acc.len(), x.len());
    // SAFETY: picked through an `Isa`; sizes as checked.
    unsafe { (pick(BYTE_ROWS, isa).run)(signed, x.as_ptr(), x.len() / acc.len(), acc.as_mut_ptr(), acc.len()) };
}
