//! RANGE: numbers from a start up to (or down to) a limit.

use crate::common::cases::{Operand, node};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// RANGE. Inputs: start, limit, delta.
pub struct Range;

/// The three inputs; `None` when not known yet.
fn bounds<T: Element>(node: &NodeView<'_>) -> Result<Option<[T; 3]>, OpError> {
    let value = |i: usize| -> Result<Option<T>, OpError> {
        let Some(values) = node.input(i)?.values::<T>()? else { return Ok(None) };
        match values[..] {
            [value] => Ok(Some(value)),
            _ => Err(OpError::invalid(format!("input {i} is not one number"))),
        }
    };
    Ok(match (value(0)?, value(1)?, value(2)?) {
        (Some(start), Some(limit), Some(delta)) => Some([start, limit, delta]),
        _ => None,
    })
}

fn float_count([start, limit, delta]: [f32; 3]) -> Result<usize, OpError> {
    let towards = (start <= limit && delta > 0.0) || (start >= limit && delta < 0.0);
    ensure!(towards, "from {start} steps of {delta} do not lead to {limit}");
    let count = ((limit - start) / delta).abs().ceil();
    ensure!((0.0..2f32.powi(31)).contains(&count), "{count} steps are too many");
    Ok(count as usize)
}

fn int_count([start, limit, delta]: [i64; 3]) -> Result<usize, OpError> {
    let towards = (start <= limit && delta > 0) || (start >= limit && delta < 0);
    ensure!(towards, "from {start} steps of {delta} do not lead to {limit}");
    let count = start.abs_diff(limit).div_ceil(delta.unsigned_abs());
    ensure!(count < 1 << 31, "{count} steps are too many");
    Ok(count as usize)
}

impl OpDef for Range {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RANGE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let ty = node.input(0)?.ty;
        for i in 0..3 {
            let input = node.input(i)?;
            ensure!(input.ty == ty, "inputs of type {ty} and {}", input.ty);
            ensure!(input.elements() == 1, "input {i} has shape {:?}", input.shape);
        }
        let count = match ty {
            TensorType::Float32 => bounds::<f32>(node)?.map(float_count),
            TensorType::Int32 => bounds::<i32>(node)?.map(|b| int_count(b.map(i64::from))),
            TensorType::Int64 => bounds::<i64>(node)?.map(int_count),
            _ => return Err(OpError::unsupported(format!("RANGE of {ty}"))),
        };
        match count.transpose()? {
            Some(count) => Ok(smallvec![Inferred::new(ty, [count])]),
            None => Ok(smallvec![Inferred::dynamic(ty)]),
        }
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Float32 => count_up::<f32>(|a, b| a + b),
            TensorType::Int32 => count_up::<i32>(i32::wrapping_add),
            _ => count_up::<i64>(i64::wrapping_add),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for (start, limit, delta) in [(0, 10, 1), (3, 20, 4), (9, -3, -2), (5, 5, 1)] {
            let values = [[start], [limit], [delta]];
            let operands = values.each_ref().map(|v| Operand::Index(&[], v));
            let n = if delta > 0 { (limit - start + delta - 1) / delta } else { (start - limit - delta - 1) / -delta };
            let options = BuiltinOptions::RangeOptions(Box::default());
            let output = (TensorType::Int32, &[n][..], None);
            let name = format!("int32 {start} {limit} {delta}");
            all.extend(node(name, BuiltinOperator::RANGE, options, &operands, &[output]));
        }
        all
    }
}

/// Adds up, as LiteRT does, rather than multiplying.
fn count_up<T: Element>(add: impl Fn(T, T) -> T + Send + Sync + 'static) -> Result<Box<dyn Kernel>, OpError> {
    reference(move |io| {
        let (start, delta) = (io.input(0)?.slice::<T>()?, io.input(2)?.slice::<T>()?);
        let (&[mut value], &[delta]) = (start, delta) else { return Err(OpError::invalid("inputs are not numbers")) };
        for x in io.outputs[0].slice::<T>()? {
            *x = value;
            value = add(value, delta);
        }
        Ok(())
    })
}
