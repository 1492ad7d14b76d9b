//! Vectors of AVX2 + FMA + F16C.
#![allow(unsafe_code)]
// Every function is unsafe under the one contract of the module above; a block per line would say nothing more.
#![allow(unsafe_op_in_unsafe_fn)]

use super::{F32v, I32v};
use std::arch::x86_64::*;

/// Eight f32.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) __m256);

/// What [`I32v::requant_small`] multiplies, adds and shifts by, as AVX-512's of the same name.
#[derive(Clone, Copy)]
pub(crate) struct Requant {
    m: __m256i,
    m_odd: __m256i,
    nudge: __m256i,
    nudge_odd: __m256i,
    sign: __m256i,
    e: __m256i,
}

/// Eight i32.
#[derive(Clone, Copy)]
pub(crate) struct I32x8(pub(crate) __m256i);

/// Ones in the first `n` of 8 lanes.
#[inline(always)]
unsafe fn mask(n: usize) -> __m256i {
    static ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    _mm256_loadu_si256(ONES.as_ptr().add(8 - n).cast())
}

const SIGN: f32 = -0.0;

impl F32v for F32x8 {
    const N: usize = 8;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        F32x8(_mm256_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        F32x8(_mm256_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Self {
        F32x8(_mm256_maskload_ps(p, mask(n)))
    }
    type Mask = __m256i;
    #[inline(always)]
    unsafe fn mask(n: usize) -> __m256i {
        mask(n)
    }
    #[inline(always)]
    unsafe fn load_masked(p: *const f32, mask: __m256i) -> Self {
        F32x8(_mm256_maskload_ps(p, mask))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        _mm256_storeu_ps(p, self.0);
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize) {
        _mm256_maskstore_ps(p, mask(n), self.0);
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        F32x8(_mm256_cvtph_ps(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        F32x8(_mm256_add_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        F32x8(_mm256_sub_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        F32x8(_mm256_mul_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        F32x8(_mm256_div_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        F32x8(_mm256_fmadd_ps(self.0, b.0, c.0))
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        F32x8(_mm256_sqrt_ps(self.0))
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        F32x8(_mm256_min_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        F32x8(_mm256_max_ps(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        F32x8(_mm256_andnot_ps(_mm256_set1_ps(SIGN), self.0))
    }
    #[inline(always)]
    unsafe fn copysign(self, s: Self) -> Self {
        F32x8(_mm256_or_ps(self.abs().0, _mm256_and_ps(_mm256_set1_ps(SIGN), s.0)))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0))
    }
    #[inline(always)]
    unsafe fn gt_select(self, o: Self, x: Self, y: Self) -> Self {
        F32x8(_mm256_blendv_ps(y.0, x.0, _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, o.0)))
    }
    #[inline(always)]
    unsafe fn any_gt(self, o: Self) -> bool {
        _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, o.0)) != 0
    }
    #[inline(always)]
    unsafe fn scale2(self, n: Self) -> Self {
        let e = _mm256_cvtps_epi32(n.0);
        let h = _mm256_srai_epi32::<1>(e);
        let l = _mm256_sub_epi32(e, h);
        let bias = _mm256_set1_epi32(127);
        let pow = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(x, bias)));
        F32x8(_mm256_mul_ps(_mm256_mul_ps(self.0, pow(h)), pow(l)))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let q = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
        let d = _mm_add_ps(q, _mm_movehl_ps(q, q));
        _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)))
    }
    #[inline(always)]
    unsafe fn top(self) -> f32 {
        let q = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
        let d = _mm_max_ps(q, _mm_movehl_ps(q, q));
        _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)))
    }
}

