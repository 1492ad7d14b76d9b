//! Depthwise convolution of bytes on AVX-512 VNNI: four filter rows of 64 channels at once.
//!
//! A vector is 64 channels of a pixel, 32 of two neighbouring outputs' pixels or 16 of four. The vectors of four input rows
//! are interleaved by unpacking within their quarters, which gives four vectors of four bytes per channel; packing the four
//! vectors of results restores the order. Interleaved columns lie in as many lists as the stride, each with the columns of
//! neighbouring outputs side by side; outside the input they hold zero points, so that nothing after knows of borders.
#![allow(unsafe_code)]
// Every function is unsafe under one contract: AVX-512 with VNNI, and addresses inside the buffers that the shape describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{Finish, Row};
use crate::gemm::ConvShape;
use crate::gemm_i8::avx512::Paired;
use crate::mem::AlignedVec;
use crate::requant::Pair;
use std::arch::x86_64::*;

/// Rows of 64 parameters: bias, sum of the filter, then five for requantization, halves of pairs, or scale and bias.
const HEADER: usize = 7;
/// Bytes of interleaved input at once: what stays in the first cache.
const INTERLEAVED: usize = 32 << 10;
/// Vectors of outputs at once.
const OUTPUTS: usize = 2;

/// Channels that are computed alike.
#[derive(Clone, Debug)]
struct Section {
    first: usize,
    /// Channels of a vector: 64, 32 or 16, of which the first `n` exist.
    width: usize,
    n: usize,
    /// Where the parameters are, then the weights of each step.
    data: usize,
    /// Per step the list of columns, counted over groups of rows, and the column of it that the first output sees.
    steps: Vec<(usize, usize)>,
}

/// Packed filters.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    groups: usize,
    /// Whether requantization is by [`Pair`]s.
    paired: bool,
    sections: Vec<Section>,
    data: AlignedVec<i32>,
}

/// Columns that an output sees.
fn reach(s: &ConvShape) -> usize {
    (s.k_w - 1) * s.dilation.1 + 1
}

/// Lists of columns: those that no output sees are left out.
fn lists(s: &ConvShape) -> usize {
    s.stride.1.min(reach(s))
}

/// Where a lane of the `q`-th vector is: its channel of the section.
fn channel(width: usize, q: usize, lane: usize) -> usize {
    lane / 4 * 16 % width + q * 4 + lane % 4
}

impl Packed {
    /// Packs what `weight` (of a tap and a channel) and `parameter` (of a row and a channel) give; rows are bias, sum of the
    /// filter, and multiplier and shift (`requant`, under the conditions of [`crate::simd::I32v::requant_small`] and with no
    /// shift of 0) or bits of scale and bias.
    pub(super) fn new(
        shape: &ConvShape,
        requant: bool,
        weight: &dyn Fn(usize, usize) -> i32,
        parameter: &dyn Fn(usize, usize) -> i32,
    ) -> Packed {
        let (groups, lists) = (shape.k_h.div_ceil(4), lists(shape));
        let (mut sections, mut data) = (Vec::new(), Vec::<i32>::new());
        let pair = |c: usize| {
            let sum: i64 = (0..shape.k_h * shape.k_w).map(|tap| i64::from(weight(tap, c).abs())).sum();
            Pair::new(parameter(2, c), parameter(3, c), 255 * sum + i64::from(parameter(0, c)).abs())
        };
        let pairs: Option<Vec<Pair>> = if requant { (0..shape.out_c).map(pair).collect() } else { None };
        let mut first = 0;
        while first < shape.out_c {
            // A vector costs the same however full it is, and narrow ones hold more pixels.
            let (width, n) = match shape.out_c - first {
                rest @ 48.. => (64, rest.min(64)),
                rest @ 17.. => (32, rest.min(32)),
                rest => (16, rest),
            };
            let mut section = Section { first, width, n, data: data.len(), steps: Vec::new() };
            match &pairs {
                Some(pairs) => {
                    let halves = |row: usize, c: usize| match row {
                        2 => pairs[c].high.to_bits() as i32,
                        3 => pairs[c].low.to_bits() as i32,
                        _ => parameter(row, c),
                    };
                    header(&section, Order::Mixed, &halves, &mut data);
                }
                None if requant => header(&section, Order::Fixed, parameter, &mut data),
                None => header(&section, Order::Own, parameter, &mut data),
            }
            for g in 0..groups {
                for kx in 0..shape.k_w {
                    let whole = |c: usize, i: usize| {
                        let ky = g * 4 + i;
                        if c < n && ky < shape.k_h { weight(ky * shape.k_w + kx, first + c) } else { 0 }
                    };
                    let mut rest: Vec<[i32; 4]> = (0..width).map(|c| [0, 1, 2, 3].map(|i| whole(c, i))).collect();
                    // A weight that is none of a byte is a sum of several, each with its step.
                    while rest.iter().flatten().any(|w| *w != 0) {
                        let part = |w: i32| w.clamp(-128, 127);
                        let word = |w: &[i32; 4]| i32::from_le_bytes(w.map(|w| part(w) as u8));
                        let words: Vec<i32> = rest.iter().map(word).collect();
                        data.extend((0..64).map(|i| words[channel(width, i / 16, i % 16)]));
                        rest.iter_mut().flatten().for_each(|w| *w -= part(*w));
                        let column = kx * shape.dilation.1;
                        section.steps.push((g * lists + column % shape.stride.1, column / shape.stride.1));
                    }
                }
            }
            sections.push(section);
            first += n;
        }
        let mut aligned = AlignedVec::zeroed(data.len());
        aligned.as_mut_slice().copy_from_slice(&data);
        Packed { groups, paired: pairs.is_some(), sections, data: aligned }
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.as_slice().len() * 4
    }

