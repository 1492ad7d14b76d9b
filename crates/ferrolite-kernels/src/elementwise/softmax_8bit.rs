//! Softmax of bytes by a table of exponentials.

use crate::isa::{Isa, pick};
use crate::reduce::load_byte;
use crate::simd::I32v;

/// Exponentials by how far a byte is below the greatest one of its row.
#[derive(Clone, Debug)]
pub struct Softmax8Bit {
    isa: Isa,
    /// Bytes are i8 rather than u8.
    signed: bool,
    /// Fixed-point exponentials, and what each adds to the sum.
    exp: Box<[i32; 256]>,
    terms: Box<[i32; 256]>,
}

/// A row.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    x: *const u8,
    n: usize,
    signed: bool,
    max: i32,
}

impl Row {
    /// How far `n <= N` elements from `i` on are below the greatest one; 0..=255 also in lanes that do not exist.
    #[inline(always)]
    unsafe fn below<V: I32v>(&self, i: usize, n: usize) -> V {
        // SAFETY: the row is good for `i + n` bytes.
        let x = unsafe { load_byte::<V>(self.signed, self.x.add(i), n) };
        // SAFETY: the contract of the vector traits.
        unsafe { V::splat(self.max).sub(x).max(V::splat(0)).min(V::splat(255)) }
    }
}

#[inline(always)]
unsafe fn sum<V: I32v>(row: Row, terms: *const i32) -> i32 {
    // SAFETY: `terms` is good for 256 numbers, and distances are indices of it.
    unsafe {
        let (mut at, mut sums) = ([0i32; 16], V::splat(0));
        let whole = row.n / V::N * V::N;
        for i in (0..whole).step_by(V::N) {
            row.below::<V>(i, V::N).store(at.as_mut_ptr());
            sums = sums.add(V::gather(terms, at.as_ptr()));
        }
        let mut lanes = [0i32; 16];
        sums.store(lanes.as_mut_ptr());
        if whole < row.n {
            row.below::<V>(whole, row.n - whole).store(at.as_mut_ptr());
        }
        let rest = at[..row.n - whole].iter().map(|&at| *terms.add(at as usize));
        lanes.iter().copied().chain(rest).fold(0, i32::wrapping_add)
    }
}
crate::simd::isa_table!(SUM = I "softmax_sum_8bit" sum(row: Row, terms: *const i32) -> i32);

#[inline(always)]
unsafe fn finish<V: I32v>(row: Row, exp: *const i32, (factor, exponent): (i32, i32), out: *mut u8) {
    // SAFETY: `exp` is good for 256 numbers, and distances are indices of it; `out` is good for the row.
    unsafe {
        let mut at = [0i32; 16];
        for i in (0..row.n).step_by(V::N) {
            let n = (row.n - i).min(V::N);
            row.below::<V>(i, n).store(at.as_mut_ptr());
            let y = V::gather(exp, at.as_ptr()).high_mul(V::splat(factor)).shr_round(V::splat(exponent));
            let y = y.max(V::splat(0)).min(V::splat(255));
            if row.signed {
                y.sub(V::splat(128)).store_i8_n(out.add(i).cast(), n);
            } else {
                y.store_u8_n(out.add(i), n);
            }
        }
    }
}
crate::simd::isa_table!(FINISH = I "softmax_8bit" finish(row: Row, exp: *const i32, factor: (i32, i32), out: *mut u8));

impl Softmax8Bit {
    /// From exponentials and what each adds to the sum of a row, by distance from the row's greatest byte.
    pub fn new(isa: Isa, signed: bool, exp: Box<[i32; 256]>, terms: Box<[i32; 256]>) -> Softmax8Bit {
        Softmax8Bit { isa, signed, exp, terms }
    }

    /// One row. `factor` gives, from the wrapped sum, a multiplier and an exponent in 0..32: the output is
    /// exp · multiplier / 2^(31 + exponent), rounded twice, in 0..=255 (128 less if signed).
    ///
    /// # Panics
    /// If the lengths differ, or the exponent is out of range.
    pub fn row(&self, x: &[u8], out: &mut [u8], factor: impl Fn(i32) -> (i32, i32)) {
        assert_eq!(x.len(), out.len());
        let max = match self.signed {
            true => x.iter().map(|&x| x as i8).max().map_or(0, i32::from),
            false => x.iter().copied().max().map_or(0, i32::from),
        };
        let row = Row { x: x.as_ptr(), n: x.len(), signed: self.signed, max };
        // SAFETY: picked through an `Isa`; the tables have 256 numbers.
        let sum = unsafe { (pick(SUM, self.isa).run)(row, self.terms.as_ptr()) };
        let factor = factor(sum);
        assert!((0..32).contains(&factor.1), "exponent {}", factor.1);
        // SAFETY: as above, and the output is as long as the row.
        unsafe { (pick(FINISH, self.isa).run)(row, self.exp.as_ptr(), factor, out.as_mut_ptr()) };
    }
}
