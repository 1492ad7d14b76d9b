//! The inner block of AVX2: both operands are sign-extended to 16 bits, so that `vpmaddwd` is exact (`vpmaddubsw` saturates).
#![allow(unsafe_code, clippy::needless_range_loop)]
// Every function is unsafe under one contract: AVX2, addresses good for whole groups, a complete panel and tile.
#![allow(unsafe_op_in_unsafe_fn)]

use super::epilogue::{Bytes, Sums};
use super::pack::{MULTIPLIER, SHIFT};
use super::{Dots, QUAD};
use std::arch::x86_64::*;

/// See [`super::Micro::dots`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dots(rows: usize, d: &Dots) {
    match rows {
        1 => block::<1>(d),
        2 => block::<2>(d),
        3 => block::<3>(d),
        4 => block::<4>(d),
        5 => block::<5>(d),
        6 => block::<6>(d),
        _ => unreachable!("tile of {rows} rows"),
    }
}

#[target_feature(enable = "avx2")]
unsafe fn block<const MR: usize>(d: &Dots) {
    // A 32-bit lane of an accumulator is half of the sum of a column: four columns per register.
    let mut acc = [[_mm256_setzero_si256(); 2]; MR];
    let mut b = d.panel.cast::<i8>();
    let mut p = d.ptrs;
    for _ in 0..d.taps {
        let mut a = [std::ptr::null::<i8>(); MR];
        for (r, a) in a.iter_mut().enumerate() {
            *a = *p.add(r) as *const i8;
        }
        p = p.add(MR);
        for q in 0..d.quads {
            let w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.cast()));
            let w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.add(16).cast()));
            b = b.add(32);
            for r in 0..MR {
                let x = _mm_set1_epi32(a[r].add(q * QUAD).cast::<i32>().read_unaligned());
                let x = _mm256_cvtepi8_epi16(x);
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(w0, x));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(w1, x));
            }
        }
    }
    let start = _mm256_loadu_si256(d.start.cast());
    for r in 0..MR {
        let pairs = _mm256_hadd_epi32(acc[r][0], acc[r][1]);
        let sums = _mm256_add_epi32(start, _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs));
        _mm256_storeu_si256(d.tile.add(r * 8).cast(), sums);
    }
}

/// Requantization of 8 columns: [`super::avx512::Requant`] on half as many lanes.
#[derive(Clone, Copy)]
struct Requant {
    m: __m256i,
    m_odd: __m256i,
    nudge: __m256i,
    nudge_odd: __m256i,
    sign: __m256i,
    e: __m256i,
}

impl Requant {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(m: __m256i, shift: __m256i) -> Requant {
        let (zero, one) = (_mm256_setzero_si256(), _mm256_set1_epi32(1));
        let e = _mm256_sub_epi32(zero, shift);
        let half = _mm256_srli_epi32::<1>(_mm256_sllv_epi32(one, e));
        let sign = _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_cmpeq_epi32(e, zero));
        let round = _mm256_set1_epi64x(1 << 31);
        Requant {
            m,
            m_odd: _mm256_srli_epi64::<32>(m),
            nudge: _mm256_or_si256(_mm256_slli_epi64::<32>(half), round),
            nudge_odd: _mm256_or_si256(_mm256_blend_epi32::<0xAA>(zero, half), round),
            sign,
            e,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn apply(&self, x: __m256i) -> __m256i {
        let twice = _mm256_add_epi32(x, x);
        let even = _mm256_add_epi64(_mm256_mul_epi32(twice, self.m), self.nudge);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(twice), self.m_odd);
        let odd = _mm256_add_epi64(odd, self.nudge_odd);
        let h = _mm256_blend_epi32::<0xAA>(_mm256_srli_epi64::<32>(even), odd);
        _mm256_srav_epi32(_mm256_sub_epi32(h, _mm256_srlv_epi32(x, self.sign)), self.e)
    }
}

/// The requantizing epilogue where no multiplier is negative, no shift goes left, no |x| reaches 2^30, and the zero point is in
/// the range of bytes: four rows at once.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn requant_small(t: &Sums<'_>, p: &Bytes, out: *mut i8, ldc: usize) {
    let row = |row: usize| _mm256_loadu_si256(t.header.as_ptr().add(row * 8).cast());
    let columns = Requant::new(row(MULTIPLIER), row(SHIFT));
    let zero = _mm256_set1_epi16(p.zero_point as i16);
    let (min, max) = (_mm256_set1_epi8(p.min as i8), _mm256_set1_epi8(p.max as i8));
    for r in (0..t.rows).step_by(4) {
        let mut q = [_mm256_setzero_si256(); 4];
        for (i, q) in q.iter_mut().enumerate() {
            // Rows past the end repeat the last one and are not stored.
            let row = (r + i).min(t.rows - 1);
            let mut x = _mm256_loadu_si256(t.tile.as_ptr().add(row * 8).cast());
            if let Some(terms) = t.row_term {
                x = _mm256_add_epi32(x, _mm256_set1_epi32(terms[row]));
            }
            *q = columns.apply(x);
        }
        // Saturating on the way to 16 and 8 bits changes nothing that the clamp would not.
        let lo = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
        let hi = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order);
        let bytes = _mm256_min_epi8(_mm256_max_epi8(bytes, min), max);
        let mut rows = [[0i8; 8]; 4];
        _mm256_storeu_si256(rows.as_mut_ptr().cast(), bytes);
        for (i, row) in rows.iter().enumerate().take(t.rows - r) {
            let to = out.add((r + i) * ldc);
            if t.cols == 8 {
                to.cast::<[i8; 8]>().write_unaligned(*row);
            } else {
                std::ptr::copy_nonoverlapping(row.as_ptr(), to, t.cols);
            }
        }
    }
}
