//! L2_NORMALIZATION: rows (the last dimension) divided by their Euclidean norm.

use crate::common::requant::{
    multiply_by_quantized_multiplier, saturating_rounding_doubling_high_mul, saturating_rounding_multiply_by_pot,
};
use crate::op::{InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::{OpError, ensure};
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// L2_NORMALIZATION.
pub struct L2Normalization;

impl OpDef for L2Normalization {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::L2_NORMALIZATION)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        ensure!(!input.shape.is_empty(), "a scalar has no rows");
        if let Some(o) = node.options.as_l2_norm_options() {
            ensure!(o.fused_activation_function == ActivationFunctionType::NONE, "an activation cannot be fused");
        }
        match input.ty {
            TensorType::Float32 => {}
            TensorType::Int8 | TensorType::UInt8 => {
                let zero = if input.ty == TensorType::Int8 { 0 } else { 128 };
                let output = node.output(0)?.scale_zero_point()?;
                ensure!(output == (1.0 / 128.0, zero), "the output's scale and zero point are {output:?}");
                input.scale_zero_point()?;
            }
            ty => return Err(OpError::unsupported(format!("L2_NORMALIZATION of {ty}"))),
        }
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let depth = input.shape.last().copied().unwrap_or(0);
        let zero = if input.ty == TensorType::Float32 { 0 } else { input.scale_zero_point()?.1 };
        match input.ty {
            TensorType::Float32 => reference(move |io| {
                let input = io.input(0)?.slice::<f32>()?;
                let output = io.outputs[0].slice::<f32>()?;
                for (x, y) in input.chunks_exact(depth.max(1)).zip(output.chunks_exact_mut(depth.max(1))) {
                    let squares = x.iter().fold(0.0, |sum, x| sum + x * x);
                    let norm = squares.sqrt().max(1e-6);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = x / norm);
                }
                Ok(())
            }),
            TensorType::Int8 => reference(move |io| {
                let input = io.input(0)?.slice::<i8>()?;
                let output = io.outputs[0].slice::<i8>()?;
                for (x, y) in input.chunks_exact(depth.max(1)).zip(output.chunks_exact_mut(depth.max(1))) {
                    let (multiplier, shift) = inverse_norm(x.iter().map(|&x| i32::from(x) - zero));
                    for (y, &x) in y.iter_mut().zip(x) {
                        let scaled = multiply_by_quantized_multiplier(i32::from(x) - zero, multiplier, shift + 7);
                        *y = scaled.clamp(-128, 127) as i8;
                    }
                }
                Ok(())
            }),
            _ => reference(move |io| {
                let input = io.input(0)?.slice::<u8>()?;
                let output = io.outputs[0].slice::<u8>()?;
                for (x, y) in input.chunks_exact(depth.max(1)).zip(output.chunks_exact_mut(depth.max(1))) {
                    let (multiplier, shift) = inverse_norm(x.iter().map(|&x| i32::from(x) - zero));
                    for (y, &x) in y.iter_mut().zip(x) {
                        let scaled = multiply_by_quantized_multiplier(128 * (i32::from(x) - zero), multiplier, shift);
                        *y = (128 + scaled).clamp(0, 255) as u8;
                    }
                }
                Ok(())
            }),
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        let output = OutputRule::Fixed { int8: (1.0 / 128.0, 0), int16: (1.0 / 32768.0, 0) };
        Some(QuantRule { output, int16: false, ..QuantRule::UNARY })
    }
}

/// 1 / √(Σ x²) as a multiplier and a (negative) left shift. A sum of 0 counts as 1.
///
/// After LiteRT's `GetInvSqrtQuantizedMultiplierExp`: five Newton steps x ← 1.5 x − s/2 · x³ from x = 1, in fixed point
/// with 3 integer bits, on the sum shifted into [1/4, 1).
fn inverse_norm(values: impl Iterator<Item = i32>) -> (i32, i32) {
    let sum = values.fold(0i64, |sum, x| sum + i64::from(x) * i64::from(x));
    let mut sum = i32::try_from(sum).unwrap_or(i32::MAX);
    if sum <= 1 {
        return (i32::MAX, 0);
    }
    let mut right_shift = 11;
    while sum >= 1 << 29 {
        sum /= 4;
        right_shift += 1;
    }
    let pairs = (sum.leading_zeros() as i32 - 1) / 2 - 1;
    right_shift -= pairs;
    sum <<= 2 * pairs;
    let multiply = saturating_rounding_doubling_high_mul;
    let half = saturating_rounding_multiply_by_pot(sum >> 1, -1);
    let three_halves = (1 << 28) + (1 << 27);
    let mut x = 1 << 28;
    for _ in 0..5 {
        // Products have 6 and 9 integer bits.
        let cube = saturating_rounding_multiply_by_pot(multiply(multiply(x, x), x), 6);
        let step = multiply(three_halves, x).wrapping_sub(multiply(half, cube));
        x = saturating_rounding_multiply_by_pot(step, 3);
    }
    // √2 / 2 in fixed point without integer bits.
    let inverse = multiply(x, 1_518_500_250);
    if right_shift < 0 { (inverse.wrapping_shl(-right_shift as u32), 0) } else { (inverse, -right_shift) }
}
