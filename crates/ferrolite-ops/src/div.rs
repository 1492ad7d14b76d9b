//! DIV: elementwise quotient with broadcasting and a fused activation. Integer division by zero is an error.
//!
//! Sources: LiteRT `kernels/div.cc`, `reference/div.h`.

use crate::common::activation::{finite_range, integer_range, quantized_range};
use crate::common::backward::Backward;
use crate::common::broadcast::{Broadcast, binary};
use crate::common::cases;
use crate::common::elementwise::{Quantized, clamp, infer_binary, is_quantized};
use crate::common::fixed_exp::reciprocal;
use crate::common::requant::{Multiplier, saturating_rounding_doubling_high_mul, saturating_rounding_multiply_by_pot};
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::{OpError, ensure, for_quantized};
use ferrolite_kernels::Binary;
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, TensorType};
use std::ops::RangeInclusive;

/// DIV.
pub struct Div;

const TYPES: [TensorType; 5] =
    [TensorType::Float32, TensorType::Int32, TensorType::Int8, TensorType::UInt8, TensorType::Int16];

fn activation(node: &NodeView<'_>) -> ActivationFunctionType {
    node.options.as_div_options().map_or(ActivationFunctionType::NONE, |o| o.fused_activation_function)
}

impl OpDef for Div {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DIV)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_binary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let activation = activation(node);
        let ty = node.output(0)?.ty;
        match ty {
            TensorType::Float32 => {
                let (low, high) = finite_range(activation)?;
                binary(node, move |a: f32, b: f32| clamp(a / b, low, high))
            }
            TensorType::Int32 => {
                let (low, high) = integer_range(activation, i32::MIN.into(), i32::MAX.into())?;
                let walk = Broadcast::<2>::of(node)?;
                reference(move |io| {
                    let (a, b) = (io.input(0)?.slice::<i32>()?, io.input(1)?.slice::<i32>()?);
                    ensure!(!b.contains(&0), "division by zero");
                    let output = io.outputs[0].slice::<i32>()?;
                    walk.map(a, b, output, |a, b| a.wrapping_div(b).clamp(low as i32, high as i32))
                })
            }
            // LiteRT computes garbage here; this is what ADD and MUL do.
            TensorType::Int16 if !is_quantized(node.output(0)?) => {
                let (low, high) = integer_range(activation, i16::MIN.into(), i16::MAX.into())?;
                let walk = Broadcast::<2>::of(node)?;
                reference(move |io| {
                    let (a, b) = (io.input(0)?.slice::<i16>()?, io.input(1)?.slice::<i16>()?);
                    ensure!(!b.contains(&0), "division by zero");
                    let output = io.outputs[0].slice::<i16>()?;
                    walk.map(a, b, output, |a, b| a.wrapping_div(b).clamp(low as i16, high as i16))
                })
            }
            _ => {
                let p = Scaled::new(node)?;
                let walk = Broadcast::<2>::of(node)?;
                for_quantized!(ty, T => reference(move |io| {
                    let (a, b) = (io.input(0)?.slice::<T>()?, io.input(1)?.slice::<T>()?);
                    ensure!(b.iter().all(|b| b.widen() != p.zero_points[1]), "division by zero");
                    let output = io.outputs[0].slice::<T>()?;
                    walk.map(a, b, output, |a, b| T::saturate(p.apply(a.widen(), b.widen())))
                }))
            }
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "div_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::binary("div_f32", node, isa, Binary::Div, finite_range(activation(node))?),
        }]
    }

    fn binary_f32(&self, node: &NodeView<'_>) -> Option<(Binary, (f32, f32))> {
        Some((Binary::Div, finite_range(activation(node)).ok()?))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::BINARY)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut back = Backward::of_fused(ctx)?;
            let (a, b) = (back.input(0)?, back.input(1)?);
            // d(a / b) = da / b − db · a / b²
            back.both(
                |back| Ok(back.div(back.grad, b)),
                |back| {
                    let quotient = back.div(a, b);
                    let slope = back.div(quotient, b);
                    let product = back.mul(back.grad, slope);
                    Ok(back.neg(product))
                },
            )
        })
    }

    fn cases(&self) -> Vec<Case> {
        cases::binary(BuiltinOperator::DIV, &cases::activations(BuiltinOperator::DIV), &[TensorType::Float32])
    }
}

/// out = zero point + factor · (a − zero a) / (b − zero b), the quotient by a fixed-point reciprocal.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    zero_points: [i32; 2],
    factor: Multiplier,
    output_zero_point: i32,
    range: (i32, i32),
}

impl Scaled {
    fn new(node: &NodeView<'_>) -> Result<Scaled, OpError> {
        let output = node.output(0)?;
        let (scale_a, zero_a) = node.input(0)?.scale_zero_point()?;
        let (scale_b, zero_b) = node.input(1)?.scale_zero_point()?;
        let (scale, zero_point) = output.scale_zero_point()?;
        Ok(Scaled {
            zero_points: [zero_a, zero_b],
            // In single precision, as LiteRT computes it.
            factor: Multiplier::new(f64::from(scale_a / (scale_b * scale)))?,
            output_zero_point: zero_point,
            range: quantized_range(activation(node), output.ty, scale, zero_point)?,
        })
    }

    #[inline]
    fn apply(&self, a: i32, b: i32) -> i32 {
        let (mut a, mut b) = (a.wrapping_sub(self.zero_points[0]), b.wrapping_sub(self.zero_points[1]));
        if b < 0 {
            (a, b) = (a.wrapping_neg(), b.wrapping_neg());
        }
        let (inverse, over_unit) = reciprocal(b, 31);
        // All bits of the dividend are used.
        let headroom = leading_sign_bits(a);
        let quotient = saturating_rounding_doubling_high_mul(a.wrapping_shl(headroom as u32), inverse);
        let shift = self.factor.shift - over_unit - headroom;
        let scaled = saturating_rounding_doubling_high_mul(quotient, self.factor.multiplier);
        let scaled = if shift < -31 {
            // LiteRT shifts right by more than 31 bits here; what its builds give is the shift by the amount modulo 32,
            // plus one for what is not negative (so that 0 / b is 1 output step).
            (scaled >> (-shift & 31)) + i32::from(scaled >= 0)
        } else {
            saturating_rounding_multiply_by_pot(scaled, shift.min(31))
        };
        scaled.wrapping_add(self.output_zero_point).min(self.range.1).max(self.range.0)
    }
}

/// How many bits after the sign bit repeat it.
fn leading_sign_bits(x: i32) -> i32 {
    (if x < 0 { !x } else { x }).leading_zeros() as i32 - 1
}
