//! The specification.

use super::infer::{Problem, options, problem};
use crate::OpError;
use crate::common::linear::{Contraction, Linear, Number, Site};
use crate::op::{Kernel, NodeView};
use ferrolite_model::TensorType;

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
        let out_c = self.out_c();
        let per_image = self.window.output.0 * self.window.output.1;
        for position in 0..self.window.positions() {
            let row = position / per_image;
            for channel in 0..out_c {
                let from = channel / self.multiplier;
                let mut sum = A::ZERO;
                self.window.for_taps(position, |tap, pixel| {
                    sum = sum.mac(load(x[pixel * self.in_c + from], row), weight(w[tap * out_c + channel]));
                });
                emit(Site { index: position * out_c + channel, channel, row }, sum);
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
    Ok(Linear {
        input: 0,
        weights: 1,
        bias: 2,
        channels: p.out_c(),
        activation: options(node)?.fused_activation_function,
        single_precision_scales: node.input(0)?.ty == TensorType::UInt8,
        real_requant: false,
        narrow_sums: false,
        asymmetric: true,
        columns_first: false,
    })
}

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    linear(node, &p)?.reference(node, p)
}
