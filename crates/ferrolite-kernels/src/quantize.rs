//! Between floats, halves and bytes.
#![allow(unsafe_code)]

use crate::elementwise::GRAIN;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::{ThreadPool, chunk, chunks};
use crate::simd::{Bytes, F32v, I32v};
use std::ops::Range;

/// The nearest whole number, halves away from zero, exactly like C's `round`: the greatest number below one half is added
/// with the sign of x, and the fraction cut off.
#[inline(always)]
unsafe fn round_away<V: I32v>(x: V::F) -> V {
    // SAFETY: the contract of the vector traits; callers bound x.
    unsafe { V::from_f32(x.add(V::F::splat(0.499_999_97).copysign(x))) }
}

/// Which arithmetic turns a float into a byte.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// round(x / scale) + zero, clamped to -128..=127.
    Divide,
    /// round(x · factor), clamped to -127..=127.
    Symmetric,
    /// round(x · factor) + zero, clamped to -128..=127.
    Asymmetric,
}

/// With `BOUNDED` no quotient or product is so great that it would have to be clamped from above before it is rounded.
#[inline(always)]
unsafe fn to_bytes<V: I32v>(x: *const f32, out: *mut i8, n: usize, step: Step, bounded: bool, factor: f32, zero: i32) {
    // SAFETY: the caller's contract.
    unsafe {
        match (step, bounded) {
            (Step::Divide, _) => convert::<V, true, false>(x, out, n, -128, factor, zero),
            (Step::Symmetric, false) => convert::<V, false, false>(x, out, n, -127, factor, zero),
            (Step::Symmetric, true) => convert::<V, false, true>(x, out, n, -127, factor, zero),
            (Step::Asymmetric, false) => convert::<V, false, false>(x, out, n, -128, factor, zero),
            (Step::Asymmetric, true) => convert::<V, false, true>(x, out, n, -128, factor, zero),
        }
    }
}

/// `v` by the factor, clamped and rounded. A function and not a closure: closures are not compiled for the instruction set.
#[inline(always)]
unsafe fn whole_number<V: I32v, const DIVIDE: bool, const BOUNDED: bool>(
    v: V::F,
    (factor, lo, hi): (V::F, V::F, V::F),
) -> V {
    // SAFETY: the contract of the vector traits; clamped, or bounded by the caller's promise.
    unsafe {
        let v = if DIVIDE { v.div(factor) } else { v.mul(factor) }.max(lo);
        round_away::<V>(if BOUNDED { v } else { v.min(hi) })
    }
}

#[inline(always)]
unsafe fn convert<V: I32v, const DIVIDE: bool, const BOUNDED: bool>(
    x: *const f32,
    out: *mut i8,
    n: usize,
    least: i32,
    factor: f32,
    zero: i32,
) {
    // SAFETY: both are good for `n` elements.
    unsafe {
        let f = V::F::splat(factor);
        // Clamped before rounding, as whole bounds allow; NaN goes to the lower bound. A zero point far outside of the bytes is
        // as good as one just outside.
        let bound = |x: i32| V::F::splat(x.saturating_sub(zero).clamp(-1_000_000, 1_000_000) as f32);
        let (lo, hi) = (bound(least), bound(127));
        let p = (f, lo, hi);
        let how = Bytes { zero, min: least, max: 127, flip: 0 };
        let mut i = 0;
        while i + 4 * V::N <= n {
            let mut q = [V::splat(0); 4];
            for (j, q) in q.iter_mut().enumerate() {
                *q = whole_number::<V, DIVIDE, BOUNDED>(V::F::load(x.add(i + j * V::N)), p);
            }
            V::store_bytes(q, &how, out.add(i).cast(), V::N, 4, V::N);
            i += 4 * V::N;
        }
        while i < n {
            let left = (n - i).min(V::N);
            let q = [whole_number::<V, DIVIDE, BOUNDED>(V::F::load_n(x.add(i), left), p); 4];
            V::store_bytes(q, &how, out.add(i).cast(), V::N, 1, left);
            i += left;
        }
    }
}
crate::simd::isa_table!(
    TO_BYTES = I "quantize_f32_i8" to_bytes(
        x: *const f32,
        out: *mut i8,
        n: usize,
        step: Step,
        bounded: bool,
        factor: f32,
        zero: i32,
    )
);

