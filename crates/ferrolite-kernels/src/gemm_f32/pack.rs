//! Packing of the right operand.

use super::{Micro, micro_for};
use crate::gemm::{ConvShape, Layout};
use crate::isa::{Isa, Variant};
use crate::mem::AlignedVec;
use crate::transpose::transpose_into;

/// How a right operand of f32 is packed: for which kernel, and its shape.
#[derive(Clone, Copy, Debug)]
pub struct PackF32 {
    pub(super) isa: Isa,
    pub(super) micro: &'static Variant<Micro>,
    pub(super) n: usize,
    pub(super) taps: usize,
    pub(super) kc: usize,
}

impl PackF32 {
    /// `n` columns of depth `taps · kc` (1 tap unless the rows come in pieces) for the best kernel of `isa`.
    ///
    /// # Panics
    /// If the packed length overflows.
    pub fn new(isa: Isa, n: usize, taps: usize, kc: usize) -> PackF32 {
        let ok = taps.checked_mul(kc).and_then(|k| k.checked_add(1)).and_then(|k| k.checked_mul(n.checked_add(64)?));
        assert!(ok.is_some_and(|len| len <= isize::MAX as usize / 4), "packed length overflows");
        PackF32 { isa, micro: micro_for(isa), n, taps, kc }
    }

    /// The filters of a convolution.
    pub fn conv(isa: Isa, shape: &ConvShape) -> PackF32 {
        let (taps, kc) = shape.taps();
        PackF32::new(isa, shape.out_c, taps, kc)
    }

    /// For which instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
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

    /// Floats of a whole panel.
    pub(super) fn panel_len(&self) -> usize {
        self.micro.run.nr() * (self.k() + 1)
    }

    /// Width of panel `p`.
    fn width(&self, p: usize) -> usize {
        let nr = self.micro.run.nr();
        (self.n - p * nr).min(nr).next_multiple_of(self.micro.run.lanes)
    }

    /// Floats of the packed operand, biases included.
    pub fn packed_len(&self) -> usize {
        match self.panels() {
            0 => 0,
            p => (p - 1) * self.panel_len() + self.width(p - 1) * (self.k() + 1),
        }
    }

    /// Packs `weights` (laid out as `layout` says) and `bias` (`n` of them; zeros if absent) into `dst`. For speed `dst` should
    /// start on a 64-byte line.
    ///
    /// # Panics
    /// If `weights` is not `n · k` long, `bias` not `n`, or `dst` shorter than [`PackF32::packed_len`].
    pub fn pack<'a>(
        &self,
        weights: &[f32],
        layout: Layout,
        bias: Option<&[f32]>,
        dst: &'a mut [f32],
    ) -> PackedF32Ref<'a> {
        let (n, k) = (self.n, self.k());
        assert_eq!(weights.len(), n * k, "weights are not n · k long");
        let dst = &mut dst[..self.packed_len()];
        self.set_bias(bias, dst);
        for p in 0..self.panels() {
            let (col, width) = (p * self.micro.run.nr(), self.width(p));
            let cols = width.min(n - col);
            let panel = &mut dst[p * self.panel_len() + width..][..k * width];
            match layout {
                Layout::RowsOfK => {
                    if cols < width {
                        panel.fill(0.0);
                    }
                    transpose_into(self.isa, &weights[col * k..], k, cols, k, panel, width);
                }
                Layout::RowsOfN => {
                    for (row, to) in panel.chunks_exact_mut(width).enumerate() {
                        to[..cols].copy_from_slice(&weights[row * n + col..][..cols]);
                        to[cols..].fill(0.0);
                    }
                }
            }
        }
        PackedF32Ref { spec: *self, data: dst }
    }

    /// Replaces the biases of a packed operand (zeros if absent).
    ///
    /// # Panics
    /// If `bias` is not `n` long or `dst` shorter than [`PackF32::packed_len`].
    pub fn set_bias(&self, bias: Option<&[f32]>, dst: &mut [f32]) {
        assert!(bias.is_none_or(|b| b.len() == self.n), "bias is not n long");
        for p in 0..self.panels() {
            let (col, width) = (p * self.micro.run.nr(), self.width(p));
            let to = &mut dst[p * self.panel_len()..][..width];
            to.fill(0.0);
            if let Some(b) = bias {
                let cols = width.min(self.n - col);
                to[..cols].copy_from_slice(&b[col..][..cols]);
            }
        }
    }

    /// Views memory that [`PackF32::pack`] of an equal spec has filled.
    ///
    /// # Panics
    /// If `data` is shorter than [`PackF32::packed_len`].
    pub fn view<'a>(&self, data: &'a [f32]) -> PackedF32Ref<'a> {
        PackedF32Ref { spec: *self, data: &data[..self.packed_len()] }
    }
}

/// A packed right operand in borrowed memory.
#[derive(Clone, Copy, Debug)]
pub struct PackedF32Ref<'a> {
    pub(super) spec: PackF32,
    pub(super) data: &'a [f32],
}

impl<'a> PackedF32Ref<'a> {
    /// The same operand with its depth cut otherwise: the weights lie the same, only the kernel must know.
    pub(super) fn in_taps(self, taps: usize, kc: usize) -> PackedF32Ref<'a> {
        debug_assert_eq!(self.spec.k(), taps * kc);
        PackedF32Ref { spec: PackF32 { taps, kc, ..self.spec }, data: self.data }
    }

    /// How it is packed.
    pub fn spec(&self) -> &PackF32 {
        &self.spec
    }
}

/// A packed right operand that owns its memory.
#[derive(Clone, Debug)]
pub struct PackedF32 {
    spec: PackF32,
    data: AlignedVec<f32>,
}

impl PackedF32 {
    /// Packs into new memory; see [`PackF32::pack`].
    ///
    /// # Panics
    /// As [`PackF32::new`] and [`PackF32::pack`].
    pub fn pack(
        isa: Isa,
        weights: &[f32],
        n: usize,
        taps: usize,
        kc: usize,
        layout: Layout,
        bias: Option<&[f32]>,
    ) -> PackedF32 {
        let spec = PackF32::new(isa, n, taps, kc);
        let mut data = AlignedVec::zeroed(spec.packed_len());
        spec.pack(weights, layout, bias, data.as_mut_slice());
        PackedF32 { spec, data }
    }

    /// Packs the filters (OHWI) of a convolution.
    ///
    /// # Panics
    /// As [`PackedF32::pack`].
    pub fn conv(isa: Isa, shape: &ConvShape, filters: &[f32], bias: Option<&[f32]>) -> PackedF32 {
        let (taps, kc) = shape.taps();
        PackedF32::pack(isa, filters, shape.out_c, taps, kc, Layout::RowsOfK, bias)
    }

    /// Packs other weights of the same shape in place.
    ///
    /// # Panics
    /// As [`PackF32::pack`].
    pub fn repack(&mut self, weights: &[f32], layout: Layout, bias: Option<&[f32]>) {
        self.spec.pack(weights, layout, bias, self.data.as_mut_slice());
    }

    /// The borrowed form that the kernels take.
    pub fn as_ref(&self) -> PackedF32Ref<'_> {
        PackedF32Ref { spec: self.spec, data: self.data.as_slice() }
    }

    /// How it is packed.
    pub fn spec(&self) -> &PackF32 {
        &self.spec
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.spec.packed_len() * 4
    }
}
