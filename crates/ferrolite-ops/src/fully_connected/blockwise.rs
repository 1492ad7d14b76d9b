//! Float activations, weights with a scale per block: activations are quantized by rows, asymmetrically, and
//! y = row scale · Σ_blocks scale · Σ (x − zero point) · w. LiteRT has no such reference kernel (its reference resolver
//! gives zeros); this is what its builtin kernel computes.

use super::infer::{Problem, options, problem};
use crate::common::activation::float_range;
use crate::common::blockwise::{blocks, is_blockwise};
use crate::common::hybrid::{RowQuantization, quantize_row};
use crate::common::parallel::for_items;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_kernels::{BlockwiseI8, Isa};
use ferrolite_model::TensorType::Float32;

/// Products per thread at least.
const GRAIN: usize = 1 << 14;

/// The same arithmetic in vector code, units shared between threads.
pub const BLOCKWISE: FastKernel =
    FastKernel { name: "blockwise", supports: |node| node.input(1).is_ok_and(is_blockwise), prepare };

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    prepare(node, Isa::PORTABLE)
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let (x, w) = (node.input(0)?, node.input(1)?);
    let types = (x.ty, node.output(0)?.ty, node.optional_input(2).map_or(Float32, |b| b.ty));
    if types != (Float32, Float32, Float32) {
        return Err(OpError::unsupported(format!("blockwise weights with input, output, bias of types {types:?}")));
    }
    let blocks = blocks(node, w)?;
    let Some(values) = weights::constant::<i8>(w)? else {
        return Err(OpError::unsupported("blockwise weights that are not constant"));
    };
    let (low, high) = float_range(options(node)?.fused_activation_function)?;
    ensure!(p.depth > 0 && p.units > 0, "blockwise weights of shape {:?}", w.shape);
    let weights = BlockwiseI8::new(values.into_owned(), blocks.scales, p.depth / blocks.size, blocks.size);
    Ok(Box::new(Blockwise { p, weights, low, high, isa }))
}

struct Blockwise {
    p: Problem,
    weights: BlockwiseI8,
    low: f32,
    high: f32,
    isa: Isa,
}

impl Kernel for Blockwise {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Problem { rows, depth, units } = self.p;
        let x = io.input(0)?.slice::<f32>()?;
        let bias = io.optional_input(2).map(|b| b.slice::<f32>()).transpose()?;
        ensure!(x.len() == rows * depth && bias.is_none_or(|b| b.len() == units), "sizes changed since preparation");
        let quantized = Scratch::new(&mut *io.scratch).take::<i8>(depth)?;
        let out = io.outputs[0].slice::<f32>()?;
        for (x, out) in x.chunks_exact(depth).zip(out.chunks_exact_mut(units)) {
            let RowQuantization { scale, zero_point } = quantize_row(x, quantized, (0, 1, depth), true);
            let quantized = &*quantized;
            for_items(io.pool, out, 1, GRAIN.div_ceil(depth), |range, out| {
                for (unit, out) in range.zip(out) {
                    let sum = self.weights.dot(self.isa, quantized, zero_point, unit);
                    let y = sum * scale + bias.map_or(0.0, |b| b[unit]);
                    *out = if y < self.low {
                        self.low
                    } else if y > self.high {
                        self.high
                    } else {
                        y
                    };
                }
            });
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        scratch_size::<i8>(self.p.depth)
    }

    fn name(&self) -> &str {
        "blockwise_i8"
    }
}
