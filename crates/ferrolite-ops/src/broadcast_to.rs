//! BROADCAST_TO: dimensions of 1 repeated to a given shape.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::strided::{StridedCopy, dims, elements, fixed_size, index_input, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// BROADCAST_TO. Inputs: data, shape.
pub struct BroadcastTo;

impl OpDef for BroadcastTo {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BROADCAST_TO)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        fixed_size(input.ty, "BROADCAST_TO")?;
        let Some(wanted) = index_input(node, 1)?.indices()? else {
            return Ok(smallvec![Inferred::dynamic(input.ty)]);
        };
        let shape = dims(&wanted)?;
        let fits = |(&n, &to): (&usize, &usize)| n == 1 || n == to;
        ensure!(
            input.shape.len() <= shape.len() && input.shape.iter().rev().zip(shape.iter().rev()).all(fits),
            "shape {:?} does not broadcast to {shape:?}",
            input.shape
        );
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn cases(&self) -> Vec<Case> {
        const SHAPES: [(&[i32], &[i32]); 5] =
            [(&[1], &[7]), (&[3, 1], &[2, 3, 33]), (&[1, 5], &[40, 5]), (&[], &[2, 3]), (&[2, 1, 4, 1], &[2, 3, 4, 5])];
        let cases = SHAPES.iter().flat_map(|&(shape, to)| {
            let options = BuiltinOptions::BroadcastToOptions(Box::default());
            let rank = [to.len() as i32];
            moved(BuiltinOperator::BROADCAST_TO, &options, MOVED, shape, &[(&rank, to)], &[to])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

/// Where elements go.
fn copies(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    let new = output.shape.len() - input.shape.len();
    let from = strides(&input.shape);
    let steps = output.shape.iter().enumerate().map(|(d, &n)| match d.checked_sub(new) {
        Some(d) if input.shape[d] != 1 => (n, from[d]),
        _ => (n, 0),
    });
    let copy = StridedCopy::dense(input.ty, steps, (0, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}
