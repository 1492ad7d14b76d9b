//! FerroliteConv2DWeightGrad as matrix products: (patches)ᵀ · dy, summed over blocks of output rows.

use super::Problem;
use crate::OpError;
use crate::common::parallel::for_items;
use crate::common::scratch::{Scratch, scratch_size};
use crate::conv_2d;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{EpilogueF32, Isa, Layout, PackF32, gemm_f32, transpose_f32, transpose_into};
use std::ops::Range;

/// Convolutions without groups.
pub const FAST: &[FastKernel] = &[FastKernel {
    name: "gemm",
    supports: |node| matches!(Problem::of(node), Ok(Problem::Full(p)) if p.groups == 1 && p.window.positions() > 0),
    prepare,
}];

/// Output positions of a block, about: its patches should stay in the cache.
const BLOCK: usize = 1024;

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let Problem::Full(p) = Problem::of(node)? else { return Err(OpError::unsupported("a depthwise convolution")) };
    let w = &p.window;
    let lines = (BLOCK / w.output.1).clamp(1, w.batch * w.output.0);
    let packed = PackF32::new(isa, p.out_c, 1, lines * w.output.1).packed_len();
    let name = format!("FerroliteConv2DWeightGrad/{}", PackF32::new(isa, p.out_c, 1, 1).kernel());
    Ok(Box::new(WeightGrad { name, isa, p, lines, packed }))
}

struct WeightGrad {
    name: String,
    isa: Isa,
    p: conv_2d::Problem,
    /// Output rows of a block, counted through all images.
    lines: usize,
    /// Floats of a packed block of the output's gradient.
    packed: usize,
}

impl WeightGrad {
    /// Rows of the product: taps by input channels.
    fn m(&self) -> usize {
        self.p.window.taps() * self.p.in_c
    }

    /// Writes the transposed patches of tap `tap`: a row per input channel, a column per position of `lines`.
    fn patches(&self, x: &[f32], tap: usize, lines: Range<usize>, out: &mut [f32]) {
        let (w, c) = (&self.p.window, self.p.in_c);
        let (ky, kx) = (tap / w.kernel.1, tap % w.kernel.1);
        let columns = lines.len() * w.output.1;
        // Positions whose tap is inside the image: ox · stride + offset − pad in 0..width.
        let (offset, stride) = (kx * w.dilation.1, w.stride.1);
        let first = w.pad.1.saturating_sub(offset).div_ceil(stride).min(w.output.1);
        let end = (w.input.1 + w.pad.1).saturating_sub(offset).div_ceil(stride).clamp(first, w.output.1);
        for (i, line) in lines.enumerate() {
            let (batch, oy) = (line / w.output.0, line % w.output.0);
            let iy = (oy * w.stride.0 + ky * w.dilation.0).checked_sub(w.pad.0).filter(|&iy| iy < w.input.0);
            let at = i * w.output.1;
            let (first, end) = if iy.is_some() { (first, end) } else { (0, 0) };
            if end - first < w.output.1 {
                for row in out.chunks_exact_mut(columns) {
                    row[at..at + first].fill(0.0);
                    row[at + end..at + w.output.1].fill(0.0);
                }
            }
            if let (Some(iy), true) = (iy, end > first) {
                let ix = first * stride + offset - w.pad.1;
                let from = &x[((batch * w.input.0 + iy) * w.input.1 + ix) * c..];
                transpose_into(self.isa, from, c * stride, end - first, c, &mut out[at + first..], columns);
            }
        }
    }
}

impl Kernel for WeightGrad {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (w, c, n, m) = (&self.p.window, self.p.in_c, self.p.out_c, self.m());
        let (x, dy) = (io.input(0)?.slice::<f32>()?, io.input(2)?.slice::<f32>()?);
        let mut scratch = Scratch::new(&mut *io.scratch);
        let patches = scratch.take::<f32>(m * self.lines * w.output.1)?;
        let packed = scratch.take::<f32>(self.packed)?;
        // The sum goes to and fro: the product reads one and writes the other.
        let (mut sum, mut next) = (scratch.take::<f32>(m * n)?, scratch.take::<f32>(m * n)?);
        sum.fill(0.0);
        let all = w.batch * w.output.0;
        for start in (0..all).step_by(self.lines) {
            let lines = start..(start + self.lines).min(all);
            let k = lines.len() * w.output.1;
            let patches = &mut patches[..m * k];
            for_items(io.pool, patches, c * k, 16_384 / (c * k) + 1, |taps, part| {
                for (tap, part) in taps.zip(part.chunks_exact_mut(c * k)) {
                    self.patches(x, tap, lines.clone(), part);
                }
            });
            let dy = &dy[start * w.output.1 * n..][..k * n];
            let right = PackF32::new(self.isa, n, 1, k).pack(dy, Layout::RowsOfN, None, packed);
            let epilogue = EpilogueF32 { add: Some(sum), ..EpilogueF32::default() };
            gemm_f32(io.pool, patches, m, k, right, next, n, epilogue);
            std::mem::swap(&mut sum, &mut next);
        }
        transpose_f32(io.pool, self.isa, sum, m, n, io.outputs[0].slice::<f32>()?);
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let (m, w) = (self.m(), &self.p.window);
        let parts = [m.saturating_mul(self.lines * w.output.1), self.packed, m * self.p.out_c, m * self.p.out_c];
        parts.into_iter().map(scratch_size::<f32>).fold(0, usize::saturating_add)
    }

    fn name(&self) -> &str {
        &self.name
    }
}
