//! MIRROR_PAD: a border that mirrors the tensor.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{Move, Moves, block_copy};
use crate::common::strided::{Step, StridedCopy, elements, fixed_size, known, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::pad::{padded_shape, paddings};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::schema::{MirrorPadMode, MirrorPadOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// MIRROR_PAD.
pub struct MirrorPad;

/// Elements at the edge that the mirror leaves out: one for REFLECT, none for SYMMETRIC.
fn left_out(node: &NodeView<'_>) -> Result<usize, OpError> {
    match node.options.as_mirror_pad_options().map(|o| o.mode) {
        Some(MirrorPadMode::REFLECT) => Ok(1),
        Some(MirrorPadMode::SYMMETRIC) => Ok(0),
        other => Err(OpError::invalid(format!("mirror mode {other:?}"))),
    }
}

/// Output index, input index, length and direction of a part of a dimension.
type Segment = (usize, usize, usize, isize);

/// The mirrored start, the middle and the mirrored end of a dimension.
fn segments(size: usize, (before, after): (usize, usize), skip: usize) -> Vec<Segment> {
    // The first mirrored element is as far from the edge as the border is wide, the last padded one likewise.
    let start = (0, (before + skip).saturating_sub(1), before, -1);
    let end = (before + size, size.saturating_sub(1 + skip), after, -1);
    [start, (before, 0, size, 1), end].into_iter().filter(|s| s.2 > 0).collect()
}

impl OpDef for MirrorPad {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::MIRROR_PAD)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        fixed_size(input.ty, "MIRROR_PAD")?;
        let skip = left_out(node)?;
        let Some(paddings) = paddings(node)? else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
        for (&n, p) in input.shape.iter().zip(&paddings) {
            ensure!(p.0.max(p.1) <= n.saturating_sub(skip), "a dimension of {n} cannot mirror {p:?} elements");
        }
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(padded_shape(&input.shape, &paddings)?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let moves = copies(node)?;
        let packed = node.input(0)?.ty.bits() < 8;
        reference(move |io| {
            let input = io.input(0)?;
            let output = io.outputs[0].bytes();
            if packed {
                output.fill(0);
            }
            moves.iter().try_for_each(|m| m.copy.run_bytes(input.bytes, output))
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn cases(&self) -> Vec<Case> {
        const PADS: [(&[i32], &[i32]); 5] = [
            (&[9], &[3, 5]),
            (&[5, 6], &[1, 2, 3, 0]),
            (&[1, 9, 10, 3], &[0, 0, 1, 1, 2, 2, 0, 0]),
            (&[4, 33], &[2, 1, 0, 0]),
            (&[3, 3, 3], &[1, 1, 1, 1, 1, 1]),
        ];
        let mut all = Vec::new();
        for mode in [MirrorPadMode::REFLECT, MirrorPadMode::SYMMETRIC] {
            let options = BuiltinOptions::MirrorPadOptions(Box::new(MirrorPadOptionsT { mode }));
            for (shape, pads) in PADS {
                let to: Vec<i32> = (0..shape.len()).map(|d| shape[d] + pads[2 * d] + pads[2 * d + 1]).collect();
                let table = [shape.len() as i32, 2];
                let cases = moved(BuiltinOperator::MIRROR_PAD, &options, MOVED, shape, &[(&table, pads)], &[&to]);
                all.extend(cases.into_iter().map(|case| Case { name: format!("{} {mode:?}", case.name), ..case }));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

/// Where elements go.
fn copies(node: &NodeView<'_>) -> Result<Moves, OpError> {
    let input = node.input(0)?;
    let paddings = known(paddings(node)?)?;
    let skip = left_out(node)?;
    let shape = padded_shape(&input.shape, &paddings)?;
    let (from, to) = (strides(&input.shape), strides(&shape));
    let (src_len, dst_len) = (elements(&input.shape)?, elements(&shape)?);
    // Every combination of a part per dimension is one copy.
    let parts: Vec<Vec<Segment>> = input.shape.iter().zip(&paddings).map(|(&n, &p)| segments(n, p, skip)).collect();
    let count = parts.iter().try_fold(1usize, |n, p| n.checked_mul(p.len()));
    let Some(count) = count.filter(|&n| n <= 1 << 16) else {
        return Err(OpError::unsupported(format!("MIRROR_PAD of {} padded dimensions", shape.len())));
    };
    let copy = |mut i: usize| {
        let (mut src, mut dst) = (0, 0);
        let mut steps = Vec::with_capacity(parts.len());
        for (d, parts) in parts.iter().enumerate() {
            let (to_index, from_index, len, direction) = parts[i % parts.len()];
            i /= parts.len();
            src += from_index.wrapping_mul(from[d] as usize);
            dst += to_index.wrapping_mul(to[d] as usize);
            steps.push(Step { len, src: direction * from[d], dst: to[d] });
        }
        StridedCopy::new(input.ty, steps, (src, src_len), (dst, dst_len))
    };
    (0..count).map(|i| Ok(Move { input: 0, output: 0, copy: copy(i)? })).collect()
}