/// `out = clamp(round(x / scale) + zero_point, -128, 127)`, halves away from zero (the QUANTIZE operator). NaN gives -128.
/// For unsigned bytes take 128 off the zero point and xor the result with 0x80.
///
/// # Panics
/// If the lengths differ.
pub fn quantize_f32_i8(pool: &ThreadPool, isa: Isa, x: &[f32], scale: f32, zero_point: i32, out: &mut [i8]) {
    assert_eq!(x.len(), out.len());
    let run = pick(TO_BYTES, isa).run;
    let shared = Shared::new(out);
    pool.run_chunks(x.len(), GRAIN, &|r: Range<usize>| {
        // SAFETY: picked through an `Isa`; ranges are inside both slices and do not overlap.
        unsafe { run(x[r.start..].as_ptr(), shared.at(r.start), r.len(), Step::Divide, false, scale, zero_point) };
    });
}

#[inline(always)]
unsafe fn from_bytes<V: I32v>(x: *const i8, out: *mut f32, n: usize, scale: f32, zero: i32) {
    // SAFETY: both are good for `n` elements.
    unsafe {
        let (scale, zero) = (V::F::splat(scale), V::splat(zero));
        for i in (0..n).step_by(V::N) {
            let left = (n - i).min(V::N);
            let v = if left == V::N { V::load_i8(x.add(i)) } else { V::load_i8_n(x.add(i), left) };
            v.sub(zero).to_f32().mul(scale).store_n(out.add(i), left);
        }
    }
}
crate::simd::isa_table!(
    FROM_BYTES = I "dequantize_i8_f32" from_bytes(x: *const i8, out: *mut f32, n: usize, scale: f32, zero: i32)
);

/// `out = scale · (x - zero_point)`.
///
/// # Panics
/// If the lengths differ.
pub fn dequantize_i8_f32(pool: &ThreadPool, isa: Isa, x: &[i8], scale: f32, zero_point: i32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let run = pick(FROM_BYTES, isa).run;
    let shared = Shared::new(out);
    pool.run_chunks(x.len(), GRAIN, &|r: Range<usize>| {
        // SAFETY: picked through an `Isa`; ranges are inside both slices and do not overlap.
        unsafe { run(x[r.start..].as_ptr(), shared.at(r.start), r.len(), scale, zero_point) };
    });
}

#[inline(always)]
unsafe fn extremes<V: F32v>(x: *const f32, n: usize) -> (f32, f32) {
    // SAFETY: good for `n` elements.
    unsafe {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        let (mut bottoms, mut tops) = ([V::splat(low); 4], [V::splat(high); 4]);
        // From the end, which was written last and is still in the cache; who reads next begins where this ends.
        let mut end = n;
        // Four chains, for the latency.
        while end >= 4 * V::N {
            end -= 4 * V::N;
            for (i, (bottom, top)) in bottoms.iter_mut().zip(&mut tops).enumerate() {
                let v = V::load(x.add(end + i * V::N));
                *bottom = v.min(*bottom);
                *top = v.max(*top);
            }
        }
        while end >= V::N {
            end -= V::N;
            let v = V::load(x.add(end));
            (bottoms[0], tops[0]) = (v.min(bottoms[0]), v.max(tops[0]));
        }
        for i in 0..end {
            let v = *x.add(i);
            low = if v < low { v } else { low };
            high = if v > high { v } else { high };
        }
        let [a, b, c, d] = tops;
        let top = a.max(b).max(c.max(d)).top();
        let [a, b, c, d] = bottoms;
        let bottom = -V::splat(0.0).sub(a.min(b).min(c.min(d))).top();
        (low.min(bottom), high.max(top))
    }
}
crate::simd::isa_table!(EXTREMES = F "min_max_f32" extremes(x: *const f32, n: usize) -> (f32, f32));

/// The least and the greatest element; (0, 0) for none. NaN is passed over: nothing else gives (∞, -∞).
pub fn min_max_f32(isa: Isa, x: &[f32]) -> (f32, f32) {
    if x.is_empty() {
        return (0.0, 0.0);
    }
    // SAFETY: picked through an `Isa`; the slice is not empty.
    unsafe { (pick(EXTREMES, isa).run)(x.as_ptr(), x.len()) }
}

/// As [`min_max_f32`], shared between threads.
fn min_max_shared(pool: &ThreadPool, isa: Isa, x: &[f32]) -> (f32, f32) {
    const PARTS: usize = 32;
    let n = chunks(x.len(), 2 * GRAIN, pool.threads()).min(PARTS);
    if n <= 1 {
        return min_max_f32(isa, x);
    }
    let mut parts = [(0.0, 0.0); PARTS];
    let shared = Shared::new(&mut parts);
    pool.run(n, &|i| {
        // SAFETY: element `i` is this task's alone.
        unsafe { *shared.at(i) = min_max_f32(isa, &x[chunk(x.len(), n, i)]) };
    });
    parts[..n].iter().fold(parts[0], |(low, high), part| (low.min(part.0), high.max(part.1)))
}

