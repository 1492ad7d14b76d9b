//! REAL, IMAG and COMPLEX_ABS: real numbers from complex ones.

use crate::OpError;
use crate::common::elementwise::unary;
use crate::op::{InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// A part of complex numbers.
pub struct Part {
    op: BuiltinOperator,
    single: fn([f32; 2]) -> f32,
    double: fn([f64; 2]) -> f64,
}

/// REAL.
pub const REAL: Part = Part { op: BuiltinOperator::REAL, single: |z| z[0], double: |z| z[0] };
/// IMAG.
pub const IMAG: Part = Part { op: BuiltinOperator::IMAG, single: |z| z[1], double: |z| z[1] };
/// COMPLEX_ABS.
pub const COMPLEX_ABS: Part =
    Part { op: BuiltinOperator::COMPLEX_ABS, single: |z| z[0].hypot(z[1]), double: |z| z[0].hypot(z[1]) };

impl OpDef for Part {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        let ty = match input.ty {
            TensorType::Complex64 => TensorType::Float32,
            TensorType::Complex128 => TensorType::Float64,
            ty => return Err(OpError::unsupported(format!("parts of {ty}"))),
        };
        Ok(smallvec![Inferred::new(ty, input.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Complex64 => unary(self.single),
            _ => unary(self.double),
        }
    }
}
