//! MUL: elementwise product with broadcasting and a fused activation.
//!
//! Sources: LiteRT `kernels/mul.cc`, `reference/mul.h`, `reference/integer_ops/mul.h`.

use crate::common::activation::{finite_range, integer_range, quantized_range};
use crate::common::backward::Backward;
use crate::common::broadcast::{binary, broadcast_shape};
use crate::common::cases;
use crate::common::elementwise::{Quantized, check_type, clamp, is_quantized};
use crate::common::requant::{Multiplier, rounding_divide_by_pot, saturating_rounding_doubling_high_mul_i16};
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure, for_quantized};
use ferrolite_kernels::{Binary, Mul8Bit, mul_8bit};
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, TensorType};
use half::{bf16, f16};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// MUL.
pub struct Mul;

const TYPES: [TensorType; 10] = [
    TensorType::Float32,
    TensorType::Float16,
    TensorType::BFloat16,
    TensorType::Int32,
    TensorType::UInt32,
    TensorType::Int64,
    TensorType::Complex64,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
];

fn activation(node: &NodeView<'_>) -> ActivationFunctionType {
    node.options.as_mul_options().map_or(ActivationFunctionType::NONE, |o| o.fused_activation_function)
}

impl OpDef for Mul {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::MUL)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=8
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (a, b) = (node.input(0)?, node.input(1)?);
        ensure!(a.ty == b.ty, "inputs of types {} and {} differ", a.ty, b.ty);
        check_type(a.ty, &TYPES)?;
        let narrows = a.ty == TensorType::Int16 && matches!(node.output(0)?.ty, TensorType::Int8 | TensorType::UInt8);
        let ty = if narrows { node.output(0)?.ty } else { a.ty };
        let plain = activation(node) == ActivationFunctionType::NONE;
        ensure!(ty != TensorType::Complex64 || plain, "complex64 takes no activation");
        Ok(smallvec![Inferred { ty, shape: Some(broadcast_shape(&[&a.shape, &b.shape])?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let activation = activation(node);
        let ty = node.output(0)?.ty;
        match ty {
            TensorType::Float32 => {
                let (low, high) = finite_range(activation)?;
                binary(node, move |a: f32, b: f32| clamp(a * b, low, high))
            }
            TensorType::Float16 => {
                let (low, high) = finite_range(activation)?;
                binary(node, move |a: f16, b: f16| f16::from_f32(clamp(a.to_f32() * b.to_f32(), low, high)))
            }
            TensorType::BFloat16 => {
                let (low, high) = finite_range(activation)?;
                binary(node, move |a: bf16, b: bf16| bf16::from_f32(clamp(a.to_f32() * b.to_f32(), low, high)))
            }
            TensorType::Complex64 => binary(node, |[a, b]: [f32; 2], [c, d]: [f32; 2]| [a * c - b * d, a * d + b * c]),
            TensorType::Int32 => {
                let (low, high) = integer_range(activation, i32::MIN.into(), i32::MAX.into())?;
                binary(node, move |a: i32, b: i32| a.wrapping_mul(b).clamp(low as i32, high as i32))
            }
            TensorType::UInt32 => {
                let (low, high) = integer_range(activation, 0, u32::MAX.into())?;
                binary(node, move |a: u32, b: u32| a.wrapping_mul(b).clamp(low as u32, high as u32))
            }
            TensorType::Int64 => {
                let (low, high) = integer_range(activation, i64::MIN, i64::MAX)?;
                binary(node, move |a: i64, b: i64| a.wrapping_mul(b).clamp(low, high))
            }
            TensorType::Int16 if !is_quantized(node.output(0)?) => {
                let (low, high) = integer_range(activation, i16::MIN.into(), i16::MAX.into())?;
                binary(node, move |a: i16, b: i16| a.wrapping_mul(b).clamp(low as i16, high as i16))
            }
            TensorType::Int8 | TensorType::UInt8 if node.input(0)?.ty == TensorType::Int16 => narrowing(node),
            _ => {
                let p = Scaled::new(node)?;
                for_quantized!(ty, T => binary(node, move |a: T, b: T| T::saturate(p.apply(a.widen(), b.widen()))))
            }
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "mul_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::binary("mul_f32", node, isa, Binary::Mul, finite_range(activation(node))?),
            },
            FastKernel {
                name: "mul_8bit",
                supports: |node| parameters(node).is_some(),
                prepare: |node, isa| {
                    let Some(p) = parameters(node) else { return Err(OpError::unsupported("these bytes")) };
                    vector::bytes("mul_8bit", node, move |pool, a, b, out| mul_8bit(pool, isa, &p, a, b, out))
                },
            },
            FastKernel {
                name: "mul_8bit_table",
                supports: vector::is_large_8_bit,
                prepare: |node, _| vector::table2("mul_8bit_table", &Mul, node),
            },
        ]
    }

    fn binary_f32(&self, node: &NodeView<'_>) -> Option<(Binary, (f32, f32))> {
        Some((Binary::Mul, finite_range(activation(node)).ok()?))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::BINARY)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut b = Backward::of_fused(ctx)?;
            b.both(|b| Ok(b.mul(b.grad, b.input(1)?)), |b| Ok(b.mul(b.grad, b.input(0)?)))
        })
    }

    fn cases(&self) -> Vec<Case> {
        cases::binary(
            BuiltinOperator::MUL,
            &cases::activations(BuiltinOperator::MUL),
            &[TensorType::Float32, TensorType::Int8, TensorType::UInt8],
        )
    }
}

