//! DEPTHWISE_CONV_2D: each input channel is convolved with its own filters, of shape (1, rows, columns, channels ·
//! multiplier).

mod cases;
mod fast;
mod gradient;
mod infer;
mod reference;
mod wide;

use crate::OpError;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::{OutputRule, QuantRule, WeightRule};
use ferrolite_model::BuiltinOperator;
use std::ops::RangeInclusive;

pub use infer::{Problem, sizes};

/// DEPTHWISE_CONV_2D.
pub struct DepthwiseConv2d;

impl OpDef for DepthwiseConv2d {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DEPTHWISE_CONV_2D)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=7
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer::infer(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference::reference(node)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::FAST
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule {
            activations: Some(&[0]),
            weights: Some(WeightRule { input: 1, axis: 3, activation: 0, int4: false }),
            bias: Some(2),
            output: OutputRule::Free,
            int8: true,
            int16: true,
            hybrid: true,
        })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(gradient::gradient)
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        infer::problem(node).map_or(0, |p| p.macs())
    }
}