    /// Outputs of a row that are computed from one interleaved piece of input, and its length in bytes, for any section.
    pub(super) fn chunk(&self, s: &ConvShape) -> (usize, usize) {
        // Bytes per output and those that do not depend on their number.
        let (reach, lists) = (reach(s), lists(s));
        let column = self.groups * 4 * 64;
        let rest = (reach.div_ceil(s.stride.1) + 2 * OUTPUTS * 4) * lists * column;
        let outputs = INTERLEAVED.saturating_sub(rest) / (lists * column) / 8 * 8;
        let outputs = outputs.clamp(8, s.out_w.next_multiple_of(8));
        (outputs, outputs * lists * column + rest)
    }

    /// One output row, of which `outputs` are computed at once; `interleaved` is as long as [`Packed::chunk`] says.
    ///
    /// # Safety
    /// The CPU has AVX-512 with VNNI; the row describes slices.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    pub(super) unsafe fn row(&self, r: &Row<'_>, outputs: usize, interleaved: *mut u8) {
        for x in (0..r.shape.out_w).step_by(outputs) {
            let count = outputs.min(r.shape.out_w - x);
            for section in &self.sections {
                let piece = Piece::new(r, self, section, x, count, interleaved);
                let data = self.data.as_slice().as_ptr().add(section.data);
                match section.width {
                    64 => piece.run::<1>(data),
                    32 => piece.run::<2>(data),
                    _ => piece.run::<4>(data),
                }
            }
        }
    }
}

/// What the second two parameters are for.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Halves of pairs, in the order of sums.
    Mixed,
    /// For `requant`.
    Fixed,
    /// For floats: in the order of the channels.
    Own,
}

/// The parameters of a section.
fn header(section: &Section, order: Order, parameter: &dyn Fn(usize, usize) -> i32, data: &mut Vec<i32>) {
    let start = data.len();
    data.resize(start + HEADER * 64, 0);
    let rows = &mut data[start..];
    for i in 0..64 {
        let own = i % section.width;
        let mixed = channel(section.width, i / 16, i % 16);
        let get = |row: usize, c: usize| if c < section.n { parameter(row, section.first + c) } else { 0 };
        rows[i] = get(0, mixed);
        rows[64 + i] = get(1, mixed);
        if order != Order::Fixed {
            let c = if order == Order::Own { own } else { mixed };
            rows[128 + i] = get(2, c);
            rows[192 + i] = get(3, c);
            continue;
        }
        // See `requant`.
        let (m, e) = (get(2, mixed), get(3, mixed).wrapping_neg());
        let carry = if e == 0 { 0 } else { (1 << e >> 1) - 1 };
        let nudge = (1i64 << 31) - (i64::from(m) << 31) + (i64::from(carry) << 32);
        let at = i - i % 2;
        let (factor, term) = if i % 2 == 0 { (128, 256) } else { (192, 320) };
        rows[factor + at] = m.wrapping_mul(2);
        rows[term + at] = nudge as i32;
        rows[term + at + 1] = (nudge >> 32) as i32;
        rows[384 + i] = e;
    }
}

/// Neighbouring outputs of a row for the channels of a section.
struct Piece<'a> {
    r: &'a Row<'a>,
    section: &'a Section,
    packed: &'a Packed,
    x: usize,
    count: usize,
    /// Columns of a list.
    columns: usize,
    to: *mut u8,
}

