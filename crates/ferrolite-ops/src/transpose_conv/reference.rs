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
        let (taps, depth) = (self.window.taps(), self.in_c);
        let per_image = self.window.input.0 * self.window.input.1;
        for pixel in 0..self.window.pixels() {
            let row = pixel / per_image;
            for channel in 0..self.out_c {
                let mut sum = A::ZERO;
                self.window.for_positions(pixel, |tap, position| {
                    let x = &x[position * depth..][..depth];
                    let w = &w[(channel * taps + tap) * depth..][..depth];
                    sum = x.iter().zip(w).fold(sum, |sum, (&x, &w)| sum.mac(load(x, row), weight(w)));
                });
                emit(Site { index: pixel * self.out_c + channel, channel, row }, sum);
            }
        }
    }

    fn rows(&self) -> usize {
        self.window.batch
    }

    fn row(&self, row: usize) -> (usize, usize, usize) {
        let count = self.window.output.0 * self.window.output.1 * self.in_c;
        (row * count, 1, count)
    }
}

/// How the node uses its tensors.
pub fn linear(node: &NodeView<'_>, p: &Problem) -> Result<Linear, OpError> {
    Ok(Linear {
        input: 2,
        weights: 1,
        bias: 3,
        channels: p.out_c,
        activation: options(node)?.fused_activation_function,
        single_precision_scales: node.input(2)?.ty == TensorType::UInt8,
        real_requant: false,
        narrow_sums: options(node)?.quantized_bias_type == SchemaType::INT32,
        asymmetric: true,
        columns_first: false,
    })
}

/// The output's shape is known when a kernel is prepared: it is an input's value.
pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node, &node.output(0)?.shape)?;
    linear(node, &p)?.reference(node, p)
}
