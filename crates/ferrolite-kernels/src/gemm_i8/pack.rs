//! Packing of the right operand, with what its columns need in the epilogue.

use super::{Micro, QUAD, UNIT, micro_for};
use crate::gemm::{ConvShape, Layout};
use crate::isa::{Isa, Level, Variant};
use crate::mem::AlignedVec;
use crate::requant::Pair;
use crate::transpose::{as_words, transpose_i32};

/// Rows of the header of a panel.
pub(super) const HEADER: usize = 6;
/// The bias, less `za · Σ w`, plus `k · za · zw`.
pub(super) const BIAS: usize = 0;
/// Sums of the weights of a column.
pub(super) const COL_SUM: usize = 1;
/// Multipliers, bits of scales, or the lower bits of real factors.
pub(super) const MULTIPLIER: usize = 2;
pub(super) const SCALE: usize = 2;
/// Shifts, bits of float biases, or the upper bits of real factors.
pub(super) const SHIFT: usize = 3;
pub(super) const FLOAT_BIAS: usize = 3;
/// Bits of [`Pair::high`] and [`Pair::low`].
pub(super) const HIGH: usize = 4;
pub(super) const LOW: usize = 5;

/// Which epilogue an operand was packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Raw,
    Requant,
    Real,
    Float,
}

/// What belongs to the columns of a right operand; every slice is `n` long.
#[derive(Clone, Copy, Debug)]
pub enum ColumnsI8<'a> {
    /// For raw accumulators.
    Raw {
        /// Zeros if absent.
        bias: Option<&'a [i32]>,
    },
    /// For requantization to i8.
    Requant {
        /// Zeros if absent.
        bias: Option<&'a [i32]>,
        /// Q31 multipliers.
        multiplier: &'a [i32],
        /// Shifts, in -31..=31 (left if positive).
        shift: &'a [i32],
    },
    /// For requantization to i8 in double precision: the sum times the factor, rounded with halves away from zero.
    Real {
        /// Zeros if absent.
        bias: Option<&'a [i32]>,
        /// The factors.
        factor: &'a [f64],
    },
    /// For float outputs (hybrid kernels).
    Float {
        /// The scales of the weights.
        scale: &'a [f32],
        /// Zeros if absent.
        bias: Option<&'a [f32]>,
    },
}

/// How a right operand of i8 is packed: for which kernel, its shape and its zero points.
#[derive(Clone, Copy, Debug)]
pub struct PackI8 {
    pub(super) isa: Isa,
    pub(super) micro: &'static Variant<Micro>,
    pub(super) n: usize,
    pub(super) taps: usize,
    pub(super) kc: usize,
    pub(super) zero_a: i32,
    pub(super) zero_w: i32,
    pub(super) kind: Kind,
    /// A multiplier is `i32::MIN`: needs the scalar epilogue.
    pub(super) saturates: bool,
    /// No multiplier is negative, no shift goes left and no accumulator reaches 2^30: shorter requantization is exact.
    pub(super) small: bool,
    /// The header holds a [`Pair`] for every column.
    pub(super) paired: bool,
    /// Every |column sum · zero point of a row| is below 2^24, exact in single precision.
    pub(super) narrow: bool,
}

impl PackI8 {
    /// `n` columns of depth `taps · kc` (1 tap unless the rows come in pieces) for the best kernel of `isa`, and the zero points
    /// of the left operand (`input_zero_point`) and of the weights.
    ///
    /// # Panics
    /// If the packed length overflows.
    pub fn new(isa: Isa, n: usize, taps: usize, kc: usize, input_zero_point: i32, weight_zero_point: i32) -> PackI8 {
        let k = kc.checked_add(UNIT - 1).and_then(|k| k.checked_mul(taps)).and_then(|k| k.checked_add(4 * HEADER));
        let len = k.and_then(|k| k.checked_mul(n.checked_add(64)?));
        assert!(len.is_some_and(|len| len <= isize::MAX as usize), "packed length overflows");
        let micro = micro_for(isa);
        PackI8 {
            isa,
            micro,
            n,
            taps,
            kc,
            zero_a: input_zero_point,
            zero_w: weight_zero_point,
            kind: Kind::Raw,
            saturates: false,
            small: false,
            paired: false,
            narrow: false,
        }
    }