/// Quantizes every row of `cols` by its own scale, symmetrically: `scale = max|x| / 127`, `out = clamp(round(x · (127 / max|x|)),
/// -127, 127)`; a row of zeros has scale 1.
///
/// # Panics
/// If the lengths do not fit: `out` as long as `x`, a multiple of `cols`, and a scale per row.
pub fn quantize_rows_symmetric(
    pool: &ThreadPool,
    isa: Isa,
    x: &[f32],
    cols: usize,
    out: &mut [i8],
    scales: &mut [f32],
) {
    rows(pool, isa, x, cols, out, scales, None, &|low, high| {
        let range = low.abs().max(high.abs());
        let (scale, factor) = if range == 0.0 { (1.0, 0.0) } else { (range / 127.0, 127.0 / range) };
        Plan { scale, zero: 0, step: Step::Symmetric, factor }
    });
}

/// Quantizes every row of `cols` by its own scale and zero point, so that `x ≈ scale · (out - zero_point)`, as TensorFlow Lite's
/// asymmetric hybrid kernels do: the range is widened to hold 0, the zero point comes from the end with the smaller error, and
/// `out = clamp(round(x · (1 / scale)) + zero_point, -128, 127)`; a row of zeros has scale 1 and zero point 0.
///
/// # Panics
/// If the lengths do not fit: `out` as long as `x`, a multiple of `cols`, and a scale and a zero point per row.
pub fn quantize_rows_asymmetric(
    pool: &ThreadPool,
    isa: Isa,
    x: &[f32],
    cols: usize,
    out: &mut [i8],
    scales: &mut [f32],
    zero_points: &mut [i32],
) {
    rows(pool, isa, x, cols, out, scales, Some(zero_points), &|low, high| {
        let (low, high) = (low.min(0.0), high.max(0.0));
        if low == high {
            return Plan { scale: 1.0, zero: 0, step: Step::Asymmetric, factor: 0.0 };
        }
        // The width of the range in float32, the rest in float64, as the peer does.
        let scale = f64::from(high - low) / 255.0;
        let (low, high) = (f64::from(low), f64::from(high));
        let (from_low, from_high) = (-128.0 - low / scale, 127.0 - high / scale);
        let (error_low, error_high) = (128.0 + (low / scale).abs(), 127.0 + (high / scale).abs());
        let zero = if error_low < error_high { from_low } else { from_high };
        let (scale, zero) = (scale as f32, zero.clamp(-128.0, 127.0).round() as i32);
        Plan { scale, zero, step: Step::Asymmetric, factor: 1.0 / scale }
    });
}

/// How a row is quantized.
struct Plan {
    scale: f32,
    zero: i32,
    step: Step,
    factor: f32,
}

/// Quantizes every row by the plan that `plan` makes of its extremes. Rows are the tasks, or the pieces of a lone long row.
fn rows(
    pool: &ThreadPool,
    isa: Isa,
    x: &[f32],
    cols: usize,
    out: &mut [i8],
    scales: &mut [f32],
    zeros: Option<&mut [i32]>,
    plan: &(dyn Fn(f32, f32) -> Plan + Sync),
) {
    assert_eq!(x.len(), out.len());
    if x.is_empty() {
        return;
    }
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    let count = x.len() / cols;
    assert!(scales.len() >= count && zeros.as_ref().is_none_or(|z| z.len() >= count), "a scale per row");
    let run = pick(TO_BYTES, isa).run;
    let (out, scales, zeros) = (Shared::new(out), Shared::new(scales), zeros.map(Shared::new));
    pool.run_chunks(count, GRAIN / cols + 1, &|range: Range<usize>| {
        for i in range {
            let row = &x[i * cols..][..cols];
            let (low, high) = min_max_shared(pool, isa, row);
            let p = plan(low, high);
            // SAFETY: element `i` of either is this task's alone.
            unsafe {
                *scales.at(i) = p.scale;
                if let Some(z) = zeros {
                    *z.at(i) = p.zero;
                }
            }
            let bounded = low.abs().max(high.abs()) * p.factor < 1e6;
            let piece = |r: Range<usize>| {
                let (x, out) = (row[r.start..].as_ptr(), out.at(i * cols + r.start));
                // SAFETY: picked through an `Isa`; the piece is inside the row, and no other task writes it.
                unsafe { run(x, out, r.len(), p.step, bounded, p.factor, p.zero) };
            };
            pool.run_chunks(cols, GRAIN, &piece);
        }
    });
}

