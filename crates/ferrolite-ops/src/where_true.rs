//! WHERE: the coordinates of the elements that are not zero, one row each, in order.

use crate::common::cases::case;
use crate::common::elementwise::{check_type, is_quantized};
use crate::common::strided::elements;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::tensor::{Element, Shape};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// WHERE. Input: condition. Output: int64 [number of hits, rank], whose first dimension only the data tells.
pub struct Where;

const TYPES: [TensorType; 7] = [Bool, Float32, Int8, UInt8, Int32, UInt32, Int64];

impl OpDef for Where {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::WHERE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let condition = node.input(0)?;
        check_type(condition.ty, &TYPES)?;
        ensure!(!condition.shape.is_empty(), "the condition is a scalar");
        Ok(smallvec![Inferred::dynamic(Int64)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let condition = node.input(0)?;
        let shape = &condition.shape;
        // LiteRT compares quantized values with 0; what is not zero is what differs from the zero point.
        let zero = if is_quantized(condition) { condition.scale_zero_point()?.1 } else { 0 };
        match condition.ty {
            Float32 => coordinates(shape, |x: f32| x != 0.0),
            Int8 => coordinates(shape, move |x: i8| i32::from(x) != zero),
            Bool | UInt8 => coordinates(shape, move |x: u8| i32::from(x) != zero),
            Int64 => coordinates(shape, |x: i64| x != 0),
            UInt32 => coordinates(shape, |x: u32| x != 0),
            _ => coordinates(shape, |x: i32| x != 0),
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { output: OutputRule::NotQuantized, int16: false, ..QuantRule::UNARY })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in TYPES {
            for shape in [&[7][..], &[3, 5], &[2, 3, 4], &[2, 1, 3, 2]] {
                let output = (Int64, &[1, shape.len() as i32][..], None);
                let name = format!("{ty} {shape:?}");
                cases.extend(case(name, BuiltinOperator::WHERE, BuiltinOptions::NONE, &[(ty, shape, None)], output));
            }
        }
        cases
    }
}

fn coordinates<T: Element>(
    shape: &[usize],
    holds: impl Fn(T) -> bool + Send + Sync + 'static,
) -> Result<Box<dyn Kernel>, OpError> {
    let (len, shape) = (elements(shape)?, Shape::from_slice(shape));
    let rank = shape.len();
    reference(move |io| {
        let condition = io.input(0)?.slice::<T>()?;
        ensure!(condition.len() == len, "sizes changed since the kernel was prepared");
        let output = &mut io.outputs[0];
        output.set_shape(&[condition.iter().filter(|&&x| holds(x)).count(), rank])?;
        let hits = condition.iter().enumerate().filter(|&(_, &x)| holds(x)).map(|(i, _)| i);
        for (row, mut i) in output.slice::<i64>()?.chunks_exact_mut(rank).zip(hits) {
            for (coordinate, &dim) in row.iter_mut().zip(&shape).rev() {
                *coordinate = (i % dim) as i64;
                i /= dim;
            }
        }
        Ok(())
    })
}