    /// The filters of a convolution.
    pub fn conv(isa: Isa, shape: &ConvShape, input_zero_point: i32, weight_zero_point: i32) -> PackI8 {
        let (taps, kc) = shape.taps();
        PackI8::new(isa, shape.out_c, taps, kc, input_zero_point, weight_zero_point)
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.micro.name
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.taps * self.kc
    }

    pub(super) fn panels(&self) -> usize {
        self.n.div_ceil(self.micro.run.nr())
    }

    /// i32 per column: the header and one per group of four.
    fn depth(&self) -> usize {
        HEADER
            + match self.micro.run.tiles {
                true => self.units() * UNIT / QUAD,
                false => self.taps * self.kc.div_ceil(QUAD),
            }
    }

    /// What a kernel rounds the bytes up to that it reads of a row.
    pub(super) fn granule(&self) -> usize {
        if self.micro.run.tiles { UNIT } else { QUAD }
    }

    /// Units of depth, at least one, where taps are packed without gaps.
    pub(super) fn units(&self) -> usize {
        self.k().div_ceil(UNIT).max(1)
    }

    /// i32 of a whole panel.
    pub(super) fn panel_len(&self) -> usize {
        self.micro.run.nr() * self.depth()
    }

    /// Width of panel `p`.
    fn width(&self, p: usize) -> usize {
        let nr = self.micro.run.nr();
        (self.n - p * nr).min(nr).next_multiple_of(self.micro.run.lanes)
    }

    /// i32 of the packed operand.
    pub fn packed_len(&self) -> usize {
        match self.panels() {
            0 => 0,
            p => (p - 1) * self.panel_len() + self.width(p - 1) * self.depth(),
        }
    }

