//! One output row of a depthwise convolution of bytes, for vectors without products of four bytes.
//!
//! Two filter rows are multiplied at once: for 16 channels at a time, the bytes of two input rows become pairs of 16 bits, a
//! pair per channel, for every column that the output row sees. Columns and rows outside the input are zero points there,
//! so that nothing after it knows of borders, strides or dilations.
#![allow(unsafe_code)]

use super::BLOCK;
use crate::gemm::ConvShape;
use crate::mem::AlignedVec;
use crate::requant::multiply_by_quantized_multiplier;
use crate::simd::{Bytes, F32v, I32v};

/// Rows of parameters of a block of channels: bias, sum of the filter, then multiplier or scale, shift or float bias.
pub(super) const HEADER: usize = 4;
/// Elements of interleaved input at once: what stays in the first cache.
const INTERLEAVED: usize = 6 << 10;
/// Outputs at once.
const OUTPUTS: usize = 8;

/// The packed filters.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// Pairs of filter rows.
    pairs: usize,
    /// Elements of a block of channels.
    length: usize,
    /// Per 16 channels the header, rows of 16, then 16 pairs of weights per filter column and pair of rows.
    data: AlignedVec<i32>,
}

impl Packed {
    /// Packs what `weight` (of a tap and a channel) and `parameter` (of a row and a channel) give.
    pub(super) fn new(
        shape: &ConvShape,
        weight: &dyn Fn(usize, usize) -> i32,
        parameter: &dyn Fn(usize, usize) -> i32,
    ) -> Packed {
        let pairs = shape.k_h.div_ceil(2);
        let length = (HEADER + shape.k_w * pairs) * BLOCK;
        let mut data = AlignedVec::zeroed(shape.out_c.div_ceil(BLOCK) * length);
        for c in 0..shape.out_c {
            let block = &mut data.as_mut_slice()[c / BLOCK * length..][..length];
            for (row, to) in block.chunks_exact_mut(BLOCK).enumerate() {
                to[c % BLOCK] = match row.checked_sub(HEADER) {
                    None => parameter(row, c),
                    Some(step) => {
                        let (kx, ky) = (step / pairs, step % pairs * 2);
                        let second = if ky + 1 < shape.k_h { weight((ky + 1) * shape.k_w + kx, c) } else { 0 };
                        weight(ky * shape.k_w + kx, c) & 0xFFFF | second << 16
                    }
                };
            }
        }
        Packed { pairs, length, data }
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.as_slice().len() * 4
    }

    /// Outputs of a row that are computed from one interleaved piece of input, and its length.
    pub(super) fn chunk(&self, s: &ConvShape) -> (usize, usize) {
        let column = self.pairs * BLOCK;
        let reach = (s.k_w - 1) * s.dilation.1 + 1;
        let outputs = (INTERLEAVED / column).saturating_sub(reach) / s.stride.1 / OUTPUTS * OUTPUTS;
        let outputs = outputs.clamp(OUTPUTS, s.out_w.next_multiple_of(OUTPUTS));
        // Outputs past the end are computed from whatever is there.
        (outputs, (outputs * s.stride.1 + reach) * column)
    }
}

/// What happens to the sums of a row.
#[derive(Clone, Copy)]
pub(crate) enum Finish {
    Raw(*mut i32),
    Bytes(*mut u8, Requantized),
    Float(*mut f32, f32, (f32, f32)),
}

/// How sums become bytes.
#[derive(Clone, Copy)]
pub(crate) struct Requantized {
    pub(crate) bytes: Bytes,
    /// Whether the conditions of [`I32v::requant_small`] hold.
    pub(crate) small: bool,
    /// Whether a multiplier saturates, so that only scalar code is exact.
    pub(crate) saturates: bool,
}