impl<'a> Piece<'a> {
    fn new(r: &'a Row<'a>, packed: &'a Packed, section: &'a Section, x: usize, count: usize, to: *mut u8) -> Piece<'a> {
        let reach = reach(r.shape);
        let vector = 64 / section.width * OUTPUTS;
        let columns = count.next_multiple_of(vector) + reach.div_ceil(r.shape.stride.1) + 4;
        Piece { r, section, packed, x, count, columns, to }
    }

    /// Where a list of columns, counted over groups of rows, starts; those of the vectors of a group follow each other.
    #[inline(always)]
    fn list(&self, list: usize) -> *mut u8 {
        self.to.wrapping_add(list * 4 * self.columns * self.section.width)
    }

    #[inline(always)]
    unsafe fn run<const P: usize>(&self, data: *const i32) {
        self.interleave::<P>();
        let (width, finish) = (64 / P, self.r.finish);
        let vector = self.columns * width;
        let mut start = [_mm512_setzero_si512(); 4];
        let zero = _mm512_set1_epi32(128 + i32::from(self.r.zero));
        for (q, start) in start.iter_mut().enumerate() {
            let sum = _mm512_load_si512(data.add((4 + q) * 16).cast());
            *start = _mm512_sub_epi32(_mm512_load_si512(data.add(q * 16).cast()), _mm512_mullo_epi32(sum, zero));
            if matches!(finish, Finish::Bytes(..)) && !self.packed.paired {
                *start = _mm512_add_epi32(*start, _mm512_set1_epi32(BIASED));
            }
        }
        let pair = |q: usize| {
            let half = |i: usize| _mm512_load_ps(data.add((i * 4 + q) * 16).cast());
            Paired::new(half(2), half(3), false)
        };
        let pairs = [pair(0), pair(1), pair(2), pair(3)];
        let mut x = 0;
        while x < self.count {
            let (mut first, mut second) = (start, start);
            let mut w = data.add(HEADER * 64);
            for &(list, column) in &self.section.steps {
                let from = self.list(list).add((x + column) * width);
                for q in 0..4 {
                    let weights = _mm512_load_si512(w.add(q * 16).cast());
                    let from = from.add(q * vector);
                    first[q] = _mm512_dpbusd_epi32(first[q], _mm512_loadu_si512(from.cast()), weights);
                    second[q] = _mm512_dpbusd_epi32(second[q], _mm512_loadu_si512(from.add(64).cast()), weights);
                }
                w = w.add(64);
            }
            self.finish::<P>(finish, &pairs, data, first, x);
            if x + P < self.count {
                self.finish::<P>(finish, &pairs, data, second, x + P);
            }
            x += OUTPUTS * P;
        }
    }

    /// Interleaves what the outputs see.
    #[inline(always)]
    unsafe fn interleave<const P: usize>(&self) {
        let (r, s, width) = (self.r, self.r.shape, 64 / P);
        let (reach, lists) = (reach(s), lists(s));
        let last = (self.count - 1) * s.stride.1 + reach;
        let left = s.left(self.x);
        let zero = (128 + i32::from(r.zero)) as u8;
        let (pad, outside) = ([zero ^ r.flip; 64], _mm512_set1_epi8(zero as i8));
        let flip = _mm512_set1_epi8(r.flip as i8);
        let dense = s.stride.1 == 1 && s.in_stride == width && self.section.n == width;
        for g in 0..self.packed.groups {
            for list in 0..lists {
                // The columns of the list that are needed, and those of them inside the input.
                let needed = (last - list).div_ceil(s.stride.1);
                let inside = |at: isize| (at.max(0) as usize).div_ceil(s.stride.1).min(needed);
                let from = inside(-left - list as isize);
                let until = inside(s.in_w as isize - left - list as isize).max(from);
                let (mut rows, mut steps) = ([pad.as_ptr(); 4], [0; 4]);
                for i in 0..4 {
                    let ky = g * 4 + i;
                    let iy = s.top(r.y) + (ky * s.dilation.0) as isize;
                    if ky < s.k_h && iy >= 0 && iy < s.in_h as isize {
                        let ix = left + (list + from * s.stride.1) as isize;
                        let at = (iy * s.in_w as isize + ix) * s.in_stride as isize;
                        rows[i] = r.input.wrapping_offset(at).wrapping_add(self.section.first);
                        steps[i] = s.stride.1 * s.in_stride;
                    }
                }
                let to = self.list(g * lists + list);
                let to = [0, 1, 2, 3].map(|q| to.wrapping_add(q * self.columns * width));
                for column in (0..from).step_by(P) {
                    for to in to {
                        _mm512_storeu_si512(to.add(column * width).cast(), outside);
                    }
                }
                let mut column = from;
                while column < until {
                    let here = until - column;
                    let x = if dense && here >= P {
                        [whole(rows[0]), whole(rows[1]), whole(rows[2]), whole(rows[3])]
                    } else {
                        let n = self.section.n;
                        [
                            part::<P>(rows[0], steps[0], here, n),
                            part::<P>(rows[1], steps[1], here, n),
                            part::<P>(rows[2], steps[2], here, n),
                            part::<P>(rows[3], steps[3], here, n),
                        ]
                    };
                    let (a, b) = (_mm512_xor_si512(x[0], flip), _mm512_xor_si512(x[1], flip));
                    let (c, d) = (_mm512_xor_si512(x[2], flip), _mm512_xor_si512(x[3], flip));
                    let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
                    let at = column * width;
                    _mm512_storeu_si512(to[0].add(at).cast(), _mm512_unpacklo_epi16(ab, cd));
                    _mm512_storeu_si512(to[1].add(at).cast(), _mm512_unpackhi_epi16(ab, cd));
                    let (ab, cd) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
                    _mm512_storeu_si512(to[2].add(at).cast(), _mm512_unpacklo_epi16(ab, cd));
                    _mm512_storeu_si512(to[3].add(at).cast(), _mm512_unpackhi_epi16(ab, cd));
                    for (p, step) in rows.iter_mut().zip(steps) {
                        *p = p.wrapping_add(P * step);
                    }
                    column += P;
                }
                // Past the last column there is room for a vector.
                for column in (until..needed).step_by(P) {
                    for to in to {
                        _mm512_storeu_si512(to.add(column * width).cast(), outside);
                    }
                }
            }
        }
    }

    /// The outputs of one vector, from output `x` of the piece.
    #[inline(always)]
    unsafe fn finish<const P: usize>(
        &self,
        finish: Finish,
        pairs: &[Paired; 4],
        data: *const i32,
        acc: [__m512i; 4],
        x: usize,
    ) {
        let stride = self.r.shape.out_stride;
        let at = (self.x + x) * stride + self.section.first;
        let n = self.section.n;
        let row = |i: usize, q: usize| data.add((i * 4 + q) * 16);
        let here = self.count - x;
        match finish {
            Finish::Bytes(out, how) => {
                // Saturating on the way to 16 and 8 bits changes nothing that the clamp would not.
                let (lo, hi) = if self.packed.paired {
                    let nudge = _mm512_set1_epi16(2 * how.bytes.zero as i16 + 1);
                    let lo = _mm512_packs_epi32(pairs[0].apply(acc[0]), pairs[1].apply(acc[1]));
                    let hi = _mm512_packs_epi32(pairs[2].apply(acc[2]), pairs[3].apply(acc[3]));
                    let (lo, hi) = (_mm512_adds_epi16(lo, nudge), _mm512_adds_epi16(hi, nudge));
                    (_mm512_srai_epi16::<1>(lo), _mm512_srai_epi16::<1>(hi))
                } else {
                    let zero = _mm512_set1_epi16(how.bytes.zero as i16);
                    let lo = _mm512_packs_epi32(requant(acc[0], row(2, 0)), requant(acc[1], row(2, 1)));
                    let hi = _mm512_packs_epi32(requant(acc[2], row(2, 2)), requant(acc[3], row(2, 3)));
                    (_mm512_adds_epi16(lo, zero), _mm512_adds_epi16(hi, zero))
                };
                let b = _mm512_max_epi8(_mm512_packs_epi16(lo, hi), _mm512_set1_epi8(how.bytes.min as i8));
                let b = _mm512_min_epi8(b, _mm512_set1_epi8(how.bytes.max as i8));
                let b = _mm512_xor_si512(b, _mm512_set1_epi8(how.bytes.flip as i8));
                let out: *mut i8 = out.add(at).cast();
                if P == 1 {
                    _mm512_mask_storeu_epi8(out, u64::MAX >> (64 - n), b);
                } else if P == 2 {
                    let mask = u32::MAX >> (32 - n);
                    _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(b));
                    if here > 1 {
                        _mm256_mask_storeu_epi8(out.add(stride), mask, _mm512_extracti64x4_epi64::<1>(b));
                    }
                } else {
                    let mask = u16::MAX >> (16 - n);
                    _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(b));
                    if here > 1 {
                        _mm_mask_storeu_epi8(out.add(stride), mask, _mm512_extracti32x4_epi32::<1>(b));
                    }
                    if here > 2 {
                        _mm_mask_storeu_epi8(out.add(2 * stride), mask, _mm512_extracti32x4_epi32::<2>(b));
                    }
                    if here > 3 {
                        _mm_mask_storeu_epi8(out.add(3 * stride), mask, _mm512_extracti32x4_epi32::<3>(b));
                    }
                }
            }
            Finish::Float(out, row_scale, (min, max)) => {
                for (i, acc) in in_order(acc).into_iter().enumerate() {
                    let (pixel, c) = (i * 16 / (64 / P), i * 16 % (64 / P));
                    let scale = _mm512_mul_ps(_mm512_set1_ps(row_scale), _mm512_load_ps(row(2, i).cast()));
                    let f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale);
                    let f = _mm512_max_ps(_mm512_set1_ps(min), _mm512_add_ps(f, _mm512_load_ps(row(3, i).cast())));
                    let f = _mm512_min_ps(_mm512_set1_ps(max), f);
                    if pixel < here && c < n {
                        let mask = u16::MAX >> (16 - (n - c).min(16));
                        _mm512_mask_storeu_ps(out.add(at + pixel * stride + c), mask, f);
                    }
                }
            }
            Finish::Raw(out) => {
                for (i, acc) in in_order(acc).into_iter().enumerate() {
                    let (pixel, c) = (i * 16 / (64 / P), i * 16 % (64 / P));
                    if pixel < here && c < n {
                        let mask = u16::MAX >> (16 - (n - c).min(16));
                        _mm512_mask_storeu_epi32(out.add(at + pixel * stride + c), mask, acc);
                    }
                }
            }
        }
    }
}

