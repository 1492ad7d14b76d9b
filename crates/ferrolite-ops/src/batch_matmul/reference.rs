//! The specification.

use super::infer::{Problem, options, problem};
use crate::OpError;
use crate::common::linear::{Contraction, Linear, Number, Site};
use crate::op::{Kernel, NodeView, reference as kernel};
use ferrolite_model::TensorType::{Int8, Int32};
use ferrolite_model::schema::ActivationFunctionType;

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
        let &Problem { m, n, k, adj_x, adj_y, .. } = self;
        for batch in 0..self.batches() {
            let (left, right) = self.operands(batch);
            let (x, w) = (&x[left * m * k..][..m * k], &w[right * k * n..][..k * n]);
            for i in 0..m {
                for j in 0..n {
                    let row = left * m + i;
                    let sum = (0..k).fold(A::ZERO, |sum, l| {
                        let x = x[if adj_x { l * m + i } else { i * k + l }];
                        let w = w[if adj_y { j * k + l } else { l * n + j }];
                        sum.mac(load(x, row), weight(w))
                    });
                    emit(Site { index: (batch * m + i) * n + j, channel: j, row }, sum);
                }
            }
        }
    }

    fn rows(&self) -> usize {
        self.left_count * self.m
    }

    fn row(&self, row: usize) -> (usize, usize, usize) {
        let (left, i) = (row / self.m, row % self.m);
        let (start, step) = if self.adj_x { (i, self.m) } else { (i * self.k, 1) };
        (left * self.m * self.k + start, step, self.k)
    }
}

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let types = (node.input(0)?.ty, node.input(1)?.ty, node.output(0)?.ty);
    if types == (Int8, Int8, Int32) {
        // Plain integers: no zero points, no scaling.
        return kernel(move |io| {
            let (x, w) = (io.input(0)?.slice::<i8>()?, io.input(1)?.slice::<i8>()?);
            let out = io.outputs[0].slice::<i32>()?;
            p.contract(x, w, |x, _| i32::from(x), i32::from, |site, sum| out[site.index] = sum);
            Ok(())
        });
    }
    linear(node, &p).reference(node, p)
}

/// How the node uses its tensors.
pub fn linear(node: &NodeView<'_>, p: &Problem) -> Linear {
    Linear {
        input: 0,
        weights: 1,
        bias: 2,
        channels: p.n,
        activation: ActivationFunctionType::NONE,
        single_precision_scales: true,
        real_requant: false,
        narrow_sums: false,
        asymmetric: options(node).asymmetric_quantize_inputs,
        columns_first: false,
    }
}
