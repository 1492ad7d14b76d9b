//! Element by element over f32: unary and binary operations, clamping, softmax.
#![allow(unsafe_code)]

mod bytes;
pub(crate) mod math;
#[cfg(test)]
mod tests;

use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

pub use bytes::{Add8Bit, Mul8Bit, add_8bit, mul_8bit};

/// Elements below which another task is not worth waking a thread.
pub(crate) const GRAIN: usize = 16 << 10;

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
    /// x / (1 + e^-x).
    Silu,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a · b.
    Mul,
    /// a / b.
    Div,
    /// The smaller one; b if either is NaN.
    Min,
    /// The greater one; b if either is NaN.
    Max,
    /// a where a ≥ 0, else a · b.
    Prelu,
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
                    x.mul(y).div(V::splat(6.0))
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
            Unary::Silu => map::<V, _>(map!(Silu, |x| x.mul(math::logistic(x))), x, out, n),
        }
    }
}
crate::simd::isa_table!(UNARY = F "unary_f32" unary(op: Unary, x: *const f32, out: *mut f32, n: usize));

/// `out[i] = op(x[i])`. Exp, logistic and tanh err by about two units in the last place; `Elu` near 0 by the spacing of
/// numbers near 1.
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

/// How an operand goes along with the output.
#[derive(Clone, Copy)]
pub(crate) enum Walk {
    /// Element by element.
    Along(*const f32),
    /// One number for all.
    Still(f32),
}

trait Zip {
    unsafe fn at<V: F32v>(x: V, y: V) -> V;
}

macro_rules! zip {
    ($($name:ident => |$x:ident, $y:ident| $e:expr;)*) => {
        $(struct $name;
        impl Zip for $name {
            #[inline(always)]
            unsafe fn at<V: F32v>($x: V, $y: V) -> V {
                // SAFETY: the contract of the vector traits.
                unsafe { $e }
            }
        })*
    };
}
zip! {
    Add => |x, y| x.add(y);
    Sub => |x, y| x.sub(y);
    Mul => |x, y| x.mul(y);
    Div => |x, y| x.div(y);
    Min => |x, y| x.min(y);
    Max => |x, y| x.max(y);
    Prelu => |x, y| V::splat(0.0).gt_select(x, x.mul(y), x);
}

/// `A`, `B`: whether the operand is one number for all.
#[inline(always)]
unsafe fn zip<V: F32v, Z: Zip, const A: bool, const B: bool>(
    a: (*const f32, f32),
    b: (*const f32, f32),
    out: *mut f32,
    n: usize,
    range: (f32, f32),
) {
    // SAFETY: operands that go along, and the output, are good for `n` elements.
    unsafe {
        let (lo, hi) = (V::splat(range.0), V::splat(range.1));
        let (a1, b1) = (V::splat(a.1), V::splat(b.1));
        let whole = n / V::N * V::N;
        let mut i = 0;
        while i < whole {
            let x = if A { a1 } else { V::load(a.0.add(i)) };
            let y = if B { b1 } else { V::load(b.0.add(i)) };
            Z::at(x, y).clamp(lo, hi).store(out.add(i));
            i += V::N;
        }
        if i < n {
            let left = n - i;
            let x = if A { a1 } else { V::load_n(a.0.add(i), left) };
            let y = if B { b1 } else { V::load_n(b.0.add(i), left) };
            Z::at(x, y).clamp(lo, hi).store_n(out.add(i), left);
        }
    }
}

#[inline(always)]
unsafe fn binary<V: F32v>(op: Binary, a: Walk, b: Walk, out: *mut f32, n: usize, range: (f32, f32)) {
    macro_rules! by_walk {
        ($z:ident) => {
            match (a, b) {
                (Walk::Along(a), Walk::Along(b)) => zip::<V, $z, false, false>((a, 0.0), (b, 0.0), out, n, range),
                (Walk::Along(a), Walk::Still(b)) => zip::<V, $z, false, true>((a, 0.0), (a, b), out, n, range),
                (Walk::Still(a), Walk::Along(b)) => zip::<V, $z, true, false>((b, a), (b, 0.0), out, n, range),
                (Walk::Still(a), Walk::Still(b)) => zip::<V, $z, true, true>((out, a), (out, b), out, n, range),
            }
        };
    }
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Binary::Add => by_walk!(Add),
            Binary::Sub => by_walk!(Sub),
            Binary::Mul => by_walk!(Mul),
            Binary::Div => by_walk!(Div),
            Binary::Min => by_walk!(Min),
            Binary::Max => by_walk!(Max),
            Binary::Prelu => by_walk!(Prelu),
        }
    }
}
crate::simd::isa_table!(
    BINARY = F "binary_f32" binary(op: Binary, a: Walk, b: Walk, out: *mut f32, n: usize, range: (f32, f32))
);

