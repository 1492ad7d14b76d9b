//! Vectors of one width per instruction set, so that a kernel body is written once.
//!
//! Every method is `unsafe` under one contract: the CPU has the instruction set of the type, and a pointer is good for the
//! lanes that the method names. A body over these traits is `#[inline(always)]` and reached only through the functions that
//! [`isa_table!`] makes, which enable the instruction set and are selected through an [`crate::Isa`].
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

/// Asks for a cache line; any address will do.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch of an address that is not mapped does nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// A vector of `N` f32.
pub(crate) trait F32v: Copy {
    /// Lanes.
    const N: usize;
    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// `N` lanes from `p`.
    unsafe fn load(p: *const f32) -> Self;
    /// The first `n <= N` lanes from `p`, the rest 0.
    unsafe fn load_n(p: *const f32, n: usize) -> Self;
    /// Which lanes are loaded.
    type Mask: Copy;
    /// The first `n <= N` lanes.
    unsafe fn mask(n: usize) -> Self::Mask;
    /// The lanes of `mask` from `p`, the rest 0; an address of which nothing is loaded may be any.
    unsafe fn load_masked(p: *const f32, mask: Self::Mask) -> Self;
    /// `N` lanes to `p`.
    unsafe fn store(self, p: *mut f32);
    /// The first `n <= N` lanes to `p`.
    unsafe fn store_n(self, p: *mut f32, n: usize);
    /// `N` lanes from half-precision numbers.
    unsafe fn load_f16(p: *const u16) -> Self;
    /// self + o
    unsafe fn add(self, o: Self) -> Self;
    /// self - o
    unsafe fn sub(self, o: Self) -> Self;
    /// self · o
    unsafe fn mul(self, o: Self) -> Self;
    /// self / o
    unsafe fn div(self, o: Self) -> Self;
    /// self · b + c, fused where the instruction set has it.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// 1 / self where both are normal, to a unit in the last place.
    #[inline(always)]
    unsafe fn recip(self) -> Self {
        // SAFETY: the contract of this trait.
        unsafe { Self::splat(1.0).div(self) }
    }
    /// The square root.
    unsafe fn sqrt(self) -> Self;
    /// The smaller one; `o` if either is NaN.
    unsafe fn min(self, o: Self) -> Self;
    /// The greater one; `o` if either is NaN.
    unsafe fn max(self, o: Self) -> Self;
    /// The absolute value.
    unsafe fn abs(self) -> Self;
    /// The magnitude of self with the sign of `s`.
    unsafe fn copysign(self, s: Self) -> Self;
    /// The nearest whole number, ties to even.
    unsafe fn round(self) -> Self;
    /// `x` where self > o, else `y` (also where either is NaN).
    unsafe fn gt_select(self, o: Self, x: Self, y: Self) -> Self;
    /// Whether self > o in any lane.
    unsafe fn any_gt(self, o: Self) -> bool;
    /// self · 2^n for a whole `n` in -252..=252; correctly rounded once for normal results.
    unsafe fn scale2(self, n: Self) -> Self;
    /// The sum of the lanes, in a tree.
    unsafe fn sum(self) -> f32;
    /// The greatest lane.
    unsafe fn top(self) -> f32;

    /// min(hi, max(lo, self)); NaN stays NaN.
    #[inline(always)]
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        // SAFETY: the contract of this trait.
        unsafe { hi.min(lo.max(self)) }
    }
}

/// How whole numbers become bytes: a zero point is added, the sum clamped to bounds in the range of i8, and the byte flipped
/// by exclusive or (0x80 makes it unsigned).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    /// The zero point.
    pub(crate) zero: i32,
    /// The lower bound.
    pub(crate) min: i32,
    /// The upper bound.
    pub(crate) max: i32,
    /// What bytes are flipped by.
    pub(crate) flip: u8,
}

