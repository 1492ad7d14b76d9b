//! Rows of the left operand as addresses: an ordinary matrix, or the windows of a convolution without an im2col buffer.
#![allow(unsafe_code)]

use super::ConvShape;
use crate::mem::Pod;
use std::ops::Range;

/// A left operand of `taps · kc` columns whose rows are found by address.
pub(crate) trait Rows<T: Pod>: Sync {
    /// Elements of scratch that `fill` may need for `mr` rows.
    fn patch_len(&self, mr: usize) -> usize;

    /// Writes the addresses of rows `first..first + mr`, `ptrs[tap · mr + row]`. Each is good for `kc` elements, rounded up to
    /// a multiple of the `quad` that the operand was made with, as long as the operand and `patch` live.
    fn fill(&self, first: usize, mr: usize, ptrs: &mut [usize], patch: &mut [T]);

    /// Where the elements of the rows from `row` begin, if they lie side by side and nothing has read them yet.
    fn ahead(&self, _row: usize) -> Option<usize> {
        None
    }
}

/// A matrix with row stride `ld`.
pub(crate) struct Matrix<'a, T> {
    a: &'a [T],
    ld: usize,
    k: usize,
    /// `k` rounded up to what a kernel reads.
    reach: usize,
}

impl<'a, T: Pod> Matrix<'a, T> {
    /// # Panics
    /// If `m` rows of `k` at distance `ld` are not inside `a`.
    pub(crate) fn new(a: &'a [T], m: usize, k: usize, ld: usize, quad: usize) -> Self {
        assert!(ld >= k || m <= 1, "row stride {ld} is less than the row length {k}");
        assert!(a.len() >= super::conv_shape::span(m, ld, k), "left operand too short");
        Matrix { a, ld, k, reach: k.next_multiple_of(quad) }
    }
}

impl<T: Pod> Rows<T> for Matrix<'_, T> {
    fn ahead(&self, row: usize) -> Option<usize> {
        Some(self.a.as_ptr().wrapping_add(row * self.ld) as usize)
    }

    fn patch_len(&self, mr: usize) -> usize {
        // No row is read past its end where the depth is what a kernel reads.
        if self.reach == self.k { 0 } else { mr * self.reach }
    }

    fn fill(&self, first: usize, mr: usize, ptrs: &mut [usize], patch: &mut [T]) {
        let base = self.a.as_ptr() as usize;
        for (r, p) in ptrs[..mr].iter_mut().enumerate() {
            *p = base + (first + r) * self.ld * size_of::<T>();
        }
        if self.reach == self.k {
            return;
        }
        for r in (0..mr).rev().take_while(|r| (first + r) * self.ld + self.reach > self.a.len()) {
            // So near the end that a kernel would read past it.
            let at = (first + r) * self.ld;
            let slot = &mut patch[r * self.reach..][..self.reach];
            slot[..self.k].copy_from_slice(&self.a[at..at + self.k]);
            ptrs[r] = slot.as_ptr() as usize;
        }
    }
}

/// The windows of a convolution.
pub(crate) struct Windows<'a, T> {
    shape: ConvShape,
    input: &'a [T],
    /// One padding row of `reach` elements per image, or one for all.
    pad: &'a [T],
    /// Elements of a tap, and rounded up to what a kernel reads.
    kc: usize,
    reach: usize,
    /// Taps in a filter row, and pixels of a tap.
    taps: usize,
    pixels: usize,
    /// For each tap of a filter row of at most [`MAX_SPANS`] taps: the output columns for which it is inside the input.
    spans: [Range<usize>; MAX_SPANS],
}

/// Taps in a row for which spans are remembered.
const MAX_SPANS: usize = 8;

impl<'a, T: Pod> Windows<'a, T> {
    /// # Panics
    /// If the input is too short, or `pad` is neither one row of `reach(shape, quad)` nor one per image.
    pub(crate) fn new(shape: &ConvShape, input: &'a [T], pad: &'a [T], quad: usize) -> Self {
        assert!(input.len() >= shape.input_len(), "input too short for the convolution");
        let kc = shape.taps().1;
        let reach = kc.next_multiple_of(quad);
        assert!(pad.len() == reach || pad.len() == reach * shape.batch, "padding row");
        let (taps, pixels) = if shape.merged() { (1, shape.k_w) } else { (shape.k_w, 1) };
        let mut w = Windows { shape: *shape, input, pad, kc, reach, taps, pixels, spans: Default::default() };
        for tap in 0..taps.min(MAX_SPANS) {
            w.spans[tap] = w.span(tap);
        }
        w
    }

    /// The output columns for which tap `tap` of a filter row is inside the input.
    fn span(&self, tap: usize) -> Range<usize> {
        let s = &self.shape;
        // Column of the tap for output column 0, moved right by the padding.
        let at = tap * s.dilation.1;
        let first = s.pad_left.saturating_sub(at).div_ceil(s.stride.1).min(s.out_w);
        let end = match (s.in_w + s.pad_left).checked_sub(at + self.pixels) {
            Some(last) => (last / s.stride.1 + 1).min(s.out_w),
            None => 0,
        };
        first..end.max(first)
    }
}

