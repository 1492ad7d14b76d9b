//! Depthwise convolution of i8, exact in 32 bits.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::gemm_i8::{ColumnsI8, OutI8};
#[cfg(target_arch = "x86_64")]
use crate::isa::Level;
use crate::isa::{Isa, pick};
use crate::mem::{AlignedVec, Shared};
use crate::pool::ThreadPool;
use crate::requant::multiply_by_quantized_multiplier;
use crate::simd::{F32v, I32v};
use std::ops::Range;

/// Lanes of the widest vector: rows of packed parameters are padded to it.
const PAD: usize = 16;
/// Rows of parameters before the filter: bias, multiplier or scale, shift or float bias.
const HEADER: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Raw,
    Requant,
    Float,
}

/// The filters of a depthwise convolution with what belongs to their channels.
#[derive(Clone, Debug)]
pub struct DepthwiseI8 {
    isa: Isa,
    shape: ConvShape,
    zero_a: i32,
    kind: Kind,
    saturates: bool,
    /// Distance of the rows of `data`.
    width: usize,
    /// The header, then a row per tap of `weight - weight zero point`.
    data: AlignedVec<i32>,
    /// The form for VNNI, where the conditions for it hold.
    #[cfg(target_arch = "x86_64")]
    vnni: Option<super::vnni::Packed>,
}

impl DepthwiseI8 {
    /// Packs `filter` (`[k_h][k_w][out_c]`) for convolutions of `shape` (whose batch may differ later) from an input with
    /// `input_zero_point`. `columns` is per output channel.
    ///
    /// # Panics
    /// If the shape is inconsistent or a slice has the wrong length.
    pub fn pack(
        isa: Isa,
        shape: &ConvShape,
        filter: &[i8],
        input_zero_point: i32,
        weight_zero_point: i32,
        columns: ColumnsI8<'_>,
    ) -> DepthwiseI8 {
        super::check(shape);
        let (n, taps) = (shape.out_c, shape.k_h * shape.k_w);
        assert_eq!(filter.len(), taps * n, "filter");
        let width = n.next_multiple_of(PAD);
        let mut data = AlignedVec::<i32>::zeroed(width * (HEADER + taps));
        let rows = data.as_mut_slice();
        let mut put = |row: usize, values: &mut dyn ExactSizeIterator<Item = i32>| {
            assert_eq!(values.len(), n, "a channel parameter is not out_c long");
            rows[row * width..].iter_mut().zip(values).for_each(|(to, v)| *to = v);
        };
        let mut saturates = false;
        let kind = match columns {
            ColumnsI8::Raw { bias } => {
                bias.into_iter().for_each(|b| put(0, &mut b.iter().copied()));
                Kind::Raw
            }
            ColumnsI8::Requant { bias, multiplier, shift } => {
                bias.into_iter().for_each(|b| put(0, &mut b.iter().copied()));
                put(1, &mut multiplier.iter().copied());
                put(2, &mut shift.iter().map(|s| (*s).clamp(-31, 31)));
                saturates = multiplier.contains(&i32::MIN);
                Kind::Requant
            }
            ColumnsI8::Real { .. } => panic!("depthwise convolutions requantize in fixed point"),
            ColumnsI8::Float { scale, bias } => {
                put(1, &mut scale.iter().map(|s| s.to_bits() as i32));
                bias.into_iter().for_each(|b| put(2, &mut b.iter().map(|s| s.to_bits() as i32)));
                Kind::Float
            }
        };
        for (t, row) in filter.chunks_exact(n.max(1)).enumerate() {
            put(HEADER + t, &mut row.iter().map(|w| i32::from(*w).wrapping_sub(weight_zero_point)));
        }
        let zero_a = input_zero_point;
        #[cfg(target_arch = "x86_64")]
        let vnni = match i8::try_from(zero_a) {
            Ok(zero) if isa.level() >= Level::Avx512Vnni && shape.in_c == n && weight_zero_point == 0 && n > 0 => {
                let row = |i: usize| &data.as_slice()[i * width..][..n];
                let (bias, p1, p2) = (row(0), row(1), row(2));
                // Sums stay below 2^30: taps · 255 · 128 and the bias.
                let bounded = |b: &i32| taps < 10_000 && b.unsigned_abs() < 1 << 29;
                let small = bias.iter().all(bounded) && p1.iter().all(|m| *m >= 0) && p2.iter().all(|s| *s <= 0);
                let requant = kind == Kind::Requant;
                (!requant || small).then(|| super::vnni::Packed::new(shape, filter, zero, requant, bias, p1, p2))
            }
            _ => None,
        };
        DepthwiseI8 {
            isa,
            shape: *shape,
            zero_a,
            kind,
            saturates,
            width,
            data,
            #[cfg(target_arch = "x86_64")]
            vnni,
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.data.as_slice().len() * 4
    }
}

/// What happens to the accumulators of a row.
#[derive(Clone, Copy)]
pub(crate) enum Finish {
    Raw(*mut i32),
    Bytes(*mut i8, i32, (i32, i32)),
    Float(*mut f32, f32, (f32, f32)),
}

/// One output row.
pub(crate) struct Row<'a> {
    shape: &'a ConvShape,
    /// The image.
    input: *const i8,
    /// Header and filter.
    data: *const i32,
    width: usize,
    zero: i32,
    y: usize,
    finish: Finish,
}

