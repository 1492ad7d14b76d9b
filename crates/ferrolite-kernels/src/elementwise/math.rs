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

/// e^x: x = n · ln 2 + r with |r| <= ln 2 / 2, a Taylor polynomial of degree 7 in r (remainder below 6e-9), times 2^n.
#[inline(always)]
pub(crate) unsafe fn exp<V: F32v>(x: V) -> V {
    let x = x.clamp(V::splat(-104.0), V::splat(89.0));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.fma(V::splat(-LN2_HI), x);
    let r = n.fma(V::splat(-LN2_LO), r);
    let mut p = V::splat(EXP[0]);
    for c in &EXP[1..] {
        p = p.fma(r, V::splat(*c));
    }
    // 1 + (r + r² · p): the small terms first.
    let p = p.mul(r).fma(r, r).add(V::splat(1.0));
    p.scale2(n)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) unsafe fn logistic<V: F32v>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
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
    let e = exp(a.add(a));
    let far = V::splat(1.0).sub(V::splat(2.0).div(e.add(V::splat(1.0)))).copysign(x);
    a.gt_select(V::splat(0.625), far, near)
}
