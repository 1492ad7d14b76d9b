//! The inner block of AVX-512 VNNI. The unsigned operand of `vpdpbusd` is the weights (plus 128), the signed one the
//! activations as they are, so that these can be broadcast straight from memory.
#![allow(unsafe_code, clippy::needless_range_loop)]
// Every function is unsafe under one contract: AVX-512 with VNNI, addresses good for whole groups, a complete panel and tile.
#![allow(unsafe_op_in_unsafe_fn)]

use super::epilogue::{Bytes, Sums};
use super::pack::{BIAS, COL_SUM, HIGH, LOW, MULTIPLIER, SHIFT};
use super::{Dots, QUAD};
use crate::simd::prefetch;
use std::arch::x86_64::*;

macro_rules! by_rows {
    ($rows:ident, $d:ident, $nv:literal: $($r:literal)*) => {
        match $rows {
            $($r => block::<$r, $nv>($d),)*
            _ => unreachable!("tile of {} rows", $rows),
        }
    };
}

/// See [`super::Micro::dots`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn dots(rows: usize, d: &Dots) {
    if d.vectors == 1 {
        by_rows!(rows, d, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    } else {
        by_rows!(rows, d, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn block<const MR: usize, const NV: usize>(d: &Dots) {
    let mut acc = [[_mm512_setzero_si512(); NV]; MR];
    for v in 0..NV {
        let start = _mm512_loadu_si512(d.start.add(v * 16).cast());
        for row in &mut acc {
            row[v] = start;
        }
    }
    // Few rows: two sums per result hide the latency.
    let mut odd = [[_mm512_setzero_si512(); NV]; MR];
    let mut b = d.panel;
    let mut p = d.ptrs;
    let mut ahead = d.ahead;
    for _ in 0..d.taps {
        let mut a = [std::ptr::null::<i32>(); MR];
        for (r, a) in a.iter_mut().enumerate() {
            *a = *p.add(r) as *const i32;
        }
        p = p.add(MR);
        let mut q = 0;
        if MR <= 4 {
            while q + 2 <= d.quads {
                for v in 0..NV {
                    let w0 = _mm512_loadu_si512(b.add(v * 16).cast());
                    let w1 = _mm512_loadu_si512(b.add((NV + v) * 16).cast());
                    for r in 0..MR {
                        let x0 = _mm512_set1_epi32(a[r].add(q).read_unaligned());
                        let x1 = _mm512_set1_epi32(a[r].add(q + 1).read_unaligned());
                        acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], w0, x0);
                        odd[r][v] = _mm512_dpbusd_epi32(odd[r][v], w1, x1);
                    }
                }
                b = b.add(NV * 32);
                q += 2;
            }
        }
        while q < d.quads {
            prefetch(ahead);
            ahead = ahead.wrapping_add(64);
            let mut w = [_mm512_setzero_si512(); NV];
            for (v, w) in w.iter_mut().enumerate() {
                *w = _mm512_loadu_si512(b.add(v * 16).cast());
            }
            b = b.add(NV * 16);
            for r in 0..MR {
                let x = _mm512_set1_epi32(a[r].add(q).read_unaligned());
                for v in 0..NV {
                    acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], w[v], x);
                }
            }
            q += 1;
        }
    }
    for r in 0..MR {
        for v in 0..NV {
            let mut sum = acc[r][v];
            if MR <= 4 {
                sum = _mm512_add_epi32(sum, odd[r][v]);
            }
            _mm512_storeu_si512(d.tile.add((r * NV + v) * 16).cast(), sum);
        }
    }
}

/// See [`super::Micro::dots`]: 1 to 4 rows of activations plus 128 in one tap, weights as they are.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn dots_flipped(rows: usize, d: &Dots) {
    match (rows, d.vectors) {
        (1, 1) => flipped::<1, 1, 4>(d),
        (2, 1) => flipped::<2, 1, 4>(d),
        (3, 1) => flipped::<3, 1, 2>(d),
        (4, 1) => flipped::<4, 1, 2>(d),
        (1, _) => flipped::<1, 2, 4>(d),
        (2, _) => flipped::<2, 2, 4>(d),
        (3, _) => flipped::<3, 2, 2>(d),
        (4, _) => flipped::<4, 2, 2>(d),
        _ => unreachable!("tile of {rows} rows"),
    }
}

