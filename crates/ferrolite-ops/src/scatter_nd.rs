//! SCATTER_ND: slices added to a tensor of zeros, at places given by rows of coordinates.

use crate::common::elementwise::check_type;
use crate::common::index::Coordinates;
use crate::common::node_case::NodeCase;
use crate::common::strided::{dims, elements, index_input};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SCATTER_ND. Inputs: indices, whose last dimension holds coordinates; updates; shape.
pub struct ScatterNd;

impl OpDef for ScatterNd {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SCATTER_ND)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (indices, updates, shape) = (index_input(node, 0)?, node.input(1)?, index_input(node, 2)?);
        use TensorType::*;
        check_type(updates.ty, &[Float32, Int8, UInt8, Int32, Int64, Bool])?;
        ensure!(indices.ty == shape.ty, "indices of type {}, shape of type {}", indices.ty, shape.ty);
        ensure!(shape.shape.len() == 1, "the shape has {} dimensions", shape.shape.len());
        let [outer @ .., depth] = &indices.shape[..] else { return Err(OpError::invalid("the indices are a scalar")) };
        let rank = shape.shape[0];
        ensure!(*depth <= rank, "{depth} coordinates for {rank} dimensions");
        let fits = updates.shape.len() == outer.len() + rank - depth && updates.shape[..outer.len()] == *outer;
        ensure!(fits, "updates of shape {:?} for indices of shape {:?}", updates.shape, indices.shape);
        let Some(shape) = shape.indices()? else { return Ok(smallvec![Inferred::dynamic(updates.ty)]) };
        let shape = dims(&shape)?;
        ensure!(updates.shape[outer.len()..] == shape[*depth..], "updates of shape {:?} in {shape:?}", updates.shape);
        Ok(smallvec![Inferred { ty: updates.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        // LiteRT adds and fills as if zero points were 0; where they are not, real arithmetic wins.
        let zero = node.output(0)?.scale_zero_point().map_or(0, |(_, zero)| zero);
        match node.input(1)?.ty {
            TensorType::Float32 => scatter(node, 0.0f32, |a, b| a + b),
            TensorType::Int8 => scatter(node, zero as i8, move |a, b| a.wrapping_add(b).wrapping_sub(zero as i8)),
            TensorType::UInt8 => scatter(node, zero as u8, move |a, b| a.wrapping_add(b).wrapping_sub(zero as u8)),
            TensorType::Int32 => scatter(node, 0, i32::wrapping_add),
            TensorType::Int64 => scatter(node, 0, i64::wrapping_add),
            _ => scatter(node, 0u8, |a, b| u8::from(a != 0 || b != 0)),
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: Some(&[1]), int16: false, ..QuantRule::SAME_SCALE })
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let mut cases = Vec::new();
        for ty in [Float32, Int8, UInt8, Int32, Int64, Bool] {
            for (shape, depth, rows) in
                [(&[5][..], 1, 7), (&[4, 3], 1, 3), (&[3, 4, 5], 2, 6), (&[2, 3, 4], 3, 5), (&[2, 3], 0, 2)]
            {
                let of_row = |r: i32| (0..depth).map(move |i| (r * 5 + i as i32 * 3 + 1) % shape[i]);
                let indices: Vec<i32> = (0..rows).flat_map(of_row).collect();
                let updates: Vec<i32> = [rows].iter().chain(&shape[depth..]).copied().collect();
                let case = NodeCase::new().i32(&[rows, depth as i32], &indices).drawn((ty, &updates, None));
                let case = case.i32(&[shape.len() as i32], shape);
                let name = format!("{ty} {shape:?} {depth} {rows}");
                let op = BuiltinOperator::SCATTER_ND;
                cases.extend(case.finish(name, op, BuiltinOptions::NONE, &[(ty, shape, None)]));
            }
        }
        cases
    }
}

fn scatter<T: Element + Send + Sync>(
    node: &NodeView<'_>,
    zero: T,
    add: impl Fn(T, T) -> T + Send + Sync + 'static,
) -> Result<Box<dyn Kernel>, OpError> {
    let (indices, shape) = (&node.input(0)?.shape, &node.output(0)?.shape);
    let [outer @ .., depth] = &indices[..] else { return Err(OpError::invalid("the indices are a scalar")) };
    let rows = elements(outer)?;
    let coordinates = Coordinates::new(shape, *depth, rows)?;
    let slice = coordinates.slice;
    let len = elements(shape)?;
    reference(move |io| {
        let (indices, updates) = (io.input(0)?, io.input(1)?.slice::<T>()?);
        let output = io.outputs[0].slice::<T>()?;
        ensure!(updates.len() == rows * slice && output.len() == len, "sizes changed since the kernel was prepared");
        output.fill(zero);
        coordinates.for_each(indices, |row, to| {
            let row = &updates[row * slice..][..slice];
            output[to..to + slice].iter_mut().zip(row).for_each(|(o, &x)| *o = add(*o, x));
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{Pick, TestTensor, run};

    #[test]
    fn adds_duplicates_around_the_zero_point() {
        let go = |indices: &[i32]| {
            let inputs = [
                TestTensor::new(TensorType::Int32, &[3, 1], indices),
                TestTensor::new(TensorType::Int8, &[3], &[15i8, 13, 9]).scaled(0.5, 10),
                TestTensor::new(TensorType::Int32, &[1], &[4]).constant(),
            ];
            let outputs = [(TensorType::Int8, inputs[1].quantization.clone())];
            run(&ScatterNd, &BuiltinOptions::NONE, &inputs, &outputs, Pick::Reference)
        };
        assert_eq!(go(&[1, 3, 1]).unwrap()[0].values::<i8>(), [10, 14, 10, 13]);
        assert!(go(&[1, 4, 1]).is_err() && go(&[1, -1, 1]).is_err());
    }
}
