//! PACK and UNPACK: join tensors along a new dimension, and the reverse.

use crate::common::cases::{MOVED, Operand, moved, node, typical};
use crate::common::moves::{self, Move, Moves, block_copy};
use crate::common::strided::{Step, StridedCopy, axis, elements, fixed_size, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::schema::{PackOptionsT, UnpackOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// PACK.
pub struct Pack;
/// UNPACK.
pub struct Unpack;

/// Number of tensors (which must match the options') and the dimension that counts them.
fn pack_options(count: i32, at: i32, tensors: usize, rank: usize) -> Result<usize, OpError> {
    ensure!(count >= 0 && count as usize == tensors, "options say {count} tensors, the node has {tensors}");
    axis(at.into(), rank)
}

fn pack_axis(node: &NodeView<'_>) -> Result<usize, OpError> {
    let Some(o) = node.options.as_pack_options() else { return Err(OpError::invalid("options are missing")) };
    pack_options(o.values_count, o.axis, node.inputs.len(), node.input(0)?.shape.len() + 1)
}

fn unpack_axis(node: &NodeView<'_>) -> Result<usize, OpError> {
    let Some(o) = node.options.as_unpack_options() else { return Err(OpError::invalid("options are missing")) };
    pack_options(o.num, o.axis, node.outputs.len(), node.input(0)?.shape.len())
}

impl OpDef for Pack {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::PACK)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=5
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=usize::MAX, 1)?;
        let first = node.input(0)?;
        fixed_size(first.ty, "PACK")?;
        for i in 1..node.inputs.len() {
            let input = node.input(i)?;
            ensure!(input.ty == first.ty, "inputs of type {} and {}", first.ty, input.ty);
            ensure!(input.shape == first.shape, "shapes {:?} and {:?} differ", first.shape, input.shape);
        }
        let mut shape = first.shape.clone();
        shape.insert(pack_axis(node)?, node.inputs.len());
        elements(&shape)?;
        Ok(smallvec![Inferred { ty: first.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(pack(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(pack)
    }

    fn cases(&self) -> Vec<Case> {
        // Shape of an input, how many, and the new dimension.
        const PACKS: [(&[i32], usize, i32); 6] =
            [(&[5], 3, 0), (&[2, 33], 2, 2), (&[3, 4], 4, 1), (&[1, 2, 64], 3, -1), (&[7, 9], 1, 0), (&[], 5, 0)];
        let mut all = Vec::new();
        for &ty in MOVED {
            for (shape, n, axis) in PACKS {
                let options = BuiltinOptions::PackOptions(Box::new(PackOptionsT { values_count: n as i32, axis }));
                let operands = vec![Operand::Data((ty, shape, typical(ty))); n];
                let mut to = shape.to_vec();
                to.insert(axis.rem_euclid(shape.len() as i32 + 1) as usize, n as i32);
                let name = format!("{ty} {shape:?} {n} {axis}");
                all.extend(node(name, BuiltinOperator::PACK, options, &operands, &[(ty, &to, typical(ty))]));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: None, ..QuantRule::SAME_SCALE })
    }
}

impl OpDef for Unpack {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::UNPACK)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, node.outputs.len())?;
        let input = node.input(0)?;
        fixed_size(input.ty, "UNPACK")?;
        let at = unpack_axis(node)?;
        let n = node.outputs.len();
        ensure!(input.shape[at] == n, "dimension {at} of {:?} into {n} tensors", input.shape);
        let mut shape = input.shape.clone();
        shape.remove(at);
        Ok(node.outputs.iter().map(|_| Inferred { ty: input.ty, shape: Some(shape.clone()) }).collect())
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(unpack(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(unpack)
    }

    fn cases(&self) -> Vec<Case> {
        const UNPACKS: [(&[i32], i32); 5] =
            [(&[3, 5], 0), (&[2, 33, 2], 2), (&[3, 4, 4], 1), (&[64, 5], -1), (&[4], 0)];
        let cases = UNPACKS.iter().flat_map(|&(shape, axis)| {
            let mut to = shape.to_vec();
            let num = to.remove(axis.rem_euclid(shape.len() as i32) as usize);
            let options = BuiltinOptions::UnpackOptions(Box::new(UnpackOptionsT { num, axis }));
            moved(BuiltinOperator::UNPACK, &options, MOVED, shape, &[], &vec![&to[..]; num as usize])
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

/// Where elements go.
fn pack(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let at = pack_axis(node)?;
    let mut to = strides(&node.output(0)?.shape);
    let next = to.remove(at) as usize;
    let (count, n) = (elements(&input.shape)?, node.inputs.len());
    let mut copies = Moves::new();
    for i in 0..n {
        let steps = input.shape.iter().zip(strides(&input.shape)).zip(&to);
        let steps = steps.map(|((&len, src), &dst)| Step { len, src, dst });
        let start = if count == 0 { 0 } else { i * next };
        let copy = StridedCopy::new(input.ty, steps, (0, count), (start, count * n))?;
        copies.push(Move { input: i, output: 0, copy });
    }
    Ok(copies)
}

/// Where elements go.
fn unpack(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let mut from = strides(&input.shape);
    let mut shape: Shape = input.shape.clone();
    let at = unpack_axis(node)?;
    let next = from.remove(at) as usize;
    let n = shape.remove(at);
    let total = elements(&input.shape)?;
    let copy = |output: usize| {
        let start = if total == 0 { 0 } else { output * next };
        let steps = shape.iter().copied().zip(from.iter().copied());
        Ok(Move { input: 0, output, copy: StridedCopy::dense(input.ty, steps, (start, total))? })
    };
    (0..n).map(copy).collect()
}
