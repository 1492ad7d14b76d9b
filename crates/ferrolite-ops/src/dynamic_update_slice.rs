//! DYNAMIC_UPDATE_SLICE: a tensor with a part of it replaced. The start is moved so that the part lies inside.

use crate::common::index::Indices;
use crate::common::node_case::NodeCase;
use crate::common::strided::{Step, StridedCopy, copy_whole, elements, fixed_size, index_input, strides};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// DYNAMIC_UPDATE_SLICE. Inputs: data, update, start.
pub struct DynamicUpdateSlice;

impl OpDef for DynamicUpdateSlice {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DYNAMIC_UPDATE_SLICE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (data, update, start) = (node.input(0)?, node.input(1)?, index_input(node, 2)?);
        let ty = fixed_size(data.ty, "DYNAMIC_UPDATE_SLICE")?;
        ensure!(update.ty == ty, "inputs of types {ty} and {} differ", update.ty);
        let rank = data.shape.len();
        ensure!(start.shape[..] == [rank], "a start of shape {:?} for {rank} dimensions", start.shape);
        let fits = update.shape.len() == rank && update.shape.iter().zip(&data.shape).all(|(u, d)| u <= d);
        ensure!(fits, "an update of shape {:?} for {:?}", update.shape, data.shape);
        Ok(smallvec![Inferred { ty, shape: Some(data.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (data, update) = (node.input(0)?, node.input(1)?);
        let ty = data.ty;
        let (data, update) = (data.shape.clone(), update.shape.clone());
        let (to, from) = (strides(&data), strides(&update));
        let (len, update_len) = (elements(&data)?, elements(&update)?);
        reference(move |io| {
            let start = Indices::of(io.input(2)?)?;
            ensure!(start.len() == data.len(), "sizes changed since the kernel was prepared");
            let output = &mut io.outputs[0];
            copy_whole(io.inputs[0].ok_or_else(|| OpError::invalid("input 0 is missing"))?, output)?;
            if update_len == 0 {
                return Ok(());
            }
            let mut at = 0;
            for (i, (&room, &size)) in data.iter().zip(&update).enumerate() {
                at += start.get(i).clamp(0, (room - size) as i64) as usize * to[i] as usize;
            }
            let steps = update.iter().zip(&from).zip(&to).map(|((&len, &src), &dst)| Step { len, src, dst });
            let copy = StridedCopy::new(ty, steps, (0, update_len), (at, len))?;
            let update = io.inputs[1].ok_or_else(|| OpError::invalid("input 1 is missing"))?;
            copy.run_bytes(update.bytes, output.bytes())
        })
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let mut cases = Vec::new();
        for ty in [Float32, Float16, Int8, Int16, Int32, Int64, Bool] {
            for (shape, update, start) in [
                (&[6][..], &[3][..], &[2][..]),
                (&[5, 4], &[2, 4], &[9, 1]),
                (&[4, 3, 5], &[4, 1, 3], &[-2, 1, 1]),
                (&[3, 4, 2, 5], &[1, 2, 2, 2], &[1, 3, 0, 2]),
                (&[3, 4], &[3, 4], &[1, 1]),
                (&[3, 4], &[0, 4], &[1, 0]),
            ] {
                let case = NodeCase::new().drawn((ty, shape, None)).drawn((ty, update, None));
                let case = case.i32(&[shape.len() as i32], start);
                let name = format!("{ty} {shape:?} {update:?} {start:?}");
                let op = BuiltinOperator::DYNAMIC_UPDATE_SLICE;
                cases.extend(case.finish(name, op, BuiltinOptions::NONE, &[(ty, shape, None)]));
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{Pick, TestTensor, run};

    #[test]
    fn updates_packed_elements() {
        // 2 × 3 nibbles 1 to 6; the part [[7, 8]] starts at (1, 1).
        let packed = |shape: &[usize], bytes: &[u8]| TestTensor {
            shape: shape.into(),
            ..TestTensor::new(TensorType::Int4, &[bytes.len()], bytes)
        };
        let inputs = [
            packed(&[2, 3], &[0x21, 0x43, 0x65]),
            packed(&[1, 2], &[0x87]),
            TestTensor::new(TensorType::Int64, &[2], &[5i64, 1]),
        ];
        let outputs = [(TensorType::Int4, None)];
        let result = run(&DynamicUpdateSlice, &BuiltinOptions::NONE, &inputs, &outputs, Pick::Reference);
        assert_eq!(result.unwrap()[0].bytes, [0x21, 0x43, 0x87]);
    }
}
