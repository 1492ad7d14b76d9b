//! SQUEEZE: leaves out dimensions of size 1.

use crate::common::cases::{MOVED, moved};
use crate::common::moves_grad;
use crate::common::strided::{axis, view_kernel};
use crate::gradient::Gradient;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::schema::SqueezeOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SQUEEZE.
pub struct Squeeze;

impl OpDef for Squeeze {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SQUEEZE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        let rank = input.shape.len();
        let listed = node.options.as_squeeze_options().and_then(|o| o.squeeze_dims.as_deref()).unwrap_or_default();
        // An empty list means every dimension of size 1.
        let mut drop: Vec<bool> = input.shape.iter().map(|&d| listed.is_empty() && d == 1).collect();
        for &dim in listed {
            let dim = axis(dim.into(), rank)?;
            ensure!(input.shape[dim] == 1, "dimension {dim} of {:?} cannot be squeezed", input.shape);
            drop[dim] = true;
        }
        let shape = input.shape.iter().zip(drop).filter(|(_, drop)| !drop).map(|(&d, _)| d);
        Ok(smallvec![Inferred::new(input.ty, shape)])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        view_kernel()
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::view)
    }

    fn cases(&self) -> Vec<Case> {
        const DIMS: [(&[i32], &[i32], &[i32]); 3] =
            [(&[1, 5, 1, 7], &[], &[5, 7]), (&[1, 5, 1, 7], &[2], &[1, 5, 7]), (&[3, 1], &[-1], &[3])];
        let cases = DIMS.iter().flat_map(|&(shape, dims, to)| {
            let options = SqueezeOptionsT { squeeze_dims: Some(dims.to_vec()) };
            let options = BuiltinOptions::SqueezeOptions(Box::new(options));
            moved(BuiltinOperator::SQUEEZE, &options, MOVED, shape, &[], &[to])
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
