//! Quantized sums and differences of bytes.

use super::GRAIN;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::I32v;
use std::ops::Range;

/// How two quantized numbers are added: each, less its zero point, is multiplied by 2^20 and its factor; their sum or
/// difference is multiplied by the output's factor. A factor is (multiplier, e): multiplier · 2^(−31 − e), 0 <= e < 32.
#[derive(Clone, Copy, Debug)]
pub struct Add8Bit {
    /// Whether bytes are i8 rather than u8.
    pub signed: bool,
    /// Whether b is taken away.
    pub subtract: bool,
    /// Zero points of a and b.
    pub zeros: [i32; 2],
    /// Factors of a and b.
    pub factors: [(i32, i32); 2],
    /// Factor of the output.
    pub output: (i32, i32),
    /// Zero point of the output.
    pub output_zero: i32,
    /// Bounds of the output, in the range of its type.
    pub range: (i32, i32),
}

/// What a vector is loaded from: a byte per lane, or one for all.
#[inline(always)]
unsafe fn load<V: I32v>(signed: bool, x: *const u8, still: bool, i: usize, n: usize) -> V {
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

#[inline(always)]
unsafe fn add<V: I32v>(p: &Add8Bit, a: (*const u8, bool), b: (*const u8, bool), out: *mut u8, n: usize) {
    // SAFETY: the output is good for `n` bytes, operands as `load` says.
    unsafe {
        let scale = |x: V, (m, e): (i32, i32)| x.high_mul(V::splat(m)).shr_round(V::splat(e));
        let twenty = V::splat(20);
        let (lo, hi) = (V::splat(p.range.0), V::splat(p.range.1));
        let mut i = 0;
        while i < n {
            let left = (n - i).min(V::N);
            let x = load::<V>(p.signed, a.0, a.1, i, left).sub(V::splat(p.zeros[0])).shl(twenty);
            let y = load::<V>(p.signed, b.0, b.1, i, left).sub(V::splat(p.zeros[1])).shl(twenty);
            let (x, y) = (scale(x, p.factors[0]), scale(y, p.factors[1]));
            let sum = if p.subtract { x.sub(y) } else { x.add(y) };
            let r = scale(sum, p.output).add(V::splat(p.output_zero)).max(lo).min(hi);
            match (p.signed, left == V::N) {
                (true, true) => r.store_i8(out.add(i).cast()),
                (true, false) => r.store_i8_n(out.add(i).cast(), left),
                (false, _) => r.store_u8_n(out.add(i), left),
            }
            i += left;
        }
    }
}
crate::simd::isa_table!(
    ADD = I "add_8bit" add(p: &Add8Bit, a: (*const u8, bool), b: (*const u8, bool), out: *mut u8, n: usize)
);

/// Adds bytes as `p` says; an operand that is shorter than the output repeats.
///
/// # Panics
/// If the length of an operand is 0 or does not divide the length of the output (unless that is 0).
pub fn add_8bit(pool: &ThreadPool, isa: Isa, p: &Add8Bit, a: &[u8], b: &[u8], out: &mut [u8]) {
    let n = out.len();
    if n == 0 {
        return;
    }
    let fits = |l: usize| l > 0 && n.is_multiple_of(l);
    assert!(fits(a.len()) && fits(b.len()), "operands of {} and {} for {n} results", a.len(), b.len());
    let run = pick(ADD, isa).run;
    let at = |s: &[u8], i: usize| (s[if s.len() == 1 { 0 } else { i % s.len() }..].as_ptr(), s.len() == 1);
    let period = |s: &[u8], i: usize| if s.len() == 1 { n } else { s.len() - i % s.len() };
    let shared = Shared::new(out);
    pool.run_chunks(n, GRAIN, &|r: Range<usize>| {
        let mut i = r.start;
        while i < r.end {
            let len = period(a, i).min(period(b, i)).min(r.end - i);
            // SAFETY: picked through an `Isa`; `len` bytes are inside both operands and this task's part of the output.
            unsafe { run(p, at(a, i), at(b, i), shared.at(i), len) };
            i += len;
        }
    });
}
