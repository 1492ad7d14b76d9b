//! SPARSE_TO_DENSE: values at given places of a tensor, a default elsewhere.

use crate::common::index::Coordinates;
use crate::common::node_case::NodeCase;
use crate::common::runs::RunCopy;
use crate::common::strided::{dims, elements, fixed_size, index_input};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::pad::fill;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SPARSE_TO_DENSE. Inputs: indices (a scalar, a vector, or rows of coordinates), shape, values (a scalar or one per
/// index), default value. Of equal indices the last counts.
pub struct SparseToDense;

/// Number of coordinates of an index, and number of indices.
fn rows(indices: &[usize]) -> Result<(usize, usize), OpError> {
    match *indices {
        [] => Ok((1, 1)),
        [rows] => Ok((1, rows)),
        [rows, depth] => Ok((depth, rows)),
        _ => Err(OpError::invalid(format!("indices of shape {indices:?}"))),
    }
}

impl OpDef for SparseToDense {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SPARSE_TO_DENSE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(4..=4, 1)?;
        let (indices, shape) = (index_input(node, 0)?, index_input(node, 1)?);
        let (values, default) = (node.input(2)?, node.input(3)?);
        let ty = fixed_size(values.ty, "SPARSE_TO_DENSE")?;
        if ty.bits() < 8 {
            return Err(OpError::unsupported(format!("SPARSE_TO_DENSE of {ty}")));
        }
        ensure!(default.ty == ty, "values of type {ty}, default of type {}", default.ty);
        ensure!(default.elements() == 1, "a default of shape {:?}", default.shape);
        ensure!(shape.shape.len() == 1, "the shape has {} dimensions", shape.shape.len());
        let (depth, rows) = rows(&indices.shape)?;
        ensure!(depth > 0, "indices without coordinates");
        ensure!(depth == shape.shape[0], "{depth} coordinates for {} dimensions", shape.shape[0]);
        let single = values.shape.is_empty();
        ensure!(single || values.shape[..] == [rows], "values of shape {:?} for {rows} indices", values.shape);
        let Some(shape) = shape.indices()? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        Ok(smallvec![Inferred { ty, shape: Some(dims(&shape)?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (values, output) = (node.input(2)?, node.output(0)?);
        let (depth, rows) = rows(&node.input(0)?.shape)?;
        let coordinates = Coordinates::new(&output.shape, depth, rows)?;
        ensure!(coordinates.slice == 1, "{depth} coordinates for {:?}", output.shape);
        let (ty, advance) = (values.ty, usize::from(!values.shape.is_empty()));
        let copy = RunCopy { ty, len: 1, src: values.elements(), dst: elements(&output.shape)? };
        reference(move |io| {
            let (indices, values, default) = (io.input(0)?, io.input(2)?, io.input(3)?);
            let mut value = [0; 16];
            ensure!(ty.byte_len(1) == Some(default.bytes.len()), "the default must be a single value");
            value[..default.bytes.len()].copy_from_slice(default.bytes);
            let output = &mut io.outputs[0];
            fill(ty, &value, output.bytes());
            copy.run(values, output, |copy| coordinates.for_each(indices, |row, to| copy(row * advance, to)))
        })
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let mut cases = Vec::new();
        for ty in [Float32, Int8, UInt8, Int32, Int64] {
            for (shape, rows) in [(&[6][..], 3), (&[4, 5], 4), (&[3, 4, 2], 2), (&[2, 3, 2, 4], 3)] {
                for single in [false, true] {
                    let depth = shape.len();
                    let of_row = |r: i32| (0..depth).map(move |i| (r * 2 + i as i32 + 1) % shape[i]);
                    let indices: Vec<i32> = (0..rows).flat_map(of_row).collect();
                    let indices_shape = [rows, depth as i32];
                    let case = NodeCase::new().i32(&indices_shape[..if depth == 1 { 1 } else { 2 }], &indices);
                    let case = case.i32(&[depth as i32], shape);
                    let case = case.drawn((ty, if single { &[] } else { &indices_shape[..1] }, None));
                    let case = case.drawn((ty, &[], None));
                    let name = format!("{ty} {shape:?} {rows}{}", if single { " single" } else { "" });
                    let op = BuiltinOperator::SPARSE_TO_DENSE;
                    let options = BuiltinOptions::SparseToDenseOptions(Default::default());
                    cases.extend(case.finish(name, op, options, &[(ty, shape, None)]));
                }
            }
        }
        cases
    }
}