/// `out[i] = table[x[i]]`: the table is indexed by the bits of the byte, so that entry 128 belongs to -128 where bytes are
/// signed.
///
/// # Panics
/// If the lengths differ.
pub fn lut_8bit(pool: &ThreadPool, x: &[u8], table: &[u8; 256], out: &mut [u8]) {
    assert_eq!(x.len(), out.len());
    let shared = Shared::new(out);
    pool.run_chunks(x.len(), GRAIN, &|r: Range<usize>| {
        // SAFETY: ranges do not overlap.
        let to = unsafe { shared.part(r.clone()) };
        #[cfg(target_arch = "x86_64")]
        if permutes_bytes() {
            // SAFETY: the CPU has been asked; both slices are as long as the range.
            return unsafe { lut_vbmi(x[r].as_ptr(), table, to.as_mut_ptr(), to.len()) };
        }
        for (o, i) in to.iter_mut().zip(&x[r]) {
            *o = table[usize::from(*i)];
        }
    });
}

/// Whether the CPU has AVX512-VBMI, and AVX-512 may be used.
#[cfg(target_arch = "x86_64")]
fn permutes_bytes() -> bool {
    Isa::detect().level() >= crate::Level::Avx512 && std::arch::is_x86_feature_detected!("avx512vbmi")
}

/// A table of 256 bytes in four registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
unsafe fn lut_vbmi(x: *const u8, table: &[u8; 256], out: *mut u8, n: usize) {
    use std::arch::x86_64::*;
    // SAFETY: both are good for `n` elements.
    unsafe {
        let part = |i: usize| _mm512_loadu_epi8(table.as_ptr().add(64 * i).cast());
        let (t0, t1, t2, t3) = (part(0), part(1), part(2), part(3));
        for i in (0..n).step_by(64) {
            let mask = u64::MAX >> (64 - (n - i).min(64));
            let x = _mm512_maskz_loadu_epi8(mask, x.add(i).cast());
            let (low, high) = (_mm512_permutex2var_epi8(t0, x, t1), _mm512_permutex2var_epi8(t2, x, t3));
            let y = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
            _mm512_mask_storeu_epi8(out.add(i).cast(), mask, y);
        }
    }
}

