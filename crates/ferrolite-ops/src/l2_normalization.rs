//! L2_NORMALIZATION: rows (the last dimension) divided by their Euclidean norm.

use crate::common::cases::case;
use crate::common::inverse_sqrt::inverse_sqrt;
use crate::common::requant::Multiplier;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::{OpError, ensure};
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
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
                    let factor = inverse_norm(x.iter().map(|&x| i32::from(x) - zero));
                    // In units of 1/128.
                    let factor = Multiplier { shift: factor.shift + 7, ..factor };
                    for (y, &x) in y.iter_mut().zip(x) {
                        let scaled = factor.apply(i32::from(x) - zero);
                        *y = scaled.clamp(-128, 127) as i8;
                    }
                }
                Ok(())
            }),
            _ => reference(move |io| {
                let input = io.input(0)?.slice::<u8>()?;
                let output = io.outputs[0].slice::<u8>()?;
                for (x, y) in input.chunks_exact(depth.max(1)).zip(output.chunks_exact_mut(depth.max(1))) {
                    let factor = inverse_norm(x.iter().map(|&x| i32::from(x) - zero));
                    for (y, &x) in y.iter_mut().zip(x) {
                        let scaled = factor.apply(128 * (i32::from(x) - zero));
                        *y = (128 + scaled).clamp(0, 255) as u8;
                    }
                }
                Ok(())
            }),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for (ty, input, output) in [
            (TensorType::Float32, None, None),
            (TensorType::Int8, Some((0.02, -5)), Some((1.0 / 128.0, 0))),
            (TensorType::UInt8, Some((0.02, 120)), Some((1.0 / 128.0, 128))),
        ] {
            for shape in [&[1, 33][..], &[4, 128], &[2, 3, 4, 5], &[7]] {
                let options = BuiltinOptions::L2NormOptions(Box::default());
                let name = format!("{ty} {shape:?}");
                let inputs = [(ty, shape, input)];
                all.extend(case(name, BuiltinOperator::L2_NORMALIZATION, options, &inputs, (ty, shape, output)));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        let output = OutputRule::Fixed { int8: (1.0 / 128.0, 0), int16: (1.0 / 32768.0, 0) };
        Some(QuantRule { output, int16: false, ..QuantRule::UNARY })
    }
}

/// 1 / √(Σ x²). A sum of 0 counts as 1.
fn inverse_norm(values: impl Iterator<Item = i32>) -> Multiplier {
    let sum = values.fold(0i64, |sum, x| sum + i64::from(x) * i64::from(x));
    inverse_sqrt(i32::try_from(sum).unwrap_or(i32::MAX))
}
