//! TRANSPOSE: reorders dimensions.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::moves_grad;
use crate::common::strided::{StridedCopy, axis, elements, index_input, known, strides};
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// TRANSPOSE.
pub struct Transpose;

/// Which input dimension each output dimension is; `None` when not known yet.
fn permutation(node: &NodeView<'_>) -> Result<Option<SmallVec<[usize; 6]>>, OpError> {
    let rank = node.input(0)?.shape.len();
    let Some(values) = index_input(node, 1)?.indices()? else { return Ok(None) };
    ensure!(values.len() == rank, "{} values permute {rank} dimensions", values.len());
    let perm = values.iter().map(|&p| axis(p, rank)).collect::<Result<SmallVec<[usize; 6]>, _>>()?;
    ensure!((0..rank).all(|d| perm.contains(&d)), "{values:?} is not a permutation");
    Ok(Some(perm))
}

impl OpDef for Transpose {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::TRANSPOSE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=9
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        let Some(perm) = permutation(node)? else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
        Ok(smallvec![Inferred::new(input.ty, perm.iter().map(|&p| input.shape[p]))])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::transpose)
    }

    fn cases(&self) -> Vec<Case> {
        // Shapes with permutations: matrices, channels to and from the front, and rows that stay whole.
        const PERMUTED: [(&[i32], &[i32]); 9] = [
            (&[37, 50], &[1, 0]),
            (&[3, 4, 5], &[2, 0, 1]),
            (&[2, 9, 10, 16], &[0, 3, 1, 2]),
            (&[2, 16, 9, 10], &[0, 2, 3, 1]),
            (&[33, 40, 20], &[1, 0, 2]),
            (&[1, 35, 10, 3, 8], &[3, 1, 2, 0, 4]),
            (&[5, 6, 2], &[1, 0, 2]),
            (&[2, 3, 4, 5], &[3, 2, 1, 0]),
            (&[70, 130], &[1, 0]),
        ];
        let cases = PERMUTED.iter().flat_map(|&(shape, perm)| {
            let to: Vec<i32> = perm.iter().map(|&p| shape[p as usize]).collect();
            let options = BuiltinOptions::TransposeOptions(Box::default());
            let rank = [perm.len() as i32];
            moved(BuiltinOperator::TRANSPOSE, &options, MOVED, shape, &[(&rank, perm)], &[&to])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

/// Where elements go.
fn copies(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let perm = known(permutation(node)?)?;
    let from = strides(&input.shape);
    let output = perm.iter().map(|&p| (input.shape[p], from[p]));
    let copy = StridedCopy::dense(input.ty, output, (0, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}
