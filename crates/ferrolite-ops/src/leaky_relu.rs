//! LEAKY_RELU and PRELU: x for x ≥ 0, slope · x below; the slope is an option, or a tensor that broadcasts.
//!
//! Sources: LiteRT `kernels/activations.cc`, `reference/{leaky_relu,prelu}.h`.

use crate::common::backward::Backward;
use crate::common::backward::unary as backward;
use crate::common::broadcast::{binary, broadcast_shape};
use crate::common::cases;
use crate::common::elementwise::{Quantized, check_type, infer_unary, unary, unary_float};
use crate::common::requant::Multiplier;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure, for_quantized};
use ferrolite_kernels::{Binary, Unary};
use ferrolite_model::schema::LeakyReluOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use half::{bf16, f16};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// LEAKY_RELU.
pub struct LeakyRelu;

/// PRELU.
pub struct Prelu;

const TYPES: [TensorType; 6] = [
    TensorType::Float32,
    TensorType::Float16,
    TensorType::BFloat16,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
];

fn slope(node: &NodeView<'_>) -> f32 {
    node.options.as_leaky_relu_options().map_or(0.0, |o| o.alpha)
}

impl OpDef for LeakyRelu {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LEAKY_RELU)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let slope = slope(node);
        let input = node.input(0)?;
        check_type(input.ty, &TYPES)?;
        if input.ty.is_float() {
            return unary_float(input.ty, move |x| if x > 0.0 { x } else { x * slope });
        }
        let (in_scale, in_zero) = input.scale_zero_point()?;
        let (scale, zero) = node.output(0)?.scale_zero_point()?;
        ensure!(input.ty != TensorType::Int16 || [in_zero, zero] == [0; 2], "int16 zero points must be 0");
        let identity = Multiplier::new(f64::from(in_scale / scale))?;
        // A negative slope is applied by its magnitude and then the sign.
        let scaled_slope = f64::from(in_scale * slope / scale);
        let (below, negative) = (Multiplier::new(scaled_slope.abs())?, scaled_slope < 0.0);
        for_quantized!(input.ty, T => unary(move |x: T| {
            let x = x.widen().wrapping_sub(in_zero);
            let y = match (x >= 0, negative) {
                (true, _) => identity.apply(x),
                (false, false) => below.apply(x),
                (false, true) => below.apply(x).wrapping_neg(),
            };
            T::saturate(y.wrapping_add(zero))
        }))
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "leaky_relu_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::unary("leaky_relu_f32", node, isa, Unary::LeakyRelu(slope(node))),
            },
            FastKernel {
                name: "leaky_relu_8bit_table",
                supports: vector::is_8_bit,
                prepare: |node, _| vector::table("leaky_relu_8bit_table", &LeakyRelu, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::UNARY)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let slope = ctx.node.options.as_leaky_relu_options().map_or(0.0, |o| o.alpha);
            backward(ctx, |b, x| {
                let above = b.where_positive(b.grad, x);
                let below = b.sub(b.grad, above);
                let below = b.scale(below, slope);
                b.add(above, below)
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        let types =
            [(TensorType::Float32, None), (TensorType::Int8, Some((0.04, -60))), (TensorType::UInt8, Some((0.04, 68)))];
        cases::unary(
            BuiltinOperator::LEAKY_RELU,
            &BuiltinOptions::LeakyReluOptions(Box::new(LeakyReluOptionsT { alpha: 0.3 })),
            &types,
        )
    }
}

impl OpDef for Prelu {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::PRELU)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (input, slope) = (node.input(0)?, node.input(1)?);
        check_type(input.ty, &TYPES)?;
        // int16 inputs have int8 slopes.
        let slope_ty = if input.ty == TensorType::Int16 { TensorType::Int8 } else { input.ty };
        ensure!(
            slope.ty == slope_ty,
            "an input of type {} takes slopes of type {slope_ty}, not {}",
            input.ty,
            slope.ty
        );
        let shape: Shape = broadcast_shape(&[&input.shape, &slope.shape])?;
        ensure!(shape == input.shape, "slopes of shape {:?} do not broadcast to {:?}", slope.shape, input.shape);
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        match input.ty {
            TensorType::Float32 => return binary(node, |x: f32, slope: f32| if x >= 0.0 { x } else { x * slope }),
            TensorType::Float16 => {
                return binary(node, |x: f16, slope: f16| if x >= f16::ZERO { x } else { x * slope });
            }
            TensorType::BFloat16 => {
                return binary(node, |x: bf16, slope: bf16| if x >= bf16::ZERO { x } else { x * slope });
            }
            _ => {}
        }
        let (in_scale, in_zero) = input.scale_zero_point()?;
        let (slope_scale, slope_zero) = node.input(1)?.scale_zero_point()?;
        let (scale, zero) = node.output(0)?.scale_zero_point()?;
        let identity = Multiplier::new(f64::from(in_scale / scale))?;
        let below = Multiplier::new(f64::from(in_scale * slope_scale / scale))?;
        let f = move |x: i32, slope: i32| {
            let x = x.wrapping_sub(in_zero);
            let y =
                if x >= 0 { identity.apply(x) } else { below.apply(x.wrapping_mul(slope.wrapping_sub(slope_zero))) };
            y.wrapping_add(zero)
        };
        match input.ty {
            TensorType::Int16 => binary(node, move |x: i16, slope: i8| i16::saturate(f(x.widen(), slope.widen()))),
            ty => for_quantized!(ty, T => {
                binary(node, move |x: T, slope: T| T::saturate(f(x.widen(), slope.widen())))
            }),
        }
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "prelu_f32",
                supports: vector::is_f32,
                prepare: |node, isa| {
                    vector::binary("prelu_f32", node, isa, Binary::Prelu, (f32::NEG_INFINITY, f32::INFINITY))
                },
            },
            FastKernel {
                name: "prelu_8bit_table",
                supports: vector::is_large_8_bit,
                prepare: |node, _| vector::table2("prelu_8bit_table", &Prelu, node),
            },
        ]
    }

    fn cases(&self) -> Vec<Case> {
        let types = [TensorType::Float32, TensorType::Int8, TensorType::UInt8];
        let mut all = Vec::new();
        for ty in types {
            let parameters = match ty {
                TensorType::Int8 => [Some((0.04, -7)), Some((0.008, 3)), Some((0.06, 5))],
                TensorType::UInt8 => [Some((0.04, 121)), Some((0.008, 131)), Some((0.06, 133))],
                _ => [None; 3],
            };
            for (x, slope) in [
                (&[1, 9, 10, 8][..], &[1, 1, 8][..]),
                (&[2, 33, 31, 16], &[1, 1, 16]),
                (&[1, 40, 41, 33], &[1, 1, 33]),
                (&[3, 8, 8, 24], &[8, 8, 24]),
                (&[5, 37], &[5, 37]),
                (&[1, 3, 3, 5], &[1, 1, 1]),
            ] {
                let inputs = [(ty, x, parameters[0]), (ty, slope, parameters[1])];
                let name = format!("{ty} {x:?} {slope:?}");
                let output = (ty, x, parameters[2]);
                all.extend(cases::case(name, BuiltinOperator::PRELU, BuiltinOptions::NONE, &inputs, output));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::BINARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut b = Backward::new(ctx)?;
            let (x, slope) = (b.input(0)?, b.input(1)?);
            let above = b.where_positive(b.grad, x);
            let below = b.sub(b.grad, above);
            b.both(
                |b| {
                    let below = b.mul(below, slope);
                    Ok(b.add(above, below))
                },
                |b| Ok(b.mul(below, x)),
            )
        })
    }
}
