//! Fast kernels: an implicit matrix product per group; for small float filters, sums in the order of the reference.

use super::depthwise;
use super::infer::{Problem, options, problem};
use super::reference::linear;
use crate::common::activation::float_range;
use crate::common::fast_linear::{Plan, Product, types_supported};
use crate::common::wide;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::{OpError, copy_elements};
use ferrolite_kernels::{ConvShape, Isa, ORDERED_PRODUCTS, OrderedConv};
use ferrolite_model::TensorType;

/// The first is equal to the reference bit for bit; the second is for groups of one channel; the third is one kernel for
/// float, int8, uint8 and hybrid; the fourth is for int16.
pub const FAST: &[FastKernel] = &[
    FastKernel { name: "ordered", supports: |node| ordered(node).is_ok_and(|o| o.is_some()), prepare: prepare_ordered },
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

/// Geometry, filters and bias of a float convolution with few products per output and constant, finite filters.
fn ordered(node: &NodeView<'_>) -> Result<Option<(ConvShape, Vec<f32>, Option<Vec<f32>>)>, OpError> {
    let (p, filter, bias) = (problem(node)?, node.input(1)?, node.optional_input(2));
    let float = [Some(node.input(0)?), Some(filter), bias].iter().flatten().all(|t| t.ty == TensorType::Float32);
    let few = p.groups == 1 && p.window.taps().saturating_mul(p.in_c) <= ORDERED_PRODUCTS && p.window.positions() > 0;
    if !float || !few || filter.sparsity.is_some() || bias.is_some_and(|b| b.constant.is_none()) {
        return Ok(None);
    }
    // 0 · x has to be 0 where the window leaves the image.
    let held = filter.constant.map(|data| copy_elements::<f32>(data)).filter(|w| w.iter().all(|w| w.is_finite()));
    let bias = bias.and_then(|b| b.constant).map(|data| copy_elements(data));
    Ok(held.map(|filters| (group_shape(&p), filters, bias)))
}

fn prepare_ordered(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let Some((shape, filters, bias)) = ordered(node)? else { return Err(OpError::unsupported("large filters")) };
    let range = float_range(options(node)?.fused_activation_function)?;
    let conv = OrderedConv::pack(isa, &shape, &filters, bias.as_deref());
    let name = format!("conv_2d/{}", conv.kernel());
    Ok(Box::new(Ordered { name, conv, range }))
}

struct Ordered {
    name: String,
    conv: OrderedConv,
    range: (f32, f32),
}

impl Kernel for Ordered {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?.slice()?;
        self.conv.run(io.pool, input, io.outputs[0].slice()?, self.range);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

fn supports(node: &NodeView<'_>) -> bool {
    problem(node)
        .is_ok_and(|p| p.window.positions() > 0 && linear(node, &p).is_ok_and(|linear| types_supported(node, &linear)))
}

/// The convolution of one group.
pub fn group_shape(p: &Problem) -> ConvShape {
    ConvShape { in_c: p.depth(), in_stride: p.in_c, out_c: p.out_c / p.groups, out_stride: p.out_c, ..p.window.shape() }
}
