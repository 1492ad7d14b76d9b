//! SQUARED_DIFFERENCE: (a − b)², with broadcasting. Source: LiteRT `kernels/squared_difference.cc`.

use crate::common::backward::Backward;
use crate::common::broadcast::binary;
use crate::common::cases;
use crate::common::elementwise::{Quantized, infer_binary};
use crate::common::requant::Multiplier;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_kernels::Binary;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// SQUARED_DIFFERENCE.
pub struct SquaredDifference;

/// Extra bits that the 8-bit inputs are computed with.
const LEFT_SHIFT: u32 = 7;

impl OpDef for SquaredDifference {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SQUARED_DIFFERENCE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_binary(node, &[TensorType::Float32, TensorType::Int32, TensorType::Int8])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Float32 => binary(node, |a: f32, b: f32| (a - b) * (a - b)),
            TensorType::Int32 => binary(node, |a: i32, b: i32| {
                let difference = a.wrapping_sub(b);
                difference.wrapping_mul(difference)
            }),
            _ => quantized(node),
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        const NAME: &str = "squared_difference_f32";
        &[
            FastKernel {
                name: NAME,
                supports: vector::is_f32,
                prepare: |node, isa| {
                    let unbounded = (f32::NEG_INFINITY, f32::INFINITY);
                    vector::binary(NAME, node, isa, Binary::SquaredDifference, unbounded)
                },
            },
            FastKernel {
                name: "squared_difference_8bit_table",
                supports: vector::is_large_8_bit,
                prepare: |node, _| vector::table2("squared_difference_8bit_table", &SquaredDifference, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::BINARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut b = Backward::new(ctx)?;
            let difference = b.sub(b.input(0)?, b.input(1)?);
            let twice = b.scale(difference, 2.0);
            let grad = b.mul(b.grad, twice);
            b.both(|_| Ok(grad), |b| Ok(b.neg(grad)))
        })
    }

    fn cases(&self) -> Vec<Case> {
        cases::binary(BuiltinOperator::SQUARED_DIFFERENCE, &[("", BuiltinOptions::NONE)], &[TensorType::Float32])
    }
}

/// int8: both inputs at twice the larger scale, squared, and rescaled.
fn quantized(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (scale_a, zero_a) = node.input(0)?.scale_zero_point()?;
    let (scale_b, zero_b) = node.input(1)?.scale_zero_point()?;
    let (scale, zero_point) = node.output(0)?.scale_zero_point()?;
    ensure!(scale_a > 0.0 && scale_b > 0.0 && scale > 0.0, "scales must be positive");
    let in_range = [zero_a, zero_b, zero_point].iter().all(|z| (-128..=127).contains(z));
    ensure!(in_range, "int8 zero points must be within -128..=127");
    let twice_max = 2.0 * f64::from(scale_a.max(scale_b));
    let factor_a = Multiplier::new(f64::from(scale_a) / twice_max)?;
    let factor_b = Multiplier::new(f64::from(scale_b) / twice_max)?;
    let factor = Multiplier::new(twice_max * twice_max / f64::from((1 << (2 * LEFT_SHIFT)) as f32 * scale))?;
    binary(node, move |a: i8, b: i8| {
        let a = factor_a.apply((i32::from(a) - zero_a) << LEFT_SHIFT);
        let b = factor_b.apply((i32::from(b) - zero_b) << LEFT_SHIFT);
        i8::saturate(factor.apply((a - b) * (a - b)).wrapping_add(zero_point))
    })
}