/// `W` neighbouring output pixels from `x`, all of whose filter columns `kx` are inside.
#[inline(always)]
unsafe fn pixels<V: I32v, const W: usize>(r: &Row<'_>, x: usize, kx: Range<usize>) {
    let s = r.shape;
    let ky = s.rows_inside(r.y);
    let pixel = s.stride.1 * s.in_stride;
    // SAFETY: the filter taps `ky` × `kx` of the pixels are inside the image; packed rows are whole vectors long; the output
    // is as long as the shape says.
    unsafe {
        let zero = V::splat(r.zero);
        for c in (0..s.out_c).step_by(V::N) {
            let n = (s.out_c - c).min(V::N);
            let whole = n == V::N;
            let header = r.data.add(c);
            let mut acc = [V::load(header); W];
            for ky in ky.clone() {
                let iy = (s.top(r.y) + (ky * s.dilation.0) as isize) as usize;
                for kx in kx.clone() {
                    let ix = (s.left(x) + (kx * s.dilation.1) as isize) as usize;
                    let w = V::load(header.add((HEADER + ky * s.k_w + kx) * r.width));
                    let p = r.input.add((iy * s.in_w + ix) * s.in_stride + c);
                    for (i, a) in acc.iter_mut().enumerate() {
                        let p = p.add(i * pixel);
                        let v = if whole { V::load_i8(p) } else { V::load_i8_n(p, n) };
                        *a = a.add(v.sub(zero).mul(w));
                    }
                }
            }
            let at = x * s.out_stride + c;
            match r.finish {
                Finish::Raw(out) => {
                    for (i, a) in acc.into_iter().enumerate() {
                        a.store_n(out.add(at + i * s.out_stride), n);
                    }
                }
                Finish::Bytes(out, zero_point, (min, max)) => {
                    let (multiplier, shift) = (V::load(header.add(r.width)), V::load(header.add(2 * r.width)));
                    let left = shift.max(V::splat(0));
                    let right = V::splat(0).sub(shift).max(V::splat(0));
                    for (i, a) in acc.into_iter().enumerate() {
                        let q = a.shl(left).high_mul(multiplier).shr_round(right).add(V::splat(zero_point));
                        let q = q.max(V::splat(min)).min(V::splat(max));
                        let to = out.add(at + i * s.out_stride);
                        if whole { q.store_i8(to) } else { q.store_i8_n(to, n) }
                    }
                }
                Finish::Float(out, row_scale, (min, max)) => {
                    let scale = V::F::splat(row_scale).mul(V::load_f32(header.add(r.width)));
                    let bias = V::load_f32(header.add(2 * r.width));
                    for (i, a) in acc.into_iter().enumerate() {
                        let f = a.to_f32().mul(scale).add(bias).clamp(V::F::splat(min), V::F::splat(max));
                        f.store_n(out.add(at + i * s.out_stride), n);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn row<V: I32v>(r: &Row<'_>) {
    let s = r.shape;
    let inside = s.whole_columns();
    let mut x = 0;
    // SAFETY: as in `pixels`: inside `whole_columns` every filter column is inside the image.
    unsafe {
        while x < s.out_w {
            let left = if x >= inside.start && x < inside.end { inside.end - x } else { 0 };
            x += match left {
                0 => {
                    pixels::<V, 1>(r, x, s.cols_inside(x));
                    1
                }
                4.. => {
                    pixels::<V, 4>(r, x, 0..s.k_w);
                    4
                }
                2.. => {
                    pixels::<V, 2>(r, x, 0..s.k_w);
                    2
                }
                1 => {
                    pixels::<V, 1>(r, x, 0..s.k_w);
                    1
                }
            };
        }
    }
}
crate::simd::isa_table!(ROW = I "depthwise_i8" row(r: &Row<'_>));

/// Any multiplier, one result at a time.
unsafe fn row_by_one(r: &Row<'_>, multiplier: usize) {
    let s = r.shape;
    for x in 0..s.out_w {
        for o in 0..s.out_c {
            // SAFETY: taps inside the image only; packed rows and the output are as long as the shape says.
            unsafe {
                let header = r.data.add(o);
                let mut acc = *header;
                for ky in s.rows_inside(r.y) {
                    let iy = (s.top(r.y) + (ky * s.dilation.0) as isize) as usize;
                    for kx in s.cols_inside(x) {
                        let ix = (s.left(x) + (kx * s.dilation.1) as isize) as usize;
                        let v = i32::from(*r.input.add((iy * s.in_w + ix) * s.in_stride + o / multiplier));
                        let w = *header.add((HEADER + ky * s.k_w + kx) * r.width);
                        acc = acc.wrapping_add(v.wrapping_sub(r.zero).wrapping_mul(w));
                    }
                }
                let at = x * s.out_stride + o;
                let (p1, p2) = (*header.add(r.width), *header.add(2 * r.width));
                match r.finish {
                    Finish::Raw(out) => *out.add(at) = acc,
                    Finish::Bytes(out, zero_point, (min, max)) => {
                        let q = multiply_by_quantized_multiplier(acc, p1, p2).wrapping_add(zero_point);
                        *out.add(at) = q.clamp(min, max) as i8;
                    }
                    Finish::Float(out, row_scale, (min, max)) => {
                        let scale = row_scale * f32::from_bits(p1 as u32);
                        let f = acc as f32 * scale + f32::from_bits(p2 as u32);
                        let f = if f < min { min } else { f };
                        *out.add(at) = if f > max { max } else { f };
                    }
                }
            }
        }
    }
}

/// A depthwise convolution with packed filters: `acc = Σ (input - zero point) · (filter - its zero point) + bias` over the
/// taps inside the input, then as [`OutI8`] says (`ldc` is not used: pixels are `shape.out_stride` apart; `rows_per_scale` is
/// not used either: scales and zero points are one per image). Only a multiplier of 1 is fast.
///
/// # Panics
/// If `shape` is another one than the filters were packed for (but for the batch), a slice is too short, or the filters were
/// packed for another kind of output.
pub fn depthwise_conv2d_i8(pool: &ThreadPool, shape: &ConvShape, input: &[i8], filter: &DepthwiseI8, out: OutI8<'_>) {
    let multiplier = super::check(shape);
    assert!(ConvShape { batch: shape.batch, ..filter.shape } == *shape, "filters packed for another convolution");
    let len = shape.output_len();
    let mut images: (&[f32], Option<&[i32]>) = (&[], None);
    enum Sink<'a> {
        Raw(Shared<'a, i32>),
        Bytes(Shared<'a, i8>, i32, (i32, i32)),
        Float(Shared<'a, f32>, (f32, f32)),
    }
    let (room, sink, kind) = match out {
        OutI8::I32 { out, .. } => (out.len(), Sink::Raw(Shared::new(out)), Kind::Raw),
        OutI8::I8 { out, zero_point, min, max, .. } => {
            assert!(-128 <= min && min <= max && max <= 127, "bounds of the output");
            (out.len(), Sink::Bytes(Shared::new(out), zero_point, (min, max)), Kind::Requant)
        }
        OutI8::F32 { out, row_scale, row_zero_point, min, max, .. } => {
            assert!(row_scale.len() >= shape.batch, "one scale per image");
            assert!(row_zero_point.is_none_or(|z| z.len() >= shape.batch), "one zero point per image");
            images = (row_scale, row_zero_point);
            (out.len(), Sink::Float(Shared::new(out), (min, max)), Kind::Float)
        }
    };
    assert!(input.len() >= shape.input_len() && room >= len, "input or output too short");
    assert!(kind == Kind::Raw || kind == filter.kind, "filters packed for another kind of output");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    let byte_zero = match &sink {
        Sink::Bytes(_, zero_point, _) => (-128..=127).contains(zero_point),
        _ => true,
    };
    let run = pick(ROW, filter.isa).run;
    pool.run_chunks(shape.batch * shape.out_h, super::grain(shape), &|rows: Range<usize>| {
        for row in rows {
            let (b, at) = (row / shape.out_h, row * shape.out_w * shape.out_stride);
            let image = b * shape.in_h * shape.in_w * shape.in_stride;
            let r = Row {
                shape,
                input: input[image.min(input.len())..].as_ptr(),
                data: filter.data.as_slice().as_ptr(),
                width: filter.width,
                zero: filter.zero_a.wrapping_add(images.1.map_or(0, |z| z[b])),
                y: row % shape.out_h,
                finish: match &sink {
                    Sink::Raw(out) => Finish::Raw(out.at(at)),
                    Sink::Bytes(out, zero_point, range) => Finish::Bytes(out.at(at), *zero_point, *range),
                    Sink::Float(out, range) => Finish::Float(out.at(at), images.0[b], *range),
                },
            };
            #[cfg(target_arch = "x86_64")]
            if let (Some(packed), None, true) = (&filter.vnni, images.1, byte_zero) {
                // SAFETY: packed for VNNI only where `isa` has it; lengths are checked above, and rows do not overlap.
                unsafe { packed.row(shape, r.input, r.y, r.finish) };
                continue;
            }
            // SAFETY: picked through an `Isa`; lengths are checked above, and rows do not overlap.
            unsafe { if multiplier == 1 && !filter.saturates { run(&r) } else { row_by_one(&r, multiplier) } };
        }
    });
}
