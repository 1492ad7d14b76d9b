//! Depthwise convolution of bytes, exact in 32 bits.
#![allow(unsafe_code)]

use super::for_rows;
use super::rows::{self, Finish, ROW, Requantized, Row};
#[cfg(target_arch = "x86_64")]
use super::vnni;
use crate::gemm::ConvShape;
use crate::gemm_i8::{ColumnsI8, OutI8};
#[cfg(target_arch = "x86_64")]
use crate::isa::Level;
use crate::isa::{Isa, pick};
use crate::mem::{Shared, with_scratch};
use crate::pool::ThreadPool;
use crate::simd::Bytes;

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
    unsigned: bool,
    zero: i32,
    kind: Kind,
    small: bool,
    saturates: bool,
    packed: Packed,
}

/// The form of the best kernel.
#[derive(Clone, Debug)]
enum Packed {
    Pairs(rows::Packed),
    #[cfg(target_arch = "x86_64")]
    Vnni(vnni::Packed),
}

impl DepthwiseI8 {
    /// Whether what a row sees of the input is not too wide to be interleaved.
    pub fn fits(shape: &ConvShape) -> bool {
        let reach = (shape.k_w.max(1) - 1).checked_mul(shape.dilation.1);
        let columns = shape.stride.1.checked_mul(16).and_then(|s| reach?.checked_add(s));
        columns.and_then(|c| c.checked_mul(shape.k_h)).is_some_and(|c| c <= 1 << 17)
    }

    /// Packs `filter` (`[k_h][k_w][out_c]`) for convolutions of `shape` (whose batch may differ later) from an input with
    /// `input_zero_point`. `columns` is per output channel. Zero points are in the range of i8. If `unsigned`, bytes of input
    /// and output have their top bits flipped, while everything else is meant as without: zero points are 128 less.
    ///
    /// # Panics
    /// If the shape is inconsistent or does not fit, a slice has the wrong length or a zero point is none of a byte.
    pub fn pack(
        isa: Isa,
        shape: &ConvShape,
        filter: &[i8],
        unsigned: bool,
        input_zero_point: i32,
        weight_zero_point: i32,
        columns: ColumnsI8<'_>,
    ) -> DepthwiseI8 {
        super::check(shape);
        assert!(DepthwiseI8::fits(shape), "a filter too wide");
        let (n, taps) = (shape.out_c, shape.k_h * shape.k_w);
        assert_eq!(filter.len(), taps * n, "filter");
        let byte = -128..=127;
        assert!(byte.contains(&input_zero_point) && byte.contains(&weight_zero_point), "zero points");
        let mut rows = vec![0; rows::HEADER * n];
        let mut put = |row: usize, values: &mut dyn ExactSizeIterator<Item = i32>| {
            assert_eq!(values.len(), n, "a channel parameter is not out_c long");
            rows[row * n..].iter_mut().zip(values).for_each(|(to, v)| *to = v);
        };
        let weight = |tap: usize, c: usize| i32::from(filter[tap * n + c]) - weight_zero_point;
        put(1, &mut (0..n).map(|c| (0..taps).fold(0i32, |sum, t| sum.wrapping_add(weight(t, c)))));
        let (mut saturates, mut small) = (false, false);
        let kind = match columns {
            ColumnsI8::Raw { bias } => {
                bias.into_iter().for_each(|b| put(0, &mut b.iter().copied()));
                Kind::Raw
            }
            ColumnsI8::Requant { bias, multiplier, shift } => {
                bias.into_iter().for_each(|b| put(0, &mut b.iter().copied()));
                put(2, &mut multiplier.iter().copied());
                put(3, &mut shift.iter().map(|s| (*s).clamp(-31, 31)));
                saturates = multiplier.contains(&i32::MIN);
                // Sums stay below 2^30: taps · 255 · 255 and the bias.
                let bounded = |b: &i32| b.unsigned_abs() < 1 << 29;
                small = taps < 8000
                    && bias.is_none_or(|b| b.iter().all(bounded))
                    && multiplier.iter().all(|m| *m >= 0)
                    && shift.iter().all(|s| *s <= 0);
                Kind::Requant
            }
            ColumnsI8::Real { .. } => panic!("depthwise convolutions requantize in fixed point"),
            ColumnsI8::Float { scale, bias } => {
                put(2, &mut scale.iter().map(|s| s.to_bits() as i32));
                bias.into_iter().for_each(|b| put(3, &mut b.iter().map(|s| s.to_bits() as i32)));
                Kind::Float
            }
        };
        let parameter = |row: usize, c: usize| rows[row * n + c];
        let zero = input_zero_point;
        let new = |packed| DepthwiseI8 { isa, shape: *shape, unsigned, zero, kind, small, saturates, packed };
        #[cfg(target_arch = "x86_64")]
        if isa.level() >= Level::Avx512Vnni && (kind != Kind::Requant || small && rows[3 * n..].iter().all(|s| *s < 0))
        {
            return new(Packed::Vnni(vnni::Packed::new(shape, kind == Kind::Requant, &weight, &parameter)));
        }
        new(Packed::Pairs(rows::Packed::new(shape, &weight, &parameter)))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        match &self.packed {
            Packed::Pairs(p) => p.bytes(),
            #[cfg(target_arch = "x86_64")]
            Packed::Vnni(p) => p.bytes(),
        }
    }
}

