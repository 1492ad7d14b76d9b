//! Scalar ADD and SUB. Sources: LiteRT `kernels/{add,sub}.cc`, `reference/{add,sub}.h`.

use super::options;
use crate::common::activation::{finite_range, integer_range, quantized_range};
use crate::common::broadcast::binary;
use crate::common::elementwise::{Quantized, checked_log2, clamp, is_quantized};
use crate::common::requant::{Multiplier, rounding_divide_by_pot};
use crate::op::{Kernel, NodeView};
use crate::{OpError, ensure, for_quantized};
use ferrolite_model::TensorType;
use half::{bf16, f16};

pub(super) fn kernel(node: &NodeView<'_>, subtract: bool) -> Result<Box<dyn Kernel>, OpError> {
    let (activation, pot) = options(node);
    let ty = node.output(0)?.ty;
    let sign = if subtract { -1.0 } else { 1.0 };
    match ty {
        TensorType::Float32 => {
            let (low, high) = finite_range(activation)?;
            // Multiplying by ±1 is exact, and NaN passes the clamp.
            binary(node, move |a: f32, b: f32| clamp(a + sign * b, low, high))
        }
        TensorType::Float16 => {
            let (low, high) = finite_range(activation)?;
            binary(node, move |a: f16, b: f16| f16::from_f32(clamp(a.to_f32() + sign * b.to_f32(), low, high)))
        }
        TensorType::BFloat16 => {
            let (low, high) = finite_range(activation)?;
            binary(node, move |a: bf16, b: bf16| bf16::from_f32(clamp(a.to_f32() + sign * b.to_f32(), low, high)))
        }
        TensorType::Int32 => {
            let (low, high) = integer_range(activation, i32::MIN.into(), i32::MAX.into())?;
            let (low, high) = (low as i32, high as i32);
            binary(node, move |a: i32, b: i32| {
                let sum = if subtract { a.wrapping_sub(b) } else { a.wrapping_add(b) };
                sum.clamp(low, high)
            })
        }
        TensorType::Int64 => {
            let (low, high) = integer_range(activation, i64::MIN, i64::MAX)?;
            binary(node, move |a: i64, b: i64| {
                let sum = if subtract { a.wrapping_sub(b) } else { a.wrapping_add(b) };
                sum.clamp(low, high)
            })
        }
        TensorType::Int16 if !is_quantized(node.input(0)?) => {
            let (low, high) = integer_range(activation, i16::MIN.into(), i16::MAX.into())?;
            let (low, high) = (low as i16, high as i16);
            binary(node, move |a: i16, b: i16| {
                let sum = if subtract { a.wrapping_sub(b) } else { a.wrapping_add(b) };
                sum.clamp(low, high)
            })
        }
        TensorType::Int16 if pot && pot_shifts(node)?.is_some() => power_of_two(node, subtract),
        _ => {
            let p = Rescaled::new(node, subtract)?;
            for_quantized!(ty, T => binary(node, move |a: T, b: T| T::saturate(p.apply(a.widen(), b.widen()))))
        }
    }
}

/// Both inputs brought to twice the larger scale with 20 extra bits (15 for int16), added, and rescaled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescaled {
    pub left_shift: i32,
    pub zero_points: [i32; 2],
    pub factors: [Multiplier; 2],
    pub subtract: bool,
    pub output: Multiplier,
    pub output_zero_point: i32,
    pub range: (i32, i32),
}

impl Rescaled {
    pub(super) fn new(node: &NodeView<'_>, subtract: bool) -> Result<Rescaled, OpError> {
        let output = node.output(0)?;
        let (scale_a, zero_a) = node.input(0)?.scale_zero_point()?;
        let (scale_b, zero_b) = node.input(1)?.scale_zero_point()?;
        let (scale, zero_point) = output.scale_zero_point()?;
        ensure!(scale_a > 0.0 && scale_b > 0.0 && scale > 0.0, "scales must be positive");
        let left_shift = if output.ty == TensorType::Int16 {
            ensure!([zero_a, zero_b, zero_point] == [0; 3], "int16 zero points must be 0");
            15
        } else {
            20
        };
        let twice_max = 2.0 * f64::from(scale_a.max(scale_b));
        let factor = |scale: f32| Multiplier::new(f64::from(scale) / twice_max);
        Ok(Rescaled {
            left_shift,
            zero_points: [zero_a, zero_b],
            factors: [factor(scale_a)?, factor(scale_b)?],
            subtract,
            output: Multiplier::new(twice_max / (f64::from(scale) * f64::from(1 << left_shift)))?,
            output_zero_point: zero_point,
            range: quantized_range(options(node).0, output.ty, scale, zero_point)?,
        })
    }

    #[inline]
    fn apply(&self, a: i32, b: i32) -> i32 {
        let a = self.factors[0].apply(a.wrapping_sub(self.zero_points[0]).wrapping_mul(1 << self.left_shift));
        let b = self.factors[1].apply(b.wrapping_sub(self.zero_points[1]).wrapping_mul(1 << self.left_shift));
        let sum = if self.subtract { a.wrapping_sub(b) } else { a.wrapping_add(b) };
        let scaled = self.output.apply(sum).wrapping_add(self.output_zero_point);
        scaled.max(self.range.0).min(self.range.1)
    }
}

/// The right shifts of the inputs where all three int16 scales are powers of two.
fn pot_shifts(node: &NodeView<'_>) -> Result<Option<[i32; 2]>, OpError> {
    let (scale_a, zero_a) = node.input(0)?.scale_zero_point()?;
    let (scale_b, zero_b) = node.input(1)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    ensure!([zero_a, zero_b, zero] == [0; 3], "int16 zero points must be 0");
    let (Some(a), Some(b), Some(out)) = (checked_log2(scale_a), checked_log2(scale_b), checked_log2(scale)) else {
        return Ok(None);
    };
    let shifts = [out.saturating_sub(a), out.saturating_sub(b)];
    ensure!(
        shifts.iter().all(|s| (0..=31).contains(s)) && shifts.contains(&0),
        "power-of-two scales {scale_a} and {scale_b}: one must be the output's {scale}, none larger"
    );
    Ok(Some(shifts))
}

/// int16 with scales that are powers of two: the input with the smaller scale is shifted; ADD saturates.
fn power_of_two(node: &NodeView<'_>, subtract: bool) -> Result<Box<dyn Kernel>, OpError> {
    let Some([shift_a, shift_b]) = pot_shifts(node)? else {
        return Err(OpError::invalid("scales are no powers of two"));
    };
    let (scale, zero_point) = node.output(0)?.scale_zero_point()?;
    let (low, high) = quantized_range(options(node).0, TensorType::Int16, scale, zero_point)?;
    binary(node, move |a: i16, b: i16| {
        let a = rounding_divide_by_pot(a.into(), shift_a);
        let b = rounding_divide_by_pot(b.into(), shift_b);
        let sum = if subtract { a - b } else { a + b };
        i16::saturate(sum.max(low).min(high))
    })
}
