//! Depthwise convolution of f32: tiles of neighbouring pixels by one vector of channels. A column of the input is loaded once
//! for all outputs that see it.
#![allow(unsafe_code)]

use super::{BLOCK, for_rows};
use crate::gemm::ConvShape;
use crate::isa::{Isa, Level, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// One output row.
pub(crate) struct Row<'a> {
    shape: &'a ConvShape,
    /// The image; of another row than this one sees it need not be there.
    input: *const f32,
    /// Per block of channels: the bias, then the taps.
    packed: *const f32,
    /// The output row.
    out: *mut f32,
    y: usize,
    range: (f32, f32),
}

impl Row<'_> {
    /// The input pixel that tap (`ky`, 0) of output column `x` sees; only to be read where it is inside.
    #[inline(always)]
    fn pixel(&self, x: usize, ky: usize) -> *const f32 {
        let s = self.shape;
        let iy = s.top(self.y) + (ky * s.dilation.0) as isize;
        let at = (iy * s.in_w as isize + s.left(x)).wrapping_mul(s.in_stride as isize);
        self.input.wrapping_offset(at)
    }

    /// Parameters of channel `c` on.
    #[inline(always)]
    fn block(&self, c: usize) -> *const f32 {
        let length = (1 + self.shape.k_h * self.shape.k_w) * BLOCK;
        self.packed.wrapping_add(c / BLOCK * length + c % BLOCK)
    }
}

/// `W` output pixels from `x`, channels from `from` by whole vectors up to `to`, for a filter `KW` wide with stride `S` and no
/// dilation. If `MASKED`, vectors have `n` channels, columns outside the input count as zero and pixels past the row are not
/// stored.
#[inline(always)]
unsafe fn tile<V: F32v, const KW: usize, const S: usize, const W: usize, const MASKED: bool>(
    r: &Row<'_>,
    x: usize,
    (from, to, n): (usize, usize, usize),
) {
    // (W - 1) · S + KW of these are used.
    const COLUMNS: usize = 24;
    let s = r.shape;
    let ky = s.rows_inside(r.y);
    let (in_stride, out_stride) = (s.in_stride, s.out_stride);
    let line = s.dilation.0 * s.in_w * in_stride;
    let first = r.pixel(x, ky.start);
    let out = r.out.wrapping_add(x * out_stride);
    let count = if MASKED { (s.out_w - x).min(W) } else { W };
    // SAFETY: the filter rows `ky` are inside the image, and so are the columns, but for those that are masked; packed blocks
    // are whole vectors long; the output row is as long as the shape says.
    unsafe {
        let mut masks = [V::mask(n); COLUMNS];
        if MASKED {
            for (j, mask) in masks.iter_mut().enumerate() {
                let inside = (0..s.in_w as isize).contains(&(s.left(x) + j as isize));
                *mask = V::mask(if inside { n } else { 0 });
            }
        }
        let (lo, hi) = (V::splat(r.range.0), V::splat(r.range.1));
        for c in (from..to).step_by(V::N) {
            let block = r.block(c);
            let mut acc = [V::load(block); W];
            let mut w = block.add((1 + ky.start * KW) * BLOCK);
            let mut p = first.wrapping_add(c);
            for _ in 0..ky.len() {
                let mut v = [V::splat(0.0); COLUMNS];
                for (j, v) in v.iter_mut().enumerate().take((W - 1) * S + KW) {
                    let p = p.wrapping_add(j * in_stride);
                    *v = if MASKED { V::load_masked(p, masks[j]) } else { V::load(p) };
                }
                for kx in 0..KW {
                    let weight = V::load(w.add(kx * BLOCK));
                    for (i, a) in acc.iter_mut().enumerate() {
                        *a = v[i * S + kx].fma(weight, *a);
                    }
                }
                w = w.add(KW * BLOCK);
                p = p.wrapping_add(line);
            }
            for (i, a) in acc.into_iter().enumerate().take(count) {
                let to = out.add(i * out_stride + c);
                let a = a.clamp(lo, hi);
                if MASKED { a.store_n(to, n) } else { a.store(to) }
            }
        }
    }
}

