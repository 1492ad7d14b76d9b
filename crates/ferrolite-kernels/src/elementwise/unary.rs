//! Functions of one number.

use super::{GRAIN, math};
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// min(hi, max(lo, x)); NaN stays.
    Clamp(f32, f32),
    /// e^x.
    Exp,
    /// 1 / (1 + e^-x).
    Logistic,
    /// The hyperbolic tangent.
    Tanh,
    /// The square root.
    Sqrt,
    /// 1 / the square root.
    Rsqrt,
    /// The absolute value.
    Abs,
    /// -x.
    Neg,
    /// x².
    Square,
    /// x · min(6, max(0, x + 3)) / 6.
    HardSwish,
    /// x where x > 0, else x · the factor.
    LeakyRelu(f32),
    /// x where x > 0, else e^x - 1.
    Elu,
    /// x / (1 + e^-x), and no more than the greatest number.
    Silu,
    /// x · Φ(x), Φ the distribution function of the normal distribution.
    Gelu,
    /// x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2.
    GeluTanh,
}

trait Map {
    unsafe fn at<V: F32v>(&self, x: V) -> V;
}

macro_rules! map {
    ($name:ident $(($($field:ident),*))?, |$x:ident| $e:expr) => {{
        struct $name $(($(map!(@ $field f32)),*))?;
        impl Map for $name {
            #[inline(always)]
            unsafe fn at<V: F32v>(&self, $x: V) -> V {
                $(let $name($($field),*) = *self;)?
                // SAFETY: the contract of the vector traits.
                unsafe { $e }
            }
        }
        $name $(($($field),*))?
    }};
    (@ $field:ident $t:ty) => { $t };
}

#[inline(always)]
unsafe fn map<V: F32v, M: Map>(f: M, x: *const f32, out: *mut f32, n: usize) {
    // SAFETY: both are good for `n` elements.
    unsafe {
        let mut i = 0;
        while i + 2 * V::N <= n {
            let (a, b) = (V::load(x.add(i)), V::load(x.add(i + V::N)));
            let (a, b) = (f.at(a), f.at(b));
            a.store(out.add(i));
            b.store(out.add(i + V::N));
            i += 2 * V::N;
        }
        while i < n {
            let left = (n - i).min(V::N);
            f.at(V::load_n(x.add(i), left)).store_n(out.add(i), left);
            i += left;
        }
    }
}

#[inline(always)]
unsafe fn unary<V: F32v>(op: Unary, x: *const f32, out: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Unary::Clamp(lo, hi) => {
                map::<V, _>(map!(Clamp(lo, hi), |x| x.clamp(V::splat(lo), V::splat(hi))), x, out, n)
            }
            Unary::Exp => map::<V, _>(map!(Exp, |x| math::exp(x)), x, out, n),
            Unary::Logistic => map::<V, _>(map!(Logistic, |x| math::logistic(x)), x, out, n),
            Unary::Tanh => map::<V, _>(map!(Tanh, |x| math::tanh(x)), x, out, n),
            Unary::Sqrt => map::<V, _>(map!(Sqrt, |x| x.sqrt()), x, out, n),
            Unary::Rsqrt => map::<V, _>(map!(Rsqrt, |x| V::splat(1.0).div(x.sqrt())), x, out, n),
            Unary::Abs => map::<V, _>(map!(Abs, |x| x.abs()), x, out, n),
            Unary::Neg => map::<V, _>(map!(Neg, |x| x.mul(V::splat(-1.0))), x, out, n),
            Unary::Square => map::<V, _>(map!(Square, |x| x.mul(x)), x, out, n),
            Unary::HardSwish => {
                let f = map!(HardSwish, |x| {
                    let y = x.add(V::splat(3.0)).clamp(V::splat(0.0), V::splat(6.0));
                    x.mul(y).mul(V::splat(1.0 / 6.0))
                });
                map::<V, _>(f, x, out, n);
            }
            Unary::LeakyRelu(factor) => {
                let f = map!(Leaky(factor), |x| x.gt_select(V::splat(0.0), x, x.mul(V::splat(factor))));
                map::<V, _>(f, x, out, n);
            }
            Unary::Elu => {
                let f = map!(Elu, |x| x.gt_select(V::splat(0.0), x, math::exp(x).sub(V::splat(1.0))));
                map::<V, _>(f, x, out, n);
            }
            Unary::Gelu => map::<V, _>(map!(Gelu, |x| math::gelu(x)), x, out, n),
            Unary::GeluTanh => map::<V, _>(map!(GeluTanh, |x| math::gelu_tanh(x)), x, out, n),
            Unary::Silu => {
                let f = map!(Silu, |x| x.mul(math::logistic(x)).clamp(V::splat(f32::MIN), V::splat(f32::MAX)));
                map::<V, _>(f, x, out, n);
            }
        }
    }
}
crate::simd::isa_table!(UNARY = F "unary_f32" unary(op: Unary, x: *const f32, out: *mut f32, n: usize));

/// `out[i] = op(x[i])`. Exp, logistic and tanh err by about two units in the last place, or by the least
/// normal number where they are less; `Elu` near 0 by the spacing of numbers near 1, `Gelu` by less than 2e-7 · |x|.
///
/// # Panics
/// If the lengths differ.
pub fn unary_f32(pool: &ThreadPool, isa: Isa, op: Unary, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let run = pick(UNARY, isa).run;
    let shared = Shared::new(out);
    pool.run_chunks(x.len(), GRAIN, &|r: Range<usize>| {
        let x = &x[r.clone()];
        // SAFETY: picked through an `Isa`; ranges are inside both slices and do not overlap.
        unsafe { run(op, x.as_ptr(), shared.at(r.start), x.len()) };
    });
}

/// As [`unary_f32`], in place.
pub fn unary_f32_inplace(pool: &ThreadPool, isa: Isa, op: Unary, x: &mut [f32]) {
    let run = pick(UNARY, isa).run;
    let n = x.len();
    let shared = Shared::new(x);
    pool.run_chunks(n, GRAIN, &|r: Range<usize>| {
        // SAFETY: picked through an `Isa`; ranges are inside the slice and do not overlap, and a vector is read before it is
        // written.
        unsafe { run(op, shared.at(r.start), shared.at(r.start), r.len()) };
    });
}
