//! Transcendental functions on vectors.
#![allow(unsafe_code)]
// Every function is unsafe under the contract of the vector traits; a block per line would say nothing more.
#![allow(unsafe_op_in_unsafe_fn)]

use crate::simd::F32v;

/// 1/k! for k = 2..=7, highest first.
const EXP: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
/// ln 2 in two parts; the first has few bits, so that its product with a small whole number is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// Where e^x is about to be denormal.
const LEAST: f32 = -87.33;
/// Where e^x is far from the greatest number, and 1 / (1 + e^x) from being denormal.
const MOST: f32 = 87.0;

/// e^x: x = n · ln 2 + r with |r| <= ln 2 / 2, a Taylor polynomial of degree 7 in r (remainder below 6e-9), times 2^n.
/// 0 where the result would be denormal, which processors are slow at.
#[inline(always)]
pub(crate) unsafe fn exp<V: F32v>(x: V) -> V {
    let (all, least) = (x, V::splat(LEAST));
    let x = x.clamp(least, V::splat(89.0));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.fma(V::splat(-LN2_HI), x);
    let r = n.fma(V::splat(-LN2_LO), r);
    let mut p = V::splat(EXP[0]);
    for c in &EXP[1..] {
        p = p.fma(r, V::splat(*c));
    }
    // 1 + (r + r² · p): the small terms first.
    let p = p.mul(r).fma(r, r).add(V::splat(1.0));
    least.gt_select(all, V::splat(0.0), p.scale2(n))
}

/// 1 / (1 + e^-x); 0 where it would be denormal.
#[inline(always)]
pub(crate) unsafe fn logistic<V: F32v>(x: V) -> V {
    let p = exp(V::splat(MOST).min(V::splat(0.0).sub(x))).add(V::splat(1.0)).recip();
    V::splat(-MOST).gt_select(x, V::splat(0.0), p)
}

/// Interpolation of (tanh(x) / x - 1) / x² in x² on |x| <= 0.625 at the Chebyshev nodes (error 6e-10), highest power first.
const TANH: [f32; 6] = [0.002_292_744_7, -0.008_343_945, 0.021_768_918, -0.053_959_26, 0.133_333_04, -0.333_333_34];

/// tanh(x): an odd polynomial near 0, else 1 - 2 / (e^2|x| + 1) with the sign of x.
#[inline(always)]
pub(crate) unsafe fn tanh<V: F32v>(x: V) -> V {
    let a = x.abs();
    let u = x.mul(x);
    let mut p = V::splat(TANH[0]);
    for c in &TANH[1..] {
        p = p.fma(u, V::splat(*c));
    }
    let near = p.mul(u).fma(x, x);
    let e = exp(V::splat(MOST).min(a.add(a)));
    let far = e.add(V::splat(1.0)).recip().fma(V::splat(-2.0), V::splat(1.0)).copysign(x);
    a.gt_select(V::splat(0.625), far, near)
}

/// erf(z) = 1 - (a₁ t + … + a₅ t⁵) · e^(-z²) with t = 1 / (1 + p z) for z >= 0 is right to 1.5e-7 (Abramowitz & Stegun,
/// 7.1.26); the aᵢ, last one first.
const ERF: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
const ERF_P: f32 = 0.327_591_1;

/// x · Φ(x) = x · (1 + erf(x / √2)) / 2.
#[inline(always)]
pub(crate) unsafe fn gelu<V: F32v>(x: V) -> V {
    let a = V::splat(16.0).min(x.abs());
    let t = a.fma(V::splat(ERF_P * std::f32::consts::FRAC_1_SQRT_2), V::splat(1.0)).recip();
    let mut p = V::splat(ERF[0]);
    for c in &ERF[1..] {
        p = p.fma(t, V::splat(*c));
    }
    let tail = p.mul(t).mul(exp(a.mul(a).mul(V::splat(-0.5)))).mul(V::splat(0.5));
    // Φ is 1 - tail above 0, the tail below.
    x.mul(x.gt_select(V::splat(0.0), V::splat(1.0).sub(tail), tail))
}

/// x · logistic(2 √(2/π) · (x + 0.044715 x³)), which is x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2.
#[inline(always)]
pub(crate) unsafe fn gelu_tanh<V: F32v>(x: V) -> V {
    const TWICE: f32 = 2.0 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
    let slope = x.mul(x).fma(V::splat(0.044_715 * TWICE), V::splat(TWICE));
    x.mul(logistic(x.mul(slope)))
}
