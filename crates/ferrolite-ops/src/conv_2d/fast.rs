//! Fast kernels: an implicit matrix product per group.

use super::depthwise;
use super::infer::{Problem, problem};
use super::reference::linear;
use crate::OpError;
use crate::common::fast_linear::{Plan, Product, types_supported};
use crate::common::wide;
use crate::op::{FastKernel, NodeView};
use ferrolite_kernels::ConvShape;

/// The first is for groups of one channel; the second is one kernel for float, int8, uint8 and hybrid; the third is for
/// int16.
pub const FAST: &[FastKernel] = &[
    FastKernel { name: "depthwise", supports: depthwise::supports, prepare: depthwise::prepare },
    FastKernel { name: "implicit_gemm", supports, prepare: |node, isa| plan(node)?.prepare(node, isa) },
    FastKernel {
        name: "implicit_gemm_int16",
        supports: |node| {
            let positions = problem(node).is_ok_and(|p| p.window.positions() > 0);
            positions && plan(node).is_ok_and(|p| wide::supported(node, &p.linear, p.product.depth()))
        },
        prepare: |node, isa| wide::prepare(plan(node)?, node, isa),
    },
];

fn plan(node: &NodeView<'_>) -> Result<Plan, OpError> {
    let p = problem(node)?;
    let (linear, product) = (linear(node, &p)?, Product::Conv(group_shape(&p)));
    Ok(Plan { name: "conv_2d", linear, product, groups: p.groups, rows: p.window.batch })
}

fn supports(node: &NodeView<'_>) -> bool {
    problem(node)
        .is_ok_and(|p| p.window.positions() > 0 && linear(node, &p).is_ok_and(|linear| types_supported(node, &linear)))
}

/// The convolution of one group.
pub fn group_shape(p: &Problem) -> ConvShape {
    ConvShape { in_c: p.depth(), in_stride: p.in_c, out_c: p.out_c / p.groups, out_stride: p.out_c, ..p.window.shape() }
}
