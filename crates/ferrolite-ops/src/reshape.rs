//! RESHAPE: the same data under another shape.

use crate::op::{InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::BuiltinOperator;
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
        // The shape tensor goes before the option; old files have only the latter.
        let wanted: Option<Vec<i64>> = match node.optional_input(1) {
            Some(shape) => shape.indices()?,
            None => {
                node.options.as_reshape_options().map(|o| o.new_shape.iter().flatten().map(|&d| d.into()).collect())
            }
        };
        let Some(wanted) = wanted else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
        let shape = resolve(&wanted, input.elements())?;
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let input = io.input(0)?;
            io.outputs[0].bytes().copy_from_slice(input.bytes);
            Ok(())
        })
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn is_view(&self) -> bool {
        true
    }
}

/// Replaces the one -1 of `wanted` by what is left of `elements`.
fn resolve(wanted: &[i64], elements: usize) -> Result<Shape, OpError> {
    let known = wanted.iter().filter(|&&d| d != -1).try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
    let open = wanted.iter().filter(|&&d| d == -1).count();
    let Some(known) = known else { return Err(OpError::invalid(format!("shape {wanted:?} is not possible"))) };
    ensure!(open <= 1, "shape {wanted:?} has more than one open dimension");
    let fill = if open == 1 && known > 0 { elements / known } else { 0 };
    ensure!(known * if open == 1 { fill } else { 1 } == elements, "{elements} elements do not fit shape {wanted:?}");
    Ok(wanted.iter().map(|&d| if d == -1 { fill } else { d as usize }).collect())
}
