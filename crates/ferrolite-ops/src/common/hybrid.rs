//! Quantization of float activations at run time, for operators with quantized weights (dynamic range models).
//!
//! Source of the formulas: `tflite/kernels/internal/reference/portable_tensor_utils.cc`.

/// Scale and zero point that a row of activations was quantized with: real = scale · (quantized − zero_point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowQuantization {
    /// Step.
    pub scale: f32,
    /// What stands for 0.
    pub zero_point: i32,
}

/// The parameters for values in `min..=max`, and the factor that values are multiplied with.
pub fn row_parameters(min: f32, max: f32, asymmetric: bool) -> (RowQuantization, f32) {
    if asymmetric { asymmetric_parameters(min, max) } else { symmetric_parameters(min.abs().max(max.abs())) }
}

/// −127..=127 stand for −range..=range.
fn symmetric_parameters(range: f32) -> (RowQuantization, f32) {
    if range == 0.0 {
        return (RowQuantization { scale: 1.0, zero_point: 0 }, 0.0);
    }
    (RowQuantization { scale: range / 127.0, zero_point: 0 }, 127.0 / range)
}

/// −128..=127 stand for the range widened to hold 0, with a zero point nudged to the end of smaller error.
fn asymmetric_parameters(min: f32, max: f32) -> (RowQuantization, f32) {
    let (low, high) = (min.min(0.0), max.max(0.0));
    if low == high {
        return (RowQuantization { scale: 1.0, zero_point: 0 }, 0.0);
    }
    // LiteRT takes the width of the range in float32, the rest in float64.
    let scale = f64::from(high - low) / 255.0;
    let (low, high) = (f64::from(low), f64::from(high));
    let from_low = -128.0 - low / scale;
    let from_high = 127.0 - high / scale;
    let zero_point = if 128.0 + (low / scale).abs() < 127.0 + (high / scale).abs() { from_low } else { from_high }
        .clamp(-128.0, 127.0);
    let scale = scale as f32;
    (RowQuantization { scale, zero_point: zero_point.round() as i32 }, 1.0 / scale)
}

/// Quantizes the `count` elements `start, start + step, …` of `values` to the same places of `quantized`.
pub fn quantize_row(
    values: &[f32],
    quantized: &mut [i8],
    (start, step, count): (usize, usize, usize),
    asymmetric: bool,
) -> RowQuantization {
    let row = || (0..count).map(|i| start + i * step);
    let (min, max) = row().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), i| {
        // As comparisons, so that NaN changes nothing.
        let x = values[i];
        (if x < low { x } else { low }, if x > high { x } else { high })
    });
    if count == 0 || min > max {
        row().for_each(|i| quantized[i] = 0);
        return RowQuantization { scale: 1.0, zero_point: 0 };
    }
    let (parameters, inverse) = row_parameters(min, max, asymmetric);
    let lowest = if asymmetric { -128 } else { -127 };
    // Rounded before the zero point is added, as LiteRT's vector code does; its portable code rounds the sum.
    let quantize =
        |x: f32| ((x * inverse).round() as i32).saturating_add(parameters.zero_point).clamp(lowest, 127) as i8;
    row().for_each(|i| quantized[i] = quantize(values[i]));
    parameters
}
