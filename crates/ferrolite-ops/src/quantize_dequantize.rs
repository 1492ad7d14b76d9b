//! QUANTIZE and DEQUANTIZE.
//!
//! Sources: LiteRT `kernels/{quantize.cc,dequantize.h}`, `reference/{quantize,requantize,dequantize}.h`.

use crate::common::cases;
use crate::common::elementwise::{Quantized, unary};
use crate::common::packed;
use crate::common::requant::Multiplier;
use crate::common::vector;
use crate::op::{Case, FastKernel, FnKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure, for_quantized};
use ferrolite_kernels::{dequantize_i8_f32, f16_to_f32, quantize_f32_i8};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use half::{bf16, f16};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// QUANTIZE.
pub struct Quantize;

/// DEQUANTIZE.
pub struct Dequantize;

/// Parameters that repeat along one dimension: element i has those of channel (i / inner) % channels.
#[derive(Clone, Debug)]
struct Channels {
    scales: Vec<f32>,
    zero_points: Vec<i32>,
    inner: usize,
}

impl Channels {
    /// Of a tensor of this shape; one channel where quantization is per tensor.
    fn new(tensor: &TensorInfo<'_>, shape: &[usize]) -> Result<Channels, OpError> {
        let Some(q) = tensor.quantization.filter(|q| !q.scale.is_empty()) else {
            return Err(OpError::invalid(format!("tensor {:?} has no scale", tensor.name)));
        };
        let zero_points: Vec<i32> = match q.zero_point.as_slice() {
            [] => vec![0; q.scale.len()],
            [one] => vec![*one as i32; q.scale.len()],
            all => all.iter().map(|&z| z as i32).collect(),
        };
        ensure!(zero_points.len() == q.scale.len(), "tensor {:?} has fewer zero points than scales", tensor.name);
        let inner: usize = if q.scale.len() == 1 {
            shape.iter().product()
        } else {
            let axis = usize::try_from(q.quantized_dimension).ok().filter(|&a| a < shape.len());
            let Some(axis) = axis else {
                return Err(OpError::invalid(format!(
                    "tensor {:?} is quantized along no dimension it has",
                    tensor.name
                )));
            };
            ensure!(shape[axis] == q.scale.len(), "{} scales for {} channels", q.scale.len(), shape[axis]);
            shape[axis + 1..].iter().product()
        };
        Ok(Channels { scales: q.scale.clone(), zero_points, inner: inner.max(1) })
    }

    /// Calls `run(start, end, scale, zero point)` for each stretch of one channel.
    fn for_each(&self, len: usize, mut run: impl FnMut(usize, usize, f32, i32)) {
        let channels = self.scales.iter().zip(&self.zero_points).cycle();
        for (start, (&scale, &zero_point)) in (0..len).step_by(self.inner).zip(channels) {
            run(start, (start + self.inner).min(len), scale, zero_point);
        }
    }
}

