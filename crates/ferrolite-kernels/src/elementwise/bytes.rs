//! Quantized sums, differences and products of bytes.

use super::GRAIN;
use crate::isa::{Isa, Variant, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::{Bytes, F32v, I32v};
use std::ops::Range;

/// How two quantized numbers are added: each, less its zero point, is multiplied by 2^20 and its factor; their sum or
/// difference is multiplied by the output's factor. A factor is (multiplier, e): multiplier · 2^(−31 − e), 0 <= e < 32.
#[derive(Clone, Copy, Debug)]
pub struct Add8Bit {
    /// Whether bytes are i8 rather than u8.
    pub signed: bool,
    /// Whether b is taken away.
    pub subtract: bool,
    /// Zero points of a and b, in the range of their type.
    pub zeros: [i32; 2],
    /// Factors of a and b.
    pub factors: [(i32, i32); 2],
    /// Factor of the output.
    pub output: (i32, i32),
    /// Zero point of the output, in the range of its type.
    pub output_zero: i32,
    /// Bounds of the output, in the range of its type.
    pub range: (i32, i32),
}

/// How two quantized numbers are multiplied: the product of what they are more than their zero points is multiplied by
/// multiplier · 2^(−31 − e), with 0 <= multiplier and 0 <= e < 32.
#[derive(Clone, Copy, Debug)]
pub struct Mul8Bit {
    /// Whether bytes are i8 rather than u8.
    pub signed: bool,
    /// Zero points of a and b, in the range of their type.
    pub zeros: [i32; 2],
    /// Factor of the output.
    pub factor: (i32, i32),
    /// Zero point of the output, in the range of its type.
    pub output_zero: i32,
    /// Bounds of the output, in the range of its type.
    pub range: (i32, i32),
}

/// How results are stored: as signed bytes, flipped if they are not.
fn stored(signed: bool, zero: i32, range: (i32, i32)) -> Bytes {
    let offset = if signed { 0 } else { 128 };
    let flip = if signed { 0 } else { 0x80 };
    Bytes { zero: zero - offset, min: range.0 - offset, max: range.1 - offset, flip }
}

/// An operand: a byte per output, or one for all.
type Operand = (*const u8, bool);

/// `n <= N` bytes from element `i`.
#[inline(always)]
unsafe fn load<V: I32v>(signed: bool, x: Operand, i: usize, n: usize) -> V {
    let (x, still) = x;
    // SAFETY: `x` is good for `i + n` bytes, or for one if it stands still.
    unsafe {
        match (still, signed) {
            (true, true) => V::splat(i32::from(*x as i8)),
            (true, false) => V::splat(i32::from(*x)),
            (false, true) if n == V::N => V::load_i8(x.add(i).cast()),
            (false, true) => V::load_i8_n(x.add(i).cast(), n),
            (false, false) if n == V::N => V::load_u8(x.add(i)),
            (false, false) => V::load_u8_n(x.add(i), n),
        }
    }
}

/// Runs `$four` for the start of every four whole vectors, then `$one` for start and lanes of the others.
macro_rules! in_fours {
    ($n:ident, $lanes:expr, |$i:ident| $four:expr, |$j:ident, $left:ident| $one:expr) => {
        let mut $i = 0;
        while $i + 4 * $lanes <= $n {
            $four;
            $i += 4 * $lanes;
        }
        let mut $j = $i;
        while $j < $n {
            let $left = ($n - $j).min($lanes);
            $one;
            $j += $left;
        }
    };
}

/// x times a factor.
#[inline(always)]
unsafe fn scale<V: I32v>(x: V, (multiplier, e): (i32, i32)) -> V {
    // SAFETY: the contract of the vector traits.
    unsafe { x.high_mul(V::splat(multiplier)).shr_round(V::splat(e)) }
}

/// Sums, before the output's zero point.
#[inline(always)]
unsafe fn exact<V: I32v>(p: &Add8Bit, a: Operand, b: Operand, i: usize, n: usize) -> V {
    // SAFETY: operands as `load` says.
    unsafe {
        let twenty = V::splat(20);
        let x = scale(load::<V>(p.signed, a, i, n).sub(V::splat(p.zeros[0])).shl(twenty), p.factors[0]);
        let y = scale(load::<V>(p.signed, b, i, n).sub(V::splat(p.zeros[1])).shl(twenty), p.factors[1]);
        scale(if p.subtract { x.sub(y) } else { x.add(y) }, p.output)
    }
}

/// A sum in float: a · factors.0 + b · factors.1 + term is nearer than `error` to what the fixed-point form rounds at last.
/// Where that is not within `error` of the middle of two bytes, both round to the same.
#[derive(Clone, Copy)]
pub(crate) struct Float {
    factors: [f32; 2],
    term: f32,
    error: f32,
}

impl Float {
    /// `None` where errors are too large to be of use.
    fn new(p: &Add8Bit) -> Option<Float> {
        let real = |(multiplier, e): (i32, i32)| f64::from(multiplier) * f64::from(-31 - e).exp2();
        let output = real(p.output);
        let [a, b] = p.factors.map(|f| real(f) * f64::from(1 << 20) * output);
        let b = if p.subtract { -b } else { b };
        let term = f64::from(-p.zeros[0]) * a - f64::from(p.zeros[1]) * b;
        // Each operand is rounded twice and their sum once before the last rounding; floats lose four times 2^-24 of the
        // largest magnitudes.
        let fixed = 2.5 * output + f64::from(-p.output.1).exp2();
        let largest = 255.0 * (a.abs() + b.abs()) + term.abs() + 256.0;
        let error = fixed + 4.0 * largest * f64::from(-24).exp2();
        let ok = error < 1.0 / 512.0 && largest < 1e6;
        ok.then_some(Float { factors: [a as f32, b as f32], term: term as f32, error: error as f32 })
    }
}

#[inline(always)]
unsafe fn add<V: I32v>(p: &Add8Bit, float: Option<Float>, a: Operand, b: Operand, out: *mut u8, n: usize) {
    let how = stored(p.signed, p.output_zero, p.range);
    // SAFETY: the output is good for `n` bytes, operands as `load` says.
    unsafe {
        in_fours!(
            n,
            V::N,
            |i| {
                let mut q = [V::splat(0); 4];
                let mut sure = false;
                if let Some(f) = float {
                    let (fa, fb, term) = (V::F::splat(f.factors[0]), V::F::splat(f.factors[1]), V::F::splat(f.term));
                    let mut worst = V::F::splat(0.0);
                    for (k, q) in q.iter_mut().enumerate() {
                        let x = load::<V>(p.signed, a, i + k * V::N, V::N).to_f32();
                        let y = load::<V>(p.signed, b, i + k * V::N, V::N).to_f32();
                        let t = x.fma(fa, y.fma(fb, term));
                        *q = V::nearest(t);
                        worst = t.sub(q.to_f32()).abs().max(worst);
                    }
                    sure = !worst.any_gt(V::F::splat(0.5 - f.error));
                }
                if !sure {
                    for (k, q) in q.iter_mut().enumerate() {
                        *q = exact(p, a, b, i + k * V::N, V::N);
                    }
                }
                V::store_bytes(q, &how, out.add(i), V::N, 4, V::N);
            },
            |j, left| {
                let q = exact::<V>(p, a, b, j, left);
                V::store_bytes([q; 4], &how, out.add(j), 0, 1, left);
            }
        );
    }
}
crate::simd::isa_table!(
    ADD = I "add_8bit" add(p: &Add8Bit, float: Option<Float>, a: Operand, b: Operand, out: *mut u8, n: usize)
);

#[inline(always)]
unsafe fn mul<V: I32v>(p: &Mul8Bit, a: Operand, b: Operand, out: *mut u8, n: usize) {
    let how = stored(p.signed, p.output_zero, p.range);
    // SAFETY: the output is good for `n` bytes, operands as `load` says.
    unsafe {
        let plan = V::requant_plan(V::splat(p.factor.0), V::splat(-p.factor.1));
        let (za, zb) = (V::splat(p.zeros[0]), V::splat(p.zeros[1]));
        in_fours!(
            n,
            V::N,
            |i| {
                let mut q = [V::splat(0); 4];
                for (k, q) in q.iter_mut().enumerate() {
                    let x = load::<V>(p.signed, a, i + k * V::N, V::N).sub(za);
                    let y = load::<V>(p.signed, b, i + k * V::N, V::N).sub(zb);
                    *q = x.mul(y).requant_small(plan);
                }
                V::store_bytes(q, &how, out.add(i), V::N, 4, V::N);
            },
            |j, left| {
                let (x, y) = (load::<V>(p.signed, a, j, left).sub(za), load::<V>(p.signed, b, j, left).sub(zb));
                V::store_bytes([x.mul(y).requant_small(plan); 4], &how, out.add(j), 0, 1, left);
            }
        );
    }
}
crate::simd::isa_table!(MUL = I "mul_8bit" mul(p: &Mul8Bit, a: Operand, b: Operand, out: *mut u8, n: usize));

/// Bytes of a short operand that repeats, written out.
const ROOM: usize = 1 << 10;

/// An operand that repeats after few bytes, written several times in a row, so that pieces are long.
fn repeated<'a>(operand: &'a [u8], n: usize, room: &'a mut [u8; ROOM]) -> &'a [u8] {
    let len = operand.len();
    if len == 1 || len > ROOM / 4 || n < 4 * len {
        return operand;
    }
    let room = &mut room[..ROOM / len * len];
    room.chunks_exact_mut(len).for_each(|to| to.copy_from_slice(operand));
    room
}

/// Calls `run` for pieces over which operands that are shorter than the output do not repeat.
///
/// # Panics
/// If the length of an operand is 0 or does not divide the length of the output (unless that is 0).
fn pieces(
    pool: &ThreadPool,
    a: &[u8],
    b: &[u8],
    out: &mut [u8],
    run: &(dyn Fn(Operand, Operand, *mut u8, usize) + Sync),
) {
    let n = out.len();
    if n == 0 {
        return;
    }
    let fits = |l: usize| l > 0 && n.is_multiple_of(l);
    assert!(fits(a.len()) && fits(b.len()), "operands of {} and {} for {n} results", a.len(), b.len());
    let mut room = [[0; ROOM]; 2];
    let [room_a, room_b] = &mut room;
    let (a, b) = (repeated(a, n, room_a), repeated(b, n, room_b));
    let at = |s: &[u8], i: usize| (s[if s.len() == 1 { 0 } else { i % s.len() }..].as_ptr(), s.len() == 1);
    let period = |s: &[u8], i: usize| if s.len() == 1 { n } else { s.len() - i % s.len() };
    let shared = Shared::new(out);
    pool.run_chunks(n, GRAIN, &|r: Range<usize>| {
        let mut i = r.start;
        while i < r.end {
            let len = period(a, i).min(period(b, i)).min(r.end - i);
            run(at(a, i), at(b, i), shared.at(i), len);
            i += len;
        }
    });
}

/// # Panics
/// If a zero point is none of the type.
fn check_zeros(signed: bool, zeros: [i32; 2], output_zero: i32) {
    let byte = if signed { -128..=127 } else { 0..=255 };
    assert!(zeros.iter().chain([&output_zero]).all(|z| byte.contains(z)), "zero points");
}

/// Adds bytes as `p` says; an operand that is shorter than the output repeats.
///
/// # Panics
/// If a zero point is none of the type, or the length of an operand is 0 or does not divide the length of the output (unless that is 0).
pub fn add_8bit(pool: &ThreadPool, isa: Isa, p: &Add8Bit, a: &[u8], b: &[u8], out: &mut [u8]) {
    check_zeros(p.signed, p.zeros, p.output_zero);
    let Variant { run, .. } = *pick(ADD, isa);
    let float = Float::new(p);
    // SAFETY: picked through an `Isa`; pieces are inside both operands and a task's own part of the output.
    pieces(pool, a, b, out, &|a, b, out, n| unsafe { run(p, float, a, b, out, n) });
}

/// Multiplies bytes as `p` says; an operand that is shorter than the output repeats.
///
/// # Panics
/// If a parameter is outside of its bounds, or the length of an operand is 0 or does not divide the length of the output
/// (unless that is 0).
pub fn mul_8bit(pool: &ThreadPool, isa: Isa, p: &Mul8Bit, a: &[u8], b: &[u8], out: &mut [u8]) {
    assert!(p.factor.0 >= 0 && (0..32).contains(&p.factor.1), "factor");
    check_zeros(p.signed, p.zeros, p.output_zero);
    let Variant { run, .. } = *pick(MUL, isa);
    // SAFETY: picked through an `Isa`; pieces are inside both operands and a task's own part of the output.
    pieces(pool, a, b, out, &|a, b, out, n| unsafe { run(p, a, b, out, n) });
}
