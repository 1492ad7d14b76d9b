//! SHAPE and RANK: what a tensor looks like, as a tensor.

use crate::OpError;
use crate::op::{InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SHAPE.
pub struct Shape;
/// RANK.
pub struct Rank;

impl OpDef for Shape {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SHAPE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let wanted =
            node.options.as_shape_options().map_or(Some(TensorType::Int32), |o| TensorType::from_schema(o.out_type));
        match wanted {
            Some(ty @ (TensorType::Int32 | TensorType::Int64)) => {
                Ok(smallvec![Inferred::new(ty, [node.input(0)?.shape.len()])])
            }
            ty => Err(OpError::unsupported(format!("SHAPE as {ty:?}"))),
        }
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let shape = node.input(0)?.shape.clone();
        let too_large = |_| OpError::invalid(format!("shape {shape:?} does not fit int32"));
        if node.output(0)?.ty == TensorType::Int64 {
            let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
            return reference(move |io| {
                io.outputs[0].slice::<i64>()?.copy_from_slice(&dims);
                Ok(())
            });
        }
        let dims = shape.iter().map(|&d| i32::try_from(d)).collect::<Result<Vec<_>, _>>().map_err(too_large)?;
        reference(move |io| {
            io.outputs[0].slice::<i32>()?.copy_from_slice(&dims);
            Ok(())
        })
    }
}

impl OpDef for Rank {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RANK)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        Ok(smallvec![Inferred::new(TensorType::Int32, [])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let rank = node.input(0)?.shape.len() as i32;
        reference(move |io| {
            io.outputs[0].slice::<i32>()?.fill(rank);
            Ok(())
        })
    }
}
