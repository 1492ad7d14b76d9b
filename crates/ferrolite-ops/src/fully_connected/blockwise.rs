//! Float activations, weights with a scale per block: activations are quantized by rows, asymmetrically, and
//! y = row scale · Σ_blocks scale · Σ (x − zero point) · w. LiteRT has no such reference kernel (its reference resolver
//! gives zeros); this is what its builtin kernel computes.

use super::infer::{Problem, options, problem};
use crate::common::activation::float_range;
use crate::common::blockwise::{blocks, is_blockwise};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_kernels::{BlockwiseI8, BlockwiseOut, Isa, quantize_rows_asymmetric};
use ferrolite_model::TensorType::Float32;

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
    let weights = BlockwiseI8::new(isa, values.into_owned(), blocks.scales, p.depth / blocks.size, blocks.size);
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
        let mut scratch = Scratch::new(&mut *io.scratch);
        let quantized = scratch.take::<i8>(x.len())?;
        let (scales, zero_points) = (scratch.take::<f32>(rows)?, scratch.take::<i32>(rows)?);
        quantize_rows_asymmetric(io.pool, self.isa, x, depth, quantized, scales, zero_points);
        let how = BlockwiseOut { scales, zero_points, bias, range: (self.low, self.high) };
        self.weights.product(io.pool, quantized, &how, io.outputs[0].slice::<f32>()?);
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let Problem { rows, depth, .. } = self.p;
        let parts = [scratch_size::<i8>(rows * depth), scratch_size::<f32>(rows), scratch_size::<i32>(rows)];
        parts.into_iter().fold(0, usize::saturating_add)
    }

    fn name(&self) -> &str {
        self.weights.kernel()
    }
}