impl OpDef for Quantize {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::QUANTIZE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        use TensorType::*;
        node.expect(1..=1, 1)?;
        let (input, output) = (node.input(0)?, node.output(0)?);
        let known = match input.ty {
            Float32 => matches!(output.ty, Int8 | UInt8 | Int16 | Int4 | UInt4),
            Int16 => matches!(output.ty, Int8 | UInt8 | Int16 | Int32),
            Int32 => matches!(output.ty, Int8 | UInt8 | Int16),
            Int8 | UInt8 => matches!(output.ty, Int8 | UInt8 | Int16),
            _ => false,
        };
        if !known {
            return Err(OpError::unsupported(format!("from {} to {}", input.ty, output.ty)));
        }
        Ok(smallvec![Inferred::new(output.ty, input.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (input, output) = (node.input(0)?, node.output(0)?);
        if input.ty != TensorType::Float32 {
            return requantize(node);
        }
        let channels = Channels::new(output, &input.shape)?;
        match output.ty {
            TensorType::Int4 | TensorType::UInt4 => {
                let (low, high) = if output.ty == TensorType::Int4 { (-8, 7) } else { (0, 15) };
                reference(move |io| {
                    let input = io.input(0)?.slice::<f32>()?;
                    let output = io.outputs[0].bytes();
                    ensure!(output.len() == input.len().div_ceil(2), "a kernel was prepared for another shape");
                    output.fill(0);
                    channels.for_each(input.len(), |start, end, scale, zero| {
                        for (i, &x) in (start..end).zip(&input[start..end]) {
                            output[i / 2] |= (quantize(x, scale, zero).clamp(low, high) as u8 & 15) << (i % 2 * 4);
                        }
                    });
                    Ok(())
                })
            }
            ty => for_quantized!(ty, T => reference(move |io| {
                let input = io.input(0)?.slice::<f32>()?;
                let output = io.outputs[0].slice::<T>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                channels.for_each(input.len(), |start, end, scale, zero| {
                    for (o, &x) in output[start..end].iter_mut().zip(&input[start..end]) {
                        *o = T::saturate(quantize(x, scale, zero));
                    }
                });
                Ok(())
            })),
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        QUANTIZE
    }

    fn cases(&self) -> Vec<Case> {
        let float = (TensorType::Float32, None);
        let (int8, other) = ((TensorType::Int8, Some((0.007, 5))), (TensorType::Int8, Some((0.01, -9))));
        let uint8 = (TensorType::UInt8, Some((0.007, 133)));
        let mut all = Vec::new();
        for shape in [&[37][..], &[3, 41, 71], &[5, 131, 129]] {
            for (from, to) in [(float, int8), (float, uint8), (int8, other), (int8, uint8), (uint8, int8)] {
                let name = format!("{} {} {shape:?}", from.0, to.0);
                let inputs = [(from.0, shape, from.1)];
                all.extend(cases::case(
                    name,
                    BuiltinOperator::QUANTIZE,
                    BuiltinOptions::NONE,
                    &inputs,
                    (to.0, shape, to.1),
                ));
            }
        }
        all
    }
}

/// Whether a tensor has one type and one scale.
fn is_per_tensor(tensor: Result<&TensorInfo<'_>, OpError>, ty: TensorType) -> bool {
    tensor.is_ok_and(|t| t.ty == ty && t.scale_zero_point().is_ok())
}

const QUANTIZE: &[FastKernel] = &[
    FastKernel {
        name: "quantize_f32_i8",
        supports: |node| vector::is_f32(node) && is_per_tensor(node.output(0), TensorType::Int8),
        prepare: |node, isa| {
            let (scale, zero) = node.output(0)?.scale_zero_point()?;
            Ok(Box::new(FnKernel("quantize_f32_i8", move |io: &mut Io<'_>| {
                let input = io.input(0)?.slice::<f32>()?;
                let output = io.outputs[0].slice::<i8>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                quantize_f32_i8(io.pool, isa, input, scale, zero, output);
                Ok(())
            })))
        },
    },
    FastKernel {
        name: "quantize_f32_u8",
        supports: |node| vector::is_f32(node) && is_per_tensor(node.output(0), TensorType::UInt8),
        prepare: |node, isa| {
            let (scale, zero) = node.output(0)?.scale_zero_point()?;
            Ok(Box::new(FnKernel("quantize_f32_u8", move |io: &mut Io<'_>| {
                let input = io.input(0)?.slice::<f32>()?;
                let output = io.outputs[0].slice::<u8>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                // As int8, 128 below.
                quantize_f32_i8(io.pool, isa, input, scale, zero.wrapping_sub(128), bytemuck::cast_slice_mut(output));
                output.iter_mut().for_each(|o| *o ^= 0x80);
                Ok(())
            })))
        },
    },
    FastKernel {
        name: "requantize_8bit_table",
        supports: vector::is_8_bit,
        prepare: |node, _| vector::table("requantize_8bit_table", &Quantize, node),
    },
];

const DEQUANTIZE: &[FastKernel] = &[
    FastKernel {
        name: "dequantize_i8_f32",
        supports: |node| is_per_tensor(node.input(0), TensorType::Int8),
        prepare: |node, isa| {
            let (scale, zero) = node.input(0)?.scale_zero_point()?;
            Ok(Box::new(FnKernel("dequantize_i8_f32", move |io: &mut Io<'_>| {
                let input = io.input(0)?.slice::<i8>()?;
                let output = io.outputs[0].slice::<f32>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                dequantize_i8_f32(io.pool, isa, input, scale, zero, output);
                Ok(())
            })))
        },
    },
    FastKernel {
        name: "f16_to_f32",
        supports: |node| node.input(0).is_ok_and(|t| t.ty == TensorType::Float16),
        prepare: |_, isa| {
            Ok(Box::new(FnKernel("f16_to_f32", move |io: &mut Io<'_>| {
                let input = io.input(0)?.slice::<f16>()?;
                let output = io.outputs[0].slice::<f32>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                f16_to_f32(io.pool, isa, bytemuck::cast_slice(input), output);
                Ok(())
            })))
        },
    },
];

/// round(x / scale) + zero point, halves away from zero; NaN is the smallest value.
#[inline]
fn quantize(x: f32, scale: f32, zero_point: i32) -> i32 {
    let steps = (x / scale).round();
    if steps.is_nan() { i32::MIN } else { (steps as i32).saturating_add(zero_point) }
}

