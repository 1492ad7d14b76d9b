//! TRANSPOSE_CONV: the transpose of a convolution's linear map: filters of shape (out, rows, columns, in), output shape
//! given by an input.

mod cases;
mod fast;
mod infer;
mod reference;

use crate::OpError;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::{OutputRule, QuantRule, WeightRule};
use ferrolite_model::BuiltinOperator;
use std::ops::RangeInclusive;

/// TRANSPOSE_CONV.
pub struct TransposeConv;

impl OpDef for TransposeConv {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::TRANSPOSE_CONV)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=5
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
            activations: Some(&[2]),
            weights: Some(WeightRule { input: 1, axis: 0, activation: 2, int4: false }),
            bias: Some(3),
            output: OutputRule::Free,
            int8: true,
            int16: true,
            hybrid: true,
        })
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        infer::problem(node, &node.outputs[0].shape).map_or(0, |p| p.macs())
    }
}