impl I32v for I32x8 {
    const N: usize = 8;
    type F = F32x8;
    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        I32x8(_mm256_set1_epi32(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> Self {
        I32x8(_mm256_loadu_si256(p.cast()))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32) {
        _mm256_storeu_si256(p.cast(), self.0);
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut i32, n: usize) {
        _mm256_maskstore_epi32(p, mask(n), self.0);
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        I32x8(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_i8_n(p: *const i8, n: usize) -> Self {
        let mut t = [0i8; 8];
        std::ptr::copy_nonoverlapping(p, t.as_mut_ptr(), n);
        Self::load_i8(t.as_ptr())
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self {
        I32x8(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())))
    }
    #[inline(always)]
    unsafe fn load_u8_n(p: *const u8, n: usize) -> Self {
        let mut t = [0u8; 8];
        std::ptr::copy_nonoverlapping(p, t.as_mut_ptr(), n);
        Self::load_u8(t.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_u8_n(self, p: *mut u8, n: usize) {
        let w = _mm_packs_epi32(_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0));
        let mut t = [0u8; 8];
        _mm_storel_epi64(t.as_mut_ptr().cast(), _mm_packus_epi16(w, w));
        std::ptr::copy_nonoverlapping(t.as_ptr(), p, n);
    }
    #[inline(always)]
    unsafe fn gather(p: *const i32, at: *const i32) -> Self {
        I32x8(_mm256_i32gather_epi32::<4>(p, _mm256_loadu_si256(at.cast())))
    }
    #[inline(always)]
    unsafe fn gather_f32(p: *const f32, at: *const i32) -> F32x8 {
        F32x8(_mm256_i32gather_ps::<4>(p, _mm256_loadu_si256(at.cast())))
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8) {
        let w = _mm_packs_epi32(_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0));
        _mm_storel_epi64(p.cast(), _mm_packs_epi16(w, w));
    }
    #[inline(always)]
    unsafe fn store_i8_n(self, p: *mut i8, n: usize) {
        let mut t = [0i8; 8];
        self.store_i8(t.as_mut_ptr());
        std::ptr::copy_nonoverlapping(t.as_ptr(), p, n);
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        I32x8(_mm256_add_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        I32x8(_mm256_sub_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        I32x8(_mm256_mullo_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn shl(self, s: Self) -> Self {
        I32x8(_mm256_sllv_epi32(self.0, s.0))
    }
    #[inline(always)]
    unsafe fn high_mul(self, m: Self) -> Self {
        let nudge = _mm256_set1_epi64x(1 << 30);
        let even = _mm256_add_epi64(_mm256_mul_epi32(self.0, m.0), nudge);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(self.0), _mm256_srli_epi64::<32>(m.0));
        let odd = _mm256_add_epi64(odd, nudge);
        // Bits 31..=62 of each product: into the low half for even lanes, into the high half for odd ones.
        I32x8(_mm256_blend_epi32::<0xAA>(_mm256_srli_epi64::<31>(even), _mm256_slli_epi64::<1>(odd)))
    }
    #[inline(always)]
    unsafe fn shr_round(self, e: Self) -> Self {
        let mask = _mm256_sub_epi32(_mm256_sllv_epi32(_mm256_set1_epi32(1), e.0), _mm256_set1_epi32(1));
        let threshold = _mm256_add_epi32(_mm256_srli_epi32::<1>(mask), _mm256_srli_epi32::<31>(self.0));
        let up = _mm256_cmpgt_epi32(_mm256_and_si256(self.0, mask), threshold);
        I32x8(_mm256_sub_epi32(_mm256_srav_epi32(self.0, e.0), up))
    }
    #[inline(always)]
    unsafe fn load_i16(p: *const i16, n: usize) -> Self {
        if n == 8 {
            return I32x8(_mm256_cvtepi16_epi32(_mm_loadu_si128(p.cast())));
        }
        let mut t = [0i16; 8];
        std::ptr::copy_nonoverlapping(p, t.as_mut_ptr(), n);
        I32x8(_mm256_cvtepi16_epi32(_mm_loadu_si128(t.as_ptr().cast())))
    }
    #[inline(always)]
    unsafe fn xor(self, o: Self) -> Self {
        I32x8(_mm256_xor_si256(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn load_pairs(a: *const u8, b: *const u8, n: usize, flip: u8) -> Self {
        let load = |p: *const u8| {
            if n == 8 {
                return _mm_loadl_epi64(p.cast());
            }
            let mut bytes = [0u8; 8];
            std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), n);
            _mm_loadl_epi64(bytes.as_ptr().cast())
        };
        let pairs = _mm_xor_si128(_mm_unpacklo_epi8(load(a), load(b)), _mm_set1_epi8(flip as i8));
        I32x8(_mm256_cvtepi8_epi16(pairs))
    }
    #[inline(always)]
    unsafe fn dot2(self, x: Self, w: Self) -> Self {
        I32x8(_mm256_add_epi32(self.0, _mm256_madd_epi16(x.0, w.0)))
    }
    type Requant = Requant;
    #[inline(always)]
    unsafe fn requant_plan(m: Self, shift: Self) -> Self::Requant {
        let e = _mm256_sub_epi32(_mm256_setzero_si256(), shift.0);
        let half = _mm256_srli_epi32::<1>(_mm256_sllv_epi32(_mm256_set1_epi32(1), e));
        let round = _mm256_set1_epi64x(1 << 31);
        Requant {
            m: m.0,
            m_odd: _mm256_srli_epi64::<32>(m.0),
            nudge: _mm256_or_si256(_mm256_slli_epi64::<32>(half), round),
            nudge_odd: _mm256_or_si256(_mm256_blend_epi32::<0xAA>(_mm256_setzero_si256(), half), round),
            // A comparison is -1 where it holds.
            sign: _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_cmpeq_epi32(e, _mm256_setzero_si256())),
            e,
        }
    }
    #[inline(always)]
    unsafe fn requant_small(self, r: Requant) -> Self {
        let twice = _mm256_add_epi32(self.0, self.0);
        let even = _mm256_add_epi64(_mm256_mul_epi32(twice, r.m), r.nudge);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64::<32>(twice), r.m_odd), r.nudge_odd);
        let h = _mm256_blend_epi32::<0xAA>(_mm256_srli_epi64::<32>(even), odd);
        I32x8(_mm256_srav_epi32(_mm256_sub_epi32(h, _mm256_srlv_epi32(self.0, r.sign)), r.e))
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        I32x8(_mm256_min_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        I32x8(_mm256_max_epi32(self.0, o.0))
    }
    #[inline(always)]
    unsafe fn to_f32(self) -> F32x8 {
        F32x8(_mm256_cvtepi32_ps(self.0))
    }
    #[inline(always)]
    unsafe fn nearest(f: F32x8) -> Self {
        I32x8(_mm256_cvtps_epi32(f.0))
    }
    #[inline(always)]
    unsafe fn from_f32(f: F32x8) -> Self {
        I32x8(_mm256_cvttps_epi32(f.0))
    }
}
