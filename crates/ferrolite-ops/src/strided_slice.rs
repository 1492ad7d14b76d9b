//! STRIDED_SLICE: NumPy's basic indexing, with masks for left out bounds, `...`, new and dropped axes.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::strided::{StridedCopy, elements, index_input, known, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::schema::StridedSliceOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// STRIDED_SLICE.
pub struct StridedSlice;

/// One dimension of the output before axes are dropped.
struct Range {
    len: usize,
    /// First input index, and the distance between the input indices of neighbours.
    start: usize,
    stride: i64,
    /// Input dimension; `None` for a new axis.
    dim: Option<usize>,
    dropped: bool,
}

/// The ranges of a node; `None` when its bounds are not known yet.
fn ranges(node: &NodeView<'_>) -> Result<Option<Vec<Range>>, OpError> {
    let Some(options) = node.options.as_strided_slice_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let bounds = |i| index_input(node, i)?.indices();
    let (Some(begin), Some(end), Some(stride)) = (bounds(1)?, bounds(2)?, bounds(3)?) else { return Ok(None) };
    let entries = begin.len();
    ensure!(end.len() == entries && stride.len() == entries, "begin, end and strides differ in length");
    ensure!(entries <= 32, "{entries} index entries");
    let shape = &node.input(0)?.shape;
    let bit = |mask: i32, i: usize| mask >> i & 1 == 1;
    let is_ellipsis = |i: usize| bit(options.ellipsis_mask, i);
    // Where a new axis and an ellipsis meet, the ellipsis counts.
    let is_new = |i: usize| bit(options.new_axis_mask, i) && !is_ellipsis(i);
    let ellipses = (0..entries).filter(|&i| is_ellipsis(i)).count();
    ensure!(ellipses <= 1, "{ellipses} ellipses");
    let taken = (0..entries).filter(|&i| !is_ellipsis(i) && !is_new(i)).count();
    ensure!(taken <= shape.len(), "{taken} indices into {} dimensions", shape.len());
    let mut ranges = Vec::with_capacity(shape.len() + entries);
    let mut dim = 0;
    let whole = |dim: usize| Range { len: shape[dim], start: 0, stride: 1, dim: Some(dim), dropped: false };
    for i in 0..entries {
        if is_ellipsis(i) {
            let rest = shape.len() - taken;
            ranges.extend((dim..dim + rest).map(whole));
            dim += rest;
        } else if is_new(i) {
            ranges.push(Range { len: 1, start: 0, stride: 1, dim: None, dropped: false });
        } else {
            ranges.push(range(options, i, (begin[i], end[i], stride[i]), dim, shape[dim])?);
            dim += 1;
        }
    }
    ranges.extend((dim..shape.len()).map(whole));
    Ok(Some(ranges))
}

/// Resolves entry `i` on a dimension of `size`: negative bounds count from the end, bounds outside are clamped.
fn range(
    options: &StridedSliceOptionsT,
    i: usize,
    (begin, end, stride): (i64, i64, i64),
    dim: usize,
    size: usize,
) -> Result<Range, OpError> {
    ensure!(stride != 0, "stride 0 in dimension {dim}");
    let n = size as i64;
    let masked = |mask: i32| mask >> i & 1 == 1;
    let resolve = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(n) } else { bound };
        if stride > 0 { bound.clamp(0, n) } else { bound.clamp(-1, n - 1) }
    };
    let (first, last) = if stride > 0 { (0, n) } else { (n - 1, -1) };
    let start = if masked(options.begin_mask) { first } else { resolve(begin) };
    if masked(options.shrink_axis_mask) {
        ensure!((0..n).contains(&start), "index {begin} is outside dimension {dim} of {n}");
        return Ok(Range { len: 1, start: start as usize, stride: 1, dim: Some(dim), dropped: true });
    }
    // `offset` means that `end` counts from the resolved start.
    let stop = if masked(options.end_mask) {
        last
    } else if options.offset {
        resolve(end.saturating_add(start))
    } else {
        resolve(end)
    };
    let distance = if stride > 0 { stop - start } else { start - stop };
    let len = if distance > 0 { (distance as u64).div_ceil(stride.unsigned_abs()) as usize } else { 0 };
    Ok(Range { len, start: start.max(0) as usize, stride, dim: Some(dim), dropped: false })
}

impl OpDef for StridedSlice {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::STRIDED_SLICE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=8
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(4..=4, 1)?;
        let ty = node.input(0)?.ty;
        let Some(ranges) = ranges(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        Ok(smallvec![Inferred::new(ty, ranges.iter().filter(|r| !r.dropped).map(|r| r.len))])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn cases(&self) -> Vec<Case> {
        // Shape, begin, end, strides, masks (begin, end, ellipsis, new axis, shrink), output.
        type Index = (&'static [i32], [&'static [i32]; 3], [i32; 5], &'static [i32]);
        const INDICES: [Index; 10] = [
            (&[9, 10], [&[1, 2], &[7, 9], &[1, 1]], [0; 5], &[6, 7]),
            (&[9, 10], [&[0, 1], &[9, 10], &[2, 3]], [0; 5], &[5, 3]),
            (&[40], [&[0], &[0], &[-1]], [1, 1, 0, 0, 0], &[40]),
            (&[2, 33, 4], [&[0, 0, 1], &[0, 0, 2], &[1, 1, 1]], [3, 3, 0, 0, 4], &[2, 33]),
            (&[2, 33, 2], [&[0, 0, 0], &[2, 33, 2], &[1, 1, 2]], [0; 5], &[2, 33, 1]),
            (&[3, 4, 5, 6], [&[1, 0], &[2, 3], &[1, 1]], [0, 0, 0, 0, 1], &[3, 5, 6]),
            (&[3, 4, 5, 6], [&[0, -4], &[0, -1], &[1, 2]], [0, 0, 1, 0, 0], &[3, 4, 5, 2]),
            (&[5, 6], [&[0, 1, 0], &[0, 4, 6], &[1, 1, 1]], [0, 0, 0, 1, 0], &[1, 3, 6]),
            (&[1, 40, 41, 32], [&[0, 0, 0, 0], &[1, 40, 41, 32], &[1, 1, 1, 4]], [0; 5], &[1, 40, 41, 8]),
            (&[7, 5], [&[6, 0], &[0, 5], &[-2, 1]], [0; 5], &[3, 5]),
        ];
        let cases = INDICES.iter().flat_map(|&(shape, bounds, masks, to)| {
            let [begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask] = masks;
            let options = StridedSliceOptionsT {
                begin_mask,
                end_mask,
                ellipsis_mask,
                new_axis_mask,
                shrink_axis_mask,
                offset: false,
            };
            let options = BuiltinOptions::StridedSliceOptions(Box::new(options));
            let n = [bounds[0].len() as i32];
            moved(BuiltinOperator::STRIDED_SLICE, &options, MOVED, shape, &bounds.map(|b| (&n[..], b)), &[to])
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
    let ranges = known(ranges(node)?)?;
    let from = strides(&input.shape);
    let step = |r: &Range| r.dim.map_or(0, |d| from[d]);
    let start = ranges.iter().map(|r| (r.start as isize).wrapping_mul(step(r))).fold(0, isize::wrapping_add);
    // A stride too long for its product is one that is never taken.
    let output: SmallVec<[(usize, isize); 8]> =
        ranges.iter().map(|r| (r.len, (r.stride as isize).saturating_mul(step(r)))).collect();
    let copy = StridedCopy::dense(input.ty, output, (start as usize, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}
