//! The specification.

use super::{Mode, options, window};
use crate::OpError;
use crate::common::activation::{float_range, quantized_range};
use crate::common::linear::{Saturate, clamp, per_tensor};
use crate::common::window2d::Window2d;
use crate::op::{Kernel, NodeView, reference as kernel};
use crate::tensor::Element;
use ferrolite_model::TensorType;

pub fn reference(node: &NodeView<'_>, mode: Mode) -> Result<Box<dyn Kernel>, OpError> {
    let (input, w) = (node.input(0)?, window(node)?);
    let channels = input.shape[3];
    match input.ty {
        TensorType::Float32 => float(node, mode, w, channels),
        TensorType::Int8 => integer::<i8>(quantized(node)?, mode, w, channels),
        TensorType::UInt8 => integer::<u8>(quantized(node)?, mode, w, channels),
        TensorType::Int16 => integer::<i16>(quantized(node)?, mode, w, channels),
        ty => Err(OpError::unsupported(format!("pooling of {ty}"))),
    }
}

/// Range of the fused activation in the output's quantization.
pub fn quantized(node: &NodeView<'_>) -> Result<(i32, i32), OpError> {
    let output = node.output(0)?;
    // Without an activation the scale does not matter, and may be absent.
    let (scale, zero_point) = if output.quantization.is_some() { per_tensor(output)? } else { (1.0, 0) };
    quantized_range(options(node)?.fused_activation_function, output.ty, scale, zero_point)
}

fn float(node: &NodeView<'_>, mode: Mode, w: Window2d, channels: usize) -> Result<Box<dyn Kernel>, OpError> {
    let (low, high) = float_range(options(node)?.fused_activation_function)?;
    kernel(move |io| {
        let x = io.input(0)?.slice::<f32>()?;
        let out = io.outputs[0].slice::<f32>()?;
        for position in 0..w.positions() {
            for c in 0..channels {
                let (mut sum, mut count, mut largest) = (0.0f32, 0u32, f32::MIN);
                w.for_taps(position, |_, pixel| {
                    let x = x[pixel * channels + c];
                    sum += x;
                    count += 1;
                    largest = largest.max(x);
                });
                let y = match mode {
                    Mode::Average => sum / count as f32,
                    Mode::Max => largest,
                };
                out[position * channels + c] = clamp(y, low, high);
            }
        }
        Ok(())
    })
}

fn integer<T>((low, high): (i32, i32), mode: Mode, w: Window2d, channels: usize) -> Result<Box<dyn Kernel>, OpError>
where
    T: Element + Into<i32> + Saturate,
{
    kernel(move |io| {
        let x = io.input(0)?.slice::<T>()?;
        let out = io.outputs[0].slice::<T>()?;
        for position in 0..w.positions() {
            for c in 0..channels {
                let (mut sum, mut count, mut largest) = (0i64, 0i64, i32::MIN);
                w.for_taps(position, |_, pixel| {
                    let x: i32 = x[pixel * channels + c].into();
                    sum += i64::from(x);
                    count += 1;
                    largest = largest.max(x);
                });
                let y = match mode {
                    // Rounds to nearest, halves away from zero.
                    Mode::Average => ((sum + if sum > 0 { count / 2 } else { -(count / 2) }) / count.max(1)) as i32,
                    Mode::Max => largest,
                };
                out[position * channels + c] = T::of(y.clamp(low, high));
            }
        }
        Ok(())
    })
}