impl<T: Pod> Rows<T> for Windows<'_, T> {
    fn patch_len(&self, mr: usize) -> usize {
        self.shape.taps().0 * mr * self.reach
    }

    fn fill(&self, first: usize, mr: usize, ptrs: &mut [usize], patch: &mut [T]) {
        let s = &self.shape;
        let (line, mut x) = (first / s.out_w, first % s.out_w);
        let (mut b, mut y) = if s.batch == 1 { (0, line) } else { (line / s.out_h, line % s.out_h) };
        if self.whole(b, y, x, mr, ptrs) {
            return;
        }
        let mut from = 0;
        while from < mr {
            let len = (s.out_w - x).min(mr - from);
            let pad = if self.pad.len() == self.reach { self.pad } else { &self.pad[b * self.reach..][..self.reach] };
            for ky in 0..s.k_h {
                let iy = (y * s.stride.0 + ky * s.dilation.0).wrapping_sub(s.pad_top);
                let taps = ky * self.taps..(ky + 1) * self.taps;
                if iy >= s.in_h {
                    taps.for_each(|tap| ptrs[tap * mr + from..][..len].fill(pad.as_ptr() as usize));
                    continue;
                }
                let line = (b * s.in_h + iy) * s.in_w;
                for (kx, tap) in taps.enumerate() {
                    let slots = tap * mr + from;
                    self.line(kx, line, x, pad, &mut ptrs[slots..][..len], &mut patch[slots * self.reach..]);
                }
            }
            (x, y) = (0, y + 1);
            if y == s.out_h {
                (y, b) = (0, b + 1);
            }
            from += len;
        }
    }
}

impl<T: Pod> Windows<'_, T> {
    /// The addresses of rows on one line of the output whose windows are all inside the input, if they are that.
    #[inline]
    fn whole(&self, b: usize, y: usize, x: usize, mr: usize, ptrs: &mut [usize]) -> bool {
        let s = &self.shape;
        let top = (y * s.stride.0).wrapping_sub(s.pad_top);
        let bottom = top.wrapping_add((s.k_h - 1) * s.dilation.0);
        let span = &self.spans[0];
        if self.taps > 1 || top >= s.in_h || bottom >= s.in_h || x < span.start || x + mr > span.end {
            return false;
        }
        let (row, tap) = (s.stride.1 * s.in_stride, s.dilation.0 * s.in_w * s.in_stride);
        let at = ((b * s.in_h + top) * s.in_w + x * s.stride.1 - s.pad_left) * s.in_stride;
        if at + (mr - 1) * row + (s.k_h - 1) * tap + self.reach > self.input.len() {
            return false;
        }
        let mut start = self.input.as_ptr() as usize + at * size_of::<T>();
        for ptrs in ptrs.chunks_exact_mut(mr).take(s.k_h) {
            for (r, p) in ptrs.iter_mut().enumerate() {
                *p = start + r * row * size_of::<T>();
            }
            start += tap * size_of::<T>();
        }
        true
    }

    /// The addresses of tap `kx` of a filter row for the output columns from `x`. `line` is the number of the first pixel of
    /// the input row.
    #[inline]
    fn line(&self, kx: usize, line: usize, x: usize, pad: &[T], ptrs: &mut [usize], patch: &mut [T]) {
        let s = &self.shape;
        let span = if kx < MAX_SPANS { self.spans[kx].clone() } else { self.span(kx) };
        let first = span.start.clamp(x, x + ptrs.len());
        let mut end = span.end.clamp(first, x + ptrs.len());
        // Elements from the start of the input to the tap for an output column inside the span.
        let at = |x: usize| (line + x * s.stride.1 + kx * s.dilation.1 - s.pad_left) * s.in_stride;
        // So near the end that a kernel would read past it.
        while end > first && at(end - 1) + self.reach > self.input.len() {
            end -= 1;
        }
        if first < end {
            let start = self.input.as_ptr() as usize + at(first) * size_of::<T>();
            let step = s.stride.1 * s.in_stride * size_of::<T>();
            for (i, p) in ptrs[first - x..end - x].iter_mut().enumerate() {
                *p = start + i * step;
            }
        }
        for i in (0..first - x).chain(end - x..ptrs.len()) {
            let slot = &mut patch[i * self.reach..][..self.reach];
            let left = s.left(x + i) + (kx * s.dilation.1) as isize;
            ptrs[i] = if left + self.pixels as isize <= 0 || left >= s.in_w as isize {
                pad.as_ptr() as usize
            } else {
                self.clipped(line, left, pad, slot);
                slot.as_ptr() as usize
            };
        }
    }

    /// Copies a tap that the left or right edge (or the end of the input) cuts. `line` is the number of the first pixel of the
    /// input row.
    #[inline]
    fn clipped(&self, line: usize, left: isize, pad: &[T], slot: &mut [T]) {
        let s = &self.shape;
        let c = if self.pixels == 1 { self.kc } else { s.in_c };
        let before = (-left).clamp(0, self.pixels as isize) as usize;
        let after = (s.in_w as isize - left).clamp(before as isize, self.pixels as isize) as usize;
        let from = (line + (left + before as isize) as usize) * s.in_stride;
        let inside = &self.input[from..from + (after - before) * c];
        copy(&pad[..before * c], &mut slot[..before * c]);
        copy(inside, &mut slot[before * c..after * c]);
        copy(&pad[..self.kc - after * c], &mut slot[after * c..self.kc]);
    }
}

/// Copies what is mostly only a few elements.
#[inline(always)]
fn copy<T: Pod>(from: &[T], to: &mut [T]) {
    if from.len() < 32 {
        from.iter().zip(to).for_each(|(from, to)| *to = *from);
    } else {
        to.copy_from_slice(from);
    }
}