/// `WAYS` sums per result hide the latency.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn flipped<const MR: usize, const NV: usize, const WAYS: usize>(d: &Dots) {
    let mut acc = [[[_mm512_setzero_si512(); NV]; MR]; WAYS];
    for v in 0..NV {
        let sums = _mm512_loadu_si512(d.start.add((NV * (COL_SUM - BIAS) + v) * 16).cast());
        let start = _mm512_loadu_si512(d.start.add(v * 16).cast());
        let start = _mm512_sub_epi32(start, _mm512_slli_epi32::<7>(sums));
        for row in &mut acc[0] {
            row[v] = start;
        }
    }
    let mut a = [std::ptr::null::<i32>(); MR];
    for (r, a) in a.iter_mut().enumerate() {
        *a = *d.ptrs.add(r) as *const i32;
    }
    let mut b = d.panel;
    let mut q = 0;
    while q + WAYS <= d.quads {
        for (i, acc) in acc.iter_mut().enumerate() {
            for v in 0..NV {
                let w = _mm512_loadu_si512(b.add((i * NV + v) * 16).cast());
                for r in 0..MR {
                    let x = _mm512_set1_epi32(a[r].add(q + i).read_unaligned());
                    acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], x, w);
                }
            }
        }
        b = b.add(WAYS * NV * 16);
        q += WAYS;
    }
    while q < d.quads {
        for v in 0..NV {
            let w = _mm512_loadu_si512(b.add(v * 16).cast());
            for r in 0..MR {
                let x = _mm512_set1_epi32(a[r].add(q).read_unaligned());
                acc[0][r][v] = _mm512_dpbusd_epi32(acc[0][r][v], x, w);
            }
        }
        b = b.add(NV * 16);
        q += 1;
    }
    for r in 0..MR {
        for v in 0..NV {
            let sum = acc[1..].iter().fold(acc[0][r][v], |sum, way| _mm512_add_epi32(sum, way[r][v]));
            _mm512_storeu_si512(d.tile.add((r * NV + v) * 16).cast(), sum);
        }
    }
}

/// Copies rows of `taps` pieces of `kc` bytes, found at `ptrs[tap · step + row]`, to `to`, where they lie without gaps and rows
/// are `pitch` apart, each byte xor `flip`. Pieces are read, and the last one of the last row written, in whole units of 64.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn gather(
    ptrs: *const usize,
    (rows, taps, step): (usize, usize, usize),
    kc: usize,
    to: *mut i8,
    pitch: usize,
    flip: i8,
) {
    let flip = _mm512_set1_epi8(flip);
    for r in 0..rows {
        for tap in 0..taps {
            let from = *ptrs.add(tap * step + r) as *const i8;
            let to = to.add(r * pitch + tap * kc);
            let mut i = 0;
            while i < kc {
                let x = _mm512_loadu_si512(from.add(i).cast());
                _mm512_storeu_si512(to.add(i).cast(), _mm512_xor_si512(x, flip));
                i += 64;
            }
        }
    }
}

/// See [`super::Micro::row_sums`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn row_sums(rows: usize, ptrs: &[usize], kc: usize, sums: &mut [i32]) {
    let ones = _mm512_set1_epi8(1);
    let (whole, rest) = (kc / 64 * 64, (1u64 << (kc % 64)) - 1);
    for r in (0..rows).step_by(4) {
        let mut acc = [_mm512_setzero_si512(); 4];
        for tap in ptrs.chunks_exact(rows) {
            for (i, acc) in acc.iter_mut().enumerate() {
                let p = tap[(r + i).min(rows - 1)] as *const i8;
                let mut k = 0;
                while k < whole {
                    *acc = _mm512_dpbusd_epi32(*acc, ones, _mm512_loadu_si512(p.add(k).cast()));
                    k += 64;
                }
                if rest != 0 {
                    *acc = _mm512_dpbusd_epi32(*acc, ones, _mm512_maskz_loadu_epi8(rest, p.add(k)));
                }
            }
        }
        // Transposes and adds: four rows end up in the four lanes of an xmm.
        let [a, b, c, d] = acc;
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
        let quarter = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
        let n = (rows - r).min(4);
        _mm_mask_storeu_epi32(sums[r..r + n].as_mut_ptr(), (1 << n) - 1, quarter);
    }
}

