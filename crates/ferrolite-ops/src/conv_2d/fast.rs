//! Fast kernels: an implicit matrix product per group.

use super::infer::{Problem, problem};
use super::reference::linear;
use crate::common::fast_linear::{Plan, Product, types_supported};
use crate::op::{FastKernel, NodeView};
use ferrolite_kernels::ConvShape;

/// One kernel for float, int8, uint8 and hybrid.
pub const FAST: &[FastKernel] = &[FastKernel {
    name: "implicit_gemm",
    supports,
    prepare: |node, isa| {
        let p = problem(node)?;
        let product = Product::Conv(group_shape(&p));
        let plan = Plan { name: "conv_2d", linear: linear(node, &p)?, product, groups: p.groups, rows: p.window.batch };
        plan.prepare(node, isa)
    },
}];

fn supports(node: &NodeView<'_>) -> bool {
    problem(node)
        .is_ok_and(|p| p.window.positions() > 0 && linear(node, &p).is_ok_and(|linear| types_supported(node, &linear)))
}

/// The convolution of one group.
pub fn group_shape(p: &Problem) -> ConvShape {
    ConvShape { in_c: p.depth(), in_stride: p.in_c, out_c: p.out_c / p.groups, out_stride: p.out_c, ..p.window.shape() }
}
