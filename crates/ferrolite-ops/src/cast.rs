//! CAST: converts element types.
//!
//! Floats go to integers towards zero and saturate, NaN to the largest value; integers wrap; complex numbers lose their
//! imaginary part. Source: LiteRT `kernels/cast.cc`.

use crate::common::cases::case;
use crate::common::elementwise::unary;
use crate::common::packed;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::schema::CastOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use half::{bf16, f16};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// CAST.
pub struct Cast;

/// A number that converts to every type.
trait Number: Element {
    fn i8(self) -> i8;
    fn u8(self) -> u8;
    fn i16(self) -> i16;
    fn u16(self) -> u16;
    fn i32(self) -> i32;
    fn u32(self) -> u32;
    fn i64(self) -> i64;
    fn u64(self) -> u64;
    fn f32(self) -> f32;
    fn f64(self) -> f64;
    fn bool(self) -> u8;
}

macro_rules! integers {
    ($($ty:ident)+) => {
        $(impl Number for $ty {
            integers! { @to i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 }
            fn bool(self) -> u8 {
                u8::from(self != 0)
            }
        })+
    };
    (@to $($to:ident)+) => {
        $(fn $to(self) -> $to {
            self as $to
        })+
    };
}

integers! { i8 u8 i16 u16 i32 u32 i64 u64 }

macro_rules! floats {
    ($($ty:ident)+) => {
        $(impl Number for $ty {
            floats! { @to i8 u8 i16 u16 i32 u32 i64 u64 }
            fn f32(self) -> f32 {
                self as f32
            }
            fn f64(self) -> f64 {
                self as f64
            }
            fn bool(self) -> u8 {
                u8::from(self != 0.0)
            }
        })+
    };
    (@to $($to:ident)+) => {
        $(fn $to(self) -> $to {
            if self.is_nan() { $to::MAX } else { self as $to }
        })+
    };
}

floats! { f32 f64 }

/// The kernel from `T`, as the number that `wide` makes of it.
fn from<T: Element, N: Number>(to: TensorType, wide: fn(T) -> N) -> Result<Box<dyn Kernel>, OpError> {
    match to {
        TensorType::Int8 => unary(move |x: T| wide(x).i8()),
        TensorType::UInt8 => unary(move |x: T| wide(x).u8()),
        TensorType::Int16 => unary(move |x: T| wide(x).i16()),
        TensorType::UInt16 => unary(move |x: T| wide(x).u16()),
        TensorType::Int32 => unary(move |x: T| wide(x).i32()),
        TensorType::UInt32 => unary(move |x: T| wide(x).u32()),
        TensorType::Int64 => unary(move |x: T| wide(x).i64()),
        TensorType::UInt64 => unary(move |x: T| wide(x).u64()),
        TensorType::Float16 => unary(move |x: T| f16::from_f32(wide(x).f32())),
        TensorType::BFloat16 => unary(move |x: T| bf16::from_f32(wide(x).f32())),
        TensorType::Float32 => unary(move |x: T| wide(x).f32()),
        TensorType::Float64 => unary(move |x: T| wide(x).f64()),
        TensorType::Bool => unary(move |x: T| wide(x).bool()),
        TensorType::Complex64 => unary(move |x: T| [wide(x).f32(), 0.0]),
        TensorType::Complex128 => unary(move |x: T| [wide(x).f64(), 0.0]),
        TensorType::Int4 => to_packed(move |x: T| wide(x).f32(), -8.0, 7.0, 4),
        TensorType::UInt4 => to_packed(move |x: T| wide(x).f32(), 0.0, 15.0, 4),
        TensorType::Int2 => to_packed(move |x: T| wide(x).f32(), -2.0, 1.0, 2),
        ty => Err(OpError::unsupported(format!("to {ty}"))),
    }
}

