//! Functions of two numbers, with operands that repeat.

use super::GRAIN;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::mem::MaybeUninit;
use std::ops::Range;

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
    /// (a - b)².
    SquaredDifference,
    /// a where a ≥ 0, else a · b.
    Prelu,
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
    SquaredDifference => |x, y| {
        let d = x.sub(y);
        d.mul(d)
    };
    Prelu => |x, y| V::splat(0.0).gt_select(x, x.mul(y), x);
}

/// An operand of [`binary_f32`]: in row `r` of the output it is `data[r · step..][..len]`, repeated as often as the row needs.
#[derive(Clone, Copy, Debug)]
pub struct RowsF32<'a> {
    /// All of it.
    pub data: &'a [f32],
    /// Elements in a row, which divide the output's.
    pub len: usize,
    /// Elements from one row to the next.
    pub step: usize,
}

impl RowsF32<'_> {
    fn check(&self, rows: usize, width: usize) {
        let end = (rows - 1).checked_mul(self.step).and_then(|at| at.checked_add(self.len));
        assert!(self.len > 0 && width.is_multiple_of(self.len), "{} elements for rows of {width}", self.len);
        assert!(end.is_some_and(|end| end <= self.data.len()), "{rows} rows of {self:?}");
    }

    /// The same from row `row` and, where it does not repeat within rows of `width`, column `column` on.
    fn from(&self, row: usize, column: usize, width: usize) -> Walk {
        let along = if self.len == width { column } else { 0 };
        Walk { at: self.data[row * self.step + along..].as_ptr(), len: self.len, step: self.step }
    }
}

/// A checked [`RowsF32`].
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    at: *const f32,
    len: usize,
    step: usize,
}

/// `A`, `B`: whether the operand is one number for all.
#[inline(always)]
unsafe fn zip<V: F32v, Z: Zip, const A: bool, const B: bool>(
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    n: usize,
    range: (f32, f32),
) {
    // SAFETY: operands that go along, and the output, are good for `n >= 1` elements.
    unsafe {
        let (lo, hi) = (V::splat(range.0), V::splat(range.1));
        let (a1, b1) = (V::splat(*a), V::splat(*b));
        let mut i = 0;
        while i + 2 * V::N <= n {
            for i in [i, i + V::N] {
                let x = if A { a1 } else { V::load(a.add(i)) };
                let y = if B { b1 } else { V::load(b.add(i)) };
                Z::at(x, y).clamp(lo, hi).store(out.add(i));
            }
            i += 2 * V::N;
        }
        while i < n {
            let left = (n - i).min(V::N);
            let x = if A { a1 } else { V::load_n(a.add(i), left) };
            let y = if B { b1 } else { V::load_n(b.add(i), left) };
            Z::at(x, y).clamp(lo, hi).store_n(out.add(i), left);
            i += left;
        }
    }
}

/// Elements that short operands are repeated to.
const LONGER: usize = 256;
/// The greatest vector.
const LANES: usize = 16;

/// An operand repeated in a buffer, so that it is walked in long pieces.
struct Longer(MaybeUninit<[f32; LONGER + LANES]>);

impl Longer {
    /// Repeats the `n < LONGER` elements of `x`: at least `wanted` elements if there is room.
    #[inline(always)]
    unsafe fn repeat<V: F32v>(&mut self, x: *const f32, n: usize, wanted: usize) -> (*const f32, usize) {
        let most = LONGER / n;
        let len = n * most.min(wanted.div_ceil(n));
        let to = self.0.as_mut_ptr().cast::<f32>();
        // SAFETY: `x` is good for `n` elements; what is written ends less than a vector behind `len`.
        unsafe {
            std::ptr::copy_nonoverlapping(x, to, n);
            let mut filled = n;
            while filled < len {
                // Doubling what is there.
                let more = filled.min(len - filled);
                let mut i = 0;
                while i < more {
                    V::load_n(to.add(i), (more - i).min(V::N)).store(to.add(filled + i));
                    i += V::N;
                }
                filled += more;
            }
        }
        (to, len)
    }
}

#[inline(always)]
unsafe fn rows<V: F32v, Z: Zip, const A: bool, const B: bool>(
    (rows, width): (usize, usize),
    a: Walk,
    b: Walk,
    out: *mut f32,
    range: (f32, f32),
) {
    let short = |x: Walk, still: bool| !still && x.len < width && x.len < LONGER / 4;
    let mut longer = Longer(MaybeUninit::uninit());
    let (short_a, short_b) = (short(a, A), short(b, B));
    let mut held = (a.at, 0);
    // SAFETY: the contract of `Walk`: operands are good for all rows, the output for `rows · width` elements.
    unsafe {
        for r in 0..rows {
            let out = out.add(r * width);
            let (mut a, mut b) = ((a.at.add(r * a.step), a.len, a.step), (b.at.add(r * b.step), b.len, b.step));
            if !short_a && !short_b && (A || a.1 == width) && (B || b.1 == width) {
                zip::<V, Z, A, B>(a.0, b.0, out, width, range);
                continue;
            }
            // At most one of both is shorter than the row, unless it is one number.
            let x = if short_a { &mut a } else { &mut b };
            if short_a || short_b {
                if r == 0 || x.2 != 0 {
                    held = longer.repeat::<V>(x.0, x.1, width);
                }
                (x.0, x.1) = held;
            }
            let period = |len: usize, still: bool| if still { width } else { len };
            let piece = period(a.1, A).min(period(b.1, B));
            let mut at = 0;
            while at < width {
                let from =
                    |x: (*const f32, usize, usize), still: bool| if still || x.1 <= piece { x.0 } else { x.0.add(at) };
                zip::<V, Z, A, B>(from(a, A), from(b, B), out.add(at), piece.min(width - at), range);
                at += piece;
            }
        }
    }
}

