//! Depthwise convolution of i8 on AVX-512 VNNI: four taps of sixteen channels are one instruction.
//!
//! The bytes of four pixels are transposed to four bytes per channel and multiplied by four taps at once. With a filter of
//! three columns, stride 1 and no dilation, four pixels of a row serve two neighbouring outputs, the second by weights
//! moved by one. Taps outside the input see a pixel of zero points. Activations become unsigned by flipping their top bits;
//! both this offset and the zero point are folded into the bias.
#![allow(unsafe_code)]
// Every function is unsafe under one contract: AVX-512 with VNNI, and addresses inside the buffers that the shape describes.
#![allow(unsafe_op_in_unsafe_fn)]

use super::int::Finish;
use crate::gemm::ConvShape;
use crate::gemm_i8::avx512::{Requant, to_bytes};
use crate::mem::{AlignedVec, with_scratch};
use std::arch::x86_64::*;

/// Rows of parameters of a block of 16 channels: where sums start, then six for requantization or scale and bias.
const HEADER: usize = 7;
/// Outputs at once.
const OUTPUTS: usize = 4;

/// Packed filters.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// Outputs that share the pixels of a list: 1 or 2.
    share: usize,
    /// Groups of four taps.
    groups: usize,
    /// Where the taps of a list are from its first one, in elements; `groups · 4`.
    offsets: Vec<usize>,
    /// A pixel of zero points.
    pad: AlignedVec<i8>,
    /// Per 16 channels: the header, then `share · groups` rows of 16 times four taps.
    data: AlignedVec<i32>,
}

/// Filter row and column of the taps of a list in their order; `None` for one that does not exist.
fn taps(shape: &ConvShape, share: usize) -> Vec<Option<(usize, usize)>> {
    if share == 2 {
        (0..shape.k_h * 4).map(|i| Some((i / 4, i % 4))).collect()
    } else {
        let n = shape.k_h * shape.k_w;
        (0..n.next_multiple_of(4)).map(|t| (t < n).then_some((t / shape.k_w, t % shape.k_w))).collect()
    }
}

impl Packed {
    /// Packs `filter` (`[k_h][k_w][channels]`); `bias`, `p1` and `p2` are the parameters of the channels, multiplier and shift
    /// (`requant`, under the conditions of [`Requant`]) or bits of scale and bias.
    pub(super) fn new(
        shape: &ConvShape,
        filter: &[i8],
        zero: i8,
        requant: bool,
        bias: &[i32],
        p1: &[i32],
        p2: &[i32],
    ) -> Packed {
        let c = shape.out_c;
        let share = if shape.k_w == 3 && shape.stride.1 == 1 && shape.dilation.1 == 1 { 2 } else { 1 };
        let taps = taps(shape, share);
        let groups = taps.len() / 4;
        let offset = |t: &Option<(usize, usize)>| {
            t.map_or(0, |(ky, kx)| (ky * shape.dilation.0 * shape.in_w + kx * shape.dilation.1) * shape.in_stride)
        };
        let offsets = taps.iter().map(offset).collect();
        let mut pad = AlignedVec::zeroed(c.next_multiple_of(16));
        pad.as_mut_slice().fill(zero);
        let stride = (HEADER + share * groups) * 16;
        let mut data = AlignedVec::<i32>::zeroed(c.div_ceil(16) * stride);
        for ch in 0..c {
            let block = &mut data.as_mut_slice()[ch / 16 * stride..][..stride];
            let lane = ch % 16;
            let weight = |ky: usize, kx: usize| filter[(ky * shape.k_w + kx) * c + ch];
            let sum: i32 = filter[ch..].iter().step_by(c).map(|w| i32::from(*w)).sum();
            block[lane] = bias[ch].wrapping_sub((128 + i32::from(zero)).wrapping_mul(sum));
            if requant {
                // One lane of what `Requant` computes from whole vectors.
                let e = p2[ch].wrapping_neg();
                let half = (1u32 << e >> 1) as i32;
                block[16 + lane] = p1[ch];
                block[32 + lane] = half;
                block[48 + lane] = if e == 0 { 32 } else { 31 };
                block[64 + lane] = e;
            } else {
                block[16 + lane] = p1[ch];
                block[32 + lane] = p2[ch];
            }
            for second in 0..share {
                for (i, t) in taps.iter().enumerate() {
                    // The second output sees every pixel one column earlier in its window.
                    let w = t.and_then(|(ky, kx)| Some((ky, kx.checked_sub(second)?)).filter(|t| t.1 < shape.k_w));
                    let byte = w.map_or(0, |(ky, kx)| weight(ky, kx)) as u8;
                    let word = &mut block[(HEADER + second * groups + i / 4) * 16 + lane];
                    *word |= i32::from(byte) << (i % 4 * 8);
                }
            }
        }
        Packed { share, groups, offsets, pad, data }
    }

    /// One output row.
    ///
    /// # Safety
    /// The CPU has AVX-512 with VNNI; `image` is the image that the shape describes, `y` one of its output rows, and the
    /// address in `finish` that row.
    pub(super) unsafe fn row(&self, s: &ConvShape, image: *const i8, y: usize, finish: Finish) {
        let lists = OUTPUTS / self.share;
        let slots = self.groups * 4;
        let inside = s.whole_columns();
        let rows_inside = s.rows_inside(y).len() == s.k_h;
        with_scratch(|scratch| {
            scratch.ptrs.resize(lists * slots);
            let ptrs = scratch.ptrs.as_mut_slice();
            for x in (0..s.out_w).step_by(OUTPUTS) {
                if rows_inside && inside.contains(&x) && x + OUTPUTS <= inside.end {
                    let at = (s.top(y) as usize * s.in_w + s.left(x) as usize) * s.in_stride;
                    for (l, list) in ptrs.chunks_exact_mut(slots).enumerate() {
                        let base = image as usize + at + l * self.share * s.stride.1 * s.in_stride;
                        for (p, offset) in list.iter_mut().zip(&self.offsets) {
                            *p = base + offset;
                        }
                    }
                } else {
                    self.border(s, image, y, x, ptrs);
                }
                let n = (s.out_w - x).min(OUTPUTS);
                if self.share == 2 {
                    self.outputs::<2>(s, ptrs, x, n, finish);
                } else {
                    self.outputs::<1>(s, ptrs, x, n, finish);
                }
            }
        });
    }