/// out = zero point + factor · (a − zero a) · (b − zero b).
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
        let zero = [zero_a, zero_b, zero_point] == [0; 3];
        ensure!(output.ty != TensorType::Int16 || zero, "int16 zero points must be 0");
        Ok(Scaled {
            zero_points: [zero_a, zero_b],
            // In single precision, as LiteRT computes it.
            factor: Multiplier::new(f64::from(scale_a * scale_b / scale))?,
            output_zero_point: zero_point,
            range: quantized_range(activation(node), output.ty, scale, zero_point)?,
        })
    }

    #[inline]
    fn apply(&self, a: i32, b: i32) -> i32 {
        let product = a.wrapping_sub(self.zero_points[0]).wrapping_mul(b.wrapping_sub(self.zero_points[1]));
        let scaled = self.factor.apply(product).wrapping_add(self.output_zero_point);
        scaled.max(self.range.0).min(self.range.1)
    }
}

/// How the vector kernel multiplies bytes; `None` where it cannot: a factor that shifts left, or pieces that are too short.
fn parameters(node: &NodeView<'_>) -> Option<Mul8Bit> {
    if !vector::is_long_8_bit(node) {
        return None;
    }
    let p = Scaled::new(node).ok()?;
    Some(Mul8Bit {
        signed: node.output(0).ok()?.ty == TensorType::Int8,
        zeros: p.zero_points,
        factor: (-31..=0).contains(&p.factor.shift).then_some((p.factor.multiplier, -p.factor.shift))?,
        output_zero: p.output_zero_point,
        range: p.range,
    })
}

/// int16 inputs in [−1, 1) to an 8-bit output with scale 1/128: the product in Q15, its upper bits rounded.
fn narrowing(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let output = node.output(0)?;
    let (scale, zero_point) = output.scale_zero_point()?;
    let (low, high) = quantized_range(activation(node), output.ty, scale, zero_point)?;
    let f = move |a: i16, b: i16| {
        let product = saturating_rounding_doubling_high_mul_i16(a, b);
        let rescaled = rounding_divide_by_pot(product.into(), 8).wrapping_add(zero_point);
        rescaled.min(high).max(low)
    };
    match output.ty {
        TensorType::Int8 => binary(node, move |a: i16, b: i16| i8::saturate(f(a, b))),
        _ => binary(node, move |a: i16, b: i16| u8::saturate(f(a, b))),
    }
}
