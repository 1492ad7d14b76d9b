//! REVERSE_V2: dimensions back to front.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::strided::{StridedCopy, axis, elements, fixed_size, index_input, known, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// REVERSE_V2. Inputs: data, axes.
pub struct ReverseV2;

/// Which dimensions are reversed; `None` when not known yet.
fn reversed(node: &NodeView<'_>) -> Result<Option<Vec<bool>>, OpError> {
    let rank = node.input(0)?.shape.len();
    let Some(axes) = index_input(node, 1)?.indices()? else { return Ok(None) };
    let mut reversed = vec![false; rank];
    for a in axes {
        let a = axis(a, rank)?;
        ensure!(!reversed[a], "axis {a} is given twice");
        reversed[a] = true;
    }
    Ok(Some(reversed))
}

impl OpDef for ReverseV2 {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::REVERSE_V2)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        fixed_size(input.ty, "REVERSE_V2")?;
        if reversed(node)?.is_none() {
            return Ok(smallvec![Inferred::dynamic(input.ty)]);
        }
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn cases(&self) -> Vec<Case> {
        const AXES: [(&[i32], &[i32]); 5] =
            [(&[40], &[0]), (&[5, 33], &[1]), (&[5, 33], &[0]), (&[3, 4, 5, 6], &[1, 2]), (&[2, 9, 3], &[0, 2])];
        let cases = AXES.iter().flat_map(|&(shape, axes)| {
            let options = BuiltinOptions::ReverseV2Options(Box::default());
            let n = [axes.len() as i32];
            moved(BuiltinOperator::REVERSE_V2, &options, MOVED, shape, &[(&n, axes)], &[shape])
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
    let reversed = known(reversed(node)?)?;
    let from = strides(&input.shape);
    let last = |d: usize| input.shape[d].saturating_sub(1).wrapping_mul(from[d] as usize);
    let start = (0..reversed.len()).filter(|&d| reversed[d]).map(last).fold(0, usize::wrapping_add);
    let output = input.shape.iter().zip(&from).zip(&reversed);
    let output = output.map(|((&n, &stride), &reversed)| (n, if reversed { -stride } else { stride }));
    let copy = StridedCopy::dense(input.ty, output, (start, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}