    /// Packs `weights` (laid out as `layout` says) and what belongs to the columns into `dst`. For speed `dst` should start on a
    /// 64-byte line.
    ///
    /// # Panics
    /// If `weights` is not `n · k` long, a slice of `columns` not `n`, or `dst` shorter than [`PackI8::packed_len`].
    pub fn pack<'a>(
        &self,
        weights: &[i8],
        layout: Layout,
        columns: ColumnsI8<'_>,
        dst: &'a mut [i32],
    ) -> PackedI8Ref<'a> {
        let dst = &mut dst[..self.packed_len()];
        dst.fill(0);
        self.pack_into_zeros(weights, layout, columns, dst)
    }

    /// [`PackI8::pack`] into memory that is 0.
    fn pack_into_zeros<'a>(
        &self,
        weights: &[i8],
        layout: Layout,
        columns: ColumnsI8<'_>,
        dst: &'a mut [i32],
    ) -> PackedI8Ref<'a> {
        let (n, k) = (self.n, self.k());
        assert_eq!(weights.len(), n * k, "weights are not n · k long");
        let mut spec = *self;
        let (lengths, kind) = match columns {
            ColumnsI8::Raw { bias } => ([bias.map_or(n, <[i32]>::len), n, n], Kind::Raw),
            ColumnsI8::Requant { bias, multiplier, shift } => {
                spec.saturates = multiplier.contains(&i32::MIN);
                spec.small = multiplier.iter().all(|m| *m >= 0) && shift.iter().all(|s| *s <= 0);
                ([bias.map_or(n, <[i32]>::len), multiplier.len(), shift.len()], Kind::Requant)
            }
            ColumnsI8::Real { bias, factor } => ([bias.map_or(n, <[i32]>::len), factor.len(), n], Kind::Real),
            ColumnsI8::Float { scale, bias } => ([bias.map_or(n, <[f32]>::len), scale.len(), n], Kind::Float),
        };
        assert!(lengths == [n; 3], "a column parameter is not n long");
        spec.kind = kind;
        let dst = &mut dst[..self.packed_len()];
        // The greatest |a - zero_a|, to bound accumulators.
        let reach =
            i64::from(self.zero_a).saturating_add(128).abs().max(i64::from(self.zero_a).saturating_sub(127).abs());
        let mut column = Vec::new();
        spec.paired = matches!(kind, Kind::Requant | Kind::Real)
            && self.isa.level() >= Level::Avx512
            && self.micro.run.lanes == 16;
        spec.narrow = (self.zero_a, self.zero_w) == (0, 0);
        for p in 0..self.panels() {
            let (col, width) = (p * self.micro.run.nr(), self.width(p));
            let panel = &mut dst[p * self.panel_len()..][..width * self.depth()];
            let cols = width.min(n - col);
            // Whole groups of four are transposed as numbers of 32 bits.
            let quads = match layout {
                Layout::RowsOfK if self.kc.is_multiple_of(QUAD) => as_words(&weights[col * k..][..cols * k]),
                _ => None,
            };
            if let Some(quads) = quads {
                let body = &mut panel[HEADER * width..];
                transpose_i32(self.isa, quads, k / QUAD, cols, k / QUAD, body, width);
                if self.micro.run.offset != 0 {
                    let offset = i32::from_ne_bytes([self.micro.run.offset as u8; QUAD]);
                    body.chunks_exact_mut(width).for_each(|row| row[..cols].iter_mut().for_each(|w| *w ^= offset));
                }
            }
            for c in 0..cols {
                let j = col + c;
                let (len, from) = (panel.len(), HEADER * width + c);
                let to = &mut panel[from.min(len)..];
                let (sum, magnitude) = match layout {
                    Layout::RowsOfK => {
                        let weights = &weights[j * k..][..k];
                        if quads.is_none() {
                            self.pack_column(weights, to, width);
                        }
                        sums(weights)
                    }
                    Layout::RowsOfN => {
                        column.clear();
                        column.extend(weights[j.min(weights.len())..].iter().step_by(n).take(k));
                        self.pack_column(&column, to, width);
                        sums(&column)
                    }
                };
                let mut set = |row: usize, value: i32| panel[row * width + c] = value;
                let folded = (k as i32).wrapping_mul(self.zero_w).wrapping_sub(sum).wrapping_mul(self.zero_a);
                let weight = i64::from(magnitude) + k as i64 * i64::from(self.zero_w).abs();
                let bound = |bias: i32| weight.saturating_mul(reach).saturating_add(i64::from(bias).abs());
                set(COL_SUM, sum);
                let mut pair = None;
                match columns {
                    ColumnsI8::Raw { bias } => set(BIAS, bias.map_or(0, |b| b[j]).wrapping_add(folded)),
                    ColumnsI8::Requant { bias, multiplier, shift } => {
                        let bias = bias.map_or(0, |b| b[j]);
                        set(BIAS, bias.wrapping_add(folded));
                        set(MULTIPLIER, multiplier[j]);
                        set(SHIFT, shift[j].clamp(-31, 31));
                        spec.small &= bound(bias) < 1 << 30;
                        if spec.paired {
                            pair = Pair::new(multiplier[j], shift[j], bound(bias));
                        }
                    }
                    ColumnsI8::Real { bias, factor } => {
                        let bias = bias.map_or(0, |b| b[j]);
                        set(BIAS, bias.wrapping_add(folded));
                        let bits = factor[j].to_bits();
                        set(MULTIPLIER, bits as u32 as i32);
                        set(SHIFT, (bits >> 32) as u32 as i32);
                        if spec.paired {
                            pair = Pair::of_real(factor[j], bound(bias));
                        }
                    }
                    ColumnsI8::Float { scale, bias } => {
                        set(BIAS, folded);
                        spec.narrow &= magnitude < 1 << 17;
                        set(SCALE, scale[j].to_bits() as i32);
                        set(FLOAT_BIAS, bias.map_or(0.0, |b| b[j]).to_bits() as i32);
                    }
                }
                match pair {
                    Some(pair) => {
                        set(HIGH, pair.high.to_bits() as i32);
                        set(LOW, pair.low.to_bits() as i32);
                    }
                    None => spec.paired = false,
                }
            }
        }
        PackedI8Ref { spec, data: dst }
    }

    /// Packs one column into groups `width` apart.
    fn pack_column(&self, w: &[i8], to: &mut [i32], width: usize) {
        let offset = u32::from_ne_bytes([self.micro.run.offset as u8; QUAD]);
        let mut slots = to.iter_mut().step_by(width);
        let piece = if self.micro.run.tiles { w.len() } else { self.kc };
        for tap in w.chunks_exact(piece.max(1)) {
            let groups = tap.chunks_exact(QUAD);
            let rest = groups.remainder();
            for (g, slot) in groups.zip(&mut slots) {
                // The offset is 0 or 128 in every byte: adding it is flipping the top bits.
                let bytes = u32::from_ne_bytes([g[0] as u8, g[1] as u8, g[2] as u8, g[3] as u8]);
                *slot = (bytes ^ offset) as i32;
            }
            if !rest.is_empty()
                && let Some(slot) = slots.next()
            {
                let mut bytes = [0u8; QUAD];
                for (b, x) in bytes.iter_mut().zip(rest) {
                    *b = *x as u8 ^ self.micro.run.offset as u8;
                }
                *slot = i32::from_ne_bytes(bytes);
            }
        }
    }
}

