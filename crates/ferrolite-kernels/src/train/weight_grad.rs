//! The gradient of a convolution's filters.
//!
//! Nothing is packed. A tile of sums, some taps by some vectors of output channels, stays in registers while it runs over
//! the positions of an image: per position it takes one vector of the output's gradient for each vector of channels and
//! one number of the input for each tap. The taps of a tile are `C` neighbours in memory (along a filter row) from each of
//! `R` filter rows. Images are the outer loop, so that input and gradient stay in the first cache.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use crate::transpose::transpose_f32;
use std::ops::Range;

/// Filter rows of a tall tile, and the longest run of taps for it.
const TALL: usize = 3;
const SHORT_RUN: usize = 4;

/// A tile, and positions to run over: `rows` lines of `cols` positions.
pub(crate) struct Tile {
    /// Filter rows, taps of each.
    r: usize,
    c: usize,
    /// Output channels, at most two vectors.
    n: usize,
    rows: usize,
    cols: usize,
    /// What the first tap sees at the first position; from there to the next filter row, position and line.
    x: *const f32,
    x_tap: usize,
    x_col: usize,
    x_row: usize,
    dy: *const f32,
    dy_col: usize,
    dy_row: usize,
    /// Sums of the first tap; from there to those of the next tap and filter row.
    sum: *mut f32,
    sum_c: usize,
    sum_r: usize,
}

