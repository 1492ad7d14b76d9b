//! From sums of products to outputs.
#![allow(unsafe_code)]

use super::pack::{COL_SUM, FLOAT_BIAS, MULTIPLIER, PackI8, SCALE, SHIFT};
use crate::isa::{Isa, pick};
use crate::requant;
use crate::simd::{F32v, I32v, isa_table};

/// A finished tile of sums, biases included, and what belongs to it.
pub(super) struct Sums<'a> {
    /// `rows × width`.
    pub(super) tile: &'a [i32],
    pub(super) width: usize,
    /// Columns to store.
    pub(super) cols: usize,
    /// The header of the panel, rows of `width`.
    pub(super) header: &'a [i32],
    /// Added to every sum of a row; its length is the number of rows.
    pub(super) row_term: &'a [i32],
    /// The zero point of a row, which multiplies the column sums.
    pub(super) row_zero: &'a [i32; 16],
    pub(super) row_scale: &'a [f32; 16],
}

/// The parameters of the requantizing epilogue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    pub(super) zero_point: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

type Raw = unsafe fn(&Sums<'_>, *mut i32, usize);
type ToBytes = unsafe fn(&Sums<'_>, &Bytes, *mut i8, usize);
/// The pair of bounds comes with whether the column's scale is multiplied first.
type ToFloat = unsafe fn(&Sums<'_>, bool, (bool, f32, f32), *mut f32, usize);

/// The epilogues whose vectors fit the tile of a kernel.
pub(super) struct Finish {
    pub(super) raw: Raw,
    pub(super) float: ToFloat,
    bytes: ToBytes,
    /// The shorter form under the conditions of [`PackI8::small`].
    small: Option<ToBytes>,
}

impl Finish {
    /// The best epilogues of `isa` that work on vectors of at most `lanes` (a panel is a multiple of the kernel's own lanes).
    pub(super) fn new(isa: Isa, lanes: usize) -> Finish {
        let isa = if lanes < 16 { isa.at_most(crate::Level::Avx2) } else { isa };
        #[cfg(target_arch = "x86_64")]
        let small = (isa.level() >= crate::Level::Avx512).then_some(super::avx512::requant_small as ToBytes);
        #[cfg(not(target_arch = "x86_64"))]
        let small = None;
        Finish { raw: pick(RAW, isa).run, float: pick(FLOAT, isa).run, bytes: pick(BYTES, isa).run, small }
    }

    /// Requantizes by the form that `spec` allows.
    ///
    /// # Safety
    /// As the epilogue functions: `rows × cols` of `out` at distance `ldc` may be written.
    pub(super) unsafe fn bytes(&self, t: &Sums<'_>, spec: &PackI8, p: &Bytes, out: *mut i8, ldc: usize) {
        if let (true, -128..=127, Some(small)) = (spec.small, p.zero_point, self.small) {
            // SAFETY: the caller's contract; `Finish::new` looked at the instruction set.
            return unsafe { small(t, p, out, ldc) };
        }
        if !spec.saturates {
            // SAFETY: the caller's contract.
            return unsafe { (self.bytes)(t, p, out, ldc) };
        }
        let h = |row: usize, c: usize| t.header[row * t.width + c];
        for r in 0..t.row_term.len() {
            for c in 0..t.cols {
                let acc = t.tile[r * t.width + c].wrapping_add(t.row_term[r]);
                let q = requant::multiply_by_quantized_multiplier(acc, h(MULTIPLIER, c), h(SHIFT, c));
                let q = q.wrapping_add(p.zero_point).clamp(p.min, p.max);
                // SAFETY: the caller's contract.
                unsafe { *out.add(r * ldc + c) = q as i8 };
            }
        }
    }
}

#[inline(always)]
unsafe fn raw<V: I32v>(t: &Sums<'_>, out: *mut i32, ldc: usize) {
    for c in (0..t.cols).step_by(V::N) {
        let n = (t.cols - c).min(V::N);
        // SAFETY: the header and the tile are multiples of the vector wide; the output is the caller's contract.
        unsafe {
            for (r, &term) in t.row_term.iter().enumerate() {
                let acc = V::load(t.tile[r * t.width + c..].as_ptr()).add(V::splat(term));
                acc.store_n(out.add(r * ldc + c), n);
            }
        }
    }
}

#[inline(always)]
unsafe fn bytes<V: I32v>(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    for c in (0..t.cols).step_by(V::N) {
        let n = (t.cols - c).min(V::N);
        // SAFETY: the header and the tile are multiples of the vector wide; the output is the caller's contract.
        unsafe {
            let header = t.header.as_ptr().add(c);
            let multiplier = V::load(header.add(MULTIPLIER * t.width));
            let shift = V::load(header.add(SHIFT * t.width));
            let left = shift.max(V::splat(0));
            let right = V::splat(0).sub(shift).max(V::splat(0));
            let (zero, min, max) = (V::splat(p.zero_point), V::splat(p.min), V::splat(p.max));
            let tile = t.tile.as_ptr().add(c);
            for (r, &term) in t.row_term.iter().enumerate() {
                let acc = V::load(tile.add(r * t.width)).add(V::splat(term));
                let q = acc.shl(left).high_mul(multiplier).shr_round(right).add(zero).max(min).min(max);
                if n == V::N {
                    q.store_i8(out.add(r * ldc + c));
                } else {
                    q.store_i8_n(out.add(r * ldc + c), n);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn float<V: I32v>(t: &Sums<'_>, zeros: bool, how: (bool, f32, f32), out: *mut f32, ldc: usize) {
    for c in (0..t.cols).step_by(V::N) {
        let n = (t.cols - c).min(V::N);
        // SAFETY: the header and the tile are multiples of the vector wide; the output is the caller's contract.
        unsafe {
            let header = t.header.as_ptr().add(c);
            let col_sum = V::load(header.add(COL_SUM * t.width));
            let scale = V::load_f32(header.add(SCALE * t.width));
            let bias = V::load_f32(header.add(FLOAT_BIAS * t.width));
            let (columns_first, lo, hi) = (how.0, V::F::splat(how.1), V::F::splat(how.2));
            for (r, &term) in t.row_term.iter().enumerate() {
                let mut acc = V::load(t.tile[r * t.width + c..].as_ptr()).add(V::splat(term));
                if zeros {
                    acc = acc.sub(V::splat(t.row_zero[r]).mul(col_sum));
                }
                let (acc, row) = (acc.to_f32(), V::F::splat(t.row_scale[r]));
                let scaled = if columns_first { acc.mul(scale).mul(row) } else { acc.mul(row.mul(scale)) };
                let x = scaled.add(bias).clamp(lo, hi);
                x.store_n(out.add(r * ldc + c), n);
            }
        }
    }
}

isa_table!(RAW = I "gemm_i8_raw" raw(t: &Sums<'_>, out: *mut i32, ldc: usize));
isa_table!(BYTES = I "gemm_i8_requant" bytes(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize));
isa_table!(FLOAT = I "gemm_i8_float" float(t: &Sums<'_>, zeros: bool, how: (bool, f32, f32), out: *mut f32, ldc: usize));
