//! Gradients of convolutions that builtin operators do not express: FerroliteConv2DWeightGrad, FerroliteConv2DInputGrad and
//! the same of depthwise convolutions.
//!
//! Inputs: the convolution's input, its filters, and the gradient with respect to its output. The options are the
//! convolution's. The gradient of the weights reads only the shape of the filters, that of the input only the shape of the
//! input.

mod cases;
mod depthwise;
#[cfg(test)]
mod tests;
mod weight;

use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, conv_2d, depthwise_conv_2d, ensure};
use ferrolite_model::BuiltinOptions;
use ferrolite_model::TensorType::Float32;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// With respect to what.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Input,
    Weights,
}

/// The gradient of a convolution.
pub struct ConvGrad {
    name: &'static str,
    side: Side,
}

/// FerroliteConv2DInputGrad: groups and dilations too; TRANSPOSE_CONV serves plain ones.
pub const CONV_2D_INPUT_GRAD: ConvGrad = ConvGrad { name: "FerroliteConv2DInputGrad", side: Side::Input };
/// FerroliteConv2DWeightGrad.
pub const CONV_2D_WEIGHT_GRAD: ConvGrad = ConvGrad { name: "FerroliteConv2DWeightGrad", side: Side::Weights };
/// FerroliteDepthwiseConv2DInputGrad.
pub const DEPTHWISE_INPUT_GRAD: ConvGrad = ConvGrad { name: "FerroliteDepthwiseConv2DInputGrad", side: Side::Input };
/// FerroliteDepthwiseConv2DWeightGrad.
pub const DEPTHWISE_WEIGHT_GRAD: ConvGrad =
    ConvGrad { name: "FerroliteDepthwiseConv2DWeightGrad", side: Side::Weights };

impl ConvGrad {
    /// Name of the operator.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The convolution whose gradient it is.
enum Problem {
    Full(conv_2d::Problem),
    Depthwise(depthwise_conv_2d::Problem),
}

impl Problem {
    fn of(node: &NodeView<'_>) -> Result<Problem, OpError> {
        match node.options {
            BuiltinOptions::DepthwiseConv2DOptions(o) => {
                depthwise_conv_2d::sizes(o, node.input(0)?, node.input(1)?).map(Problem::Depthwise)
            }
            BuiltinOptions::Conv2DOptions(o) => conv_2d::sizes(o, node.input(0)?, node.input(1)?).map(Problem::Full),
            _ => Err(OpError::invalid("no convolution options")),
        }
    }

    fn output(&self) -> [usize; 4] {
        let (w, channels) = match self {
            Problem::Full(p) => (&p.window, p.out_c),
            Problem::Depthwise(p) => (&p.window, p.out_c()),
        };
        [w.batch, w.output.0, w.output.1, channels]
    }

    /// Calls `f(output, input, weight)` for all products of the convolution.
    fn for_products(&self, mut f: impl FnMut(usize, usize, usize)) {
        match self {
            Problem::Full(p) => {
                let (taps, depth, per_group) = (p.window.taps(), p.depth(), p.out_c / p.groups);
                for position in 0..p.window.positions() {
                    p.window.for_taps(position, |tap, pixel| {
                        for channel in 0..p.out_c {
                            let x = pixel * p.in_c + channel / per_group * depth;
                            let w = (channel * taps + tap) * depth;
                            (0..depth).for_each(|d| f(position * p.out_c + channel, x + d, w + d));
                        }
                    });
                }
            }
            Problem::Depthwise(p) => {
                let out_c = p.out_c();
                for position in 0..p.window.positions() {
                    p.window.for_taps(position, |tap, pixel| {
                        for channel in 0..out_c {
                            let x = pixel * p.in_c + channel / p.multiplier;
                            f(position * out_c + channel, x, tap * out_c + channel);
                        }
                    });
                }
            }
        }
    }
}

impl OpDef for ConvGrad {
    fn id(&self) -> OpId {
        OpId::Custom(self.name)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (x, w, dy) = (node.input(0)?, node.input(1)?, node.input(2)?);
        ensure!(
            [x.ty, w.ty, dy.ty] == [Float32; 3],
            "the gradient of a convolution of {}, {} by {}",
            x.ty,
            w.ty,
            dy.ty
        );
        let output = Problem::of(node)?.output();
        ensure!(dy.shape[..] == output, "gradient {:?} for an output of {output:?}", dy.shape);
        let of = if self.side == Side::Input { x } else { w };
        Ok(smallvec![Inferred::new(Float32, of.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (p, side) = (Problem::of(node)?, self.side);
        reference(move |io| {
            let (x, w) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
            let dy = io.input(2)?.slice::<f32>()?;
            let out = io.outputs[0].slice::<f32>()?;
            out.fill(0.0);
            match side {
                Side::Input => p.for_products(|y, i, j| out[i] += dy[y] * w[j]),
                Side::Weights => p.for_products(|y, i, j| out[j] += dy[y] * x[i]),
            }
            Ok(())
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        if self.name == CONV_2D_WEIGHT_GRAD.name {
            weight::FAST
        } else if self.name == DEPTHWISE_INPUT_GRAD.name {
            depthwise::INPUT
        } else if self.name == DEPTHWISE_WEIGHT_GRAD.name {
            depthwise::WEIGHTS
        } else {
            &[]
        }
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        match Problem::of(node) {
            Ok(Problem::Full(p)) => p.macs(),
            Ok(Problem::Depthwise(p)) => p.macs(),
            Err(_) => 0,
        }
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(self)
    }
}
