//! Vectors in plain Rust: arrays that the compiler may vectorise with whatever the target has.
#![allow(unsafe_code)]
// Every function is unsafe under the one contract of the module above; a block per line would say nothing more.
#![allow(unsafe_op_in_unsafe_fn)]

use super::{F32v, I32v};
use crate::requant;

const N: usize = 8;

/// Eight f32.
#[derive(Clone, Copy)]
pub(crate) struct F32x8([f32; N]);

/// Eight i32.
#[derive(Clone, Copy)]
pub(crate) struct I32x8([i32; N]);

macro_rules! lanes {
    ($ty:ident, |$i:ident| $e:expr) => {{
        let mut r = [Default::default(); N];
        let mut $i = 0;
        while $i < N {
            r[$i] = $e;
            $i += 1;
        }
        $ty(r)
    }};
}

impl F32v for F32x8 {
    const N: usize = N;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        F32x8([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        F32x8(p.cast::<[f32; N]>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Self {
        lanes!(F32x8, |i| if i < n { *p.add(i) } else { 0.0 })
    }
    type Mask = usize;
    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }
    #[inline(always)]
    unsafe fn load_masked(p: *const f32, mask: usize) -> Self {
        Self::load_n(p, mask)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        p.cast::<[f32; N]>().write_unaligned(self.0);
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize) {
        for i in 0..n {
            *p.add(i) = self.0[i];
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        lanes!(F32x8, |i| crate::quantize::f16_to_f32_scalar(*p.add(i)))
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        lanes!(F32x8, |i| self.0[i] + o.0[i])
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        lanes!(F32x8, |i| self.0[i] - o.0[i])
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        lanes!(F32x8, |i| self.0[i] * o.0[i])
    }
    #[inline(always)]
    unsafe fn div(self, o: Self) -> Self {
        lanes!(F32x8, |i| self.0[i] / o.0[i])
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // Without the instruction, `mul_add` would be a library call.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            lanes!(F32x8, |i| self.0[i].mul_add(b.0[i], c.0[i]))
        } else {
            lanes!(F32x8, |i| self.0[i] * b.0[i] + c.0[i])
        }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        lanes!(F32x8, |i| self.0[i].sqrt())
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        lanes!(F32x8, |i| if self.0[i] < o.0[i] { self.0[i] } else { o.0[i] })
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        lanes!(F32x8, |i| if self.0[i] > o.0[i] { self.0[i] } else { o.0[i] })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        lanes!(F32x8, |i| self.0[i].abs())
    }
    #[inline(always)]
    unsafe fn copysign(self, s: Self) -> Self {
        lanes!(F32x8, |i| self.0[i].copysign(s.0[i]))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding and taking away 2^23 rounds to even in the default mode; greater magnitudes are whole already.
        lanes!(F32x8, |i| {
            let (x, big) = (self.0[i], 8_388_608.0f32.copysign(self.0[i]));
            if x.abs() < 8_388_608.0 { (x + big) - big } else { x }
        })
    }
    #[inline(always)]
    unsafe fn gt_select(self, o: Self, x: Self, y: Self) -> Self {
        lanes!(F32x8, |i| if self.0[i] > o.0[i] { x.0[i] } else { y.0[i] })
    }
    #[inline(always)]
    unsafe fn any_gt(self, o: Self) -> bool {
        self.0.iter().zip(&o.0).any(|(x, y)| x > y)
    }
    #[inline(always)]
    unsafe fn scale2(self, n: Self) -> Self {
        lanes!(F32x8, |i| {
            let e = n.0[i] as i32;
            let (h, l) = (e >> 1, e - (e >> 1));
            self.0[i] * f32::from_bits(((h + 127) as u32) << 23) * f32::from_bits(((l + 127) as u32) << 23)
        })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let a = self.0;
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn top(self) -> f32 {
        self.0.iter().fold(f32::NEG_INFINITY, |m, &x| if m > x { m } else { x })
    }
}

impl I32v for I32x8 {
    const N: usize = N;
    type F = F32x8;
    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        I32x8([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> Self {
        I32x8(p.cast::<[i32; N]>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32) {
        p.cast::<[i32; N]>().write_unaligned(self.0);
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut i32, n: usize) {
        for i in 0..n {
            *p.add(i) = self.0[i];
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        let a = p.cast::<[i8; N]>().read_unaligned();
        lanes!(I32x8, |i| i32::from(a[i]))
    }
    #[inline(always)]
    unsafe fn load_i8_n(p: *const i8, n: usize) -> Self {
        lanes!(I32x8, |i| if i < n { i32::from(*p.add(i)) } else { 0 })
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self {
        let a = p.cast::<[u8; N]>().read_unaligned();
        lanes!(I32x8, |i| i32::from(a[i]))
    }
    #[inline(always)]
    unsafe fn load_u8_n(p: *const u8, n: usize) -> Self {
        lanes!(I32x8, |i| if i < n { i32::from(*p.add(i)) } else { 0 })
    }
    #[inline(always)]
    unsafe fn store_u8_n(self, p: *mut u8, n: usize) {
        for i in 0..n {
            *p.add(i) = self.0[i] as u8;
        }
    }
    #[inline(always)]
    unsafe fn gather(p: *const i32, at: *const i32) -> Self {
        lanes!(I32x8, |i| *p.add(*at.add(i) as usize))
    }
    #[inline(always)]
    unsafe fn gather_f32(p: *const f32, at: *const i32) -> F32x8 {
        lanes!(F32x8, |i| *p.add(*at.add(i) as usize))
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8) {
        self.store_i8_n(p, N);
    }
    #[inline(always)]
    unsafe fn store_i8_n(self, p: *mut i8, n: usize) {
        for i in 0..n {
            *p.add(i) = self.0[i] as i8;
        }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        lanes!(I32x8, |i| self.0[i].wrapping_add(o.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        lanes!(I32x8, |i| self.0[i].wrapping_sub(o.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        lanes!(I32x8, |i| self.0[i].wrapping_mul(o.0[i]))
    }
    #[inline(always)]
    unsafe fn shl(self, s: Self) -> Self {
        lanes!(I32x8, |i| self.0[i].wrapping_shl(s.0[i] as u32))
    }
    #[inline(always)]
    unsafe fn high_mul(self, m: Self) -> Self {
        lanes!(I32x8, |i| ((i64::from(self.0[i]) * i64::from(m.0[i]) + (1 << 30)) >> 31) as i32)
    }
    #[inline(always)]
    unsafe fn shr_round(self, e: Self) -> Self {
        lanes!(I32x8, |i| requant::rounding_divide_by_pot(self.0[i], e.0[i]))
    }
    #[inline(always)]
    unsafe fn load_i16(p: *const i16, n: usize) -> Self {
        lanes!(I32x8, |i| if i < n { i32::from(p.add(i).read_unaligned()) } else { 0 })
    }
    #[inline(always)]
    unsafe fn xor(self, o: Self) -> Self {
        lanes!(I32x8, |i| self.0[i] ^ o.0[i])
    }
    #[inline(always)]
    unsafe fn load_pairs(a: *const u8, b: *const u8, n: usize, flip: u8) -> Self {
        let byte = |p: *const u8| i32::from((*p ^ flip) as i8);
        lanes!(I32x8, |i| if i < n { byte(a.add(i)) & 0xFFFF | byte(b.add(i)) << 16 } else { 0 })
    }
    #[inline(always)]
    unsafe fn dot2(self, x: Self, w: Self) -> Self {
        let low = |v: i32| i32::from(v as i16);
        lanes!(I32x8, |i| {
            let (x, w) = (x.0[i], w.0[i]);
            self.0[i].wrapping_add(low(x) * low(w)).wrapping_add((x >> 16) * (w >> 16))
        })
    }
    type Requant = (I32x8, I32x8);
    #[inline(always)]
    unsafe fn requant_plan(multiplier: Self, shift: Self) -> Self::Requant {
        (multiplier, I32x8::splat(0).sub(shift))
    }
    #[inline(always)]
    unsafe fn requant_small(self, plan: Self::Requant) -> Self {
        self.high_mul(plan.0).shr_round(plan.1)
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        lanes!(I32x8, |i| self.0[i].min(o.0[i]))
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        lanes!(I32x8, |i| self.0[i].max(o.0[i]))
    }
    #[inline(always)]
    unsafe fn to_f32(self) -> F32x8 {
        lanes!(F32x8, |i| self.0[i] as f32)
    }
    #[inline(always)]
    unsafe fn nearest(f: F32x8) -> Self {
        Self::from_f32(f.round())
    }
    #[inline(always)]
    unsafe fn from_f32(f: F32x8) -> Self {
        lanes!(I32x8, |i| f.0[i] as i32)
    }
}