/// A depthwise convolution with packed filters: `acc = Σ (input - zero point) · (filter - its zero point) + bias` over the
/// taps inside the input, then as [`OutI8`] says (`ldc` is not used: pixels are `shape.out_stride` apart; `rows_per_scale` is
/// not used either: scales and zero points are one per image, and replace that of the input, which has to be 0).
///
/// # Panics
/// If `shape` is neither the one that the filters were packed for nor a band of it (but for the batch), a slice is too short,
/// or the filters were packed for another kind of output.
pub fn depthwise_conv2d_i8(pool: &ThreadPool, shape: &ConvShape, input: &[i8], filter: &DepthwiseI8, out: OutI8<'_>) {
    super::check(shape);
    let of =
        ConvShape { batch: shape.batch, in_h: shape.in_h, out_h: shape.out_h, pad_top: shape.pad_top, ..filter.shape };
    assert!(of == *shape, "filters packed for another convolution");
    let mut images: (&[f32], Option<&[i32]>) = (&[], None);
    enum Sink<'a> {
        Raw(Shared<'a, i32>),
        Bytes(Shared<'a, i8>, Requantized),
        Float(Shared<'a, f32>, (f32, f32)),
    }
    let (room, sink, kind) = match out {
        OutI8::I32 { out, .. } => (out.len(), Sink::Raw(Shared::new(out)), Kind::Raw),
        OutI8::I8 { out, zero_point, min, max, .. } => {
            assert!(-128 <= min && min <= max && max <= 127, "bounds of the output");
            let bytes = Bytes { zero: zero_point, min, max, flip: if filter.unsigned { 0x80 } else { 0 } };
            assert!((-128..=127).contains(&zero_point), "zero point of the output");
            let how = Requantized { bytes, small: filter.small, saturates: filter.saturates };
            (out.len(), Sink::Bytes(Shared::new(out), how), Kind::Requant)
        }
        OutI8::F32 { out, row_scale, row_zero_point, min, max, .. } => {
            assert!(row_scale.len() >= shape.batch, "one scale per image");
            let zeros = |z: &[i32]| z.len() >= shape.batch && z.iter().all(|z| (-128..=127).contains(z));
            assert!(row_zero_point.is_none_or(|z| filter.zero == 0 && zeros(z)), "one zero point per image");
            images = (row_scale, row_zero_point);
            (out.len(), Sink::Float(Shared::new(out), (min, max)), Kind::Float)
        }
    };
    assert!(input.len() >= shape.input_len() && room >= shape.output_len(), "input or output too short");
    assert!(kind == Kind::Raw || kind == filter.kind, "filters packed for another kind of output");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    let run = pick(ROW, filter.isa).run;
    let (outputs, room) = match &filter.packed {
        Packed::Pairs(p) => p.chunk(shape),
        #[cfg(target_arch = "x86_64")]
        Packed::Vnni(p) => p.chunk(shape),
    };
    for_rows(pool, shape, input, &|shape, input, b, y| {
        let at = (b * shape.out_h + y) * shape.out_w * shape.out_stride;
        let finish = match &sink {
            Sink::Raw(out) => Finish::Raw(out.at(at)),
            Sink::Bytes(out, how) => Finish::Bytes(out.at(at).cast(), *how),
            Sink::Float(out, range) => Finish::Float(out.at(at), images.0[b], *range),
        };
        let zero = images.1.map_or(filter.zero, |z| z[b]) as i8;
        let (input, flip) = (input.cast(), if filter.unsigned { 0x80 } else { 0 });
        let r = Row { shape, input, flip, zero, y, finish };
        // SAFETY: packed and picked for what the `Isa` has; lengths are checked above, and rows do not overlap.
        with_scratch(|scratch| match &filter.packed {
            Packed::Pairs(p) => unsafe { run(&r, p, outputs, scratch.extra.typed(room).as_mut_ptr()) },
            #[cfg(target_arch = "x86_64")]
            Packed::Vnni(p) => {
                // Its bytes are unsigned.
                let r = Row { flip: flip ^ 0x80, ..r };
                unsafe { p.row(&r, outputs, scratch.extra.typed(room).as_mut_ptr()) };
            }
        });
    });
}
