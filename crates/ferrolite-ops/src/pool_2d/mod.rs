//! AVERAGE_POOL_2D and MAX_POOL_2D: a window over NHWC; padding does not take part.

mod cases;
mod fast;
mod reference;

use crate::OpError;
use crate::common::window2d::Window2d;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_model::BuiltinOperator;
use ferrolite_model::schema::Pool2DOptionsT;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// How a window becomes one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Mean of the elements inside the image.
    Average,
    /// Largest element inside the image.
    Max,
}

/// A pooling operator.
pub struct Pool2d {
    op: BuiltinOperator,
    mode: Mode,
}

/// AVERAGE_POOL_2D.
pub const AVERAGE_POOL_2D: Pool2d = Pool2d { op: BuiltinOperator::AVERAGE_POOL_2D, mode: Mode::Average };
/// MAX_POOL_2D.
pub const MAX_POOL_2D: Pool2d = Pool2d { op: BuiltinOperator::MAX_POOL_2D, mode: Mode::Max };

/// The node's options.
pub fn options<'a>(node: &NodeView<'a>) -> Result<&'a Pool2DOptionsT, OpError> {
    node.options.as_pool_2_doptions().ok_or_else(|| OpError::invalid("no pooling options"))
}

/// The window of a node's options over input 0.
pub fn window(node: &NodeView<'_>) -> Result<Window2d, OpError> {
    let options = options(node)?;
    let kernel = |n: i32| usize::try_from(n).map_err(|_| OpError::invalid(format!("window of size {n}")));
    Window2d::new(
        &node.input(0)?.shape,
        (kernel(options.filter_height)?, kernel(options.filter_width)?),
        (options.stride_h, options.stride_w),
        (1, 1),
        options.padding,
    )
}

impl OpDef for Pool2d {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        let w = window(node)?;
        Ok(smallvec![Inferred::new(input.ty, [w.batch, w.output.0, w.output.1, input.shape[3]])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference::reference(node, self.mode)
    }

    fn fast(&self) -> &'static [FastKernel] {
        match self.mode {
            Mode::Average => fast::AVERAGE,
            Mode::Max => fast::MAX,
        }
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(self.mode)
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn gradient(&self) -> Option<Gradient> {
        match self.mode {
            Mode::Average => Some(|ctx| crate::pool_grad::gradient(ctx, Mode::Average)),
            Mode::Max => Some(|ctx| crate::pool_grad::gradient(ctx, Mode::Max)),
        }
    }
}