/// Integers to integers of another scale.
fn requantize(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    let (from, to) = (node.input(0)?.ty, node.output(0)?.ty);
    let both_int16 = (from, to) == (TensorType::Int16, TensorType::Int16);
    ensure!(!both_int16 || [in_zero, zero] == [0; 2], "int16 zero points must be 0");
    let factor = Multiplier::new(f64::from(in_scale) / f64::from(scale))?;
    let f = move |x: i32| factor.apply(x.wrapping_sub(in_zero)).wrapping_add(zero);
    match (from, to) {
        (TensorType::Int32, _) => for_quantized!(to, O => unary(move |x: i32| O::saturate(f(x)))),
        (_, TensorType::Int32) => for_quantized!(from, I => unary(move |x: I| f(x.widen()))),
        _ => for_quantized!(from, I => for_quantized!(to, O => unary(move |x: I| O::saturate(f(x.widen()))))),
    }
}

impl OpDef for Dequantize {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DEQUANTIZE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=9
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        use TensorType::*;
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        let known = [Float16, BFloat16, Int2, Int4, UInt4, Int8, UInt8, Int16, Int32, Float8E4M3FN, Float8E5M2];
        if !known.contains(&input.ty) {
            return Err(OpError::unsupported(format!("input of type {}", input.ty)));
        }
        Ok(smallvec![Inferred::new(Float32, input.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        match input.ty {
            TensorType::Float16 => return unary(f16::to_f32),
            TensorType::BFloat16 => return unary(bf16::to_f32),
            TensorType::Float8E4M3FN => return unary(packed::f8_e4m3fn),
            TensorType::Float8E5M2 => return unary(packed::f8_e5m2),
            _ => {}
        }
        let channels = Channels::new(input, &input.shape)?;
        match input.ty {
            TensorType::Int2 | TensorType::Int4 | TensorType::UInt4 => {
                let (ty, elements) = (input.ty, input.elements());
                reference(move |io| {
                    let input = io.input(0)?.bytes;
                    let output = io.outputs[0].slice::<f32>()?;
                    let fits = output.len() == elements && Some(input.len()) == ty.byte_len(elements);
                    ensure!(fits, "a kernel was prepared for another shape");
                    channels.for_each(elements, |start, end, scale, zero| {
                        for (i, o) in (start..end).zip(&mut output[start..end]) {
                            *o = dequantize(packed::get(input, ty, i), scale, zero);
                        }
                    });
                    Ok(())
                })
            }
            TensorType::Int32 => reference(move |io| {
                let input = io.input(0)?.slice::<i32>()?;
                let output = io.outputs[0].slice::<f32>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                channels.for_each(input.len(), |start, end, scale, zero| {
                    for (o, &x) in output[start..end].iter_mut().zip(&input[start..end]) {
                        *o = dequantize(x, scale, zero);
                    }
                });
                Ok(())
            }),
            ty => for_quantized!(ty, T => reference(move |io| {
                let input = io.input(0)?.slice::<T>()?;
                let output = io.outputs[0].slice::<f32>()?;
                ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
                channels.for_each(input.len(), |start, end, scale, zero| {
                    for (o, &x) in output[start..end].iter_mut().zip(&input[start..end]) {
                        // Exact up to the one rounding, as in double precision.
                        *o = scale * x.widen().wrapping_sub(zero) as f32;
                    }
                });
                Ok(())
            })),
        }
    }

    fn fast(&self) -> &'static [FastKernel] {
        DEQUANTIZE
    }

    fn cases(&self) -> Vec<Case> {
        let float = (TensorType::Float32, None);
        let (int8, half) = ((TensorType::Int8, Some((0.007, 5))), (TensorType::Float16, None));
        let mut all = Vec::new();
        for shape in [&[37][..], &[3, 41, 71], &[5, 131, 129]] {
            for (from, to) in [(int8, float), (half, float)] {
                let name = format!("{} {} {shape:?}", from.0, to.0);
                let inputs = [(from.0, shape, from.1)];
                all.extend(cases::case(
                    name,
                    BuiltinOperator::DEQUANTIZE,
                    BuiltinOptions::NONE,
                    &inputs,
                    (to.0, shape, to.1),
                ));
            }
        }
        all
    }
}

/// scale · (x − zero point), in double precision, which only int32 needs.
#[inline]
fn dequantize(x: i32, scale: f32, zero_point: i32) -> f32 {
    (f64::from(scale) * (i64::from(x) - i64::from(zero_point)) as f64) as f32
}
