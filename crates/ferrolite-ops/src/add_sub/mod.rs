//! ADD and SUB: elementwise with broadcasting and a fused activation.

mod fast;
mod reference;

use crate::OpError;
use crate::common::activation::finite_range;
use crate::common::backward::Backward;
use crate::common::cases;
use crate::common::elementwise::infer_binary;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_kernels::Binary;
use ferrolite_model::schema::{ActivationFunctionType, AddOptionsT, SubOptionsT};
use ferrolite_model::{BuiltinOperator, TensorType};
use std::ops::RangeInclusive;

/// ADD.
pub struct Add;

/// SUB.
pub struct Sub;

const TYPES: [TensorType; 8] = [
    TensorType::Float32,
    TensorType::Float16,
    TensorType::BFloat16,
    TensorType::Int32,
    TensorType::Int64,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
];

/// The activation and whether int16 scales may be treated as powers of two.
fn options(node: &NodeView<'_>) -> (ActivationFunctionType, bool) {
    if let Some(o) = node.options.as_sub_options() {
        let SubOptionsT { fused_activation_function, pot_scale_int16 } = o;
        return (*fused_activation_function, *pot_scale_int16);
    }
    let AddOptionsT { fused_activation_function, pot_scale_int16 } =
        node.options.as_add_options().cloned().unwrap_or_default();
    (fused_activation_function, pot_scale_int16)
}

fn infer(node: &NodeView<'_>) -> InferResult {
    infer_binary(node, &TYPES)
}

impl OpDef for Add {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ADD)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference::kernel(node, false)
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "add_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::binary("add_f32", node, isa, Binary::Add, finite_range(options(node).0)?),
            },
            FastKernel {
                name: "add_8bit",
                supports: |node| fast::parameters(node, false).is_some(),
                prepare: |node, isa| fast::prepare("add_8bit", node, false, isa),
            },
            FastKernel {
                name: "add_8bit_table",
                supports: vector::is_large_8_bit,
                prepare: |node, _| vector::table2("add_8bit_table", &Add, node),
            },
        ]
    }

    fn binary_f32(&self, node: &NodeView<'_>) -> Option<(Binary, (f32, f32))> {
        Some((Binary::Add, finite_range(options(node).0).ok()?))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::BINARY)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut b = Backward::of_fused(ctx)?;
            b.both(|b| Ok(b.grad), |b| Ok(b.grad))
        })
    }

    fn cases(&self) -> Vec<Case> {
        cases::binary(
            BuiltinOperator::ADD,
            &cases::activations(BuiltinOperator::ADD),
            &[TensorType::Float32, TensorType::Int8, TensorType::UInt8],
        )
    }
}

impl OpDef for Sub {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SUB)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=5
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference::kernel(node, true)
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "sub_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::binary("sub_f32", node, isa, Binary::Sub, finite_range(options(node).0)?),
            },
            FastKernel {
                name: "sub_8bit",
                supports: |node| fast::parameters(node, true).is_some(),
                prepare: |node, isa| fast::prepare("sub_8bit", node, true, isa),
            },
            FastKernel {
                name: "sub_8bit_table",
                supports: vector::is_large_8_bit,
                prepare: |node, _| vector::table2("sub_8bit_table", &Sub, node),
            },
        ]
    }

    fn binary_f32(&self, node: &NodeView<'_>) -> Option<(Binary, (f32, f32))> {
        Some((Binary::Sub, finite_range(options(node).0).ok()?))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::BINARY)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut b = Backward::of_fused(ctx)?;
            b.both(|b| Ok(b.grad), |b| Ok(b.neg(b.grad)))
        })
    }

    fn cases(&self) -> Vec<Case> {
        cases::binary(
            BuiltinOperator::SUB,
            &cases::activations(BuiltinOperator::SUB),
            &[TensorType::Float32, TensorType::Int8, TensorType::UInt8],
        )
    }
}
