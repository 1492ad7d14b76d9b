//! Operators with one input whose output elements depend on one input element each.

use crate::common::broadcast::broadcast_shape;
use crate::common::requant::rounding_divide_by_pot;
use crate::op::{InferResult, Inferred, Kernel, NodeView, reference};
use crate::tensor::{Element, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use half::{bf16, f16};
use smallvec::smallvec;

/// One input, one output of the same type and shape, whose type is among `types`.
pub fn infer_unary(node: &NodeView<'_>, types: &[TensorType]) -> InferResult {
    node.expect(1..=1, 1)?;
    let input = node.input(0)?;
    check_type(input.ty, types)?;
    Ok(smallvec![Inferred::new(input.ty, input.shape.iter().copied())])
}

/// An error unless the type of input 0 is among those that a kernel covers.
pub fn check_type(ty: TensorType, types: &[TensorType]) -> Result<(), OpError> {
    if types.contains(&ty) { Ok(()) } else { Err(OpError::unsupported(format!("input of type {ty}"))) }
}

/// Output type and shape of an operator that broadcasts two inputs of the same type, one of `types`, and gives that type.
pub fn infer_binary(node: &NodeView<'_>, types: &[TensorType]) -> InferResult {
    node.expect(2..=2, 1)?;
    let (a, b) = (node.input(0)?, node.input(1)?);
    ensure!(a.ty == b.ty, "inputs of types {} and {} differ", a.ty, b.ty);
    check_type(a.ty, types)?;
    Ok(smallvec![Inferred { ty: a.ty, shape: Some(broadcast_shape(&[&a.shape, &b.shape])?) }])
}

/// The reference kernel output 0 = f(input 0).
pub fn unary<A, O, F>(f: F) -> Result<Box<dyn Kernel>, OpError>
where
    A: Element,
    O: Element,
    F: Fn(A) -> O + Send + Sync + 'static,
{
    reference(move |io| {
        let input = io.input(0)?.slice::<A>()?;
        let output = io.outputs[0].slice::<O>()?;
        output.iter_mut().zip(input).for_each(|(o, &x)| *o = f(x));
        Ok(())
    })
}

/// [`unary`] for a function of floats, on a float type of 32 or 16 bits.
pub fn unary_float<F>(ty: TensorType, f: F) -> Result<Box<dyn Kernel>, OpError>
where
    F: Fn(f32) -> f32 + Send + Sync + 'static,
{
    match ty {
        TensorType::Float16 => unary(move |x: f16| f16::from_f32(f(x.to_f32()))),
        TensorType::BFloat16 => unary(move |x: bf16| bf16::from_f32(f(x.to_f32()))),
        _ => unary(f),
    }
}

/// `x` within bounds; NaN stays.
#[inline]
pub fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Whether a tensor has scales.
pub fn is_quantized(tensor: &TensorInfo<'_>) -> bool {
    tensor.quantization.is_some_and(|q| !q.scale.is_empty())
}

/// An integer that quantized tensors are made of.
pub trait Quantized: Element + Ord {
    /// As int32.
    fn widen(self) -> i32;
    /// The nearest value of the type.
    fn saturate(x: i32) -> Self;
}

macro_rules! quantized {
    ($($ty:ident)+) => {
        $(impl Quantized for $ty {
            fn widen(self) -> i32 {
                i32::from(self)
            }
            fn saturate(x: i32) -> $ty {
                x.clamp($ty::MIN.into(), $ty::MAX.into()) as $ty
            }
        })+
    };
}

quantized! { i8 u8 i16 }

/// Calls a function generic over [`Quantized`] with the Rust type of a tensor type:
/// `for_quantized!(ty, T => expression)`. The expression has the type `Result<_, OpError>`.
#[macro_export]
macro_rules! for_quantized {
    ($ty:expr, $t:ident => $body:expr) => {
        match $ty {
            ferrolite_model::TensorType::Int8 => {
                type $t = i8;
                $body
            }
            ferrolite_model::TensorType::UInt8 => {
                type $t = u8;
                $body
            }
            ferrolite_model::TensorType::Int16 => {
                type $t = i16;
                $body
            }
            other => Err($crate::OpError::unsupported(format!("quantized type {other}"))),
        }
    };
}

/// The exponent of a scale that is a power of two within 0.1 % of an octave, as LiteRT's `CheckedLog2` decides.
pub fn checked_log2(scale: f32) -> Option<i32> {
    let log = scale.ln() * (1.0 / 2f32.ln());
    ((log - log.round()).abs() < 1e-3).then_some(log.round() as i32)
}

/// x / 2^exponent for int16, rounded to nearest, halves away from zero.
pub fn rounding_divide_by_pot_i16(x: i16, exponent: i32) -> i16 {
    rounding_divide_by_pot(i32::from(x), exponent.min(31)) as i16
}
