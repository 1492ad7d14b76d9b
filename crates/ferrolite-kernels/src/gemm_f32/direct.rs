//! Convolutions of few input channels, as first layers are. The inputs of neighbouring pixels lie at small constant distances
//! in a line of the image, so that a tile needs one address per filter row instead of one per pixel, and lines that reach over
//! the border are padded once for all pixels.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::kernel::{Out, store};
use super::{EpilogueF32, PackedF32Ref};
use crate::gemm::ConvShape;
use crate::isa::pick;
use crate::mem::{Shared, with_scratch};
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// Filter rows at most, and output columns at least.
const MAX_ROWS: usize = 16;
const MIN_COLUMNS: usize = 4;
/// Multiply-adds below which another task is not worth handing to a thread.
const TASK: usize = 150_000;

/// One output row.
pub(crate) struct Line {
    /// What output column 0 sees first, for `len` filter rows from `first` on: those inside the image.
    rows: [*const f32; MAX_ROWS],
    first: usize,
    len: usize,
    /// Elements of a filter row, and between what neighbouring columns see.
    kc: usize,
    step: usize,
    columns: usize,
    /// The packed panels, floats from one to the next, and vectors in the width of a whole one.
    panel: *const f32,
    panel_len: usize,
    vectors: usize,
    to: Out,
}

/// Whether this kernel is for convolutions of `shape`.
pub(super) fn fits(shape: &ConvShape) -> bool {
    shape.dilation == (1, 1)
        && shape.in_stride == shape.in_c
        && matches!(shape.stride.1.saturating_mul(shape.in_c), 1..=4 | 6)
        && shape.k_h <= MAX_ROWS
        && shape.out_w >= MIN_COLUMNS
}

/// `W` pixels from column `x`, the columns `col` on of a panel.
#[inline(always)]
unsafe fn tile<V: F32v, const STEP: usize, const W: usize, const NV: usize>(
    l: &Line,
    panel: *const f32,
    col: usize,
    x: usize,
) {
    let width = NV * V::N;
    // SAFETY: lines are long enough for all columns of the output, panels for the whole filter; the pixels are in the output.
    unsafe {
        let mut acc = [[V::splat(0.0); NV]; W];
        for v in 0..NV {
            let bias = V::load(panel.add(v * V::N));
            acc.iter_mut().for_each(|pixel| pixel[v] = bias);
        }
        let mut b = panel.add(width * (1 + l.first * l.kc));
        for row in &l.rows[..l.len] {
            let p = row.add(x * STEP);
            for k in 0..l.kc {
                let mut w = [V::splat(0.0); NV];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = V::load(b.add(v * V::N));
                }
                for (i, pixel) in acc.iter_mut().enumerate() {
                    let input = V::splat(*p.add(k + i * STEP));
                    for v in 0..NV {
                        pixel[v] = input.fma(w[v], pixel[v]);
                    }
                }
                b = b.add(width);
            }
        }
        let at = x * l.to.ldc;
        let add = if l.to.add.is_null() { l.to.add } else { l.to.add.add(at) };
        store::<V, W, NV>(&Out { out: l.to.out.add(at), add, ..l.to }, col, acc);
    }
}

/// The row in tiles of `W` pixels, the last of which may compute again what the one before has.
#[inline(always)]
unsafe fn tiles<V: F32v, const STEP: usize, const W: usize>(l: &Line) {
    let (mut col, mut panel) = (0, l.panel);
    while col < l.to.cols {
        let two = l.vectors == 2 && l.to.cols - col > V::N;
        for x in (0..l.columns).step_by(W) {
            let x = x.min(l.columns - W);
            // SAFETY: the caller's contract; there are at least `W` columns.
            unsafe {
                if two { tile::<V, STEP, W, 2>(l, panel, col, x) } else { tile::<V, STEP, W, 1>(l, panel, col, x) }
            }
        }
        col += l.vectors * V::N;
        panel = panel.wrapping_add(l.panel_len);
    }
}