/// What is added to sums that are requantized, so that none is negative.
const BIASED: i32 = 1 << 30;

/// Requantizes sums, with 2^30 added, of less than 2^30; the parameters are 64 elements apart.
///
/// With h = (2·x·m + 2^31) >> 32 the result is (h + half - (x < 0)) >> e, as for the matrix products' `Requant`, where e is not
/// 0. Unsigned, y = x + 2^30 gives y · 2m = 2·x·m + 2^31·m and y >> 30 = 1 - (x < 0); what is too much, the rounding term and
/// half - 1 above it are added to the product.
#[inline(always)]
unsafe fn requant(y: __m512i, p: *const i32) -> __m512i {
    let row = |i: usize| p.add(i * 64).cast();
    let even = _mm512_mul_epu32(y, _mm512_load_si512(row(0)));
    let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(y), _mm512_load_si512(row(1)));
    let even = _mm512_add_epi64(even, _mm512_load_si512(row(2)));
    let odd = _mm512_add_epi64(odd, _mm512_load_si512(row(3)));
    // The upper words: those of the even products into the even lanes.
    let h = _mm512_mask_shuffle_epi32::<0xF5>(odd, 0x5555, even);
    _mm512_srav_epi32(_mm512_add_epi32(h, _mm512_srli_epi32::<30>(y)), _mm512_load_si512(row(4)))
}

