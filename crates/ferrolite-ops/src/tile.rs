//! TILE: a tensor repeated along its dimensions.

use crate::common::cases::{MOVED, moved};
use crate::common::moves::{self, Moves, block_copy};
use crate::common::strided::{StridedCopy, dims, elements, index_input, known, strides};
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// TILE. Inputs: data, multiples.
pub struct Tile;

/// How often each dimension is repeated; `None` when not known yet.
fn multiples(node: &NodeView<'_>) -> Result<Option<Shape>, OpError> {
    let rank = node.input(0)?.shape.len();
    let Some(values) = index_input(node, 1)?.indices()? else { return Ok(None) };
    ensure!(values.len() == rank, "{} multiples for {rank} dimensions", values.len());
    Ok(Some(dims(&values)?))
}

impl OpDef for Tile {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::TILE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        let Some(multiples) = multiples(node)? else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
        let shape: Option<Shape> = input.shape.iter().zip(&multiples).map(|(&n, &m)| n.checked_mul(m)).collect();
        let Some(shape) = shape else { return Err(OpError::invalid(format!("multiples {multiples:?} are too large"))) };
        elements(&shape)?;
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        moves::reference(copies(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        block_copy!(copies)
    }

    fn cases(&self) -> Vec<Case> {
        const TILES: [(&[i32], &[i32]); 5] = [
            (&[5], &[3]),
            (&[2, 3], &[2, 4]),
            (&[1, 9, 1], &[4, 1, 33]),
            (&[4, 16], &[3, 1]),
            (&[2, 1, 3, 4], &[1, 5, 2, 1]),
        ];
        let cases = TILES.iter().flat_map(|&(shape, multiples)| {
            let to: Vec<i32> = shape.iter().zip(multiples).map(|(n, m)| n * m).collect();
            let options = BuiltinOptions::TileOptions(Box::default());
            let rank = [shape.len() as i32];
            moved(BuiltinOperator::TILE, &options, MOVED, shape, &[(&rank, multiples)], &[&to])
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
    let multiples = known(multiples(node)?)?;
    let dims = input.shape.iter().zip(multiples).zip(strides(&input.shape));
    let output = dims.flat_map(|((&n, m), stride)| [(m, 0), (n, stride)]);
    let copy = StridedCopy::dense(input.ty, output, (0, elements(&input.shape)?))?;
    Ok(moves::single(0, copy))
}