/// One output row.
pub(crate) struct Row<'a> {
    pub(super) shape: &'a ConvShape,
    /// The image.
    pub(super) input: *const u8,
    /// What a byte of the input is flipped by.
    pub(super) flip: u8,
    /// The zero point of the input, as a signed byte.
    pub(super) zero: i8,
    pub(super) y: usize,
    pub(super) finish: Finish,
}

/// Interleaves what the outputs `x..end` see, for the channels from `c`.
#[inline(always)]
unsafe fn interleave<V: I32v>(r: &Row<'_>, pairs: usize, c: usize, x: usize, end: usize, to: *mut i32) {
    let s = r.shape;
    let n = (s.out_c - c).min(BLOCK);
    let columns = (end - x - 1) * s.stride.1 + (s.k_w - 1) * s.dilation.1 + 1;
    let inside = |at: isize| at.clamp(0, columns as isize) as usize;
    let left = s.left(x);
    let from = inside(-left);
    let until = inside(s.in_w as isize - left).max(from);
    let pad = [r.zero as u8 ^ r.flip; BLOCK];
    for g in 0..pairs {
        let (mut rows, mut steps) = ([pad.as_ptr(); 2], [0; 2]);
        for i in 0..2 {
            let ky = g * 2 + i;
            let iy = s.top(r.y) + (ky * s.dilation.0) as isize;
            if ky < s.k_h && iy >= 0 && iy < s.in_h as isize {
                let at = (iy * s.in_w as isize + left + from as isize) * s.in_stride as isize;
                rows[i] = r.input.wrapping_offset(at).wrapping_add(c);
                steps[i] = s.in_stride;
            }
        }
        // SAFETY: rows are inside the image or the padding, columns between `from` and `until` inside the image; `to` is
        // long enough for all columns and pairs.
        unsafe {
            for column in 0..columns {
                let inside = column >= from && column < until;
                let [a, b] = if inside { rows } else { [pad.as_ptr(); 2] };
                let to = to.add((column * pairs + g) * BLOCK);
                for at in (0..n).step_by(V::N) {
                    V::load_pairs(a.add(at), b.add(at), (n - at).min(V::N), r.flip).store(to.add(at));
                }
                if inside {
                    rows = [rows[0].wrapping_add(steps[0]), rows[1].wrapping_add(steps[1])];
                }
            }
        }
    }
}

/// The sums of `W` outputs, whose interleaved columns are `step` apart, by filter columns `next` apart.
#[inline(always)]
unsafe fn sums<V: I32v, const W: usize>(
    start: V,
    mut x: *const i32,
    step: usize,
    (k_w, next, pairs): (usize, usize, usize),
    mut w: *const i32,
) -> [V; W] {
    let mut acc = [start; W];
    for _ in 0..k_w {
        for g in 0..pairs {
            // SAFETY: the interleaved input and the weights are as long as the steps say.
            unsafe {
                let weight = V::load(w);
                for (i, a) in acc.iter_mut().enumerate() {
                    *a = a.dot2(V::load(x.add(g * BLOCK + i * step)), weight);
                }
                w = w.add(BLOCK);
            }
        }
        x = x.wrapping_add(next);
    }
    acc
}