/// The channels in their own order: a transposition of quarters.
#[inline(always)]
unsafe fn in_order([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab0, ab1) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xEE>(a, b));
    let (cd0, cd1) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xEE>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab0, cd0),
        _mm512_shuffle_i32x4::<0xDD>(ab0, cd0),
        _mm512_shuffle_i32x4::<0x88>(ab1, cd1),
        _mm512_shuffle_i32x4::<0xDD>(ab1, cd1),
    ]
}

#[inline(always)]
unsafe fn whole(p: *const u8) -> __m512i {
    _mm512_loadu_si512(p.cast())
}

/// `n` channels of `P` pixels, `step` apart, of which `here` are there.
#[inline(always)]
unsafe fn part<const P: usize>(p: *const u8, step: usize, here: usize, n: usize) -> __m512i {
    let at = |i: usize| p.wrapping_add(i * step).cast::<i8>();
    if P == 1 {
        return _mm512_maskz_loadu_epi8(u64::MAX >> (64 - n), at(0));
    }
    if P == 2 {
        let mask = u32::MAX >> (32 - n);
        let second = _mm256_maskz_loadu_epi8(if here > 1 { mask } else { 0 }, at(1));
        return _mm512_inserti64x4::<1>(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, at(0))), second);
    }
    let mask = |i: usize| if here > i { u16::MAX >> (16 - n) } else { 0 };
    let z = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(mask(0), at(0)));
    let z = _mm512_inserti32x4::<1>(z, _mm_maskz_loadu_epi8(mask(1), at(1)));
    let z = _mm512_inserti32x4::<2>(z, _mm_maskz_loadu_epi8(mask(2), at(2)));
    _mm512_inserti32x4::<3>(z, _mm_maskz_loadu_epi8(mask(3), at(3)))
}