/// Tiles as wide as registers and the row allow.
#[inline(always)]
unsafe fn wide<V: F32v, const STEP: usize>(l: &Line) {
    // A tile costs about a pixel more than it has.
    let best = |widths: [usize; 3]| {
        let fitting = widths.into_iter().filter(|w| *w <= l.columns);
        fitting.min_by_key(|w| l.columns.div_ceil(*w) * (w + 1)).unwrap_or(MIN_COLUMNS)
    };
    // SAFETY: the caller's contract; a row has at least `MIN_COLUMNS` columns.
    unsafe {
        match if V::N < 16 { best([6, 5, 4]) } else { best([14, 10, 7]) } {
            14 if V::N == 16 => tiles::<V, STEP, 14>(l),
            10 if V::N == 16 => tiles::<V, STEP, 10>(l),
            7 if V::N == 16 => tiles::<V, STEP, 7>(l),
            6 => tiles::<V, STEP, 6>(l),
            5 => tiles::<V, STEP, 5>(l),
            _ => tiles::<V, STEP, MIN_COLUMNS>(l),
        }
    }
}

#[inline(always)]
unsafe fn line<V: F32v>(l: &Line) {
    // SAFETY: the caller's contract.
    unsafe {
        match l.step {
            1 => wide::<V, 1>(l),
            2 => wide::<V, 2>(l),
            3 => wide::<V, 3>(l),
            4 => wide::<V, 4>(l),
            6 => wide::<V, 6>(l),
            step => unreachable!("columns {step} elements apart"),
        }
    }
}
crate::simd::isa_table!(LINE = F "conv_few_channels_f32" line(l: &Line));

/// A convolution of a shape that fits. Lengths are checked by the caller, but for that of the output.
pub(super) fn convolve(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: &[f32],
    packed: PackedF32Ref<'_>,
    out: &mut [f32],
    epilogue: EpilogueF32<'_>,
) {
    let (s, spec) = (shape, packed.spec);
    assert!(input.len() >= s.input_len(), "input too short for the convolution");
    super::check_output(s.rows(), spec.n, s.out_stride, out.len(), &epilogue);
    let run = pick(LINE, spec.isa).run;
    let micro = spec.micro.run;
    let kc = s.k_w * s.in_c;
    // Elements that a line needs, and those of the image's.
    let (length, own) = (((s.out_w - 1) * s.stride.1 + s.k_w) * s.in_c, s.in_w * s.in_c);
    let left = (s.pad_left * s.in_c).min(length);
    let padded = left > 0 || length > own;
    let out = Shared::new(out);
    let work = s.out_w.saturating_mul(spec.n).saturating_mul(spec.k());
    pool.run_chunks(s.batch * s.out_h, TASK / work.max(1) + 1, &|rows: Range<usize>| {
        with_scratch(|scratch| {
            let lines = scratch.extra.typed::<f32>(if padded { s.k_h * length } else { 0 });
            lines.fill(0.0);
            // Which line of the input (of all images) a padded one holds.
            let mut holds = [usize::MAX; MAX_ROWS];
            for row in rows {
                let (b, y) = (row / s.out_h, row % s.out_h);
                let ky = s.rows_inside(y);
                let mut seen = [std::ptr::null(); MAX_ROWS];
                for (ky, seen) in ky.clone().zip(&mut seen) {
                    let number = b * s.in_h + (s.top(y) + ky as isize) as usize;
                    let line = &input[number * own..][..own];
                    *seen = line.as_ptr();
                    if padded {
                        let slot = number % s.k_h;
                        let copy = &mut lines[slot * length..][..length];
                        if holds[slot] != number {
                            let n = own.min(length - left);
                            copy[left..left + n].copy_from_slice(&line[..n]);
                            holds[slot] = number;
                        }
                        *seen = copy.as_ptr();
                    }
                }
                let at = row * s.out_w * s.out_stride;
                let to = Out {
                    cols: spec.n,
                    out: out.at(at),
                    ldc: s.out_stride,
                    add: epilogue.add.map_or(std::ptr::null(), |a| a[at..].as_ptr()),
                    min: epilogue.min,
                    max: epilogue.max,
                };
                let l = Line {
                    rows: seen,
                    first: ky.start,
                    len: ky.len(),
                    kc,
                    step: s.stride.1 * s.in_c,
                    columns: s.out_w,
                    panel: packed.data.as_ptr(),
                    panel_len: spec.panel_len(),
                    vectors: micro.vectors,
                    to,
                };
                // SAFETY: picked through an `Isa`, the one of the packed operand, whose length is that of its spec (checked
                // when it was made); every line has `length` elements, padded where the image's has fewer; the output row is
                // inside `out` and `add` as checked, and no other task writes it.
                unsafe { run(&l) };
            }
        });
    });
}
