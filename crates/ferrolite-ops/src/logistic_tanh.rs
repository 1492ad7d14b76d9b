//! LOGISTIC and TANH.
//!
//! 8-bit types: a table of the float function; int16: an interpolated table. Outputs have prescribed scales.
//! Sources: LiteRT `kernels/activations.cc`, `reference/logistic.h`.

use crate::common::backward::unary as backward;
use crate::common::cases;
use crate::common::elementwise::{check_type, infer_unary, unary, unary_float};
use crate::common::lut::{kernel8, table8};
use crate::common::sigmoid::TableScale;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::{OutputRule, QuantRule};
use crate::{OpError, ensure};
use ferrolite_kernels::Unary;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// LOGISTIC.
pub struct Logistic;

/// TANH.
pub struct Tanh;

const TYPES: [TensorType; 6] = [
    TensorType::Float32,
    TensorType::Float16,
    TensorType::BFloat16,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
];

/// 1 / (1 + e^−x); towards −∞, where the quotient loses its bits, e^x.
pub(crate) fn logistic(x: f32) -> f32 {
    if x > 16.619_047 {
        1.0
    } else if x < -9.0 {
        x.exp()
    } else {
        1.0 / (1.0 + (-x).exp())
    }
}

/// Checks int16 parameters and gives the input's scale.
fn int16_scale(node: &NodeView<'_>) -> Result<f32, OpError> {
    let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    ensure!([in_zero, zero] == [0; 2], "int16 zero points must be 0");
    let prescribed = (scale * 32768.0 - 1.0).abs() < 1e-3;
    ensure!(prescribed, "an int16 output has the scale 1/32768, not {scale}");
    Ok(in_scale)
}

impl OpDef for Logistic {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LOGISTIC)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let ty = node.input(0)?.ty;
        check_type(ty, &TYPES)?;
        match ty {
            TensorType::Int8 | TensorType::UInt8 => {
                let (scale, _) = node.output(0)?.scale_zero_point()?;
                ensure!(scale == 1.0 / 256.0, "an 8-bit output has the scale 1/256, not {scale}");
                kernel8(table8(node, |x| 1.0 / (1.0 + (-x).exp()))?)
            }
            TensorType::Int16 => {
                let table = TableScale::new(int16_scale(node)?, false)?;
                unary(move |x: i16| table.logistic(x))
            }
            _ => unary_float(ty, logistic),
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "logistic_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::unary("logistic_f32", node, isa, Unary::Logistic),
            },
            FastKernel {
                name: "logistic_8bit_table",
                supports: vector::is_8_bit,
                prepare: |node, _| vector::table("logistic_8bit_table", &Logistic, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        let output = OutputRule::Fixed { int8: (1.0 / 256.0, -128), int16: (1.0 / 32768.0, 0) };
        Some(QuantRule { output, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        // y · (1 − y)
        Some(|ctx| {
            backward(ctx, |b, _| {
                let square = b.mul(b.output, b.output);
                let slope = b.sub(b.output, square);
                b.mul(b.grad, slope)
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        let types = [
            (TensorType::Float32, None),
            (TensorType::Int8, Some((1.0 / 256.0, -128))),
            (TensorType::UInt8, Some((1.0 / 256.0, 0))),
        ];
        cases::unary(BuiltinOperator::LOGISTIC, &BuiltinOptions::NONE, &types)
    }
}

impl OpDef for Tanh {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::TANH)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let ty = node.input(0)?.ty;
        check_type(ty, &TYPES)?;
        match ty {
            TensorType::Int8 | TensorType::UInt8 => kernel8(table8(node, f32::tanh)?),
            TensorType::Int16 => {
                let table = TableScale::new(int16_scale(node)?, true)?;
                unary(move |x: i16| table.tanh(x))
            }
            _ => unary_float(ty, f32::tanh),
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "tanh_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::unary("tanh_f32", node, isa, Unary::Tanh),
            },
            FastKernel {
                name: "tanh_8bit_table",
                supports: vector::is_8_bit,
                prepare: |node, _| vector::table("tanh_8bit_table", &Tanh, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        let output = OutputRule::Fixed { int8: (1.0 / 128.0, 0), int16: (1.0 / 32768.0, 0) };
        Some(QuantRule { output, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        // 1 − y²
        Some(|ctx| {
            backward(ctx, |b, _| {
                let square = b.mul(b.output, b.output);
                let lost = b.mul(b.grad, square);
                b.sub(b.grad, lost)
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        let types = [
            (TensorType::Float32, None),
            (TensorType::Int8, Some((1.0 / 128.0, 0))),
            (TensorType::UInt8, Some((1.0 / 128.0, 128))),
        ];
        cases::unary(BuiltinOperator::TANH, &BuiltinOptions::NONE, &types)
    }
}