#[inline(always)]
unsafe fn accumulate<V: F32v, const R: usize, const C: usize, const W: usize>(t: &Tile) {
    // SAFETY: the caller's promise: `x`, `dy` and `sum` are good for all taps, positions and channels of the tile.
    unsafe {
        let last = t.n - (W - 1) * V::N;
        let load = |p: *const f32, w: usize| {
            let p = p.add(w * V::N);
            if w + 1 < W { V::load(p) } else { V::load_n(p, last) }
        };
        let mut acc = [[[V::splat(0.0); W]; C]; R];
        for y in 0..t.rows {
            let (mut x, mut dy) = (t.x.add(y * t.x_row), t.dy.add(y * t.dy_row));
            for _ in 0..t.cols {
                let mut d = [V::splat(0.0); W];
                for (w, d) in d.iter_mut().enumerate() {
                    *d = load(dy, w);
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = x.wrapping_add(r * t.x_tap);
                    for (c, acc) in acc.iter_mut().enumerate() {
                        let v = V::splat(*x.add(c));
                        for (acc, d) in acc.iter_mut().zip(d) {
                            *acc = v.fma(d, *acc);
                        }
                    }
                }
                x = x.wrapping_add(t.x_col);
                dy = dy.wrapping_add(t.dy_col);
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (c, acc) in acc.iter().enumerate() {
                let to = t.sum.add(r * t.sum_r + c * t.sum_c);
                for (w, acc) in acc.iter().enumerate() {
                    let n = if w + 1 < W { V::N } else { last };
                    let to = to.add(w * V::N);
                    V::load_n(to, n).add(*acc).store_n(to, n);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn wide<V: F32v, const W: usize>(t: &Tile) {
    // SAFETY: the caller's promise goes on.
    unsafe {
        match (t.r, t.c) {
            (1, 1) => accumulate::<V, 1, 1, W>(t),
            (1, 2) => accumulate::<V, 1, 2, W>(t),
            (1, 4) => accumulate::<V, 1, 4, W>(t),
            (1, 8) => accumulate::<V, 1, 8, W>(t),
            (1, 12) => accumulate::<V, 1, 12, W>(t),
            (TALL, 1) => accumulate::<V, TALL, 1, W>(t),
            (TALL, 2) => accumulate::<V, TALL, 2, W>(t),
            (TALL, 3) => accumulate::<V, TALL, 3, W>(t),
            (TALL, 4) => accumulate::<V, TALL, 4, W>(t),
            _ => unreachable!("no tile of {} by {} taps", t.r, t.c),
        }
    }
}

#[inline(always)]
unsafe fn tile<V: F32v>(t: &Tile) {
    // SAFETY: the caller's promise goes on. Two vectors only where there are registers for twice twelve sums.
    unsafe { if t.n <= V::N { wide::<V, 1>(t) } else { wide::<V, 2>(t) } }
}
crate::simd::isa_table!(TILE = F "conv2d_weight_grad_f32" tile(t: &Tile));

/// Channels of a tile.
fn tile_channels(isa: Isa) -> usize {
    if isa.level() >= crate::isa::Level::Avx512 { 32 } else { 8 }
}

/// The name of the kernel that [`conv2d_weight_grad`] runs.
pub fn conv2d_weight_grad_kernel(isa: Isa) -> &'static str {
    pick(TILE, isa).name
}

/// Taps that lie side by side in the input at every position of `columns`.
struct Run {
    /// First filter column.
    kx: usize,
    taps: usize,
    columns: Range<usize>,
}

impl Run {
    /// The `i`-th run of every filter row; there are [`Run::count`].
    fn of(s: &ConvShape, i: usize) -> Run {
        if Run::is_row(s) {
            return Run { kx: 0, taps: s.k_w * s.in_c, columns: 0..s.out_w };
        }
        let inside = inside(s.out_w, s.stride.1, i * s.dilation.1, s.pad_left, s.in_w);
        Run { kx: i, taps: s.in_c, columns: inside }
    }

    fn count(s: &ConvShape) -> usize {
        if Run::is_row(s) { 1 } else { s.k_w }
    }

    /// Whether a whole filter row is one run.
    fn is_row(s: &ConvShape) -> bool {
        s.merged() && s.whole_columns() == (0..s.out_w)
    }
}

/// Outputs of an axis whose tap at `offset` is inside of the input.
fn inside(out: usize, stride: usize, offset: usize, pad: usize, size: usize) -> Range<usize> {
    let first = pad.saturating_sub(offset).div_ceil(stride).min(out);
    let end = (size + pad).saturating_sub(offset).div_ceil(stride).clamp(first, out);
    first..end
}

/// `dw[o][ky][kx][c] = Σ dy[b, y, x][o] · input[b, iy, ix][c]` over all positions; `sum` is memory for as many numbers as `dw`.
/// Every number is added in one order, whatever the number of threads.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn conv2d_weight_grad(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    sum: &mut [f32],
) {
    shape.check();
    let s = shape;
    let taps = s.k_h * s.k_w * s.in_c;
    let len = taps * s.out_c;
    assert!(dw.len() >= len && sum.len() >= len, "filters too short");
    assert!(input.len() >= s.input_len() && dy.len() >= s.output_len(), "slice too short");
    let sum = &mut sum[..len];
    sum.fill(0.0);
    if len == 0 {
        return;
    }
    let runs = Run::count(s);
    let tall = if Run::of(s, 0).taps <= SHORT_RUN { TALL } else { 1 };
    let (groups, width) = (s.k_h.div_ceil(tall), tile_channels(isa));
    let job = Job { s, run: pick(TILE, isa).run, input, dy, sum: Shared::new(sum) };
    let tasks = runs * groups * s.out_c.div_ceil(width);
    let grain = 60_000 * tasks / s.rows().saturating_mul(len).max(1) + 1;
    pool.run_chunks(tasks, grain, &|range: Range<usize>| {
        for b in 0..s.batch {
            for task in range.clone() {
                let (run, group, o) = (task % runs, task / runs % groups, task / runs / groups * width);
                let rows = group * tall..s.k_h.min((group + 1) * tall);
                // SAFETY: tasks differ in run, filter rows or channels, so that no two write the same sums.
                unsafe { job.image(b, &Run::of(s, run), rows, o..s.out_c.min(o + width)) };
            }
        }
    });
    transpose_f32(pool, isa, sum, taps, s.out_c, dw);
}

struct Job<'a> {
    s: &'a ConvShape,
    run: unsafe fn(&Tile),
    input: &'a [f32],
    dy: &'a [f32],
    /// A row of output channels for every tap.
    sum: Shared<'a, f32>,
}

impl Job<'_> {
    /// Adds what an image gives to the taps of a run in some filter rows.
    ///
    /// # Safety
    /// Nobody else uses these taps' sums of these channels at the same time.
    unsafe fn image(&self, b: usize, run: &Run, filter_rows: Range<usize>, channels: Range<usize>) {
        let s = self.s;
        let lines = |ky: usize| inside(s.out_h, s.stride.0, ky * s.dilation.0, s.pad_top, s.in_h);
        let (first, last) = (lines(filter_rows.start), lines(filter_rows.end - 1));
        // Lines that all filter rows see, if a tile of so many rows exists; the rest row by row.
        let all = last.start.max(first.start)..last.end.min(first.end);
        let tall = filter_rows.len() == TALL && run.taps <= SHORT_RUN && !all.is_empty();
        if tall {
            // SAFETY: the caller's promise.
            unsafe { self.lines(b, run, filter_rows.clone(), all.clone(), channels.clone()) };
        }
        for ky in filter_rows {
            let own = lines(ky);
            let parts = if tall { [own.start..all.start, all.end..own.end] } else { [own, 0..0] };
            for part in parts {
                // SAFETY: the caller's promise.
                unsafe { self.lines(b, run, ky..ky + 1, part, channels.clone()) };
            }
        }
    }

    /// Adds what some lines of an image, inside of the input for all these filter rows, give.
    ///
    /// # Safety
    /// As [`Job::image`].
    unsafe fn lines(
        &self,
        b: usize,
        run: &Run,
        filter_rows: Range<usize>,
        lines: Range<usize>,
        channels: Range<usize>,
    ) {
        let s = self.s;
        if lines.is_empty() || run.columns.is_empty() {
            return;
        }
        let iy = lines.start * s.stride.0 + filter_rows.start * s.dilation.0 - s.pad_top;
        let ix = run.columns.start * s.stride.1 + run.kx * s.dilation.1 - s.pad_left;
        let x = &self.input[((b * s.in_h + iy) * s.in_w + ix) * s.in_stride..];
        let dy = &self.dy[((b * s.out_h + lines.start) * s.out_w + run.columns.start) * s.out_stride..];
        let row_taps = s.k_w * s.in_c;
        let tap = filter_rows.start * row_taps + run.kx * s.in_c;
        let mut c = 0;
        while c < run.taps {
            let left = run.taps - c;
            let now = match left {
                _ if filter_rows.len() == TALL => left,
                12.. => 12,
                8.. => 8,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            let t = Tile {
                r: filter_rows.len(),
                c: now,
                n: channels.len(),
                rows: lines.len(),
                cols: run.columns.len(),
                x: x[c..].as_ptr(),
                x_tap: s.dilation.0 * s.in_w * s.in_stride,
                x_col: s.stride.1 * s.in_stride,
                x_row: s.stride.0 * s.in_w * s.in_stride,
                dy: dy[channels.start..].as_ptr(),
                dy_col: s.out_stride,
                dy_row: s.out_w * s.out_stride,
                sum: self.sum.at((tap + c) * s.out_c + channels.start),
                sum_c: s.out_c,
                sum_r: row_taps * s.out_c,
            };
            // SAFETY: the kernel was picked through an `Isa`. All lines and columns of the run are inside of the input for
            // its taps (`inside`), whose length `conv2d_weight_grad` has checked, and the sums have a row for every tap;
            // nobody else uses them, says the caller.
            unsafe { (self.run)(&t) };
            c += now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm_f32::tests::random_shape;
    use crate::testutil::{Rng, max_error};

    fn expected(s: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut dw = vec![0.0f64; s.out_c * s.k_h * s.k_w * s.in_c];
        for (b, y, ox) in (0..s.rows()).map(|p| (p / s.out_w / s.out_h, p / s.out_w % s.out_h, p % s.out_w)) {
            for (ky, kx) in s.rows_inside(y).flat_map(|ky| s.cols_inside(ox).map(move |kx| (ky, kx))) {
                let iy = (s.top(y) + (ky * s.dilation.0) as isize) as usize;
                let ix = (s.left(ox) + (kx * s.dilation.1) as isize) as usize;
                let pixel = ((b * s.in_h + iy) * s.in_w + ix) * s.in_stride;
                let position = ((b * s.out_h + y) * s.out_w + ox) * s.out_stride;
                for (o, c) in (0..s.out_c).flat_map(|o| (0..s.in_c).map(move |c| (o, c))) {
                    let at = ((o * s.k_h + ky) * s.k_w + kx) * s.in_c + c;
                    dw[at] += f64::from(x[pixel + c]) * f64::from(dy[position + o]);
                }
            }
        }
        dw.into_iter().map(|v| v as f32).collect()
    }

    #[test]
    fn equals_the_sum_over_positions() {
        let mut r = Rng::new(71);
        let pools = [ThreadPool::new(1), ThreadPool::new(3)];
        let mut shapes: Vec<ConvShape> = (0..60).map(|_| random_shape(&mut r)).collect();
        shapes.push(ConvShape::new(2, [9, 8, 1], [3, 3], 16));
        shapes.push(ConvShape::new(2, [7, 7, 16], [3, 3], 33));
        shapes.push(ConvShape {
            pad_top: 1,
            pad_left: 1,
            out_h: 8,
            out_w: 9,
            ..ConvShape::new(2, [8, 9, 3], [3, 3], 40)
        });
        for s in shapes {
            let (x, dy) = (r.f32s(s.input_len()), r.f32s(s.output_len()));
            let want = expected(&s, &x, &dy);
            for isa in Isa::available() {
                let mut first: Option<Vec<f32>> = None;
                for pool in &pools {
                    let (mut dw, mut sum) = (vec![f32::NAN; want.len()], vec![f32::NAN; want.len()]);
                    conv2d_weight_grad(pool, isa, &s, &x, &dy, &mut dw, &mut sum);
                    assert!(max_error(&dw, &want) < 1e-5, "{s:?} {isa:?}");
                    assert!(first.get_or_insert_with(|| dw.clone()) == &dw, "depends on threads: {s:?}");
                }
            }
        }
    }
}
