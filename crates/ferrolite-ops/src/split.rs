//! SPLIT and SPLIT_V: cut a tensor into parts along one dimension.

use crate::common::cases::{MOVED, Operand, moved, node, typical};
use crate::common::moves::{self, Move, Moves, block_copy};
use crate::common::strided::{axis, fixed_size, index_input, known, scalar_index};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::slice::slice_copy;
use crate::{OpError, ensure};
use ferrolite_model::schema::{SplitOptionsT, SplitVOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// SPLIT: equal parts. Inputs: axis, data.
pub struct Split;
/// SPLIT_V: parts of given sizes. Inputs: data, sizes, axis.
pub struct SplitV;

/// Axis and the sizes of the parts along it.
type Parts = (usize, SmallVec<[usize; 8]>);

impl Split {
    fn parts(node: &NodeView<'_>) -> Result<Option<Parts>, OpError> {
        let shape = &node.input(1)?.shape;
        let Some(at) = scalar_index(index_input(node, 0)?)? else { return Ok(None) };
        let at = axis(at, shape.len())?;
        let n = node.outputs.len();
        ensure!(n > 0 && shape[at] % n == 0, "dimension {at} of {shape:?} cannot be split into {n} equal parts");
        Ok(Some((at, SmallVec::from_elem(shape[at] / n, n))))
    }
}

impl SplitV {
    fn parts(node: &NodeView<'_>) -> Result<Option<Parts>, OpError> {
        let shape = &node.input(0)?.shape;
        let (sizes, at) = (index_input(node, 1)?.indices()?, scalar_index(index_input(node, 2)?)?);
        let (Some(sizes), Some(at)) = (sizes, at) else { return Ok(None) };
        let at = axis(at, shape.len())?;
        let n = node.outputs.len();
        ensure!(sizes.len() == n, "{} sizes for {n} outputs", sizes.len());
        ensure!(sizes.iter().filter(|&&s| s == -1).count() <= 1, "more than one open size in {sizes:?}");
        let total = shape[at] as i64;
        let given = sizes
            .iter()
            .filter(|&&s| s != -1)
            .try_fold(0i64, |n, &s| if (0..=total).contains(&s) { n.checked_add(s) } else { None });
        let Some(rest) = given.map(|n| total - n).filter(|&n| n >= 0) else {
            return Err(OpError::invalid(format!("sizes {sizes:?} do not fit dimension {at} of {shape:?}")));
        };
        ensure!(rest == 0 || sizes.contains(&-1), "sizes {sizes:?} do not fill dimension {at} of {shape:?}");
        Ok(Some((at, sizes.iter().map(|&s| if s == -1 { rest } else { s } as usize).collect())))
    }
}

fn infer_parts(node: &NodeView<'_>, data: usize, parts: Option<Parts>) -> InferResult {
    let input = node.input(data)?;
    let Some((at, sizes)) = parts else {
        return Ok(node.outputs.iter().map(|_| Inferred::dynamic(input.ty)).collect());
    };
    let part = |&size: &usize| {
        let mut shape = input.shape.clone();
        shape[at] = size;
        Inferred { ty: input.ty, shape: Some(shape) }
    };
    Ok(sizes.iter().map(part).collect())
}

/// Copies parts of one input to all outputs.
fn parting(node: &NodeView<'_>, data: usize, parts: Option<Parts>) -> Result<Moves, OpError> {
    let input = node.input(data)?;
    let (at, sizes) = known(parts)?;
    let mut first: SmallVec<[usize; 6]> = SmallVec::from_elem(0, input.shape.len());
    let mut copies = Moves::new();
    for (output, &size) in sizes.iter().enumerate() {
        let mut shape = input.shape.clone();
        shape[at] = size;
        copies.push(Move { input: data, output, copy: slice_copy(input.ty, &input.shape, &first, &shape)? });
        first[at] += size;
    }
    Ok(copies)
}

fn split(node: &NodeView<'_>) -> Result<Moves, OpError> {
    parting(node, 1, Split::parts(node)?)
}

fn split_v(node: &NodeView<'_>) -> Result<Moves, OpError> {
    parting(node, 0, SplitV::parts(node)?)
}

impl OpDef for Split {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SPLIT)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=5
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, node.outputs.len())?;
        fixed_size(node.input(1)?.ty, "SPLIT")?;
        if let Some(o) = node.options.as_split_options() {
            ensure!(
                o.num_splits == node.outputs.len() as i32,
                "{} parts, {} outputs",
                o.num_splits,
                node.outputs.len()
            );
        }
        infer_parts(node, 1, Split::parts(node)?)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(split(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(split)
    }

    fn cases(&self) -> Vec<Case> {
        const SPLITS: [(&[i32], i32, i32); 5] =
            [(&[6, 10], 0, 3), (&[2, 33, 8], 2, 2), (&[4, 6, 5], 1, 6), (&[1, 9, 9, 64], -1, 4), (&[5], 0, 1)];
        let mut all = Vec::new();
        for &ty in MOVED {
            for (shape, axis, num_splits) in SPLITS {
                let options = BuiltinOptions::SplitOptions(Box::new(SplitOptionsT { num_splits }));
                let mut to = shape.to_vec();
                to[axis.rem_euclid(shape.len() as i32) as usize] /= num_splits;
                let operands =
                    [Operand::Index(&[], std::slice::from_ref(&axis)), Operand::Data((ty, shape, typical(ty)))];
                let outputs = vec![(ty, &to[..], typical(ty)); num_splits as usize];
                let name = format!("{ty} {shape:?} {axis} {num_splits}");
                all.extend(node(name, BuiltinOperator::SPLIT, options, &operands, &outputs));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: Some(&[1]), ..QuantRule::SAME_SCALE })
    }
}

impl OpDef for SplitV {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SPLIT_V)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, node.outputs.len())?;
        fixed_size(node.input(0)?.ty, "SPLIT_V")?;
        infer_parts(node, 0, SplitV::parts(node)?)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(split_v(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(split_v)
    }

    fn cases(&self) -> Vec<Case> {
        const SPLITS: [(&[i32], i32, &[i32]); 4] = [
            (&[6, 10], 0, &[1, 3, 2]),
            (&[2, 33, 8], 2, &[5, 3]),
            (&[4, 6, 5], 1, &[2, -1]),
            (&[1, 9, 64], -1, &[16, 48]),
        ];
        let cases = SPLITS.iter().flat_map(|&(shape, axis, sizes)| {
            let at = axis.rem_euclid(shape.len() as i32) as usize;
            let rest = shape[at] - sizes.iter().filter(|&&s| s > 0).sum::<i32>();
            let part = |&size: &i32| {
                let mut to = shape.to_vec();
                to[at] = if size == -1 { rest } else { size };
                to
            };
            let parts: Vec<Vec<i32>> = sizes.iter().map(part).collect();
            let outputs: Vec<&[i32]> = parts.iter().map(|p| &p[..]).collect();
            let num_splits = sizes.len() as i32;
            let options = BuiltinOptions::SplitVOptions(Box::new(SplitVOptionsT { num_splits }));
            let indices: [(&[i32], &[i32]); 2] = [(&[num_splits], sizes), (&[], &[axis])];
            moved(BuiltinOperator::SPLIT_V, &options, MOVED, shape, &indices, &outputs)
        });
        cases.collect()
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}
