//! REAL, IMAG and COMPLEX_ABS: real numbers from complex ones.

use crate::OpError;
use crate::common::cases::case;
use crate::common::elementwise::unary;
use crate::op::{Case, FastKernel, FnKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
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

    fn cases(&self) -> Vec<Case> {
        let options = BuiltinOptions::NONE;
        let mut all = Vec::new();
        for (from, to) in [(TensorType::Complex64, TensorType::Float32), (TensorType::Complex128, TensorType::Float64)]
        {
            for shape in [&[37][..], &[3, 41]] {
                let inputs = [(from, shape, None)];
                all.extend(case(format!("{from} {shape:?}"), self.op, options.clone(), &inputs, (to, shape, None)));
            }
        }
        all
    }

    fn fast(&self) -> &'static [FastKernel] {
        const ABS: &[FastKernel] = &[FastKernel {
            name: "complex_abs_f32",
            supports: |node| node.input(0).is_ok_and(|t| t.ty == TensorType::Complex64),
            prepare: |_, _| Ok(Box::new(FnKernel("complex_abs_f32", absolute))),
        }];
        if self.op == BuiltinOperator::COMPLEX_ABS { ABS } else { &[] }
    }
}

/// Through double precision, where no square overflows.
fn absolute(io: &mut Io<'_>) -> Result<(), OpError> {
    let input = io.input(0)?.slice::<[f32; 2]>()?;
    let output = io.outputs[0].slice::<f32>()?;
    for (y, &[a, b]) in output.iter_mut().zip(input) {
        let (a, b) = (f64::from(a), f64::from(b));
        *y = (a * a + b * b).sqrt() as f32;
    }
    Ok(())
}