/// The sum of weights, and of their magnitudes.
fn sums(w: &[i8]) -> (i32, u32) {
    // So many that sums of 16 bits hold them.
    let parts = w.chunks(128).map(|part| {
        let (mut sum, mut magnitude) = (0i16, 0u16);
        for &w in part {
            sum += i16::from(w);
            magnitude += u16::from(w.unsigned_abs());
        }
        (sum, magnitude)
    });
    parts.fold((0, 0), |(sum, magnitude), part| {
        (i32::wrapping_add(sum, part.0.into()), u32::saturating_add(magnitude, part.1.into()))
    })
}

/// A packed right operand in borrowed memory.
#[derive(Clone, Copy, Debug)]
pub struct PackedI8Ref<'a> {
    pub(super) spec: PackI8,
    pub(super) data: &'a [i32],
}

impl<'a> PackedI8Ref<'a> {
    /// How it is packed, to [`PackedI8Ref::from_spec`] the same memory again.
    pub fn spec(&self) -> PackI8 {
        self.spec
    }

    /// Views memory that a packing has filled, by the spec that [`PackedI8Ref::spec`] gave.
    ///
    /// # Panics
    /// If `data` is shorter than [`PackI8::packed_len`].
    pub fn from_spec(spec: PackI8, data: &'a [i32]) -> PackedI8Ref<'a> {
        PackedI8Ref { spec, data: &data[..spec.packed_len()] }
    }
}

/// A packed right operand that owns its memory.
#[derive(Clone, Debug)]
pub struct PackedI8 {
    spec: PackI8,
    data: AlignedVec<i32>,
}

impl PackedI8 {
    /// Packs into new memory; see [`PackI8::pack`].
    ///
    /// # Panics
    /// As [`PackI8::pack`].
    pub fn pack(spec: PackI8, weights: &[i8], layout: Layout, columns: ColumnsI8<'_>) -> PackedI8 {
        let mut data = AlignedVec::zeroed(spec.packed_len());
        let spec = spec.pack_into_zeros(weights, layout, columns, data.as_mut_slice()).spec;
        PackedI8 { spec, data }
    }

    /// Packs other weights of the same shape in place.
    ///
    /// # Panics
    /// As [`PackI8::pack`].
    pub fn repack(&mut self, weights: &[i8], layout: Layout, columns: ColumnsI8<'_>) {
        self.spec = PackI8 { saturates: false, small: false, ..self.spec }
            .pack(weights, layout, columns, self.data.as_mut_slice())
            .spec;
    }

    /// The borrowed form that the kernels take.
    pub fn as_ref(&self) -> PackedI8Ref<'_> {
        PackedI8Ref { spec: self.spec, data: self.data.as_slice() }
    }

    /// How it is packed.
    pub fn spec(&self) -> &PackI8 {
        &self.spec
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.spec.packed_len() * 4
    }
}
