//! RELU and its bounded relatives: RELU6, RELU_N1_TO_1, RELU_0_TO_1.
//!
//! Sources: LiteRT `kernels/activations.cc` (QuantizedReluX), `optimized_ops.h` (ReluX).

use crate::common::elementwise::{Quantized, check_type, clamp, infer_unary, unary, unary_float};
use crate::common::requant::Multiplier;
use crate::op::{InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure, for_quantized};
use ferrolite_model::{BuiltinOperator, TensorType};
use std::ops::RangeInclusive;

/// Clamps to a range.
pub struct Bounded {
    op: BuiltinOperator,
    low: f32,
    high: f32,
    version: i32,
    int16: bool,
}

/// RELU.
pub const RELU: Bounded = Bounded { op: BuiltinOperator::RELU, low: 0.0, high: f32::INFINITY, version: 3, int16: true };

/// RELU6.
pub const RELU6: Bounded = Bounded { op: BuiltinOperator::RELU6, low: 0.0, high: 6.0, version: 3, int16: true };

/// RELU_N1_TO_1.
pub const RELU_N1_TO_1: Bounded =
    Bounded { op: BuiltinOperator::RELU_N1_TO_1, low: -1.0, high: 1.0, version: 1, int16: false };

/// RELU_0_TO_1.
pub const RELU_0_TO_1: Bounded =
    Bounded { op: BuiltinOperator::RELU_0_TO_1, low: 0.0, high: 1.0, version: 1, int16: false };

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

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: self.int16, ..QuantRule::UNARY })
    }
}
