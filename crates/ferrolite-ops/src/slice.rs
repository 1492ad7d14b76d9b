//! SLICE: a box out of a tensor.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::moves_grad;
use crate::common::strided::{StridedCopy, elements, index_input, known, strides};
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SLICE.
pub struct Slice;

/// First index and size per dimension; `None` when not known yet.
fn ranges(node: &NodeView<'_>) -> Result<Option<(Shape, Shape)>, OpError> {
    let shape = &node.input(0)?.shape;
    let (begin, size) = (index_input(node, 1)?.indices()?, index_input(node, 2)?.indices()?);
    let (Some(begin), Some(size)) = (begin, size) else { return Ok(None) };
    ensure!(
        begin.len() == shape.len() && size.len() == shape.len(),
        "{} begins and {} sizes for {} dimensions",
        begin.len(),
        size.len(),
        shape.len()
    );
    let (mut first, mut len) = (Shape::new(), Shape::new());
    for (d, (&b, &s)) in begin.iter().zip(&size).enumerate() {
        let total = shape[d] as i64;
        ensure!((0..=total).contains(&b), "begin {b} is outside dimension {d} of {total}");
        // -1 takes the rest.
        let s = if s == -1 { total - b } else { s };
        ensure!((0..=total - b).contains(&s), "size {s} from {b} is outside dimension {d} of {total}");
        first.push(b as usize);
        len.push(s as usize);
    }
    Ok(Some((first, len)))
}

impl OpDef for Slice {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SLICE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=8
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let ty = node.input(0)?.ty;
        let Some((_, size)) = ranges(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        Ok(smallvec![Inferred { ty, shape: Some(size) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::slice)
    }

    fn cases(&self) -> Vec<Case> {
        const BOXES: [(&[i32], &[i32], &[i32]); 6] = [
            (&[9, 10], &[2, 3], &[4, 5]),
            (&[2, 5, 7, 8], &[0, 1, 2, 0], &[2, 3, 4, 8]),
            (&[4, 33, 24], &[1, 0, 8], &[2, 33, 16]),
            (&[50], &[7], &[-1]),
            (&[1, 40, 41, 32], &[0, 0, 0, 0], &[1, 40, 41, 1]),
            (&[6, 6], &[0, 0], &[-1, -1]),
        ];
        let cases = BOXES.iter().flat_map(|&(shape, begin, size)| {
            let rest = |d: usize| if size[d] == -1 { shape[d] - begin[d] } else { size[d] };
            let to: Vec<i32> = (0..shape.len()).map(rest).collect();
            let options = BuiltinOptions::SliceOptions(Box::default());
            let rank = [shape.len() as i32];
            moved(BuiltinOperator::SLICE, &options, MOVED, shape, &[(&rank, begin), (&rank, size)], &[&to])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

/// Copies the box at `first` of `size` out of a tensor; both must lie inside `shape`.
pub fn slice_copy(
    ty: ferrolite_model::TensorType,
    shape: &[usize],
    first: &[usize],
    size: &[usize],
) -> Result<StridedCopy, OpError> {
    let from = strides(shape);
    let start = first.iter().zip(&from).map(|(&b, &s)| (b as isize).wrapping_mul(s)).fold(0, isize::wrapping_add);
    StridedCopy::dense(ty, size.iter().copied().zip(from), (start as usize, elements(shape)?))
}

/// Where elements go.
fn copies(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let (first, size) = known(ranges(node)?)?;
    Ok(moves::single(0, slice_copy(input.ty, &input.shape, &first, &size)?))
}
