//! Rows of the left operand as addresses: an ordinary matrix, or the windows of a convolution without an im2col buffer.
#![allow(unsafe_code)]

use super::ConvShape;
use crate::mem::Pod;

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
        mr * self.reach
    }

    fn fill(&self, first: usize, mr: usize, ptrs: &mut [usize], patch: &mut [T]) {
        for (r, p) in ptrs[..mr].iter_mut().enumerate() {
            let at = (first + r) * self.ld;
            *p = if at + self.reach <= self.a.len() {
                self.a[at..].as_ptr() as usize
            } else {
                // So near the end that a kernel would read past it.
                let slot = &mut patch[r * self.reach..][..self.reach];
                slot[..self.k].copy_from_slice(&self.a[at..at + self.k]);
                slot.as_ptr() as usize
            };
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
    merged: bool,
    whole_columns: std::ops::Range<usize>,
}

impl<'a, T: Pod> Windows<'a, T> {
    /// # Panics
    /// If the input is too short, or `pad` is neither one row of `reach(shape, quad)` nor one per image.
    pub(crate) fn new(shape: &ConvShape, input: &'a [T], pad: &'a [T], quad: usize) -> Self {
        assert!(input.len() >= shape.input_len(), "input too short for the convolution");
        let kc = shape.taps().1;
        let reach = kc.next_multiple_of(quad);
        assert!(pad.len() == reach || pad.len() == reach * shape.batch, "padding row");
        Windows { shape: *shape, input, pad, kc, reach, merged: shape.merged(), whole_columns: shape.whole_columns() }
    }
}

impl<T: Pod> Rows<T> for Windows<'_, T> {
    fn patch_len(&self, mr: usize) -> usize {
        self.shape.taps().0 * mr * self.reach
    }

    fn fill(&self, first: usize, mr: usize, ptrs: &mut [usize], patch: &mut [T]) {
        let s = &self.shape;
        let mut x = first % s.out_w;
        let mut y = first / s.out_w % s.out_h;
        let mut b = first / (s.out_w * s.out_h);
        // Filter rows and columns from tap 0 to the last, in elements; a window is read in place where it is all inside.
        let line_step = s.dilation.0 * s.in_w * s.in_stride;
        let (inside_x, reach_y) = (&self.whole_columns, (s.k_h.max(1) - 1) * s.dilation.0);
        for r in 0..mr {
            let (top, left) = (y * s.stride.0, x * s.stride.1);
            let mut inside =
                self.merged && inside_x.contains(&x) && top >= s.pad_top && top + reach_y < s.in_h + s.pad_top;
            if inside {
                let at = ((b * s.in_h + top - s.pad_top) * s.in_w + left - s.pad_left) * s.in_stride;
                inside = at + (s.k_h - 1) * line_step + self.reach <= self.input.len();
                if inside {
                    let mut p = self.input.as_ptr() as usize + at * size_of::<T>();
                    for slot in ptrs[r..].iter_mut().step_by(mr).take(s.k_h) {
                        *slot = p;
                        p += line_step * size_of::<T>();
                    }
                }
            }
            if !inside {
                self.cut(b, y, x, r, mr, ptrs, patch);
            }
            x += 1;
            if x == s.out_w {
                (x, y) = (0, y + 1);
                if y == s.out_h {
                    (y, b) = (0, b + 1);
                }
            }
        }
    }
}

impl<T: Pod> Windows<'_, T> {
    /// The addresses of row `r` for a window that is not wholly inside, or whose taps are single pixels.
    fn cut(&self, b: usize, y: usize, x: usize, r: usize, mr: usize, ptrs: &mut [usize], patch: &mut [T]) {
        let s = &self.shape;
        {
            let pad = if self.pad.len() == self.reach { self.pad } else { &self.pad[b * self.reach..][..self.reach] };
            let x0 = (x * s.stride.1) as isize - s.pad_left as isize;
            let y0 = (y * s.stride.0) as isize - s.pad_top as isize;
            for ky in 0..s.k_h {
                let iy = y0 + (ky * s.dilation.0) as isize;
                let inside = iy >= 0 && (iy as usize) < s.in_h;
                let line = if inside { (b * s.in_h + iy as usize) * s.in_w } else { 0 };
                if self.merged {
                    let tap = ky * mr + r;
                    let whole = x0 >= 0 && x0 as usize + s.k_w <= s.in_w;
                    let at = (line + x0.max(0) as usize) * s.in_c;
                    ptrs[tap] = if !inside {
                        pad.as_ptr() as usize
                    } else if whole && at + self.reach <= self.input.len() {
                        self.input[at..].as_ptr() as usize
                    } else {
                        let slot = &mut patch[tap * self.reach..][..self.reach];
                        self.clipped(line, x0, pad, slot);
                        slot.as_ptr() as usize
                    };
                } else {
                    for kx in 0..s.k_w {
                        let tap = (ky * s.k_w + kx) * mr + r;
                        let ix = x0 + (kx * s.dilation.1) as isize;
                        let at = (line + ix.max(0) as usize) * s.in_stride;
                        ptrs[tap] = if !inside || ix < 0 || ix as usize >= s.in_w {
                            pad.as_ptr() as usize
                        } else if at + self.reach <= self.input.len() {
                            self.input[at..].as_ptr() as usize
                        } else {
                            let slot = &mut patch[tap * self.reach..][..self.reach];
                            slot[..self.kc].copy_from_slice(&self.input[at..at + self.kc]);
                            slot.as_ptr() as usize
                        };
                    }
                }
            }
        }
    }

    /// Copies a filter row's window that the left or right edge (or the end of the input) cuts. `line` is the pixel number of
    /// the start of the input row.
    #[inline]
    fn clipped(&self, line: usize, x0: isize, pad: &[T], slot: &mut [T]) {
        let (s, c) = (&self.shape, self.shape.in_c);
        let k_w = s.k_w as isize;
        let left = (-x0).clamp(0, k_w) as usize;
        let right = (s.in_w as isize - x0).clamp(left as isize, k_w) as usize;
        slot[..left * c].copy_from_slice(&pad[..left * c]);
        if right > left {
            let from = (line + (x0 + left as isize) as usize) * c;
            slot[left * c..right * c].copy_from_slice(&self.input[from..from + (right - left) * c]);
        }
        slot[right * c..self.kc].copy_from_slice(&pad[..self.kc - right * c]);
    }
}
