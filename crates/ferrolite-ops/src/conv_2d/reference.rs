//! The specification.

use super::infer::{Problem, options, problem};
use crate::OpError;
use crate::common::linear::{Contraction, Linear, Number, Site};
use crate::op::{Kernel, NodeView};
use ferrolite_model::TensorType;
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
        let (taps, depth) = (self.window.taps(), self.depth());
        let per_group = self.out_c / self.groups;
        let per_image = self.window.output.0 * self.window.output.1;
        for position in 0..self.window.positions() {
            let row = position / per_image;
            for channel in 0..self.out_c {
                let first = channel / per_group * depth;
                let mut sum = A::ZERO;
                self.window.for_taps(position, |tap, pixel| {
                    let x = &x[pixel * self.in_c + first..][..depth];
                    let w = &w[(channel * taps + tap) * depth..][..depth];
                    sum = x.iter().zip(w).fold(sum, |sum, (&x, &w)| sum.mac(load(x, row), weight(w)));
                });
                emit(Site { index: position * self.out_c + channel, channel, row }, sum);
            }
        }
    }

    fn rows(&self) -> usize {
        self.window.batch
    }

    fn row(&self, row: usize) -> (usize, usize, usize) {
        let count = self.window.input.0 * self.window.input.1 * self.in_c;
        (row * count, 1, count)
    }
}

/// How the node uses its tensors.
pub fn linear(node: &NodeView<'_>, p: &Problem) -> Result<Linear, OpError> {
    // LiteRT has two hybrid kernels: one scale for all channels goes with symmetric activations.
    let scales = node.input(1)?.quantization.map_or(&[][..], |q| &q.scale);
    let asymmetric = p.groups != 1 || scales.windows(2).any(|pair| pair[0] != pair[1]);
    Ok(Linear {
        input: 0,
        weights: 1,
        bias: 2,
        channels: p.out_c,
        activation: options(node)?.fused_activation_function,
        single_precision_scales: node.input(0)?.ty == TensorType::UInt8,
        real_requant: false,
        narrow_sums: options(node)?.quantized_bias_type == SchemaType::INT32,
        asymmetric,
        columns_first: asymmetric,
    })
}

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    linear(node, &p)?.reference(node, p)
}
