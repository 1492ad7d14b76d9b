//! SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: positions of a block to batches, and back.
//!
//! The side with more batches is [block position × batch, reduced spatial dimensions, rest], the other one
//! [batch, spatial dimensions, rest]; spatial index = reduced index · block + block position − border.

use crate::common::cases::{Operand, node, typical};
use crate::common::strided::{Step, StridedCopy, elements, fixed_size, index_input, known, strides};
use crate::op::{Case, FastKernel, FnKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::pad::{fill, zero};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_kernels::Isa;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
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
        Ok(Box::new(space_to_batch(node)?))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "block_copy",
            supports: |node| space_to_batch(node).is_ok_and(|blocks| blocks.moves().is_ok_and(|m| m.is_some())),
            prepare: |node, isa| block_copies(space_to_batch(node)?, isa),
        }]
    }

    fn cases(&self) -> Vec<Case> {
        cases(BuiltinOperator::SPACE_TO_BATCH_ND)
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
        Ok(Box::new(batch_to_space(node)?))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "block_copy",
            supports: |node| batch_to_space(node).is_ok_and(|blocks| blocks.moves().is_ok_and(|m| m.is_some())),
            prepare: |node, isa| block_copies(batch_to_space(node)?, isa),
        }]
    }

    fn cases(&self) -> Vec<Case> {
        cases(BuiltinOperator::BATCH_TO_SPACE_ND)
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

fn space_to_batch(node: &NodeView<'_>) -> Result<Blocks, OpError> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    let blocks = known(blocks(node)?)?;
    let spatial = 1..1 + blocks.len();
    Ok(Blocks {
        ty: input.ty,
        wide: input.shape[spatial.clone()].into(),
        narrow: output.shape[spatial.clone()].into(),
        batches: input.shape[0],
        row: elements(&input.shape[spatial.end..])?,
        padding: Some(zero(output)),
        blocks,
    })
}

fn batch_to_space(node: &NodeView<'_>) -> Result<Blocks, OpError> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    let blocks = known(blocks(node)?)?;
    let spatial = 1..1 + blocks.len();
    Ok(Blocks {
        ty: input.ty,
        wide: output.shape[spatial.clone()].into(),
        narrow: input.shape[spatial.clone()].into(),
        batches: output.shape[0],
        row: elements(&input.shape[spatial.end..])?,
        padding: None,
        blocks,
    })
}

/// Positions of a block that are worth a copy each.
const POSITIONS: usize = 1 << 10;

impl Blocks {
    /// One copy per position of a block; `None` where there are too many.
    fn moves(&self) -> Result<Option<Vec<StridedCopy>>, OpError> {
        let volume = volume(&self.blocks)?;
        if volume > POSITIONS {
            return Ok(None);
        }
        let shape = |spatial: &Shape, batches: usize| -> Shape {
            [batches].into_iter().chain(spatial.iter().copied()).chain([self.row]).collect()
        };
        let (wide, narrow) = (shape(&self.wide, self.batches), shape(&self.narrow, self.batches));
        let (few_steps, many_steps) = (strides(&wide), strides(&narrow));
        let (few, each) = (elements(&wide)?, elements(&narrow)?);
        let many = elements(&[each, volume])?;
        let mut copies = Vec::with_capacity(volume);
        for position in 0..volume {
            let (mut offset, mut at_few, mut at_many) = (position, 0usize, position * each);
            let mut steps: SmallVec<[Step; 6]> = smallvec![Step { len: self.row, src: 1, dst: 1 }];
            for d in (0..self.blocks.len()).rev() {
                let (edge, before, _) = self.blocks[d];
                let place = offset % edge;
                offset /= edge;
                // The reduced indices i for which i · edge + place − before is inside.
                let first = before.saturating_sub(place).div_ceil(edge);
                let end = (self.wide[d] + before).saturating_sub(place).div_ceil(edge).min(self.narrow[d]);
                let len = end.saturating_sub(first);
                if len > 0 {
                    at_few += (first * edge + place - before) * few_steps[d + 1] as usize;
                    at_many += first * many_steps[d + 1] as usize;
                }
                let (src, dst) = (few_steps[d + 1].wrapping_mul(edge as isize), many_steps[d + 1]);
                steps.push(Step { len, src, dst });
            }
            steps.push(Step { len: self.batches, src: few_steps[0], dst: many_steps[0] });
            steps.reverse();
            copies.push(if self.padding.is_some() {
                StridedCopy::new(self.ty, steps, (at_few, few), (at_many, many))?
            } else {
                let back = steps.into_iter().map(|s| Step { src: s.dst, dst: s.src, ..s });
                StridedCopy::new(self.ty, back, (at_many, many), (at_few, few))?
            });
        }
        Ok(Some(copies))
    }
}

fn block_copies(blocks: Blocks, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let Some(copies) = blocks.moves()? else { return Err(OpError::unsupported("blocks of many positions")) };
    let border = blocks.blocks.iter().any(|b| (b.1, b.2) != (0, 0));
    let fill_with = blocks.padding.filter(|_| border);
    Ok(Box::new(FnKernel("space_to_batch_nd/block_copy", move |io: &mut Io<'_>| {
        let src = io.input(0)?.bytes;
        let dst = io.outputs[0].bytes();
        if let Some(value) = &fill_with {
            fill(blocks.ty, value, dst);
        }
        copies.iter().try_for_each(|copy| copy.run_blocks(io.pool, isa, src, dst))
    })))
}

fn cases(op: BuiltinOperator) -> Vec<Case> {
    // The side with fewer batches, edges of the block, and borders.
    const SHAPES: [(&[i32], &[i32], &[i32]); 6] = [
        (&[1, 8, 10, 3], &[2, 2], &[0, 0, 0, 0]),
        (&[2, 7, 9, 16], &[2, 3], &[1, 0, 0, 3]),
        (&[1, 33, 33, 24], &[2, 2], &[2, 3, 2, 3]),
        (&[3, 6, 5], &[3], &[2, 1]),
        (&[1, 20, 21, 32], &[4, 4], &[0, 0, 1, 2]),
        (&[1, 12, 7, 1], &[1, 1], &[0, 0, 0, 0]),
    ];
    let to_batch = op == BuiltinOperator::SPACE_TO_BATCH_ND;
    let options = if to_batch {
        BuiltinOptions::SpaceToBatchNDOptions(Box::default())
    } else {
        BuiltinOptions::BatchToSpaceNDOptions(Box::default())
    };
    let mut all = Vec::new();
    for ty in [TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int32, TensorType::Int64] {
        for (few, edges, borders) in SHAPES {
            let mut many = few.to_vec();
            for (d, &edge) in edges.iter().enumerate() {
                many[0] *= edge;
                many[d + 1] = (few[d + 1] + borders[2 * d] + borders[2 * d + 1]) / edge;
            }
            let (from, to) = if to_batch { (few, &many[..]) } else { (&many[..], few) };
            let n = edges.len() as i32;
            let (edge_shape, border_shape) = ([n], [n, 2]);
            let operands = [
                Operand::Data((ty, from, typical(ty))),
                Operand::Index(&edge_shape, edges),
                Operand::Index(&border_shape, borders),
            ];
            let name = format!("{ty} {from:?} {edges:?} {borders:?}");
            all.extend(node(name, op, options.clone(), &operands, &[(ty, to, typical(ty))]));
        }
    }
    all
}
