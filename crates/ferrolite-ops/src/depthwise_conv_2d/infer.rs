//! Checks and the output shape.

use crate::common::window2d::Window2d;
use crate::conv_2d::check_zero_points;
use crate::op::{InferResult, Inferred, NodeView};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};
use ferrolite_model::schema::DepthwiseConv2DOptionsT;
use smallvec::smallvec;

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Geometry.
    pub window: Window2d,
    /// Channels of the input.
    pub in_c: usize,
    /// Output channels per input channel.
    pub multiplier: usize,
}

impl Problem {
    /// Channels of the output.
    pub fn out_c(&self) -> usize {
        self.in_c * self.multiplier
    }

    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        let outputs = (self.window.positions() as u64).saturating_mul(self.out_c() as u64);
        outputs.saturating_mul(self.window.taps() as u64)
    }
}

/// The node's options.
pub fn options<'a>(node: &NodeView<'a>) -> Result<&'a DepthwiseConv2DOptionsT, OpError> {
    node.options.as_depthwise_conv_2_doptions().ok_or_else(|| OpError::invalid("no depthwise convolution options"))
}

/// The sizes of a node, checked.
pub fn problem(node: &NodeView<'_>) -> Result<Problem, OpError> {
    let p = sizes(options(node)?, node.input(0)?, node.input(1)?)?;
    if let Some(bias) = node.optional_input(2) {
        ensure!(bias.elements() == p.out_c(), "bias {:?} for {} channels", bias.shape, p.out_c());
    }
    Ok(p)
}

/// The sizes of a convolution, checked. The depth multiplier follows from the shapes; files are known to hold a wrong one.
pub fn sizes(
    options: &DepthwiseConv2DOptionsT,
    input: &TensorInfo<'_>,
    filter: &TensorInfo<'_>,
) -> Result<Problem, OpError> {
    ensure!(filter.shape.len() == 4, "the filter has {} dimensions, not 4", filter.shape.len());
    ensure!(filter.shape[0] == 1, "the first dimension of the filter is {}, not 1", filter.shape[0]);
    ensure!(filter.shape.iter().all(|&d| d > 0), "the filter is empty: {:?}", filter.shape);
    let window = Window2d::new(
        &input.shape,
        (filter.shape[1], filter.shape[2]),
        (options.stride_h, options.stride_w),
        (options.dilation_h_factor, options.dilation_w_factor),
        options.padding,
    )?;
    let (in_c, out_c) = (input.shape[3], filter.shape[3]);
    ensure!(out_c % in_c == 0, "{in_c} input channels do not divide {out_c} output channels");
    Ok(Problem { window, in_c, multiplier: out_c / in_c })
}

/// Output type and shape.
pub fn infer(node: &NodeView<'_>) -> InferResult {
    node.expect(2..=3, 1)?;
    check_zero_points(node, 1)?;
    let p = problem(node)?;
    let (rows, columns) = p.window.output;
    Ok(smallvec![Inferred::new(node.input(0)?.ty, [p.window.batch, rows, columns, p.out_c()])])
}