/// A half-precision number (its bits) as f32, exactly.
#[inline]
pub fn f16_to_f32_scalar(h: u16) -> f32 {
    let (sign, e, m) = ((u32::from(h) & 0x8000) << 16, h >> 10 & 31, u32::from(h) & 0x3FF);
    let magnitude = match e {
        // Denormals are multiples of 2^-24.
        0 => (m as f32 * f32::from_bits(103 << 23)).to_bits(),
        31 => 0x7F80_0000 | m << 13 | if m != 0 { 0x40_0000 } else { 0 },
        _ => (u32::from(e) + 112) << 23 | m << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[inline(always)]
unsafe fn half<V: F32v>(x: *const u16, out: *mut f32, n: usize) {
    let whole = n / V::N * V::N;
    // SAFETY: both are good for `n` elements.
    unsafe {
        for i in (0..whole).step_by(V::N) {
            V::load_f16(x.add(i)).store(out.add(i));
        }
        for i in whole..n {
            *out.add(i) = f16_to_f32_scalar(*x.add(i));
        }
    }
}
crate::simd::isa_table!(HALF = F "f16_to_f32" half(x: *const u16, out: *mut f32, n: usize));

/// Half-precision numbers (their bits) as f32, exactly; a signalling NaN becomes a quiet one.
///
/// # Panics
/// If the lengths differ.
pub fn f16_to_f32(pool: &ThreadPool, isa: Isa, x: &[u16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let run = pick(HALF, isa).run;
    let shared = Shared::new(out);
    pool.run_chunks(x.len(), GRAIN, &|r: Range<usize>| {
        // SAFETY: picked through an `Isa`; ranges are inside both slices and do not overlap.
        unsafe { run(x[r.start..].as_ptr(), shared.at(r.start), r.len()) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::Rng;

    fn byte(x: f32) -> i8 {
        x.clamp(-128.0, 127.0) as i8
    }

    #[test]
    fn quantize_and_back() {
        let mut r = Rng::new(4);
        let pool = ThreadPool::new(2);
        // Halves and their neighbours are where roundings differ.
        let mut x: Vec<f32> = (0..40_000).map(|_| r.f32() * 200.0).collect();
        for i in -300..300 {
            let h = i as f32 / 2.0;
            x.extend([h, f32::from_bits(h.to_bits() + 1), f32::from_bits(h.to_bits().saturating_sub(1))]);
        }
        x.extend([f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30]);
        for isa in Isa::available() {
            for (scale, zero) in [(1.0, 0), (1.0, -5), (0.37, 12), (0.001, 0), (7.0, 127)] {
                let mut q = vec![0i8; x.len()];
                quantize_f32_i8(&pool, isa, &x, scale, zero, &mut q);
                for (x, q) in x.iter().zip(&q) {
                    assert_eq!(*q, byte((x / scale).round() + zero as f32), "{x} / {scale}");
                }
                let mut back = vec![0.0; q.len()];
                dequantize_i8_f32(&pool, isa, &q, scale, zero, &mut back);
                for (q, b) in q.iter().zip(&back) {
                    assert_eq!(*b, scale * (i32::from(*q) - zero) as f32);
                }
            }
            let mut one = [0i8];
            quantize_f32_i8(&pool, isa, &[f32::NAN], 1.0, 3, &mut one);
            assert_eq!(one, [-128]);
        }
    }

    #[test]
    fn rows_have_their_own_scales() {
        let mut r = Rng::new(14);
        let pool = ThreadPool::new(1);
        let (cols, n) = (37, 5);
        let mut x = r.f32s(cols * n);
        x[cols..2 * cols].fill(0.0);
        x[2 * cols..3 * cols].iter_mut().for_each(|v| *v = v.abs() + 2.0);
        x[3 * cols..4 * cols].iter_mut().for_each(|v| *v = -v.abs() - 1.0);
        for isa in Isa::available() {
            let (mut q, mut scales, mut zeros) = (vec![0i8; cols * n], vec![0.0; n], vec![0; n]);
            quantize_rows_symmetric(&pool, isa, &x, cols, &mut q, &mut scales);
            for i in 0..n {
                let row = &x[i * cols..][..cols];
                let max = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                assert_eq!(scales[i], if i == 1 { 1.0 } else { max / 127.0 });
                for (x, q) in row.iter().zip(&q[i * cols..]) {
                    let want = if i == 1 { 0.0 } else { (x * (127.0 / max)).round().clamp(-127.0, 127.0) };
                    assert_eq!(f32::from(*q), want);
                }
            }
            quantize_rows_asymmetric(&pool, isa, &x, cols, &mut q, &mut scales, &mut zeros);
            assert_eq!((scales[1], zeros[1]), (1.0, 0));
            assert_eq!((zeros[2], zeros[3]), (-128, 127));
            for i in 0..cols * n {
                let (s, z) = (scales[i / cols], zeros[i / cols]);
                assert_eq!(q[i], byte((x[i] * (1.0 / s)).round() + z as f32));
                assert!((s * (i32::from(q[i]) - z) as f32 - x[i]).abs() <= s * 0.51);
            }
        }
    }

    #[test]
    fn halves_and_tables() {
        let pool = ThreadPool::new(2);
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        for isa in Isa::available() {
            let mut out = vec![0.0; bits.len()];
            f16_to_f32(&pool, isa, &bits, &mut out);
            for (b, f) in bits.iter().zip(&out) {
                let (e, m) = (i32::from(b >> 10 & 31), f64::from(b & 0x3FF));
                let magnitude = match e {
                    0 => m * (-24f64).exp2(),
                    31 if m == 0.0 => f64::INFINITY,
                    31 => f64::NAN,
                    _ => (1024.0 + m) * f64::from(e - 25).exp2(),
                };
                let want = if b >> 15 == 1 { -magnitude } else { magnitude };
                assert!(f64::from(*f) == want || (f.is_nan() && want.is_nan()), "{b:x}");
                assert_eq!(f.to_bits(), f16_to_f32_scalar(*b).to_bits());
            }
        }
        let mut table = [0u8; 256];
        table.iter_mut().enumerate().for_each(|(i, t)| *t = (i as u8).wrapping_mul(3));
        let x: Vec<u8> = (0..50_000).map(|i| i as u8).collect();
        let mut out = vec![0; x.len()];
        lut_8bit(&pool, &x, &table, &mut out);
        assert!(x.iter().zip(&out).all(|(x, y)| *y == x.wrapping_mul(3)));
    }
}
