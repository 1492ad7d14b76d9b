//! SIGN: −1, 0 or 1; NaN stays.

use crate::OpError;
use crate::common::cases;
use crate::common::elementwise::{infer_unary, unary};
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId};
use ferrolite_model::TensorType::{Float32, Float64, Int32};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use std::ops::RangeInclusive;

/// SIGN.
pub struct Sign;

impl OpDef for Sign {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SIGN)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &[Float32, Float64, Int32])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            // `signum` gives a zero the sign of 1.
            Float32 => unary(|x: f32| if x == 0.0 { 0.0 } else { x.signum() }),
            Float64 => unary(|x: f64| if x == 0.0 { 0.0 } else { x.signum() }),
            _ => unary(i32::signum),
        }
    }

    fn cases(&self) -> Vec<Case> {
        cases::unary(BuiltinOperator::SIGN, &BuiltinOptions::NONE, &[(Float32, None), (Float64, None), (Int32, None)])
    }
}
