//! ELU: x for x ≥ 0, e^x − 1 below. Source: LiteRT `kernels/activations.cc`.

use crate::OpError;
use crate::common::backward::unary as backward;
use crate::common::cases;
use crate::common::elementwise::{infer_unary, unary_float};
use crate::common::lut::{kernel8, table8};
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_kernels::Unary;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
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

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "elu_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::unary("elu_f32", node, isa, Unary::Elu),
            },
            FastKernel {
                name: "elu_8bit_table",
                supports: vector::is_8_bit,
                prepare: |node, _| vector::table("elu_8bit_table", &Elu, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        // 1 above 0, y + 1 below
        Some(|ctx| {
            backward(ctx, |b, x| {
                let above = b.where_positive(b.grad, x);
                let below = b.sub(b.grad, above);
                let lost = b.mul(below, b.output);
                b.add(b.grad, lost)
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        let types = [(TensorType::Float32, None), (TensorType::Int8, Some((0.05, -100)))];
        cases::unary(BuiltinOperator::ELU, &BuiltinOptions::NONE, &types)
    }
}
