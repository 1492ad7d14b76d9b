//! RESHAPE: the same data under another shape.

use crate::common::cases::{MOVED, moved};
use crate::common::moves_grad;
use crate::common::strided::{dims, elements, index_input, view_kernel};
use crate::gradient::Gradient;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// RESHAPE.
pub struct Reshape;

impl OpDef for Reshape {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RESHAPE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=2, 1)?;
        let input = node.input(0)?;
        let elements = elements(&input.shape)?;
        // The shape tensor goes before the option; old files have only the latter.
        let wanted: Vec<i64> = match node.optional_input(1) {
            Some(_) => match index_input(node, 1)?.indices()? {
                Some(shape) => shape,
                None => return Ok(smallvec![Inferred::dynamic(input.ty)]),
            },
            None => match node.options.as_reshape_options() {
                // Old converters wrote a scalar's shape as [0].
                Some(o) if o.new_shape.as_deref() == Some(&[0]) && elements == 1 => Vec::new(),
                Some(o) => o.new_shape.iter().flatten().map(|&d| d.into()).collect(),
                None => return Err(OpError::invalid("the new shape is missing")),
            },
        };
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(resolve(&wanted, elements)?) }])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        view_kernel()
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::view)
    }

    fn cases(&self) -> Vec<Case> {
        const SHAPES: [(&[i32], &[i32], &[i32]); 4] = [
            (&[6, 7], &[3, 14], &[3, 14]),
            (&[2, 3, 4], &[-1, 4], &[6, 4]),
            (&[12], &[2, -1, 3], &[2, 2, 3]),
            (&[1], &[], &[]),
        ];
        let cases = SHAPES.iter().flat_map(|&(shape, wanted, to)| {
            let options = BuiltinOptions::ReshapeOptions(Box::default());
            let n = [wanted.len() as i32];
            moved(BuiltinOperator::RESHAPE, &options, MOVED, shape, &[(&n, wanted)], &[to])
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

/// Replaces the one -1 of `wanted` by what is left of `count` elements.
fn resolve(wanted: &[i64], count: usize) -> Result<Shape, OpError> {
    let open = wanted.iter().filter(|&&d| d == -1).count();
    ensure!(open <= 1, "shape {wanted:?} has more than one open dimension");
    let known: Vec<i64> = wanted.iter().copied().filter(|&d| d != -1).collect();
    let known = elements(&dims(&known)?)?;
    let fill = count.checked_div(known).unwrap_or(0);
    let total = if open == 1 { known * fill } else { known };
    ensure!(total == count, "{count} elements do not fit shape {wanted:?}");
    Ok(wanted.iter().map(|&d| if d == -1 { fill } else { d as usize }).collect())
}