/// Four outputs from column `x`, channel `c`, of which the first `count` with `n` lanes are stored.
#[inline(always)]
unsafe fn finish<V: I32v>(r: &Row<'_>, header: *const i32, q: [V; 4], x: usize, c: usize, count: usize, n: usize) {
    let stride = r.shape.out_stride;
    let at = x * stride + c;
    // SAFETY: headers are whole vectors; the output is as long as the shape says.
    unsafe {
        let (p0, p1) = (header.add(2 * BLOCK), header.add(3 * BLOCK));
        match r.finish {
            Finish::Raw(out) => {
                for (i, q) in q.into_iter().enumerate().take(count) {
                    q.store_n(out.add(at + i * stride), n);
                }
            }
            Finish::Bytes(out, Requantized { bytes, small: true, .. }) => {
                let p = V::requant_plan(V::load(p0), V::load(p1));
                let q = [q[0].requant_small(p), q[1].requant_small(p), q[2].requant_small(p), q[3].requant_small(p)];
                V::store_bytes(q, &bytes, out.add(at), stride, count, n);
            }
            Finish::Bytes(out, Requantized { bytes, saturates: false, .. }) => {
                let (multiplier, shift) = (V::load(p0), V::load(p1));
                let (left, right) = (shift.max(V::splat(0)), V::splat(0).sub(shift).max(V::splat(0)));
                let mut q = q;
                for q in &mut q {
                    *q = q.shl(left).high_mul(multiplier).shr_round(right);
                }
                V::store_bytes(q, &bytes, out.add(at), stride, count, n);
            }
            Finish::Bytes(out, Requantized { bytes, .. }) => {
                let mut sums = [0i32; BLOCK];
                for (i, q) in q.into_iter().enumerate().take(count) {
                    q.store(sums.as_mut_ptr());
                    for (k, sum) in sums[..n].iter().enumerate() {
                        let q = multiply_by_quantized_multiplier(*sum, *p0.add(k), *p1.add(k));
                        let q = q.wrapping_add(bytes.zero).clamp(bytes.min, bytes.max);
                        *out.add(at + i * stride + k) = q as u8 ^ bytes.flip;
                    }
                }
            }
            Finish::Float(out, row_scale, (min, max)) => {
                let scale = V::F::splat(row_scale).mul(V::load_f32(p0));
                let bias = V::load_f32(p1);
                for (i, q) in q.into_iter().enumerate().take(count) {
                    let f = q.to_f32().mul(scale).add(bias).clamp(V::F::splat(min), V::F::splat(max));
                    f.store_n(out.add(at + i * stride), n);
                }
            }
        }
    }
}

/// The whole row, of which `outputs` are computed at once; `interleaved` is as long as [`Packed::chunk`] says.
#[inline(always)]
unsafe fn row<V: I32v>(r: &Row<'_>, p: &Packed, outputs: usize, interleaved: *mut i32) {
    let s = r.shape;
    let column = p.pairs * BLOCK;
    let step = s.stride.1 * column;
    let taps = (s.k_w, s.dilation.1 * column, p.pairs);
    for first in (0..s.out_w).step_by(outputs) {
        let end = (first + outputs).min(s.out_w);
        for (block, c) in (0..s.out_c).step_by(BLOCK).enumerate() {
            // SAFETY: the input is as long as the shape says, and packed blocks are whole; `finish` stores what is inside
            // the row.
            unsafe {
                interleave::<V>(r, p.pairs, c, first, end, interleaved);
                let n = (s.out_c - c).min(BLOCK);
                for lane in (0..n).step_by(V::N) {
                    let n = (n - lane).min(V::N);
                    let header = p.data.as_slice().as_ptr().add(block * p.length + lane);
                    let zero = V::splat(i32::from(r.zero));
                    let start = V::load(header).sub(V::load(header.add(BLOCK)).mul(zero));
                    let w = header.add(HEADER * BLOCK);
                    let mut x = first;
                    while x < end {
                        let from = interleaved.add((x - first) * step + lane);
                        let left = end - x;
                        if left > 4 {
                            let [q0, q1, q2, q3, q4, q5, q6, q7] = sums::<V, 8>(start, from, step, taps, w);
                            finish(r, header, [q0, q1, q2, q3], x, c + lane, 4, n);
                            finish(r, header, [q4, q5, q6, q7], x + 4, c + lane, (left - 4).min(4), n);
                            x += 8;
                        } else {
                            let q = sums::<V, 4>(start, from, step, taps, w);
                            finish(r, header, q, x, c + lane, left, n);
                            x += 4;
                        }
                    }
                }
            }
        }
    }
}
crate::simd::isa_table!(ROW = I "depthwise_i8" row(r: &Row<'_>, p: &Packed, outputs: usize, interleaved: *mut i32));
