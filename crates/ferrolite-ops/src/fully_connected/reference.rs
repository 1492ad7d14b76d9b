//! The specification.

use super::infer::{Problem, is_shuffled, options, problem};
use crate::common::blockwise::is_blockwise;
use crate::common::linear::{Contraction, Linear, Number, Requant, Saturate, Site};
use crate::op::{Kernel, NodeView, reference as kernel};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Int16, Int32, UInt8};
use ferrolite_model::schema::TensorType as SchemaType;

impl Contraction for Problem {
    #[inline]
    fn contract<X: Copy, W: Copy, A: Number>(
        &self,
        x: &[X],
        w: &[W],
        load: impl Fn(X, usize) -> A,
        weight: impl Fn(W) -> A,
        mut emit: impl FnMut(Site, A),
    ) {
        for row in 0..self.rows {
            let x = &x[row * self.depth..][..self.depth];
            for channel in 0..self.units {
                let w = &w[channel * self.depth..][..self.depth];
                let sum = x.iter().zip(w).fold(A::ZERO, |sum, (&x, &w)| sum.mac(load(x, row), weight(w)));
                emit(Site { index: row * self.units + channel, channel, row }, sum);
            }
        }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn row(&self, row: usize) -> (usize, usize, usize) {
        (row * self.depth, 1, self.depth)
    }
}

/// How the node uses its tensors.
pub fn linear(node: &NodeView<'_>, p: Problem) -> Result<Linear, OpError> {
    let options = options(node)?;
    // LiteRT's reference kernels requantize in double precision, but for int16 weights and the shuffled format.
    let fixed = node.input(1)?.ty == Int16 || is_shuffled(&options);
    Ok(Linear {
        input: 0,
        weights: 1,
        bias: 2,
        channels: p.units,
        activation: options.fused_activation_function,
        single_precision_scales: true,
        real_requant: !fixed,
        narrow_sums: options.quantized_bias_type == SchemaType::INT32,
        asymmetric: options.asymmetric_quantize_inputs,
        columns_first: false,
    })
}

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    if is_shuffled(&*options(node)?) {
        return shuffled(node, p);
    }
    if is_blockwise(node.input(1)?) {
        return super::blockwise::reference(node);
    }
    linear(node, p)?.reference(node, p)
}

/// Weights in blocks of 4 units × 16 inputs, signs of weights (stored) and inputs (here) flipped from uint8 to int8. The
/// second output is the shuffled input.
fn shuffled(node: &NodeView<'_>, p: Problem) -> Result<Box<dyn Kernel>, OpError> {
    let (input, weights, bias) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let types = (input.ty, weights.ty, bias.ty, node.output(0)?.ty);
    ensure!(types == (UInt8, UInt8, Int32, Int16), "shuffled weights with types {types:?}");
    ensure!(weights.sparsity.is_none(), "weights are both shuffled and sparse");
    let epilogue = linear(node, p)?.epilogue(node)?;
    kernel(move |io| {
        let (x, w) = (io.input(0)?.slice::<u8>()?, io.input(1)?.slice::<u8>()?);
        let bias = io.input(2)?.slice::<i32>()?;
        let signed = |b: u8| i32::from((b ^ 0x80) as i8);
        let out = io.outputs[0].slice::<i16>()?;
        for row in 0..p.rows {
            for unit in 0..p.units {
                let sum = (0..p.depth).fold(0i32, |sum, d| {
                    // Blocks of 64 bytes: 4 units by 16 inputs, along the inputs first.
                    let at = (unit / 4 * (p.depth / 16) + d / 16) * 64 + unit % 4 * 16 + d % 16;
                    sum.mac(signed(x[row * p.depth + d]), i32::from(w[at] as i8))
                });
                let Requant::Fixed(multiplier) = epilogue.requant[unit] else { unreachable!("fixed by `linear`") };
                let y = multiplier.apply(sum.wrapping_add(bias[unit]));
                out[row * p.units + unit] = i16::of(y.clamp(epilogue.range.0, epilogue.range.1));
            }
        }
        let workspace = io.outputs[1].slice::<u8>()?;
        for (i, out) in workspace.iter_mut().enumerate() {
            // Four rows are interleaved by 16 inputs.
            let (row, d) = if p.rows == 1 { (0, i) } else { (i / 16 % 4, i / 64 * 16 + i % 16) };
            *out = x[row * p.depth + d] ^ 0x80;
        }
        Ok(())
    })
}
