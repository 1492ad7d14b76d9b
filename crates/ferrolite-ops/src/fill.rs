//! FILL and ZEROS_LIKE: tensors of one value.

use crate::common::cases::{MOVED, Operand, moved, node, typical};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::strided::{StridedCopy, dims, fixed_size, index_input};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// FILL. Inputs: shape, value.
pub struct Fill;
/// ZEROS_LIKE.
pub struct ZerosLike;

impl OpDef for Fill {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::FILL)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=5
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let value = node.input(1)?;
        ensure!(value.elements() == 1, "the value has shape {:?}", value.shape);
        let Some(shape) = index_input(node, 0)?.indices()? else { return Ok(smallvec![Inferred::dynamic(value.ty)]) };
        Ok(smallvec![Inferred { ty: value.ty, shape: Some(dims(&shape)?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn cases(&self) -> Vec<Case> {
        const SHAPES: [&[i32]; 4] = [&[7], &[3, 33], &[2, 3, 4, 5], &[1]];
        let mut all = Vec::new();
        for &ty in MOVED {
            for shape in SHAPES {
                let rank = [shape.len() as i32];
                let operands = [Operand::Index(&rank, shape), Operand::Data((ty, &[], typical(ty)))];
                let options = BuiltinOptions::FillOptions(Box::default());
                let output = (ty, shape, typical(ty));
                all.extend(node(format!("{ty} {shape:?}"), BuiltinOperator::FILL, options, &operands, &[output]));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: Some(&[1]), ..QuantRule::SAME_SCALE })
    }
}

impl OpDef for ZerosLike {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ZEROS_LIKE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        fixed_size(input.ty, "ZEROS_LIKE")?;
        // All zero bits are zero in every type, but not in every quantization.
        if input.quantization.is_some_and(|q| q.zero_point.iter().any(|&z| z != 0)) {
            return Err(OpError::unsupported(format!("ZEROS_LIKE of {} with a zero point", input.ty)));
        }
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            io.outputs[0].bytes().fill(0);
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let options = BuiltinOptions::ZerosLikeOptions(Box::default());
        let types = [TensorType::Float32, TensorType::Int32, TensorType::Int64];
        let shapes: [&[i32]; 3] = [&[7], &[3, 33], &[]];
        let cases =
            shapes.iter().flat_map(|shape| moved(BuiltinOperator::ZEROS_LIKE, &options, &types, shape, &[], &[shape]));
        cases.collect()
    }
}

/// Where elements go.
fn copies(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let output = node.output(0)?;
    let copy = StridedCopy::dense(output.ty, output.shape.iter().map(|&n| (n, 0)), (0, 1))?;
    Ok(moves::single(1, copy))
}