#[inline(always)]
unsafe fn tiles<V: F32v, const KW: usize, const S: usize, const W: usize>(r: &Row<'_>) {
    let s = r.shape;
    let whole = s.out_c / V::N * V::N;
    for x in (0..s.out_w).step_by(W) {
        let right = s.left(x) + ((W - 1) * S + KW) as isize;
        let edge = s.left(x) < 0 || right > s.in_w as isize || x + W > s.out_w;
        // SAFETY: the caller's contract.
        unsafe {
            if !edge {
                tile::<V, KW, S, W, false>(r, x, (0, whole, V::N));
            } else if whole > 0 {
                tile::<V, KW, S, W, true>(r, x, (0, whole, V::N));
            }
            if whole < s.out_c {
                tile::<V, KW, S, W, true>(r, x, (whole, s.out_c, s.out_c - whole));
            }
        }
    }
}

/// Tiles as wide as registers and the row allow.
#[inline(always)]
unsafe fn fixed<V: F32v, const KW: usize, const S: usize>(r: &Row<'_>) {
    // A tile costs about a pixel more than it has.
    let cost = |w: usize| r.shape.out_w.div_ceil(w) * (w + 1);
    // SAFETY: the caller's contract.
    unsafe {
        if V::N < 16 {
            return tiles::<V, KW, S, 4>(r);
        }
        match [8, 7, 6, 4].into_iter().min_by_key(|w| cost(*w)) {
            Some(8) => tiles::<V, KW, S, 8>(r),
            Some(7) => tiles::<V, KW, S, 7>(r),
            Some(6) => tiles::<V, KW, S, 6>(r),
            _ => tiles::<V, KW, S, 4>(r),
        }
    }
}

/// `W` neighbouring output pixels from `x`, all of whose filter columns `kx` are inside, for any filter.
#[inline(always)]
unsafe fn pixels<V: F32v, const W: usize>(r: &Row<'_>, x: usize, kx: Range<usize>) {
    let s = r.shape;
    let ky = s.rows_inside(r.y);
    let pixel = s.stride.1 * s.in_stride;
    let (line, step) = (s.dilation.0 * s.in_w * s.in_stride, s.dilation.1 * s.in_stride);
    let first = r.pixel(x, ky.start).wrapping_add(kx.start * step);
    // SAFETY: the filter taps `ky` × `kx` of the pixels are inside the image; packed blocks are whole vectors long; the
    // output row is as long as the shape says.
    unsafe {
        let (lo, hi) = (V::splat(r.range.0), V::splat(r.range.1));
        for c in (0..s.out_c).step_by(V::N) {
            let n = (s.out_c - c).min(V::N);
            let whole = n == V::N;
            let block = r.block(c);
            let mut acc = [V::load(block); W];
            let mut row = first.wrapping_add(c);
            for ky in ky.clone() {
                let mut p = row;
                let mut w = block.add((1 + ky * s.k_w + kx.start) * BLOCK);
                for _ in kx.clone() {
                    let weight = V::load(w);
                    for (i, a) in acc.iter_mut().enumerate() {
                        let p = p.wrapping_add(i * pixel);
                        *a = if whole { V::load(p) } else { V::load_n(p, n) }.fma(weight, *a);
                    }
                    p = p.wrapping_add(step);
                    w = w.wrapping_add(BLOCK);
                }
                row = row.wrapping_add(line);
            }
            for (i, a) in acc.into_iter().enumerate() {
                let to = r.out.add((x + i) * s.out_stride + c);
                let a = a.clamp(lo, hi);
                if whole { a.store(to) } else { a.store_n(to, n) }
            }
        }
    }
}

