//! Checks and the output shape.

use crate::common::window2d::Window2d;
use crate::conv_2d::check_zero_points;
use crate::op::{InferResult, Inferred, NodeView};
use crate::{OpError, ensure};
use ferrolite_model::schema::TransposeConvOptionsT;
use smallvec::smallvec;

/// Sizes of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// The convolution that is transposed: its input is this operator's output.
    pub window: Window2d,
    /// Channels of this operator's input.
    pub in_c: usize,
    /// Channels of this operator's output.
    pub out_c: usize,
}

impl Problem {
    /// Multiply-accumulates, those that fall outside the output included.
    pub fn macs(&self) -> u64 {
        [self.window.positions(), self.out_c, self.window.taps(), self.in_c]
            .iter()
            .fold(1u64, |n, &f| n.saturating_mul(f as u64))
    }
}

/// The node's options.
pub fn options<'a>(node: &NodeView<'a>) -> Result<&'a TransposeConvOptionsT, OpError> {
    node.options.as_transpose_conv_options().ok_or_else(|| OpError::invalid("no transposed convolution options"))
}

/// The sizes for this output shape, checked.
pub fn problem(node: &NodeView<'_>, output: &[usize]) -> Result<Problem, OpError> {
    let options = options(node)?;
    let (filter, input) = (node.input(1)?, node.input(2)?);
    ensure!(input.shape.len() == 4, "the input has {} dimensions, not 4", input.shape.len());
    ensure!(filter.shape.len() == 4, "the filter has {} dimensions, not 4", filter.shape.len());
    ensure!(filter.shape.iter().all(|&d| d > 0), "the filter is empty: {:?}", filter.shape);
    let stride = (options.stride_h, options.stride_w);
    let window = Window2d::new(output, (filter.shape[1], filter.shape[2]), stride, (1, 1), options.padding)?;
    let (in_c, out_c) = (input.shape[3], filter.shape[0]);
    ensure!(filter.shape[3] == in_c, "filters of {} channels for {in_c} input channels", filter.shape[3]);
    ensure!(output[3] == out_c, "output shape {output:?} for {out_c} filters");
    let fits = [output[0], window.output.0, window.output.1] == input.shape[..3];
    ensure!(fits, "output shape {output:?} does not belong to input {:?}", input.shape);
    if let Some(bias) = node.optional_input(3) {
        ensure!(bias.elements() == out_c, "bias {:?} for {out_c} channels", bias.shape);
    }
    Ok(Problem { window, in_c, out_c })
}

/// Output type and shape.
pub fn infer(node: &NodeView<'_>) -> InferResult {
    node.expect(3..=4, 1)?;
    check_zero_points(node, 1)?;
    let ty = node.input(2)?.ty;
    let Some(shape) = node.input(0)?.indices()? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
    let shape: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let Some(shape) = shape else { return Err(OpError::invalid("negative output shape")) };
    problem(node, &shape)?;
    Ok(smallvec![Inferred::new(ty, shape)])
}
