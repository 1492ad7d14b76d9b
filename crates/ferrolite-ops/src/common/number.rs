//! Element types with the arithmetic of StableHLO: integers wrap, bools add by "or" and multiply by "and".

use crate::tensor::Element;
use bytemuck::{Pod, Zeroable};
use ferrolite_model::TensorType;
use half::f16;

/// An element that counts.
pub trait Number: Element + PartialOrd + Send + Sync {
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// 1 for true, 0 for false.
    fn truth(is: bool) -> Self;
    /// Whether it is not 0.
    fn is_true(self) -> bool;
}

macro_rules! number {
    ($zero:expr, $one:expr, |$a:ident, $b:ident| $plus:expr, $times:expr; $($ty:ty)+) => {
        $(impl Number for $ty {
            fn plus(self, other: Self) -> Self {
                let ($a, $b) = (self, other);
                $plus
            }
            fn times(self, other: Self) -> Self {
                let ($a, $b) = (self, other);
                $times
            }
            fn truth(is: bool) -> Self {
                if is { $one } else { $zero }
            }
            fn is_true(self) -> bool {
                self != $zero
            }
        })+
    };
}

number! { 0, 1, |a, b| a.wrapping_add(b), a.wrapping_mul(b); i8 i16 i32 i64 u8 u16 u32 u64 }
number! { 0.0, 1.0, |a, b| a + b, a * b; f32 f64 }
number! { f16::ZERO, f16::ONE, |a, b| a + b, a * b; f16 }

/// An element of a bool tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct Truth(u8);

impl Element for Truth {
    fn matches(ty: TensorType) -> bool {
        ty == TensorType::Bool
    }
}

impl Number for Truth {
    fn plus(self, other: Self) -> Self {
        Truth::truth(self.is_true() || other.is_true())
    }
    fn times(self, other: Self) -> Self {
        Truth::truth(self.is_true() && other.is_true())
    }
    fn truth(is: bool) -> Self {
        Truth(is.into())
    }
    fn is_true(self) -> bool {
        self.0 != 0
    }
}

/// Calls a function generic over [`Number`] with the Rust type of a tensor type: `for_number!(ty, T => expression)`. The
/// expression has the type `Result<_, OpError>`.
#[macro_export]
macro_rules! for_number {
    ($ty:expr, $t:ident => $body:expr) => {
        $crate::for_number!(@match $ty, $t => $body;
            Float16: half::f16, Float32: f32, Float64: f64, Int8: i8, Int16: i16, Int32: i32, Int64: i64, UInt8: u8,
            UInt16: u16, UInt32: u32, UInt64: u64, Bool: $crate::common::number::Truth)
    };
    (@match $given:expr, $t:ident => $body:expr; $($ty:ident: $rust:ty),+) => {
        match $given {
            $(ferrolite_model::TensorType::$ty => {
                type $t = $rust;
                $body
            })+
            other => Err($crate::OpError::unsupported(format!("elements of type {other}"))),
        }
    };
}