/// Requantization of 16 columns where no multiplier is negative, no shift goes left and |x| < 2^30.
///
/// With h = (2·x·m + 2^31) >> 32 the result is h / 2^e, rounded half away from zero: (h + half - (h < 0)) >> e with half =
/// 2^e / 2, but for e = 0, where h stays. `half` is added to the upper words of the products together with the rounding term,
/// and x < 0 stands for h < 0: they differ only where h is 0, and then (half - 1) >> e is 0 too.
#[derive(Clone, Copy)]
pub(crate) struct Requant {
    m: __m512i,
    m_odd: __m512i,
    nudge: __m512i,
    nudge_odd: __m512i,
    /// 31, or 32 for e = 0: x >> sign is 1 where x < 0 counts.
    sign: __m512i,
    e: __m512i,
}

impl Requant {
    /// Multipliers, and shifts of at most 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(crate) fn new(m: __m512i, shift: __m512i) -> Requant {
        let (zero, one) = (_mm512_setzero_si512(), _mm512_set1_epi32(1));
        let e = _mm512_sub_epi32(zero, shift);
        let half = _mm512_srli_epi32::<1>(_mm512_sllv_epi32(one, e));
        let sign = _mm512_set1_epi32(31);
        let sign = _mm512_mask_add_epi32(sign, _mm512_cmpeq_epi32_mask(e, zero), sign, one);
        Requant::from_parts(m, half, sign, e)
    }

    /// From multipliers, 2^e / 2 (0 for e = 0), 31 (32 for e = 0), and e.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(crate) fn from_parts(m: __m512i, half: __m512i, sign: __m512i, e: __m512i) -> Requant {
        let round = _mm512_set1_epi64(1 << 31);
        Requant {
            m,
            m_odd: _mm512_srli_epi64::<32>(m),
            nudge: _mm512_or_si512(_mm512_slli_epi64::<32>(half), round),
            nudge_odd: _mm512_or_si512(_mm512_maskz_mov_epi32(0xAAAA, half), round),
            sign,
            e,
        }
    }

    /// The results of `x`, before the zero point.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(crate) fn apply(&self, x: __m512i) -> __m512i {
        let twice = _mm512_add_epi32(x, x);
        let even = _mm512_add_epi64(_mm512_mul_epi32(twice, self.m), self.nudge);
        let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(twice), self.m_odd);
        let odd = _mm512_add_epi64(odd, self.nudge_odd);
        // The upper words: those of the even products into the even lanes.
        let h = _mm512_mask_shuffle_epi32::<0xF5>(odd, 0x5555, even);
        _mm512_srav_epi32(_mm512_sub_epi32(h, _mm512_srlv_epi32(x, self.sign)), self.e)
    }
}

/// Four vectors of results to bytes, zero point added and clamped: 16 bytes of each in turn.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn to_bytes(q: [__m512i; 4], zero: __m512i, min: __m512i, max: __m512i) -> __m512i {
    // Saturating on the way to 16 and 8 bits changes nothing that the clamp would not.
    let lo = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
    let hi = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
    interleaved(lo, hi, min, max)
}

/// Requantization of 16 columns by [`crate::requant::Pair`]s.
#[derive(Clone, Copy)]
pub(crate) struct Paired {
    high: __m512,
    low: __m512,
    /// The powers of two of `high`, or zeros.
    step: __m512i,
}

