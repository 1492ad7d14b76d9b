//! EXPAND_DIMS: inserts a dimension of size 1.

use crate::OpError;
use crate::common::cases::{MOVED, moved};
use crate::common::moves_grad;
use crate::common::strided::{axis, index_input, scalar_index, view_kernel};
use crate::gradient::Gradient;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// EXPAND_DIMS.
pub struct ExpandDims;

impl OpDef for ExpandDims {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::EXPAND_DIMS)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        let Some(at) = scalar_index(index_input(node, 1)?)? else {
            return Ok(smallvec![Inferred::dynamic(input.ty)]);
        };
        let mut shape = input.shape.clone();
        shape.insert(axis(at, input.shape.len() + 1)?, 1);
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        view_kernel()
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::view)
    }

    fn cases(&self) -> Vec<Case> {
        const AXES: [(&[i32], i32, &[i32]); 4] =
            [(&[5, 7], 0, &[1, 5, 7]), (&[5, 7], 1, &[5, 1, 7]), (&[5, 7], -1, &[5, 7, 1]), (&[], 0, &[1])];
        let cases = AXES.iter().flat_map(|&(shape, axis, to)| {
            let options = BuiltinOptions::ExpandDimsOptions(Box::default());
            moved(BuiltinOperator::EXPAND_DIMS, &options, MOVED, shape, &[(&[], &[axis])], &[to])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn is_view(&self) -> bool {
        true
    }
}
