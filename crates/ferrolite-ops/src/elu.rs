//! ELU: x for x ≥ 0, e^x − 1 below. Source: LiteRT `kernels/activations.cc`.

use crate::OpError;
use crate::common::elementwise::{infer_unary, unary_float};
use crate::common::lut::{kernel8, table8};
use crate::op::{InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_model::{BuiltinOperator, TensorType};
use std::ops::RangeInclusive;

/// ELU.
pub struct Elu;

fn elu(x: f32) -> f32 {
    if x < 0.0 { x.exp_m1() } else { x }
}

impl OpDef for Elu {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ELU)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &[TensorType::Float32, TensorType::Float16, TensorType::BFloat16, TensorType::Int8])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Int8 => kernel8(table8(node, elu)?),
            ty => unary_float(ty, elu),
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::UNARY })
    }
}
