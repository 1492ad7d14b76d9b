//! Matrices times vectors, of weights as they lie (rows of a matrix, no packing): what recurrent layers do at every step.
#![allow(unsafe_code)]

use crate::isa::{Isa, pick};
use crate::simd::{F32v, I32v};

/// Rows that share what is loaded of the vector.
const ROWS: usize = 4;

#[inline(always)]
unsafe fn real_rows<V: F32v, const R: usize>(w: *const f32, x: *const f32, k: usize, out: *mut f32) {
    // SAFETY: `w` is good for `R` rows of `k`, `x` for `k`, `out` for `R` elements.
    unsafe {
        let mut sums = [V::splat(0.0); R];
        let mut i = 0;
        while i < k {
            let n = (k - i).min(V::N);
            let load = |p: *const f32| if n == V::N { V::load(p) } else { V::load_n(p, n) };
            let v = load(x.add(i));
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = load(w.add(r * k + i)).fma(v, *sum);
            }
            i += n;
        }
        for (r, sum) in sums.into_iter().enumerate() {
            *out.add(r) += sum.sum();
        }
    }
}

#[inline(always)]
unsafe fn real<V: F32v>(w: *const f32, x: *const f32, k: usize, out: *mut f32, rows: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let whole = rows / ROWS * ROWS;
        for r in (0..whole).step_by(ROWS) {
            real_rows::<V, ROWS>(w.add(r * k), x, k, out.add(r));
        }
        for r in whole..rows {
            real_rows::<V, 1>(w.add(r * k), x, k, out.add(r));
        }
    }
}
crate::simd::isa_table!(
    REAL = F "matvec_f32" real(w: *const f32, x: *const f32, k: usize, out: *mut f32, rows: usize)
);

/// Adds to each element of `out` the product of a row of `w` with `x`.
///
/// # Panics
/// If `w` is not as many rows as `out` has elements, each as long as `x`.
pub fn matvec_f32(isa: Isa, w: &[f32], x: &[f32], out: &mut [f32]) {
    assert_eq!(Some(w.len()), x.len().checked_mul(out.len()), "weights of {} rows of {}", out.len(), x.len());
    // SAFETY: picked through an `Isa`; sizes as checked.
    unsafe { (pick(REAL, isa).run)(w.as_ptr(), x.as_ptr(), x.len(), out.as_mut_ptr(), out.len()) };
}

#[inline(always)]
unsafe fn int_rows<V: I32v, const R: usize>(w: *const i8, x: *const i8, k: usize, zero: i32, out: *mut i32) {
    // SAFETY: `w` is good for `R` rows of `k`, `x` for `k`, `out` for `R` elements.
    unsafe {
        let (mut sums, zeros) = ([V::splat(0); R], V::splat(zero));
        let mut i = 0;
        while i < k {
            let n = (k - i).min(V::N);
            let load = |p: *const i8| if n == V::N { V::load_i8(p) } else { V::load_i8_n(p, n) };
            // Lanes that are not there have weights of 0.
            let v = load(x.add(i)).sub(zeros);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = load(w.add(r * k + i)).mul(v).add(*sum);
            }
            i += n;
        }
        for (r, sum) in sums.into_iter().enumerate() {
            let mut lanes = [0i32; 64];
            sum.store(lanes.as_mut_ptr());
            *out.add(r) = lanes[..V::N].iter().fold(0, |a, &x| a.wrapping_add(x));
        }
    }
}

#[inline(always)]
unsafe fn int<V: I32v>(w: *const i8, x: *const i8, k: usize, zero: i32, out: *mut i32, rows: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let whole = rows / ROWS * ROWS;
        for r in (0..whole).step_by(ROWS) {
            int_rows::<V, ROWS>(w.add(r * k), x, k, zero, out.add(r));
        }
        for r in whole..rows {
            int_rows::<V, 1>(w.add(r * k), x, k, zero, out.add(r));
        }
    }
}
crate::simd::isa_table!(
    INT = I "matvec_i8" int(w: *const i8, x: *const i8, k: usize, zero: i32, out: *mut i32, rows: usize)
);

/// `out[r] = Σ w[r][i] · (x[i] − zero)`, wrapping in 32 bits.
///
/// # Panics
/// As [`matvec_f32`].
pub fn matvec_i8(isa: Isa, w: &[i8], x: &[i8], zero: i32, out: &mut [i32]) {
    assert_eq!(Some(w.len()), x.len().checked_mul(out.len()), "weights of {} rows of {}", out.len(), x.len());
    // SAFETY: picked through an `Isa`; sizes as checked.
    unsafe { (pick(INT, isa).run)(w.as_ptr(), x.as_ptr(), x.len(), zero, out.as_mut_ptr(), out.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::Rng;

    #[test]
    fn products_of_every_size() {
        let mut rng = Rng::new(3);
        for isa in Isa::available() {
            for (rows, k) in [(1, 1), (4, 8), (5, 17), (20, 28), (3, 100), (64, 33), (7, 0)] {
                let (w, x) = (rng.f32s(rows * k), rng.f32s(k));
                let mut out = vec![0.5; rows];
                matvec_f32(isa, &w, &x, &mut out);
                let (bytes, y) = (rng.i8s(rows * k), rng.i8s(k));
                let mut sums = vec![7; rows];
                matvec_i8(isa, &bytes, &y, -3, &mut sums);
                for r in 0..rows {
                    let row = r * k..(r + 1) * k;
                    let want: f32 = w[row.clone()].iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + 0.5;
                    assert!((out[r] - want).abs() < 1e-4);
                    let want: i32 = bytes[row].iter().zip(&y).map(|(&w, &x)| i32::from(w) * (i32::from(x) + 3)).sum();
                    assert_eq!(sums[r], want);
                }
            }
        }
    }
}
