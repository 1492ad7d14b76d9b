//! BATCH_MATMUL: matrix products over broadcast leading dimensions, either side optionally transposed.

mod cases;
mod fast;
mod gradient;
mod infer;
mod reference;
mod wide;

use crate::OpError;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_model::BuiltinOperator;
use std::ops::RangeInclusive;

pub use gradient::emit_product;
pub(crate) use infer::{Problem, problem};

/// BATCH_MATMUL.
pub struct BatchMatMul;

impl OpDef for BatchMatMul {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BATCH_MATMUL)
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
        Some(QuantRule::BINARY)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(gradient::gradient)
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        infer::problem(node)
            .map_or(0, |p| [p.batches(), p.m, p.n, p.k].iter().fold(1u64, |n, &f| n.saturating_mul(f as u64)))
    }
}
