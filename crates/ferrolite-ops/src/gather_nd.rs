//! GATHER_ND: slices of a tensor, picked by rows of coordinates.

use crate::common::index::Coordinates;
use crate::common::node_case::NodeCase;
use crate::common::runs::RunCopy;
use crate::common::strided::{elements, index_input};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// GATHER_ND. Inputs: data, indices, whose last dimension holds coordinates.
pub struct GatherNd;

impl OpDef for GatherNd {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::GATHER_ND)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (data, indices) = (node.input(0)?, index_input(node, 1)?);
        ensure!(!data.shape.is_empty(), "the data is a scalar");
        let [outer @ .., depth] = &indices.shape[..] else { return Err(OpError::invalid("the indices are a scalar")) };
        ensure!(*depth <= data.shape.len(), "{depth} coordinates for {} dimensions", data.shape.len());
        let inferred = Inferred::new(data.ty, outer.iter().chain(&data.shape[*depth..]).copied());
        elements(inferred.shape.as_deref().unwrap_or_default())?;
        Ok(smallvec![inferred])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (data, indices) = (node.input(0)?, node.input(1)?);
        let [outer @ .., depth] = &indices.shape[..] else { return Err(OpError::invalid("the indices are a scalar")) };
        let rows = elements(outer)?;
        let coordinates = Coordinates::new(&data.shape, *depth, rows)?;
        let slice = coordinates.slice;
        let dst = elements(&[rows, slice])?;
        let copy = RunCopy { ty: data.ty, len: slice, src: elements(&data.shape)?, dst };
        reference(move |io| {
            let (data, indices) = (io.input(0)?, io.input(1)?);
            copy.run(data, &mut io.outputs[0], |copy| {
                coordinates.for_each(indices, |row, from| copy(from, row * slice))
            })
        })
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let mut cases = Vec::new();
        for ty in [Float32, Float16, Int8, UInt8, Int16, Int32, Int64, Bool] {
            let parameters = (ty == Int8).then_some((0.1, 3));
            for (shape, depth, outer, output) in [
                (&[4, 3][..], 1, &[3][..], &[3, 3][..]),
                (&[4, 3], 2, &[3], &[3]),
                (&[4, 3, 5], 2, &[2, 2], &[2, 2, 5]),
                (&[2, 2, 3, 4], 3, &[], &[4]),
                (&[2, 3], 0, &[2], &[2, 2, 3]),
            ] {
                let indices_shape: Vec<i32> = outer.iter().copied().chain([depth]).collect();
                let rows = outer.iter().product::<i32>();
                let of_row = |r: i32| (0..depth).map(move |i| (r * 5 + i * 3 + 1) % shape[i as usize]);
                let indices: Vec<i32> = (0..rows).flat_map(of_row).collect();
                let case = NodeCase::new().drawn((ty, shape, parameters)).i32(&indices_shape, &indices);
                let name = format!("{ty} {shape:?} {indices_shape:?}");
                let op = BuiltinOperator::GATHER_ND;
                cases.extend(case.finish(name, op, BuiltinOptions::NONE, &[(ty, output, parameters)]));
            }
        }
        cases
    }
}
