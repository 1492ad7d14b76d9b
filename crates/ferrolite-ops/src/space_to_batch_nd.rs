//! SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: positions of a block to batches, and back.
//!
//! The side with more batches is [block position × batch, reduced spatial dimensions, rest], the other one
//! [batch, spatial dimensions, rest]; spatial index = reduced index · block + block position − border.

use crate::common::strided::{elements, fixed_size, index_input, known};
use crate::op::{InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::pad::{fill, zero};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// SPACE_TO_BATCH_ND. Inputs: data, block shape, paddings.
pub struct SpaceToBatchNd;
/// BATCH_TO_SPACE_ND. Inputs: data, block shape, crops.
pub struct BatchToSpaceNd;

/// One spatial dimension: edge of the block, and elements of the border before and after.
type Block = (usize, usize, usize);

/// Blocks of the spatial dimensions; `None` when not known yet.
fn blocks(node: &NodeView<'_>) -> Result<Option<SmallVec<[Block; 4]>>, OpError> {
    let shape = &node.input(0)?.shape;
    let (edges, borders) = (index_input(node, 1)?.indices()?, index_input(node, 2)?.indices()?);
    let (Some(edges), Some(borders)) = (edges, borders) else { return Ok(None) };
    let spatial = edges.len();
    ensure!(shape.len() > spatial, "{spatial} block dimensions in shape {shape:?}");
    ensure!(borders.len() == 2 * spatial, "{} borders for {spatial} dimensions", borders.len());
    let block = |(&edge, border): (&i64, &[i64])| {
        let edge = usize::try_from(edge).ok().filter(|&e| e > 0)?;
        Some((edge, usize::try_from(border[0]).ok()?, usize::try_from(border[1]).ok()?))
    };
    match edges.iter().zip(borders.chunks(2)).map(block).collect() {
        Some(blocks) => Ok(Some(blocks)),
        None => Err(OpError::invalid(format!("blocks {edges:?} or borders {borders:?} are out of range"))),
    }
}

/// Product of the blocks' edges.
fn volume(blocks: &[Block]) -> Result<usize, OpError> {
    elements(&blocks.iter().map(|b| b.0).collect::<Shape>())
}

/// The loops of both operators over the rows (innermost `row` elements) of the side with more batches.
struct Blocks {
    ty: TensorType,
    blocks: SmallVec<[Block; 4]>,
    /// Spatial dimensions of the side with fewer batches, and of the other one.
    wide: Shape,
    narrow: Shape,
    /// Batches of the side with fewer.
    batches: usize,
    row: usize,
    /// Value of the padding; `None` for BATCH_TO_SPACE_ND.
    padding: Option<[u8; 16]>,
}

impl Blocks {
    /// Calls `f` with the row of the side with more batches and the row of the other one, `None` in the border.
    fn for_each(&self, mut f: impl FnMut(usize, Option<usize>)) {
        let rows = self.narrow.iter().product::<usize>();
        let volume: usize = self.blocks.iter().map(|b| b.0).product();
        if rows == 0 {
            return;
        }
        let mut index: SmallVec<[usize; 4]> = smallvec![0; self.narrow.len()];
        for batch in 0..volume * self.batches {
            let (position, inside) = (batch / self.batches, batch % self.batches);
            for row in 0..rows {
                // Row-major indices of the reduced position and of the position in the block.
                let (mut rest, mut offset) = (row, position);
                for d in (0..index.len()).rev() {
                    index[d] = rest % self.narrow[d] * self.blocks[d].0 + offset % self.blocks[d].0;
                    rest /= self.narrow[d];
                    offset /= self.blocks[d].0;
                }
                let mut at = Some(inside);
                for (d, &i) in index.iter().enumerate() {
                    let i = i.checked_sub(self.blocks[d].1).filter(|&i| i < self.wide[d]);
                    at = at.zip(i).map(|(at, i)| at * self.wide[d] + i);
                }
                f(batch * rows + row, at);
            }
        }
    }
}

impl Kernel for Blocks {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let src = io.input(0)?.bytes;
        let dst = io.outputs[0].bytes();
        if self.batches == 0 || self.row == 0 {
            return Ok(());
        }
        let size = self.row * self.ty.bits() / 8;
        let many = self.blocks.iter().map(|b| b.0).chain(self.narrow.iter().copied()).product::<usize>();
        let few = self.wide.iter().product::<usize>();
        let (many, few) = (many * self.batches * size, few * self.batches * size);
        let (src_len, dst_len) = if self.padding.is_some() { (few, many) } else { (many, few) };
        ensure!(src.len() == src_len && dst.len() == dst_len, "sizes changed since the kernel was prepared");
        if let Some(value) = &self.padding {
            fill(self.ty, value, dst);
        }
        let scatter = self.padding.is_none();
        self.for_each(|many, few| {
            let Some(few) = few else { return };
            let (from, to) = if scatter { (many, few) } else { (few, many) };
            dst[to * size..][..size].copy_from_slice(&src[from * size..][..size]);
        });
        Ok(())
    }
}