    /// The addresses for outputs some of whose taps are outside the input.
    fn border(&self, s: &ConvShape, image: *const i8, y: usize, x: usize, ptrs: &mut [usize]) {
        let width = if self.share == 2 { 4 } else { s.k_w };
        let taps = if self.share == 2 { s.k_h * 4 } else { s.k_h * s.k_w };
        for (l, list) in ptrs.chunks_exact_mut(self.groups * 4).enumerate() {
            let left = s.left(x + l * self.share);
            for (t, p) in list.iter_mut().enumerate() {
                let iy = s.top(y) + (t / width * s.dilation.0) as isize;
                let ix = left + (t % width * s.dilation.1) as isize;
                let there = t < taps && iy >= 0 && (iy as usize) < s.in_h && ix >= 0 && (ix as usize) < s.in_w;
                *p = if there {
                    image as usize + (iy as usize * s.in_w + ix as usize) * s.in_stride
                } else {
                    self.pad.as_slice().as_ptr() as usize
                };
            }
        }
    }

    /// Four outputs from column `x`, of which the first `n` are stored.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn outputs<const SHARE: usize>(&self, s: &ConvShape, ptrs: &[usize], x: usize, n: usize, finish: Finish) {
        let slots = self.groups * 4;
        let stride = (HEADER + SHARE * self.groups) * 16;
        let mut block = self.data.as_slice().as_ptr();
        for c in (0..s.out_c).step_by(16) {
            let left = (s.out_c - c).min(16);
            let mask = ((1u32 << left) - 1) as __mmask16;
            let row = |i: usize| _mm512_load_si512(block.add(i * 16).cast());
            let mut acc = [row(0); OUTPUTS];
            for g in 0..self.groups {
                for l in 0..OUTPUTS / SHARE {
                    let p = ptrs.as_ptr().add(l * slots + g * 4);
                    let z = if left == 16 { gather_whole(p, c) } else { gather_part(p, c, mask) };
                    for o in 0..SHARE {
                        let w = row(HEADER + o * self.groups + g);
                        acc[l * SHARE + o] = _mm512_dpbusd_epi32(acc[l * SHARE + o], z, w);
                    }
                }
            }
            let at = x * s.out_stride + c;
            match finish {
                Finish::Bytes(out, zero, (min, max)) => {
                    let r = Requant::from_parts(row(1), row(2), row(3), row(4));
                    let q = [r.apply(acc[0]), r.apply(acc[1]), r.apply(acc[2]), r.apply(acc[3])];
                    let (min, max) = (_mm512_set1_epi8(min as i8), _mm512_set1_epi8(max as i8));
                    let b = to_bytes(q, _mm512_set1_epi16(zero as i16), min, max);
                    let out = out.add(at);
                    _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(b));
                    if n > 1 {
                        _mm_mask_storeu_epi8(out.add(s.out_stride), mask, _mm512_extracti32x4_epi32::<1>(b));
                    }
                    if n > 2 {
                        _mm_mask_storeu_epi8(out.add(2 * s.out_stride), mask, _mm512_extracti32x4_epi32::<2>(b));
                    }
                    if n > 3 {
                        _mm_mask_storeu_epi8(out.add(3 * s.out_stride), mask, _mm512_extracti32x4_epi32::<3>(b));
                    }
                }
                Finish::Float(out, row_scale, (min, max)) => {
                    let scale = _mm512_mul_ps(_mm512_set1_ps(row_scale), _mm512_castsi512_ps(row(1)));
                    let bias = _mm512_castsi512_ps(row(2));
                    for (i, a) in acc.into_iter().enumerate().take(n) {
                        let f = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(a), scale), bias);
                        let f = _mm512_min_ps(_mm512_set1_ps(max), _mm512_max_ps(_mm512_set1_ps(min), f));
                        _mm512_mask_storeu_ps(out.add(at + i * s.out_stride), mask, f);
                    }
                }
                Finish::Raw(out) => {
                    for (i, a) in acc.into_iter().enumerate().take(n) {
                        _mm512_mask_storeu_epi32(out.add(at + i * s.out_stride), mask, a);
                    }
                }
            }
            block = block.add(stride);
        }
    }
}

/// Sixteen channels of four pixels, as four unsigned bytes per channel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn gather_whole(p: *const usize, c: usize) -> __m512i {
    let at = |i: usize| _mm_loadu_si128((*p.add(i) as *const i8).add(c).cast());
    transpose(at(0), at(1), at(2), at(3))
}

/// The same for the channels in `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn gather_part(p: *const usize, c: usize, mask: __mmask16) -> __m512i {
    let at = |i: usize| _mm_maskz_loadu_epi8(mask, (*p.add(i) as *const i8).add(c));
    transpose(at(0), at(1), at(2), at(3))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn transpose(a: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m512i {
    let z = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    let z = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(z, c), d);
    // Words of four channels: those of one group of channels into one lane; then bytes within the lanes.
    let words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    let z = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, z), bytes);
    _mm512_xor_si512(z, _mm512_set1_epi8(-128))
}