/// A vector of `N` i32 beside an [`F32v`] of as many lanes.
pub(crate) trait I32v: Copy {
    /// Lanes.
    const N: usize;
    /// The float vector of as many lanes.
    type F: F32v;
    /// All lanes `x`.
    unsafe fn splat(x: i32) -> Self;
    /// `N` lanes from `p`.
    unsafe fn load(p: *const i32) -> Self;
    /// `N` lanes to `p`.
    unsafe fn store(self, p: *mut i32);
    /// The first `n <= N` lanes to `p`.
    unsafe fn store_n(self, p: *mut i32, n: usize);
    /// `N` lanes from bytes, sign-extended.
    unsafe fn load_i8(p: *const i8) -> Self;
    /// The first `n <= N` lanes from bytes, the rest 0.
    unsafe fn load_i8_n(p: *const i8, n: usize) -> Self;
    /// `N` lanes from bytes.
    unsafe fn load_u8(p: *const u8) -> Self;
    /// The first `n <= N` lanes from bytes, the rest 0.
    unsafe fn load_u8_n(p: *const u8, n: usize) -> Self;
    /// The first `n <= N` lanes, each in the range of u8, to bytes.
    unsafe fn store_u8_n(self, p: *mut u8, n: usize);
    /// Lane i from `p[at[i]]`.
    unsafe fn gather(p: *const i32, at: *const i32) -> Self;
    /// Lane i from `p[at[i]]`.
    unsafe fn gather_f32(p: *const f32, at: *const i32) -> Self::F;
    /// `N` lanes, each in the range of i8, to bytes.
    unsafe fn store_i8(self, p: *mut i8);
    /// The first `n <= N` lanes, each in the range of i8, to bytes.
    unsafe fn store_i8_n(self, p: *mut i8, n: usize);
    /// self + o, wrapping.
    unsafe fn add(self, o: Self) -> Self;
    /// self - o, wrapping.
    unsafe fn sub(self, o: Self) -> Self;
    /// self · o, wrapping.
    unsafe fn mul(self, o: Self) -> Self;
    /// self << s per lane, 0 <= s < 32.
    unsafe fn shl(self, s: Self) -> Self;
    /// (self · m + 2^30) >> 31 in 64 bits, wrapped to 32: the saturating rounding doubling high multiplication but for
    /// `i32::MIN` squared.
    unsafe fn high_mul(self, m: Self) -> Self;
    /// self / 2^e rounded half away from zero, 0 <= e < 32.
    unsafe fn shr_round(self, e: Self) -> Self;
    /// The first `n <= N` lanes from 16 bits, sign-extended; the rest 0.
    unsafe fn load_i16(p: *const i16, n: usize) -> Self;
    /// Bits that differ.
    unsafe fn xor(self, o: Self) -> Self;
    /// The first `n <= N` lanes: the byte of `a` in the lower, of `b` in the upper 16 bits, flipped by `flip`, sign-extended.
    unsafe fn load_pairs(a: *const u8, b: *const u8, n: usize, flip: u8) -> Self;
    /// self + x · w summed over the pairs of 16 bits.
    unsafe fn dot2(self, x: Self, w: Self) -> Self;
    /// Multipliers and shifts as [`I32v::requant_small`] wants them.
    type Requant: Copy;
    /// Multipliers of at least 0, shifts in -31..=0.
    unsafe fn requant_plan(multiplier: Self, shift: Self) -> Self::Requant;
    /// self · multiplier · 2^(shift - 31) with two roundings, for |self| < 2^30.
    unsafe fn requant_small(self, plan: Self::Requant) -> Self;
    /// Vectors as bytes: `n <= N` lanes of the first `count <= 4` vectors, `stride` apart.
    #[inline(always)]
    unsafe fn store_bytes(q: [Self; 4], how: &Bytes, p: *mut u8, stride: usize, count: usize, n: usize) {
        // SAFETY: the contract of this trait.
        unsafe {
            let (zero, min, max) = (Self::splat(how.zero), Self::splat(how.min), Self::splat(how.max));
            let flip = Self::splat(i32::from(how.flip as i8));
            for (i, q) in q.into_iter().enumerate().take(count) {
                let q = q.add(zero).max(min).min(max).xor(flip);
                let to = p.add(i * stride).cast();
                if n == Self::N { q.store_i8(to) } else { q.store_i8_n(to, n) }
            }
        }
    }
    /// The smaller one.
    unsafe fn min(self, o: Self) -> Self;
    /// The greater one.
    unsafe fn max(self, o: Self) -> Self;
    /// As floats, rounded to nearest even.
    unsafe fn to_f32(self) -> Self::F;
    /// From floats, toward zero; every lane must be in the range of i32.
    unsafe fn from_f32(f: Self::F) -> Self;
    /// From floats, to nearest, ties to even; every lane must be in the range of i32.
    unsafe fn nearest(f: Self::F) -> Self;
    /// `N` floats from the bits at `p`.
    #[inline(always)]
    unsafe fn load_f32(p: *const i32) -> Self::F {
        // SAFETY: the contract of this trait; i32 and f32 have one size and alignment, and every bit pattern is a float.
        unsafe { Self::F::load(p.cast()) }
    }
}

/// The table `$table` of a kernel whose body is generic over one vector type: a variant per instruction set, strongest
/// first. `F` means that the body takes an [`F32v`], `I` an [`I32v`].
macro_rules! isa_table {
    ($(#[$doc:meta])* $table:ident = $kind:ident $name:literal $body:ident ($($a:ident : $t:ty),* $(,)?) $(-> $r:ty)?) => {
        $(#[$doc])*
        pub(crate) static $table: &[crate::isa::Variant<unsafe fn($($t),*) $(-> $r)?>] = {
            use crate::isa::{Level, Variant};
            unsafe fn portable($($a: $t),*) $(-> $r)? {
                // SAFETY: the caller's contract is that of the body; portable code runs everywhere.
                unsafe { $body::<crate::simd::isa_type!(portable $kind)>($($a),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($a: $t),*) $(-> $r)? {
                // SAFETY: the caller's contract is that of the body; the table row says which CPU may come here.
                unsafe { $body::<crate::simd::isa_type!(avx2 $kind)>($($a),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
            unsafe fn avx512($($a: $t),*) $(-> $r)? {
                // SAFETY: the caller's contract is that of the body; the table row says which CPU may come here.
                unsafe { $body::<crate::simd::isa_type!(avx512 $kind)>($($a),*) }
            }
            &[
                #[cfg(target_arch = "x86_64")]
                Variant { name: concat!($name, "_avx512"), isa: Level::Avx512, run: avx512 },
                #[cfg(target_arch = "x86_64")]
                Variant { name: concat!($name, "_avx2"), isa: Level::Avx2, run: avx2 },
                Variant { name: concat!($name, "_portable"), isa: Level::Portable, run: portable },
            ]
        };
    };
}

/// The vector type of an instruction set.
macro_rules! isa_type {
    (portable F) => {
        crate::simd::portable::F32x8
    };
    (portable I) => {
        crate::simd::portable::I32x8
    };
    (avx2 F) => {
        crate::simd::avx2::F32x8
    };
    (avx2 I) => {
        crate::simd::avx2::I32x8
    };
    (avx512 F) => {
        crate::simd::avx512::F32x16
    };
    (avx512 I) => {
        crate::simd::avx512::I32x16
    };
}

pub(crate) use {isa_table, isa_type};

#[cfg(test)]
mod tests;
