//! SHAPE and RANK: what a tensor looks like, as a tensor.

use crate::OpError;
use crate::common::cases::case;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use ferrolite_model::schema::ShapeOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
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

    fn reads_shapes_only(&self) -> bool {
        true
    }

    fn quantize(&self) -> Option<QuantRule> {
        // The dimensions of a quantized tensor are those of the float one.
        Some(QuantRule { output: OutputRule::NotQuantized, ..QuantRule::UNARY })
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for out in [TensorType::Int32, TensorType::Int64] {
            for shape in [&[2, 3, 4][..], &[5], &[]] {
                let options = ShapeOptionsT { out_type: out.to_schema() };
                let options = BuiltinOptions::ShapeOptions(Box::new(options));
                let to = [shape.len() as i32];
                let inputs = [(TensorType::Float32, shape, None)];
                let name = format!("{shape:?} {out}");
                all.extend(case(name, BuiltinOperator::SHAPE, options, &inputs, (out, &to, None)));
            }
        }
        all
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

    fn reads_shapes_only(&self) -> bool {
        true
    }

    fn quantize(&self) -> Option<QuantRule> {
        // The dimensions of a quantized tensor are those of the float one.
        Some(QuantRule { output: OutputRule::NotQuantized, ..QuantRule::UNARY })
    }

    fn cases(&self) -> Vec<Case> {
        let shapes: [&[i32]; 3] = [&[2, 3, 4], &[5], &[]];
        let cases = shapes.iter().filter_map(|shape| {
            let options = BuiltinOptions::RankOptions(Box::default());
            let inputs = [(TensorType::Float32, *shape, None)];
            case(format!("{shape:?}"), BuiltinOperator::RANK, options, &inputs, (TensorType::Int32, &[], None))
        });
        cases.collect()
    }
}
