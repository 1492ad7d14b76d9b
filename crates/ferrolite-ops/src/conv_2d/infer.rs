//! Checks and the output shape.

use crate::common::window2d::Window2d;
use crate::op::{InferResult, Inferred, NodeView};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use ferrolite_model::schema::Conv2DOptionsT;
use smallvec::smallvec;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Geometry.
    pub window: Window2d,
    /// Channels of the input.
    pub in_c: usize,
    /// Channels of the output.
    pub out_c: usize,
    /// Groups of channels that are convolved apart.
    pub groups: usize,
}

impl Problem {
    /// Input channels that a filter sees.
    pub fn depth(&self) -> usize {
        self.in_c / self.groups
    }

    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        [self.window.positions(), self.out_c, self.window.taps(), self.depth()]
            .iter()
            .fold(1u64, |n, &f| n.saturating_mul(f as u64))
    }
}

/// The node's options.
pub fn options<'a>(node: &NodeView<'a>) -> Result<&'a Conv2DOptionsT, OpError> {
    node.options.as_conv_2_doptions().ok_or_else(|| OpError::invalid("no convolution options"))
}

/// The sizes of a node, checked.
pub fn problem(node: &NodeView<'_>) -> Result<Problem, OpError> {
    let p = sizes(options(node)?, node.input(0)?, node.input(1)?)?;
    if let Some(bias) = node.optional_input(2) {
        ensure!(bias.elements() == p.out_c, "bias {:?} for {} channels", bias.shape, p.out_c);
    }
    Ok(p)
}

/// The sizes of a convolution, checked.
pub fn sizes(options: &Conv2DOptionsT, input: &TensorInfo<'_>, filter: &TensorInfo<'_>) -> Result<Problem, OpError> {
    ensure!(filter.shape.len() == 4, "the filter has {} dimensions, not 4", filter.shape.len());
    ensure!(filter.shape.iter().all(|&d| d > 0), "the filter is empty: {:?}", filter.shape);
    let window = Window2d::new(
        &input.shape,
        (filter.shape[1], filter.shape[2]),
        (options.stride_h, options.stride_w),
        (options.dilation_h_factor, options.dilation_w_factor),
        options.padding,
    )?;
    let (in_c, out_c, depth) = (input.shape[3], filter.shape[0], filter.shape[3]);
    ensure!(in_c % depth == 0, "filters of {depth} channels do not divide {in_c} input channels");
    let groups = in_c / depth;
    ensure!(out_c % groups == 0, "{groups} groups do not divide {out_c} output channels");
    Ok(Problem { window, in_c, out_c, groups })
}

/// Refuses weights with zero points where the kernels take 0 for granted.
pub fn check_zero_points(node: &NodeView<'_>, weights: usize) -> Result<(), OpError> {
    let weights = node.input(weights)?;
    if matches!(weights.ty, TensorType::Int8 | TensorType::Int4 | TensorType::Int2) {
        let zero = weights.quantization.is_none_or(|q| q.zero_point.iter().all(|&z| z == 0));
        ensure!(zero, "weights {:?} have zero points other than 0", weights.name);
    }
    Ok(())
}

/// Output type and shape.
pub fn infer(node: &NodeView<'_>) -> InferResult {
    node.expect(2..=3, 1)?;
    check_zero_points(node, 1)?;
    let Problem { window, out_c, .. } = problem(node)?;
    Ok(smallvec![Inferred::new(node.input(0)?.ty, [window.batch, window.output.0, window.output.1, out_c])])
}