// SAFETY: a `Walk` borrows a slice of plain numbers that outlives the job.
unsafe impl Sync for Walk {}
// SAFETY: as above.
unsafe impl Send for Walk {}

/// Elements that short operands are repeated to.
const LONGER: usize = 512;

/// An operand that repeats often, repeated in `buffer`, so that it is walked in long pieces.
fn lengthen<'a>(s: &'a [f32], n: usize, buffer: &'a mut [f32; LONGER]) -> &'a [f32] {
    if s.len() < 2 || s.len() > LONGER / 4 || n < 4 * LONGER {
        return s;
    }
    let whole = LONGER / s.len() * s.len();
    buffer[..whole].chunks_exact_mut(s.len()).for_each(|part| part.copy_from_slice(s));
    &buffer[..whole]
}

/// `out[i] = clamp(op(a[i mod a.len()], b[i mod b.len()]), min, max)`: an operand that is shorter than the output repeats, which
/// covers a scalar and a row (a bias over the last dimensions).
///
/// # Panics
/// If the length of an operand is 0 or does not divide the length of the output (unless that is 0).
pub fn binary_f32(
    pool: &ThreadPool,
    isa: Isa,
    op: Binary,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    (min, max): (f32, f32),
) {
    let n = out.len();
    if n == 0 {
        return;
    }
    let fits = |l: usize| l > 0 && n.is_multiple_of(l);
    assert!(fits(a.len()) && fits(b.len()), "operands of {} and {} for {n} results", a.len(), b.len());
    let run = pick(BINARY, isa).run;
    let (mut longer_a, mut longer_b) = ([0.0; LONGER], [0.0; LONGER]);
    let (a, b) = (lengthen(a, n, &mut longer_a), lengthen(b, n, &mut longer_b));
    let walk = |s: &[f32], at: usize| match s.len() {
        1 => Walk::Still(s[0]),
        l => Walk::Along(s[at % l..].as_ptr()),
    };
    // How far an operand goes before it repeats.
    let period = |s: &[f32], at: usize| if s.len() == 1 { n } else { s.len() - at % s.len() };
    let shared = Shared::new(out);
    pool.run_chunks(n, GRAIN, &|r: Range<usize>| {
        let mut at = r.start;
        while at < r.end {
            let len = period(a, at).min(period(b, at)).min(r.end - at);
            // SAFETY: picked through an `Isa`; `len` elements are inside both operands and this task's part of the output.
            unsafe { run(op, walk(a, at), walk(b, at), shared.at(at), len, (min, max)) };
            at += len;
        }
    });
}

#[inline(always)]
unsafe fn softmax<V: F32v>(x: *const f32, out: *mut f32, n: usize, beta: f32) {
    // SAFETY: both are good for `n >= 1` elements.
    unsafe {
        let whole = n / V::N * V::N;
        let mut top = V::splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(V::N) {
            top = V::load(x.add(i)).max(top);
        }
        let mut max = top.top();
        for i in whole..n {
            max = if *x.add(i) > max { *x.add(i) } else { max };
        }
        let (max, scale) = (V::splat(max), V::splat(beta));
        let mut sum = V::splat(0.0);
        for i in (0..whole).step_by(V::N) {
            let e = math::exp(V::load(x.add(i)).sub(max).mul(scale));
            e.store(out.add(i));
            sum = sum.add(e);
        }
        if whole < n {
            let e = math::exp(V::load_n(x.add(whole), n - whole).sub(max).mul(scale));
            e.store_n(out.add(whole), n - whole);
            // Only the lanes that exist count.
            sum = sum.add(V::load_n(out.add(whole), n - whole));
        }
        let total = V::splat(sum.sum());
        for i in (0..n).step_by(V::N) {
            let left = (n - i).min(V::N);
            V::load_n(out.add(i), left).div(total).store_n(out.add(i), left);
        }
    }
}
crate::simd::isa_table!(SOFTMAX = F "softmax_f32" softmax(x: *const f32, out: *mut f32, n: usize, beta: f32));

/// Softmax of every row of `cols`: `e^(beta · (x - max)) / Σ`.
///
/// # Panics
/// If the lengths differ or are no multiple of `cols`.
pub fn softmax_rows(pool: &ThreadPool, isa: Isa, x: &[f32], cols: usize, beta: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    if x.is_empty() {
        return;
    }
    assert!(cols > 0 && x.len().is_multiple_of(cols), "rows of {cols} in {}", x.len());
    let run = pick(SOFTMAX, isa).run;
    let shared = Shared::new(out);
    pool.run_chunks(x.len() / cols, 4096 / cols + 1, &|r: Range<usize>| {
        for row in r {
            // SAFETY: picked through an `Isa`; the row is inside both slices, and no other task writes it.
            unsafe { run(x[row * cols..].as_ptr(), shared.at(row * cols), cols, beta) };
        }
    });
}
