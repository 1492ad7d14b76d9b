//! RELU and its bounded relatives: RELU6, RELU_N1_TO_1, RELU_0_TO_1.
//!
//! Sources: LiteRT `kernels/activations.cc` (QuantizedReluX), `optimized_ops.h` (ReluX).

use crate::common::backward::unary as backward;
use crate::common::cases;
use crate::common::elementwise::{Quantized, check_type, clamp, infer_unary, unary, unary_float};
use crate::common::requant::Multiplier;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure, for_quantized};
use ferrolite_kernels::Unary;
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// Clamps to a range.
pub struct Bounded {
    op: BuiltinOperator,
    low: f32,
    high: f32,
    version: i32,
    int16: bool,
    fast: &'static [FastKernel],
    gradient: Gradient,
}

/// RELU.
pub const RELU: Bounded = Bounded {
    op: BuiltinOperator::RELU,
    low: 0.0,
    high: f32::INFINITY,
    version: 3,
    int16: true,
    fast: &[
        FastKernel {
            name: "relu_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("relu_f32", node, isa, Unary::Clamp(0.0, f32::INFINITY)),
        },
        FastKernel {
            name: "relu_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("relu_8bit_table", &RELU, node),
        },
    ],
    gradient: |ctx| backward(ctx, |b, _| b.where_positive(b.grad, b.output)),
};

/// RELU6.
pub const RELU6: Bounded = Bounded {
    op: BuiltinOperator::RELU6,
    low: 0.0,
    high: 6.0,
    version: 3,
    int16: true,
    fast: &[
        FastKernel {
            name: "relu6_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("relu6_f32", node, isa, Unary::Clamp(0.0, 6.0)),
        },
        FastKernel {
            name: "relu6_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("relu6_8bit_table", &RELU6, node),
        },
    ],
    gradient: |ctx| backward(ctx, |b, _| b.where_within(b.grad, b.output, ActivationFunctionType::RELU6)),
};

/// RELU_N1_TO_1.
pub const RELU_N1_TO_1: Bounded = Bounded {
    op: BuiltinOperator::RELU_N1_TO_1,
    low: -1.0,
    high: 1.0,
    version: 1,
    int16: false,
    fast: &[
        FastKernel {
            name: "relu_n1_to_1_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("relu_n1_to_1_f32", node, isa, Unary::Clamp(-1.0, 1.0)),
        },
        FastKernel {
            name: "relu_n1_to_1_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("relu_n1_to_1_8bit_table", &RELU_N1_TO_1, node),
        },
    ],
    gradient: |ctx| backward(ctx, |b, _| b.where_within(b.grad, b.output, ActivationFunctionType::RELU_N1_TO_1)),
};

/// RELU_0_TO_1.
pub const RELU_0_TO_1: Bounded = Bounded {
    op: BuiltinOperator::RELU_0_TO_1,
    low: 0.0,
    high: 1.0,
    version: 1,
    int16: false,
    fast: &[
        FastKernel {
            name: "relu_0_to_1_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("relu_0_to_1_f32", node, isa, Unary::Clamp(0.0, 1.0)),
        },
        FastKernel {
            name: "relu_0_to_1_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("relu_0_to_1_8bit_table", &RELU_0_TO_1, node),
        },
    ],
    gradient: |ctx| backward(ctx, |b, _| b.where_between(b.grad, b.output, 0.0, 1.0)),
};

const TYPES: [TensorType; 6] = [
    TensorType::Float32,
    TensorType::Float16,
    TensorType::BFloat16,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
];

impl OpDef for Bounded {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=self.version
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (low, high) = (self.low, self.high);
        let input = node.input(0)?;
        check_type(input.ty, &TYPES)?;
        if input.ty.is_float() {
            return unary_float(input.ty, move |x| clamp(x, low, high));
        }
        let output = node.output(0)?;
        let (in_scale, in_zero) = input.scale_zero_point()?;
        let (scale, zero) = output.scale_zero_point()?;
        ensure!(in_scale > 0.0 && scale > 0.0, "scales must be positive");
        ensure!(input.ty != TensorType::Int16 || [in_zero, zero] == [0; 2], "int16 zero points must be 0");
        let factor = Multiplier::new(f64::from(in_scale / scale))?;
        let stored = |x: f32| zero.saturating_add((x / scale).round() as i32);
        let (low, high) = (stored(low), if high.is_finite() { stored(high) } else { i32::MAX });
        for_quantized!(input.ty, T => unary(move |x: T| {
            let rescaled = factor.apply(x.widen().wrapping_sub(in_zero)).wrapping_add(zero);
            T::saturate(rescaled.max(low).min(high))
        }))
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        self.fast
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: self.int16, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(self.gradient)
    }

    fn cases(&self) -> Vec<Case> {
        let types = [
            (TensorType::Float32, None),
            (TensorType::Int8, Some((0.03, -20))),
            (TensorType::UInt8, Some((0.03, 108))),
        ];
        cases::unary(self.op, &BuiltinOptions::NONE, &types)
    }
}