impl Paired {
    /// From the halves of pairs of fixed-point numbers, or (`real`) of reals.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(crate) fn new(high: __m512, low: __m512, real: bool) -> Paired {
        let exponent = _mm512_set1_epi32(if real { 0 } else { 0x7F80_0000 });
        Paired { high, low, step: _mm512_and_si512(_mm512_castps_si512(high), exponent) }
    }

    /// ⌊y⌋ for the sums `x`, of which [`halves_to_bytes`] makes results.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(crate) fn apply(&self, x: __m512i) -> __m512i {
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        let x = _mm512_cvtepi32_ps(x);
        // The sign of x, the other bits of the step.
        let sign = _mm512_set1_epi32(i32::MIN);
        let step = _mm512_ternarylogic_epi32::<0xEC>(_mm512_castps_si512(x), self.step, sign);
        let rest = _mm512_fmadd_ps(x, self.low, _mm512_castsi512_ps(step));
        _mm512_cvt_roundps_epi32::<DOWN>(_mm512_fmadd_round_ps::<DOWN>(x, self.high, rest))
    }
}

/// Four vectors of halves to bytes, `(y + 1 + 2 · zero point) >> 1` clamped: 16 bytes of each in turn. `nudge` is 1 + 2 · zero
/// point.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn halves_to_bytes(y: [__m512i; 4], nudge: __m512i, min: __m512i, max: __m512i) -> __m512i {
    // Saturating on the way to 16 and 8 bits changes nothing that the clamp would not.
    let lo = _mm512_srai_epi16::<1>(_mm512_adds_epi16(_mm512_packs_epi32(y[0], y[1]), nudge));
    let hi = _mm512_srai_epi16::<1>(_mm512_adds_epi16(_mm512_packs_epi32(y[2], y[3]), nudge));
    interleaved(lo, hi, min, max)
}

/// Two vectors of 16-bit numbers as `packs` makes them to bytes in order, clamped.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn interleaved(lo: __m512i, hi: __m512i, min: __m512i, max: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(lo, hi));
    _mm512_min_epi8(_mm512_max_epi8(bytes, min), max)
}

/// Sums of 16 columns to what [`ToBytes::bytes`] takes.
trait ToBytes: Copy {
    /// Of 16 columns of a header `width` wide.
    unsafe fn new(header: *const i32, width: usize) -> Self;
    unsafe fn sums(&self, x: __m512i) -> __m512i;
    /// What a zero point is in 16 bits for `bytes`.
    fn nudge(zero_point: i32) -> i32;
    unsafe fn bytes(x: [__m512i; 4], nudge: __m512i, min: __m512i, max: __m512i) -> __m512i;
}

impl ToBytes for Requant {
    #[inline(always)]
    unsafe fn new(header: *const i32, width: usize) -> Self {
        let row = |row: usize| _mm512_loadu_si512(header.add(row * width).cast());
        Requant::new(row(MULTIPLIER), row(SHIFT))
    }
    #[inline(always)]
    unsafe fn sums(&self, x: __m512i) -> __m512i {
        self.apply(x)
    }
    #[inline(always)]
    fn nudge(zero_point: i32) -> i32 {
        zero_point
    }
    #[inline(always)]
    unsafe fn bytes(x: [__m512i; 4], nudge: __m512i, min: __m512i, max: __m512i) -> __m512i {
        to_bytes(x, nudge, min, max)
    }
}

/// [`Paired`] for reals or not.
#[derive(Clone, Copy)]
struct Halves<const REAL: bool>(Paired);

impl<const REAL: bool> ToBytes for Halves<REAL> {
    #[inline(always)]
    unsafe fn new(header: *const i32, width: usize) -> Self {
        let row = |row: usize| _mm512_loadu_ps(header.add(row * width).cast());
        Halves(Paired::new(row(HIGH), row(LOW), REAL))
    }
    #[inline(always)]
    unsafe fn sums(&self, x: __m512i) -> __m512i {
        self.0.apply(x)
    }
    #[inline(always)]
    fn nudge(zero_point: i32) -> i32 {
        2 * zero_point + 1
    }
    #[inline(always)]
    unsafe fn bytes(x: [__m512i; 4], nudge: __m512i, min: __m512i, max: __m512i) -> __m512i {
        halves_to_bytes(x, nudge, min, max)
    }
}

