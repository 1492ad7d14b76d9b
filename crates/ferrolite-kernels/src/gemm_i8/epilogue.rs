//! From sums of products to outputs.
#![allow(unsafe_code)]

use super::MAX_ROWS;
use super::pack::{COL_SUM, FLOAT_BIAS, Kind, MULTIPLIER, PackI8, SCALE, SHIFT};
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
    pub(super) rows: usize,
    /// Whether zero point and scale of row 0 are those of all rows.
    pub(super) uniform: bool,
    /// Added to every sum of a row.
    pub(super) row_term: Option<&'a [i32; MAX_ROWS]>,
    /// The zero point of a row, which multiplies the column sums.
    pub(super) row_zero: &'a [i32; MAX_ROWS],
    pub(super) row_scale: &'a [f32; MAX_ROWS],
}

impl Sums<'_> {
    #[inline(always)]
    fn term(&self, row: usize) -> i32 {
        self.row_term.map_or(0, |t| t[row])
    }
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
type ToFloat = unsafe fn(&Sums<'_>, How, *mut f32, usize);
/// Whether rows have zero points, whether sums and their products with zero points are exact in single precision
/// ([`PackI8::narrow`]), and the bounds, with whether the column's scale is multiplied first.
type How = (bool, bool, (bool, f32, f32));

/// The epilogues whose vectors fit the tile of a kernel.
pub(super) struct Finish {
    pub(super) raw: Raw,
    pub(super) float: ToFloat,
    bytes: ToBytes,
    real: ToBytes,
    /// The shorter form under the conditions of [`PackI8::small`].
    small: Option<ToBytes>,
    /// Those under the conditions of [`PackI8::paired`], for fixed-point numbers and for reals.
    paired: Option<[ToBytes; 2]>,
}

impl Finish {
    /// The best epilogues of `isa` that work on vectors of at most `lanes` (a panel is a multiple of the kernel's own lanes).
    pub(super) fn new(isa: Isa, lanes: usize) -> Finish {
        let isa = if lanes < 16 { isa.at_most(crate::Level::Avx2) } else { isa };
        #[cfg(target_arch = "x86_64")]
        let (small, paired) = {
            use super::{avx2, avx512};
            match isa.level() {
                crate::Level::Portable => (None, None),
                crate::Level::Avx2 => (Some(avx2::requant_small as ToBytes), None),
                _ => (
                    Some(avx512::requant_small as ToBytes),
                    Some([avx512::requant_paired as ToBytes, avx512::requant_real]),
                ),
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        let (small, paired) = (None, None);
        let (real, bytes) = (pick(REAL, isa).run, pick(BYTES, isa).run);
        Finish { raw: pick(RAW, isa).run, float: pick(FLOAT, isa).run, bytes, real, small, paired }
    }

    /// Requantizes by the form that `spec` allows.
    ///
    /// # Safety
    /// As the epilogue functions: `rows × cols` of `out` at distance `ldc` may be written.
    pub(super) unsafe fn bytes(&self, t: &Sums<'_>, spec: &PackI8, p: &Bytes, out: *mut i8, ldc: usize) {
        let short = match (p.zero_point, self.paired, self.small) {
            (-128..=127, Some([fixed, real]), _) if spec.paired => {
                Some(if spec.kind == Kind::Real { real } else { fixed })
            }
            (-128..=127, _, Some(small)) if spec.small => Some(small),
            _ => None,
        };
        if let Some(short) = short {
            // SAFETY: the caller's contract; `Finish::new` looked at the instruction set.
            return unsafe { short(t, p, out, ldc) };
        }
        if spec.kind == Kind::Real {
            // SAFETY: the caller's contract.
            return unsafe { (self.real)(t, p, out, ldc) };
        }
        if !spec.saturates {
            // SAFETY: the caller's contract.
            return unsafe { (self.bytes)(t, p, out, ldc) };
        }
        let h = |row: usize, c: usize| t.header[row * t.width + c];
        for r in 0..t.rows {
            for c in 0..t.cols {
                let acc = t.tile[r * t.width + c].wrapping_add(t.term(r));
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
            for r in 0..t.rows {
                let acc = V::load(t.tile[r * t.width + c..].as_ptr()).add(V::splat(t.term(r)));
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
            for r in 0..t.rows {
                let acc = V::load(tile.add(r * t.width)).add(V::splat(t.term(r)));
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

/// The vector type only says for which instruction set the loop is compiled: it is plain enough to be vectorized.
#[inline(always)]
unsafe fn real<V: I32v>(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    let [low, high] = [MULTIPLIER, SHIFT].map(|row| &t.header[row * t.width..][..t.cols]);
    for r in 0..t.rows {
        // SAFETY: the caller's contract.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(r * ldc), t.cols) };
        let sums = &t.tile[r * t.width..][..t.cols];
        for (((&sum, y), &low), &high) in sums.iter().zip(out).zip(low).zip(high) {
            let factor = f64::from_bits(u64::from(high as u32) << 32 | u64::from(low as u32));
            let real = f64::from(sum.wrapping_add(t.term(r))) * factor;
            // What `round` does, in two operations that vectorize.
            let rounded = (real + 0.499_999_999_999_999_94f64.copysign(real)) as i32;
            *y = rounded.saturating_add(p.zero_point).clamp(p.min, p.max) as i8;
        }
    }
}

#[inline(always)]
unsafe fn float<V: I32v>(t: &Sums<'_>, how: How, out: *mut f32, ldc: usize) {
    let (zeros, narrow, (columns_first, lo, hi)) = how;
    let free = lo == f32::NEG_INFINITY && hi == f32::INFINITY;
    // SAFETY: the caller's contract.
    unsafe {
        if t.uniform {
            return match (columns_first, free) {
                (true, true) => float_uniform::<V, true, true>(t, how, out, ldc),
                (true, false) => float_uniform::<V, true, false>(t, how, out, ldc),
                (false, true) => float_uniform::<V, false, true>(t, how, out, ldc),
                (false, false) => float_uniform::<V, false, false>(t, how, out, ldc),
            };
        }
        match (zeros && narrow, free) {
            (true, true) => float_columns::<V, true, true>(t, how, out, ldc),
            (true, false) => float_columns::<V, true, false>(t, how, out, ldc),
            (false, true) => float_columns::<V, false, true>(t, how, out, ldc),
            (false, false) => float_columns::<V, false, false>(t, how, out, ldc),
        }
    }
}

/// All rows have one zero point and one scale: what they make of the columns' parameters is computed once.
#[inline(always)]
unsafe fn float_uniform<V: I32v, const COLUMNS_FIRST: bool, const FREE: bool>(
    t: &Sums<'_>,
    (zeros, _, (_, lo, hi)): How,
    out: *mut f32,
    ldc: usize,
) {
    for c in (0..t.cols).step_by(V::N) {
        let n = (t.cols - c).min(V::N);
        // SAFETY: the header and the tile are multiples of the vector wide; the output is the caller's contract.
        unsafe {
            let header = t.header.as_ptr().add(c);
            let zero = V::splat(if zeros { t.row_zero[0] } else { 0 });
            let offset = zero.mul(V::load(header.add(COL_SUM * t.width)));
            let (column, row) = (V::load_f32(header.add(SCALE * t.width)), V::F::splat(t.row_scale[0]));
            let scale = if COLUMNS_FIRST { column } else { row.mul(column) };
            let bias = V::load_f32(header.add(FLOAT_BIAS * t.width));
            let (lo, hi) = (V::F::splat(lo), V::F::splat(hi));
            let (mut from, mut to) = (t.tile.as_ptr().add(c), out.add(c));
            for r in 0..t.rows {
                let mut acc = V::load(from).sub(offset);
                if let Some(term) = t.row_term {
                    acc = acc.add(V::splat(term[r]));
                }
                let scaled = acc.to_f32().mul(scale);
                let x = if COLUMNS_FIRST { scaled.mul(row) } else { scaled }.add(bias);
                let x = if FREE { x } else { x.clamp(lo, hi) };
                if n == V::N {
                    x.store(to)
                } else {
                    x.store_n(to, n)
                }
                (from, to) = (from.wrapping_add(t.width), to.wrapping_add(ldc));
            }
        }
    }
}

/// With `EXACT` zero points are subtracted in single precision, which then has the same result; with `FREE` there are no bounds.
#[inline(always)]
unsafe fn float_columns<V: I32v, const EXACT: bool, const FREE: bool>(
    t: &Sums<'_>,
    (zeros, _, (columns_first, lo, hi)): How,
    out: *mut f32,
    ldc: usize,
) {
    for c in (0..t.cols).step_by(V::N) {
        let n = (t.cols - c).min(V::N);
        // SAFETY: the header and the tile are multiples of the vector wide; the output is the caller's contract.
        unsafe {
            let header = t.header.as_ptr().add(c);
            let col_sum = V::load(header.add(COL_SUM * t.width));
            let real_sum = col_sum.to_f32();
            let scale = V::load_f32(header.add(SCALE * t.width));
            let bias = V::load_f32(header.add(FLOAT_BIAS * t.width));
            let (lo, hi) = (V::F::splat(lo), V::F::splat(hi));
            let tile = t.tile.as_ptr().add(c);
            for r in 0..t.rows {
                let mut acc = V::load(tile.add(r * t.width));
                if t.row_term.is_some() {
                    acc = acc.add(V::splat(t.term(r)));
                }
                let zero = t.row_zero[r];
                let acc = if EXACT {
                    V::F::splat(-(zero as f32)).fma(real_sum, acc.to_f32())
                } else if zeros {
                    acc.sub(V::splat(zero).mul(col_sum)).to_f32()
                } else {
                    acc.to_f32()
                };
                let row = V::F::splat(t.row_scale[r]);
                let scaled = if columns_first { acc.mul(scale).mul(row) } else { acc.mul(row.mul(scale)) };
                let x = scaled.add(bias);
                let x = if FREE { x } else { x.clamp(lo, hi) };
                let to = out.add(r * ldc + c);
                if n == V::N { x.store(to) } else { x.store_n(to, n) }
            }
        }
    }
}

isa_table!(RAW = I "gemm_i8_raw" raw(t: &Sums<'_>, out: *mut i32, ldc: usize));
isa_table!(BYTES = I "gemm_i8_requant" bytes(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize));
isa_table!(REAL = I "gemm_i8_real" real(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize));
isa_table!(FLOAT = I "gemm_i8_float" float(t: &Sums<'_>, how: How, out: *mut f32, ldc: usize));
