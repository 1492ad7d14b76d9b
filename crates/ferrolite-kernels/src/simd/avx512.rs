//! Vectors of AVX-512 F, BW, VL, DQ.
#![allow(unsafe_code)]
// Every function is unsafe under the one contract of the module above; a block per line would say nothing more.
#![allow(unsafe_op_in_unsafe_fn)]

use super::{Bytes, F32v, I32v};
use crate::gemm_i8::avx512::{Requant, to_bytes};
use std::arch::x86_64::*;

/// Sixteen f32.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(crate) __m512);

/// Sixteen i32.
#[derive(Clone, Copy)]
pub(crate) struct I32x16(pub(crate) __m512i);

/// Ones in the first `n <= 16` lanes.
#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

impl F32v for F32x16 {
    const N: usize = 16;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        F32x16(_mm512_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        F32x16(_mm512_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Self {
        F32x16(_mm512_maskz_loadu_ps(mask(n), p))
    }
    type Mask = __mmask16;
    #[inline(always)]
    unsafe fn mask(n: usize) -> __mmask16 {
        mask(n)
    }
    #[inline(always)]
    unsafe fn load_masked(p: *const f32, mask: __mmask16) -> Self {
        F32x16(_mm512_maskz_loadu_ps(mask, p))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        _mm512_storeu_ps(p, self.0);
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize) {
        _mm512_mask_storeu_ps(p, mask(n), self.0);
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        F32x16(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast())))
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        F32x16(_mm512_add_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        F32x16(_mm512_sub_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        F32x16(_mm512_mul_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        F32x16(_mm512_div_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        F32x16(_mm512_fmadd_ps(self.0, b.0, c.0))
    }
    #[inline(always)]
    unsafe fn recip(self) -> Self {
        // An estimate of 14 bits, and a step of Newton's: a third of a division's time.
        let y = _mm512_rcp14_ps(self.0);
        let rest = _mm512_fnmadd_ps(self.0, y, _mm512_set1_ps(1.0));
        F32x16(_mm512_fmadd_ps(y, rest, y))
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        F32x16(_mm512_sqrt_ps(self.0))
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        F32x16(_mm512_min_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        F32x16(_mm512_max_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        F32x16(_mm512_abs_ps(self.0))
    }
    #[inline(always)]
    unsafe fn copysign(self, s: Self) -> Self {
        // Bit by bit: the sign from `s`, the rest from self.
        let sign = _mm512_set1_epi32(i32::MIN);
        let r = _mm512_ternarylogic_epi32::<0xD8>(_mm512_castps_si512(self.0), _mm512_castps_si512(s.0), sign);
        F32x16(_mm512_castsi512_ps(r))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        F32x16(_mm512_roundscale_ps::<0x08>(self.0))
    }
    #[inline(always)]
    unsafe fn gt_select(self, o: Self, x: Self, y: Self) -> Self {
        F32x16(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, o.0), y.0, x.0))
    }
    #[inline(always)]
    unsafe fn any_gt(self, o: Self) -> bool {
        _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, o.0) != 0
    }
    #[inline(always)]
    unsafe fn scale2(self, n: Self) -> Self {
        F32x16(_mm512_scalef_ps(self.0, n.0))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let o = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
        super::avx2::F32x8(o).sum()
    }
    #[inline(always)]
    unsafe fn top(self) -> f32 {
        let o = _mm256_max_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
        super::avx2::F32x8(o).top()
    }
}

impl I32v for I32x16 {
    const N: usize = 16;
    type F = F32x16;
    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        I32x16(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> Self {
        I32x16(_mm512_loadu_si512(p.cast()))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32) {
        _mm512_storeu_si512(p.cast(), self.0);
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut i32, n: usize) {
        _mm512_mask_storeu_epi32(p, mask(n), self.0);
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        I32x16(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8_n(p: *const i8, n: usize) -> Self {
        I32x16(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask(n), p)))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self {
        I32x16(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_u8_n(p: *const u8, n: usize) -> Self {
        I32x16(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask(n), p.cast())))
    }
    #[inline(always)]
    unsafe fn store_u8_n(self, p: *mut u8, n: usize) {
        _mm_mask_storeu_epi8(p.cast(), mask(n), _mm512_cvtepi32_epi8(self.0));
    }
    #[inline(always)]
    unsafe fn gather(p: *const i32, at: *const i32) -> Self {
        I32x16(_mm512_i32gather_epi32::<4>(_mm512_loadu_si512(at.cast()), p.cast()))
    }
    #[inline(always)]
    unsafe fn gather_f32(p: *const f32, at: *const i32) -> F32x16 {
        F32x16(_mm512_i32gather_ps::<4>(_mm512_loadu_si512(at.cast()), p.cast()))
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8) {
        _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(self.0));
    }
    #[inline(always)]
    unsafe fn store_i8_n(self, p: *mut i8, n: usize) {
        _mm_mask_storeu_epi8(p, mask(n), _mm512_cvtepi32_epi8(self.0));
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        I32x16(_mm512_add_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        I32x16(_mm512_sub_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        I32x16(_mm512_mullo_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn shl(self, s: Self) -> Self {
        I32x16(_mm512_sllv_epi32(self.0, s.0))
    }
    #[inline(always)]
    unsafe fn high_mul(self, m: Self) -> Self {
        let nudge = _mm512_set1_epi64(1 << 30);
        let even = _mm512_add_epi64(_mm512_mul_epi32(self.0, m.0), nudge);
        let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(self.0), _mm512_srli_epi64::<32>(m.0));
        let odd = _mm512_add_epi64(odd, nudge);
        // Bits 31..=62 of each product: into the low half for even lanes, into the high half for odd ones.
        let (even, odd) = (_mm512_srli_epi64::<31>(even), _mm512_slli_epi64::<1>(odd));
        I32x16(_mm512_mask_blend_epi32(0xAAAA, even, odd))
    }
    #[inline(always)]
    unsafe fn shr_round(self, e: Self) -> Self {
        let one = _mm512_set1_epi32(1);
        let mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, e.0), one);
        let threshold = _mm512_add_epi32(_mm512_srli_epi32::<1>(mask), _mm512_srli_epi32::<31>(self.0));
        let up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(self.0, mask), threshold);
        let q = _mm512_srav_epi32(self.0, e.0);
        I32x16(_mm512_mask_add_epi32(q, up, q, one))
    }
    #[inline(always)]
    unsafe fn load_i16(p: *const i16, n: usize) -> Self {
        I32x16(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask(n), p)))
    }
    #[inline(always)]
    unsafe fn xor(self, o: Self) -> Self {
        I32x16(_mm512_xor_si512(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn load_pairs(a: *const u8, b: *const u8, n: usize, flip: u8) -> Self {
        let (a, b) = if n == 16 {
            (_mm_loadu_si128(a.cast()), _mm_loadu_si128(b.cast()))
        } else {
            (_mm_maskz_loadu_epi8(mask(n), a.cast()), _mm_maskz_loadu_epi8(mask(n), b.cast()))
        };
        let pairs = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
        I32x16(_mm512_cvtepi8_epi16(_mm256_xor_si256(pairs, _mm256_set1_epi8(flip as i8))))
    }
    #[inline(always)]
    unsafe fn dot2(self, x: Self, w: Self) -> Self {
        I32x16(_mm512_add_epi32(self.0, _mm512_madd_epi16(x.0, w.0)))
    }
    type Requant = Requant;
    #[inline(always)]
    unsafe fn requant_plan(multiplier: Self, shift: Self) -> Self::Requant {
        Requant::new(multiplier.0, shift.0)
    }
    #[inline(always)]
    unsafe fn requant_small(self, plan: Self::Requant) -> Self {
        I32x16(plan.apply(self.0))
    }
    #[inline(always)]
    unsafe fn store_bytes(q: [Self; 4], how: &Bytes, p: *mut u8, stride: usize, count: usize, n: usize) {
        let (min, max) = (_mm512_set1_epi8(how.min as i8), _mm512_set1_epi8(how.max as i8));
        // A zero point far outside is as good as one that saturates 16 bits.
        let zero = _mm512_set1_epi16(how.zero.clamp(-30_000, 30_000) as i16);
        let b = to_bytes([q[0].0, q[1].0, q[2].0, q[3].0], zero, min, max);
        let b = _mm512_xor_si512(b, _mm512_set1_epi8(how.flip as i8));
        if (stride, count, n) == (16, 4, 16) {
            return _mm512_storeu_si512(p.cast(), b);
        }
        let parts = [
            _mm512_castsi512_si128(b),
            _mm512_extracti32x4_epi32::<1>(b),
            _mm512_extracti32x4_epi32::<2>(b),
            _mm512_extracti32x4_epi32::<3>(b),
        ];
        if n == 16 && count == 4 {
            for (i, part) in parts.into_iter().enumerate() {
                _mm_storeu_si128(p.add(i * stride).cast(), part);
            }
        } else {
            for (i, part) in parts.into_iter().enumerate() {
                if i < count {
                    _mm_mask_storeu_epi8(p.add(i * stride).cast(), mask(n), part);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        I32x16(_mm512_min_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        I32x16(_mm512_max_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn to_f32(self) -> F32x16 {
        F32x16(_mm512_cvtepi32_ps(self.0))
    }
    #[inline(always)]
    unsafe fn nearest(f: F32x16) -> Self {
        I32x16(_mm512_cvtps_epi32(f.0))
    }
    #[inline(always)]
    unsafe fn from_f32(f: F32x16) -> Self {
        I32x16(_mm512_cvttps_epi32(f.0))
    }
}