/// Types whose elements are whole bytes.
fn whole_bytes(node: &NodeView<'_>, op: &str) -> Result<TensorType, OpError> {
    let ty = fixed_size(node.input(0)?.ty, op)?;
    if ty.bits() < 8 { Err(OpError::unsupported(format!("{op} of {ty}"))) } else { Ok(ty) }
}

impl OpDef for SpaceToBatchNd {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SPACE_TO_BATCH_ND)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let ty = whole_bytes(node, "SPACE_TO_BATCH_ND")?;
        let Some(blocks) = blocks(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let mut shape = node.input(0)?.shape.clone();
        for (n, &(edge, before, after)) in shape[1..].iter_mut().zip(&blocks) {
            let padded = n.checked_add(before).and_then(|n| n.checked_add(after));
            match padded.filter(|padded| padded % edge == 0) {
                Some(padded) => *n = padded / edge,
                None => return Err(OpError::invalid(format!("{n} + {before} + {after} are not blocks of {edge}"))),
            }
        }
        shape[0] = elements(&[shape[0], volume(&blocks)?])?;
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (input, output) = (node.input(0)?, node.output(0)?);
        let blocks = known(blocks(node)?)?;
        let spatial = 1..1 + blocks.len();
        Ok(Box::new(Blocks {
            ty: input.ty,
            wide: input.shape[spatial.clone()].into(),
            narrow: output.shape[spatial.clone()].into(),
            batches: input.shape[0],
            row: elements(&input.shape[spatial.end..])?,
            padding: Some(zero(output)),
            blocks,
        }))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

impl OpDef for BatchToSpaceNd {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BATCH_TO_SPACE_ND)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let ty = whole_bytes(node, "BATCH_TO_SPACE_ND")?;
        let Some(blocks) = blocks(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let mut shape = node.input(0)?.shape.clone();
        for (n, &(edge, before, after)) in shape[1..].iter_mut().zip(&blocks) {
            let cropped = n.checked_mul(edge).and_then(|n| n.checked_sub(before)).and_then(|n| n.checked_sub(after));
            match cropped {
                Some(cropped) => *n = cropped,
                None => return Err(OpError::invalid(format!("crops {before} and {after} of {n} · {edge}"))),
            }
        }
        let volume = volume(&blocks)?;
        ensure!(shape[0] % volume == 0, "{} batches are not blocks of {volume}", shape[0]);
        shape[0] /= volume;
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (input, output) = (node.input(0)?, node.output(0)?);
        let blocks = known(blocks(node)?)?;
        let spatial = 1..1 + blocks.len();
        Ok(Box::new(Blocks {
            ty: input.ty,
            wide: output.shape[spatial.clone()].into(),
            narrow: input.shape[spatial.clone()].into(),
            batches: output.shape[0],
            row: elements(&input.shape[spatial.end..])?,
            padding: None,
            blocks,
        }))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}