/// To integers of 4 or 2 bits: saturated, towards zero.
fn to_packed<T: Element>(
    wide: impl Fn(T) -> f32 + Send + Sync + 'static,
    low: f32,
    high: f32,
    bits: usize,
) -> Result<Box<dyn Kernel>, OpError> {
    let per_byte = 8 / bits;
    reference(move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let output = io.outputs[0].bytes();
        ensure!(output.len() == input.len().div_ceil(per_byte), "a kernel was prepared for another shape");
        for (o, elements) in output.iter_mut().zip(input.chunks(per_byte)) {
            *o = elements.iter().enumerate().fold(0, |byte, (i, &x)| {
                let x = wide(x).max(low).min(high) as i8 as u8;
                byte | (x & ((1 << bits) - 1)) << (i * bits)
            });
        }
        Ok(())
    })
}

/// From integers of 4 or 2 bits to float32.
fn from_packed(from: TensorType, to: TensorType, elements: usize) -> Result<Box<dyn Kernel>, OpError> {
    if to != TensorType::Float32 {
        return Err(OpError::unsupported(format!("from {from} to {to}")));
    }
    reference(move |io| {
        let input = io.input(0)?.bytes;
        let output = io.outputs[0].slice::<f32>()?;
        let fits = output.len() == elements && Some(input.len()) == from.byte_len(elements);
        ensure!(fits, "a kernel was prepared for another shape");
        output.iter_mut().enumerate().for_each(|(i, o)| *o = packed::get(input, from, i) as f32);
        Ok(())
    })
}

impl OpDef for Cast {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CAST)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=9
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        // The options name the types as well, but many files leave them out.
        Ok(smallvec![Inferred::new(node.output(0)?.ty, node.input(0)?.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (input, to) = (node.input(0)?, node.output(0)?.ty);
        if input.ty == to && input.ty.bits() > 0 {
            return reference(|io| {
                let input = io.input(0)?.bytes;
                io.outputs[0].bytes().copy_from_slice(input);
                Ok(())
            });
        }
        match input.ty {
            TensorType::Int8 => from::<i8, _>(to, |x| x),
            TensorType::UInt8 => from::<u8, _>(to, |x| x),
            TensorType::Bool => from::<u8, _>(to, |x| u8::from(x != 0)),
            TensorType::Int16 => from::<i16, _>(to, |x| x),
            TensorType::UInt16 => from::<u16, _>(to, |x| x),
            TensorType::Int32 => from::<i32, _>(to, |x| x),
            TensorType::UInt32 => from::<u32, _>(to, |x| x),
            TensorType::Int64 => from::<i64, _>(to, |x| x),
            TensorType::UInt64 => from::<u64, _>(to, |x| x),
            TensorType::Float16 => from(to, f16::to_f32),
            TensorType::BFloat16 => from(to, bf16::to_f32),
            TensorType::Float32 => from::<f32, _>(to, |x| x),
            TensorType::Float64 => from::<f64, _>(to, |x| x),
            TensorType::Float8E4M3FN => from(to, packed::f8_e4m3fn),
            TensorType::Float8E5M2 => from(to, packed::f8_e5m2),
            TensorType::Complex64 if to == TensorType::Complex128 => unary(|[re, im]: [f32; 2]| [re as f64, im as f64]),
            TensorType::Complex128 if to == TensorType::Complex64 => unary(|[re, im]: [f64; 2]| [re as f32, im as f32]),
            TensorType::Complex64 => from(to, |[re, _]: [f32; 2]| re),
            TensorType::Complex128 => from(to, |[re, _]: [f64; 2]| re),
            TensorType::Int4 | TensorType::UInt4 | TensorType::Int2 => from_packed(input.ty, to, input.elements()),
            ty => Err(OpError::unsupported(format!("from {ty}"))),
        }
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::{Bool, Float32, Int8, Int16, Int32, Int64, UInt8};
        let types = [Float32, Int8, UInt8, Int16, Int32, Int64, Bool];
        let mut all = Vec::new();
        for from in types {
            for to in types {
                for shape in [&[37][..], &[3, 41, 71]] {
                    let options = CastOptionsT { in_data_type: from.to_schema(), out_data_type: to.to_schema() };
                    let options = BuiltinOptions::CastOptions(Box::new(options));
                    let inputs = [(from, shape, None)];
                    let name = format!("{from} {to} {shape:?}");
                    all.extend(case(name, BuiltinOperator::CAST, options, &inputs, (to, shape, None)));
                }
            }
        }
        all
    }
}
