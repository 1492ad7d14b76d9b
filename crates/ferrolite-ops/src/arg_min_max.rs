//! ARG_MAX and ARG_MIN: index of the largest or smallest element along a dimension; the first one of equals.

use crate::common::strided::{axis, elements, index_input, known, scalar_index};
use crate::op::{InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// ARG_MAX.
pub const ARG_MAX: ArgMinMax = ArgMinMax { max: true };
/// ARG_MIN.
pub const ARG_MIN: ArgMinMax = ArgMinMax { max: false };

/// ARG_MAX or ARG_MIN. Inputs: data, axis.
pub struct ArgMinMax {
    max: bool,
}

impl ArgMinMax {
    fn axis(&self, node: &NodeView<'_>) -> Result<Option<usize>, OpError> {
        let rank = node.input(0)?.shape.len();
        scalar_index(index_input(node, 1)?)?.map(|at| axis(at, rank)).transpose()
    }

    fn output_type(&self, node: &NodeView<'_>) -> Result<TensorType, OpError> {
        let ty = if self.max {
            node.options.as_arg_max_options().map(|o| o.output_type)
        } else {
            node.options.as_arg_min_options().map(|o| o.output_type)
        };
        match ty.map(TensorType::from_schema) {
            Some(Some(ty @ (TensorType::Int32 | TensorType::Int64))) => Ok(ty),
            None => Ok(node.output(0)?.ty),
            ty => Err(OpError::unsupported(format!("{} as {ty:?}", self.id()))),
        }
    }
}

impl OpDef for ArgMinMax {
    fn id(&self) -> OpId {
        OpId::Builtin(if self.max { BuiltinOperator::ARG_MAX } else { BuiltinOperator::ARG_MIN })
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        use TensorType::*;
        if !matches!(input.ty, Float32 | UInt8 | Int8 | Int16 | Int32 | Int64 | Bool) {
            return Err(OpError::unsupported(format!("{} of {}", self.id(), input.ty)));
        }
        let ty = self.output_type(node)?;
        let Some(at) = self.axis(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let mut shape = input.shape.clone();
        let choices = shape.remove(at);
        ensure!(choices > 0 || elements(&shape)? == 0, "{} of nothing", self.id());
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let at = known(self.axis(node)?)?;
        match input.ty {
            TensorType::Float32 => self.kernel::<f32>(&input.shape, at),
            TensorType::Int8 => self.kernel::<i8>(&input.shape, at),
            TensorType::Int16 => self.kernel::<i16>(&input.shape, at),
            TensorType::Int32 => self.kernel::<i32>(&input.shape, at),
            TensorType::Int64 => self.kernel::<i64>(&input.shape, at),
            _ => self.kernel::<u8>(&input.shape, at),
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { output: OutputRule::NotQuantized, int16: false, ..QuantRule::UNARY })
    }
}

impl ArgMinMax {
    fn kernel<T: Element + PartialOrd>(&self, shape: &[usize], at: usize) -> Result<Box<dyn Kernel>, OpError> {
        let (choices, inner, count) = (shape[at], elements(&shape[at + 1..])?, elements(shape)?);
        let better: fn(&T, &T) -> bool = if self.max { |a, b| a > b } else { |a, b| a < b };
        reference(move |io| {
            let input = io.input(0)?.slice::<T>()?;
            ensure!(input.len() == count, "sizes changed since the kernel was prepared");
            let best = |i: usize| {
                let start = i / inner * choices * inner + i % inner;
                let mut best = 0;
                for c in 1..choices {
                    if better(&input[start + c * inner], &input[start + best * inner]) {
                        best = c;
                    }
                }
                best
            };
            let output = &mut io.outputs[0];
            let outputs = count.checked_div(choices).unwrap_or(0);
            if output.ty == TensorType::Int64 {
                let output = output.slice::<i64>()?;
                ensure!(output.len() == outputs, "sizes changed since the kernel was prepared");
                output.iter_mut().enumerate().for_each(|(i, x)| *x = best(i) as i64);
            } else {
                let output = output.slice::<i32>()?;
                ensure!(output.len() == outputs, "sizes changed since the kernel was prepared");
                output.iter_mut().enumerate().for_each(|(i, x)| *x = best(i) as i32);
            }
            Ok(())
        })
    }
}
