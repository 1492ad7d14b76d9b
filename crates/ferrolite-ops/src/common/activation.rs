//! Activations fused into an operator.

use crate::OpError;
use ferrolite_model::TensorType;
use ferrolite_model::schema::ActivationFunctionType;

/// Range that a fused activation clamps a float result to.
pub fn float_range(activation: ActivationFunctionType) -> Result<(f32, f32), OpError> {
    match activation {
        ActivationFunctionType::RELU => Ok((0.0, f32::INFINITY)),
        ActivationFunctionType::RELU_N1_TO_1 => Ok((-1.0, 1.0)),
        ActivationFunctionType::RELU6 => Ok((0.0, 6.0)),
        // LiteRT's kernels do not apply these where they are fused; neither do ours.
        ActivationFunctionType::NONE | ActivationFunctionType::TANH | ActivationFunctionType::SIGN_BIT => {
            Ok((f32::NEG_INFINITY, f32::INFINITY))
        }
        other => Err(OpError::invalid(format!("unknown activation {}", other.0))),
    }
}

/// Range that a fused activation clamps a quantized result to, within the type's own range.
pub fn quantized_range(
    activation: ActivationFunctionType,
    ty: TensorType,
    scale: f32,
    zero_point: i32,
) -> Result<(i32, i32), OpError> {
    let (low, high) = match ty {
        TensorType::Int8 => (-128, 127),
        TensorType::UInt8 => (0, 255),
        TensorType::Int16 => (-32768, 32767),
        other => return Err(OpError::unsupported(format!("quantized type {other}"))),
    };
    let quantize = |x: f32| (zero_point as f32 + (x / scale).round()) as i32;
    let (min, max) = float_range(activation)?;
    let low = if min.is_finite() { low.max(quantize(min)) } else { low };
    let high = if max.is_finite() { high.min(quantize(max)) } else { high };
    Ok((low, high))
}

/// Range that a fused activation clamps a plain integer result to, within `[min, max]` of the type.
pub fn integer_range(activation: ActivationFunctionType, min: i64, max: i64) -> Result<(i64, i64), OpError> {
    let (low, high) = float_range(activation)?;
    let low = if low.is_finite() { min.max(low as i64) } else { min };
    let high = if high.is_finite() { max.min(high as i64) } else { max };
    Ok((low, high))
}

/// Range of ADD, SUB, MUL and DIV on floats: like LiteRT, they give the largest finite number for infinity.
pub fn finite_range(activation: ActivationFunctionType) -> Result<(f32, f32), OpError> {
    let (low, high) = float_range(activation)?;
    Ok((low.max(f32::MIN), high.min(f32::MAX)))
}