/// The requantizing epilogue under the conditions of [`Requant`], for a zero point in the range of bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn requant_small(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    requant::<Requant>(t, p, out, ldc);
}

/// The requantizing epilogue for a header with pairs, for a zero point in the range of bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn requant_paired(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    requant::<Halves<false>>(t, p, out, ldc);
}

/// [`requant_paired`] for pairs of reals.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn requant_real(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    requant::<Halves<true>>(t, p, out, ldc);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn requant<T: ToBytes>(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    match (t.width == 16, t.row_term.is_some()) {
        (true, true) => requant_rows::<T, 1, 4, true>(t, p, out, ldc),
        (true, false) => requant_rows::<T, 1, 4, false>(t, p, out, ldc),
        (false, true) => requant_rows::<T, 2, 2, true>(t, p, out, ldc),
        (false, false) => requant_rows::<T, 2, 2, false>(t, p, out, ldc),
    }
}

/// `NV · R` = 4: R rows of NV vectors at once. `TERM`: rows have terms.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn requant_rows<T: ToBytes, const NV: usize, const R: usize, const TERM: bool>(
    t: &Sums<'_>,
    p: &Bytes,
    out: *mut i8,
    ldc: usize,
) {
    let header = t.header.as_ptr();
    let columns = [T::new(header, t.width), T::new(header.add((NV - 1) * 16), t.width)];
    let nudge = _mm512_set1_epi16(T::nudge(p.zero_point) as i16);
    let (min, max) = (_mm512_set1_epi8(p.min as i8), _mm512_set1_epi8(p.max as i8));
    let rows = t.rows;
    let terms = t.row_term.map_or(std::ptr::null(), |t| t.as_ptr());
    let whole = t.cols == NV * 16;
    let mask = ((1u64 << t.cols) - 1) as u32;
    let tile = t.tile.as_ptr();
    let mut r = 0;
    while r < rows {
        let mut q = [_mm512_setzero_si512(); 4];
        for i in 0..R {
            // Rows past the end repeat the last one and are not stored.
            let row = (r + i).min(rows - 1);
            for v in 0..NV {
                let mut x = _mm512_loadu_si512(tile.add(row * t.width + v * 16).cast());
                if TERM {
                    x = _mm512_add_epi32(x, _mm512_set1_epi32(*terms.add(row)));
                }
                q[i * NV + v] = columns[v].sums(x);
            }
        }
        let bytes = T::bytes(q, nudge, min, max);
        if whole && r + R <= rows {
            if NV == 2 {
                _mm256_storeu_si256(out.add(r * ldc).cast(), _mm512_castsi512_si256(bytes));
                _mm256_storeu_si256(out.add((r + 1) * ldc).cast(), _mm512_extracti64x4_epi64::<1>(bytes));
            } else {
                _mm_storeu_si128(out.add(r * ldc).cast(), _mm512_castsi512_si128(bytes));
                _mm_storeu_si128(out.add((r + 1) * ldc).cast(), _mm512_extracti32x4_epi32::<1>(bytes));
                _mm_storeu_si128(out.add((r + 2) * ldc).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
                _mm_storeu_si128(out.add((r + 3) * ldc).cast(), _mm512_extracti32x4_epi32::<3>(bytes));
            }
        } else if whole && NV == 2 {
            _mm256_storeu_si256(out.add(r * ldc).cast(), _mm512_castsi512_si256(bytes));
        } else {
            let mut parts = [0i8; 64];
            _mm512_storeu_si512(parts.as_mut_ptr().cast(), bytes);
            for i in 0..R.min(rows - r) {
                let row = _mm256_maskz_loadu_epi8(mask, parts.as_ptr().add(i * NV * 16));
                _mm256_mask_storeu_epi8(out.add((r + i) * ldc), mask, row);
            }
        }
        r += R;
    }
}

const _: () = assert!(QUAD == 4, "a group is one 32-bit lane");