#[inline(always)]
unsafe fn binary<V: F32v>(op: Binary, size: (usize, usize), a: Walk, b: Walk, out: *mut f32, range: (f32, f32)) {
    macro_rules! by_walk {
        ($z:ident) => {
            match (a.len == 1, b.len == 1) {
                (false, false) => rows::<V, $z, false, false>(size, a, b, out, range),
                (false, true) => rows::<V, $z, false, true>(size, a, b, out, range),
                (true, false) => rows::<V, $z, true, false>(size, a, b, out, range),
                (true, true) => rows::<V, $z, true, true>(size, a, b, out, range),
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
            Binary::SquaredDifference => by_walk!(SquaredDifference),
            Binary::Prelu => by_walk!(Prelu),
        }
    }
}
crate::simd::isa_table!(
    BINARY = F "binary_f32" binary(
        op: Binary, size: (usize, usize), a: Walk, b: Walk, out: *mut f32, range: (f32, f32)
    )
);

/// Every row of the output is clamp(op(a, b), min, max) of the operands' rows: an operand may repeat within rows (a bias over
/// the last dimensions, or one number per row) and from row to row (`step` 0).
///
/// # Panics
/// If rows do not make up the output, an operand is too short, its row does not divide the output's, or both operands are
/// shorter than the row and neither is one number.
pub fn binary_f32(
    pool: &ThreadPool,
    isa: Isa,
    op: Binary,
    rows: usize,
    a: RowsF32<'_>,
    b: RowsF32<'_>,
    out: &mut [f32],
    range: (f32, f32),
) {
    if out.is_empty() {
        return;
    }
    assert!(rows > 0 && out.len().is_multiple_of(rows), "{rows} rows in {}", out.len());
    let width = out.len() / rows;
    a.check(rows, width);
    b.check(rows, width);
    let whole = |x: &RowsF32<'_>| x.len == 1 || x.len == width;
    assert!(whole(&a) || whole(&b), "both operands repeat within a row");
    let run = pick(BINARY, isa).run;
    let shared = Shared::new(out);
    if rows > 1 {
        pool.run_chunks(rows, GRAIN.div_ceil(width), &|r: Range<usize>| {
            let (a, b) = (a.from(r.start, 0, width), b.from(r.start, 0, width));
            // SAFETY: picked through an `Isa`; operands were checked, and these rows of the output are this task's.
            unsafe { run(op, (r.len(), width), a, b, shared.at(r.start * width), range) };
        });
        return;
    }
    // A row is cut where an operand starts anew.
    let period = [a.len, b.len].into_iter().filter(|&len| len > 1).min().unwrap_or(1);
    let unit = if period < width { period } else { 1 };
    pool.run_chunks(width / unit, GRAIN.div_ceil(unit), &|r: Range<usize>| {
        let (start, len) = (r.start * unit, r.len() * unit);
        let part = |x: RowsF32<'_>| {
            let walk = x.from(0, start, width);
            if x.len == width { Walk { len, ..walk } } else { walk }
        };
        // SAFETY: as above; the operand that repeats has a row that divides `len`.
        unsafe { run(op, (1, len), part(a), part(b), shared.at(start), range) };
    });
}

/// `out = clamp(op(out, other))`, or `op(other, out)` if `swapped`, on this thread; `other` may repeat as in [`binary_f32`].
///
/// # Panics
/// If rows do not make up the output, the operand is too short, or its row does not divide the output's.
pub fn binary_f32_inplace(
    isa: Isa,
    op: Binary,
    swapped: bool,
    rows: usize,
    other: RowsF32<'_>,
    out: &mut [f32],
    range: (f32, f32),
) {
    if out.is_empty() {
        return;
    }
    assert!(rows > 0 && out.len().is_multiple_of(rows), "{rows} rows in {}", out.len());
    let width = out.len() / rows;
    other.check(rows, width);
    let to = out.as_mut_ptr();
    let (all, other) = (Walk { at: to, len: width, step: width }, other.from(0, 0, width));
    let (a, b) = if swapped { (other, all) } else { (all, other) };
    // SAFETY: picked through an `Isa`; the operand was checked. What is read and written at one place are the same elements,
    // and a vector is read before it is written.
    unsafe { (pick(BINARY, isa).run)(op, (rows, width), a, b, to, range) };
}
