//! SPACE_TO_DEPTH and DEPTH_TO_SPACE: blocks of pixels to channels, and back.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::strided::{StridedCopy, elements, fixed_size, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::schema::{DepthToSpaceOptionsT, SpaceToDepthOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SPACE_TO_DEPTH.
pub struct SpaceToDepth;
/// DEPTH_TO_SPACE.
pub struct DepthToSpace;

/// Dimensions of the input, which is NHWC.
fn nhwc(node: &NodeView<'_>) -> Result<[usize; 4], OpError> {
    let shape = &node.input(0)?.shape;
    match **shape {
        [n, h, w, c] => Ok([n, h, w, c]),
        _ => Err(OpError::invalid(format!("shape {shape:?} has not 4 dimensions"))),
    }
}

/// Edge of a block, and its square.
fn block(size: Option<i32>) -> Result<(usize, usize), OpError> {
    let size = size.and_then(|b| usize::try_from(b).ok()).filter(|&b| b > 0);
    match size.and_then(|b| Some((b, b.checked_mul(b)?))) {
        Some(block) => Ok(block),
        None => Err(OpError::invalid("the block size must be positive")),
    }
}

impl OpDef for SpaceToDepth {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SPACE_TO_DEPTH)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let ty = fixed_size(node.input(0)?.ty, "SPACE_TO_DEPTH")?;
        let [n, h, w, c] = nhwc(node)?;
        let (b, square) = block(node.options.as_space_to_depth_options().map(|o| o.block_size))?;
        ensure!(h % b == 0 && w % b == 0, "{h} × {w} is not made of blocks of {b}");
        let Some(channels) = c.checked_mul(square) else { return Err(OpError::invalid("too many channels")) };
        Ok(smallvec![Inferred::new(ty, [n, h / b, w / b, channels])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(space_to_depth(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(space_to_depth)
    }

    fn cases(&self) -> Vec<Case> {
        let cases = BLOCKS.iter().flat_map(|&(deep, block_size, wide)| {
            let options = BuiltinOptions::SpaceToDepthOptions(Box::new(SpaceToDepthOptionsT { block_size }));
            moved(BuiltinOperator::SPACE_TO_DEPTH, &options, MOVED, wide, &[], &[deep])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::SAME_SCALE })
    }
}

impl OpDef for DepthToSpace {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DEPTH_TO_SPACE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let ty = fixed_size(node.input(0)?.ty, "DEPTH_TO_SPACE")?;
        let [n, h, w, c] = nhwc(node)?;
        let (b, square) = block(node.options.as_depth_to_space_options().map(|o| o.block_size))?;
        ensure!(c % square == 0, "{c} channels are not blocks of {b} × {b}");
        let (Some(h), Some(w)) = (h.checked_mul(b), w.checked_mul(b)) else {
            return Err(OpError::invalid("the output is too large"));
        };
        Ok(smallvec![Inferred::new(ty, [n, h, w, c / square])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(depth_to_space(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(depth_to_space)
    }

    fn cases(&self) -> Vec<Case> {
        let cases = BLOCKS.iter().flat_map(|&(deep, block_size, wide)| {
            let options = BuiltinOptions::DepthToSpaceOptions(Box::new(DepthToSpaceOptionsT { block_size }));
            moved(BuiltinOperator::DEPTH_TO_SPACE, &options, MOVED, deep, &[], &[wide])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::SAME_SCALE })
    }
}

/// Where elements go.
fn space_to_depth(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let [n, h, w, c] = nhwc(node)?;
    let (b, _) = block(node.options.as_space_to_depth_options().map(|o| o.block_size))?;
    let from = strides(&input.shape);
    let edge = b as isize;
    // Output channels are ordered by row of the block, column of the block, input channel.
    let output = [
        (n, from[0]),
        (h / b, from[1].wrapping_mul(edge)),
        (w / b, from[2].wrapping_mul(edge)),
        (b, from[1]),
        (b, from[2]),
        (c, 1),
    ];
    let copy = StridedCopy::dense(input.ty, output, (0, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}

/// Where elements go.
fn depth_to_space(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let [n, h, w, c] = nhwc(node)?;
    let (b, square) = block(node.options.as_depth_to_space_options().map(|o| o.block_size))?;
    let depth = c / square;
    let from = strides(&input.shape);
    let output = [(n, from[0]), (h, from[1]), (b, (b * depth) as isize), (w, from[2]), (b, depth as isize), (depth, 1)];
    let copy = StridedCopy::dense(input.ty, output, (0, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}

/// Images with blocks as channels, the edge of a block, and the images.
const BLOCKS: [(&[i32], i32, &[i32]); 5] = [
    (&[1, 9, 10, 48], 4, &[1, 36, 40, 3]),
    (&[2, 3, 4, 8], 2, &[2, 6, 8, 2]),
    (&[1, 5, 7, 9], 3, &[1, 15, 21, 1]),
    (&[1, 16, 16, 64], 2, &[1, 32, 32, 16]),
    (&[2, 3, 3, 5], 1, &[2, 3, 3, 5]),
];