#[inline(always)]
unsafe fn any<V: F32v>(r: &Row<'_>) {
    let s = r.shape;
    let inside = s.whole_columns();
    let mut x = 0;
    // SAFETY: as in `pixels`: inside `whole_columns` every filter column is inside the image.
    unsafe {
        while x < s.out_w {
            let left = if x >= inside.start && x < inside.end { inside.end - x } else { 0 };
            x += match left {
                8.. => {
                    pixels::<V, 8>(r, x, 0..s.k_w);
                    8
                }
                4.. => {
                    pixels::<V, 4>(r, x, 0..s.k_w);
                    4
                }
                _ => {
                    pixels::<V, 1>(r, x, s.cols_inside(x));
                    1
                }
            };
        }
    }
}

#[inline(always)]
unsafe fn row<V: F32v>(r: &Row<'_>) {
    let s = r.shape;
    // SAFETY: the caller's contract.
    unsafe {
        match (s.k_w, s.stride.1, s.dilation.1) {
            (3, 1, 1) => fixed::<V, 3, 1>(r),
            (3, 2, 1) => fixed::<V, 3, 2>(r),
            (5, 1, 1) => fixed::<V, 5, 1>(r),
            (5, 2, 1) => fixed::<V, 5, 2>(r),
            (7, 1, 1) => fixed::<V, 7, 1>(r),
            _ => any::<V>(r),
        }
    }
}
crate::simd::isa_table!(ROW = F "depthwise_f32" row(r: &Row<'_>));

/// Length of the packed form of a filter.
pub fn depthwise_packed_len(shape: &ConvShape) -> usize {
    let taps = shape.k_h.saturating_mul(shape.k_w).saturating_add(1);
    taps.saturating_mul(shape.out_c.next_multiple_of(BLOCK))
}

/// Packs `filter` (`[k_h][k_w][out_c]`) and `bias` (or zeros) into `packed`.
///
/// # Panics
/// If a slice has the wrong length.
pub fn pack_depthwise_f32(shape: &ConvShape, filter: &[f32], bias: Option<&[f32]>, packed: &mut [f32]) {
    let (c, taps) = (shape.out_c, shape.k_h * shape.k_w);
    assert_eq!(filter.len(), taps * c, "filter");
    assert!(bias.is_none_or(|b| b.len() == c), "bias");
    assert_eq!(packed.len(), depthwise_packed_len(shape), "packed form");
    for (b, block) in packed.chunks_exact_mut((1 + taps) * BLOCK).enumerate() {
        let channels = b * BLOCK..(b * BLOCK + BLOCK).min(c);
        for (t, to) in block.chunks_exact_mut(BLOCK).enumerate() {
            to.fill(0.0);
            let from = if t == 0 { bias } else { Some(&filter[(t - 1) * c..]) };
            if let Some(from) = from {
                to[..channels.len()].copy_from_slice(&from[channels.clone()]);
            }
        }
    }
}

/// A depthwise convolution: `out = clamp(Σ input · filter + bias, min, max)`, by the form that [`pack_depthwise_f32`] makes of
/// filter and bias. `shape.out_c` is a multiple of `shape.in_c`. Filters are finite numbers.
///
/// # Panics
/// If the shape is inconsistent or a slice has the wrong length.
pub fn depthwise_conv2d_f32(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    packed: &[f32],
    out: &mut [f32],
    range: (f32, f32),
) {
    super::check(shape);
    assert!(input.len() >= shape.input_len() && out.len() >= shape.output_len(), "input or output too short");
    assert_eq!(packed.len(), depthwise_packed_len(shape), "packed form");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    // Half a vector that is whole is better than a whole one that is masked.
    let isa = if shape.out_c <= 8 { isa.at_most(Level::Avx2) } else { isa };
    let run = pick(ROW, isa).run;
    let shared = Shared::new(out);
    let packed = packed.as_ptr() as usize;
    for_rows(pool, shape, input, &|shape, input, b, y| {
        let out = shared.at((b * shape.out_h + y) * shape.out_w * shape.out_stride);
        let r = Row { shape, input, packed: packed as *const f32, out, y, range };
        // SAFETY: picked through an `Isa`; lengths are checked above, and rows do not overlap.
        unsafe { run(&r) };
    });
}
