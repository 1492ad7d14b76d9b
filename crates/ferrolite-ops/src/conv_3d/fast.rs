//! A fast kernel of CONV_3D: every plane of the output is a sum of plane convolutions, one per depth tap.

use super::{Problem, options, problem};
use crate::common::activation::float_range;
use crate::common::linear::clamp;
use crate::common::operand::OperandF32;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_kernels::{ConvShape, EpilogueF32, Isa, Layout, conv2d_f32};

pub const FAST: &[FastKernel] = &[FastKernel {
    name: "planes",
    supports: |node| {
        let held = node.input(1).is_ok_and(|w| w.constant.is_some());
        held && problem(node).is_ok_and(|p| p.window.positions() > 0)
    },
    prepare,
}];

/// The convolution of one plane.
fn plane(p: &Problem) -> ConvShape {
    let w = &p.window;
    ConvShape {
        batch: 1,
        in_h: w.input[1],
        in_w: w.input[2],
        in_c: p.in_c,
        in_stride: p.in_c,
        out_h: w.output[1],
        out_w: w.output[2],
        out_c: p.out_c,
        out_stride: p.out_c,
        k_h: w.kernel[1],
        k_w: w.kernel[2],
        stride: (w.stride[1], w.stride[2]),
        dilation: (w.dilation[1], w.dilation[2]),
        pad_top: w.pad[1],
        pad_left: w.pad[2],
    }
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let Some(weights) = constant::<f32>(node.input(1)?)? else { return Err(OpError::unsupported("weights as inputs")) };
    let shape = plane(&p);
    let pack = |w: &[f32]| OperandF32::new(isa, p.out_c, shape.taps(), Layout::RowsOfN, Some((w, None)));
    let taps: Vec<OperandF32> = weights.chunks_exact(weights.len() / p.window.kernel[0]).map(pack).collect();
    let name = format!("conv_3d/{}", taps[0].kernel());
    let range = float_range(options(node)?.fused_activation_function)?;
    Ok(Box::new(Planes { name, p, shape, taps, range, bias: node.optional_input(2).is_some() }))
}

struct Planes {
    name: String,
    p: Problem,
    shape: ConvShape,
    /// Filters per depth tap.
    taps: Vec<OperandF32>,
    range: (f32, f32),
    bias: bool,
}

impl Planes {
    fn plane_len(&self) -> usize {
        self.shape.rows() * self.p.out_c
    }
}

impl Kernel for Planes {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<f32>(self.plane_len())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Problem { window: w, in_c, out_c } = self.p;
        let x = io.input(0)?.slice::<f32>()?;
        let bias = if self.bias { Some(io.input(2)?.slice::<f32>()?) } else { None };
        let mut other = Scratch::new(io.scratch).take::<f32>(self.plane_len())?;
        let mut unused = Scratch::new(&mut []);
        let out = io.outputs[0].slice::<f32>()?;
        let sizes = x.len() == w.voxels() * in_c && bias.is_none_or(|b| b.len() == out_c);
        ensure!(sizes && out.len() == w.positions() * out_c, "sizes changed since the kernel was prepared");
        let image = w.input[1] * w.input[2] * in_c;
        for (at, mut target) in out.chunks_exact_mut(self.plane_len()).enumerate() {
            let (batch, z) = (at / w.output[0], at % w.output[0]);
            let taps = w.inside(0, z);
            // Sums go to and fro between two planes so that the last one lands in the output.
            if taps.len() % 2 == 1 {
                std::mem::swap(&mut target, &mut other);
            }
            // `target` holds what has been summed.
            let mut empty = bias.is_none();
            if let Some(bias) = bias {
                target.chunks_exact_mut(out_c).for_each(|pixel| pixel.copy_from_slice(bias));
            }
            if taps.is_empty() {
                target.iter_mut().for_each(|y| *y = clamp(if empty { 0.0 } else { *y }, self.range.0, self.range.1));
            }
            let last = taps.end;
            for tap in taps {
                let x = &x[(batch * w.input[0] + w.under(0, z, tap)) * image..][..image];
                let (min, max) = if tap + 1 == last { self.range } else { (f32::NEG_INFINITY, f32::INFINITY) };
                let epilogue = EpilogueF32 { min, max, add: (!empty).then_some(&*target) };
                let packed = self.taps[tap].get(&[], None, &mut unused)?;
                conv2d_f32(io.pool, &self.shape, x, packed, other, epilogue);
                std::mem::swap(&mut target, &mut other);
                empty = false;
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
