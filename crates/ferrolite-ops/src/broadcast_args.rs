//! BROADCAST_ARGS: the shape that two shapes broadcast to.

use crate::common::index::Indices;
use crate::common::node_case::NodeCase;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// BROADCAST_ARGS. Inputs: two shapes.
pub struct BroadcastArgs;

impl OpDef for BroadcastArgs {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BROADCAST_ARGS)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (a, b) = (node.input(0)?, node.input(1)?);
        if !matches!(a.ty, TensorType::Int32 | TensorType::Int64) {
            return Err(OpError::unsupported(format!("shapes of type {}", a.ty)));
        }
        ensure!(a.ty == b.ty, "inputs of types {} and {} differ", a.ty, b.ty);
        ensure!(
            a.shape.len() == 1 && b.shape.len() == 1,
            "shapes of {} and {} dimensions",
            a.shape.len(),
            b.shape.len()
        );
        Ok(smallvec![Inferred::new(a.ty, [a.shape[0].max(b.shape[0])])])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let (a, b) = (Indices::of(io.input(0)?)?, Indices::of(io.input(1)?)?);
            let output = &mut io.outputs[0];
            let rank = output.shape().iter().product::<usize>();
            // Dimensions are aligned at the last; a missing one is 1.
            let get = |shape: &Indices<'_>, i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape.get(i));
            for i in 0..rank {
                let dim = match (get(&a, i), get(&b, i)) {
                    (a, 1) => a,
                    (1, b) => b,
                    (a, b) => {
                        ensure!(a == b, "dimensions {a} and {b} do not broadcast");
                        a
                    }
                };
                match output.ty {
                    TensorType::Int32 => output.slice::<i32>()?[i] = dim as i32,
                    _ => output.slice::<i64>()?[i] = dim,
                }
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let shapes: [[&[i32]; 2]; 4] = [[&[2, 1, 3], &[4, 1]], [&[1, 2], &[3, 1, 2]], [&[5], &[1]], [&[], &[3]]];
        let mut cases = Vec::new();
        for ty in [TensorType::Int32, TensorType::Int64] {
            for [a, b] in shapes {
                let (len_a, len_b) = (a.len() as i32, b.len() as i32);
                let wide = |shape: &[i32]| shape.iter().map(|&d| d.into()).collect::<Vec<i64>>();
                let case = match ty {
                    TensorType::Int32 => NodeCase::new().i32(&[len_a], a).i32(&[len_b], b),
                    _ => NodeCase::new().constant(ty, &[len_a], &wide(a)).constant(ty, &[len_b], &wide(b)),
                };
                let output = (ty, &[len_a.max(len_b)][..], None);
                let op = BuiltinOperator::BROADCAST_ARGS;
                cases.extend(case.finish(format!("{ty} {a:?} {b:?}"), op, BuiltinOptions::NONE, &[output]));
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
    fn refuses_what_does_not_broadcast() {
        let inputs = [[2, 3], [2, 4]].map(|shape| TestTensor::new(TensorType::Int32, &[2], &shape));
        let outputs = [(TensorType::Int32, None)];
        assert!(run(&BroadcastArgs, &BuiltinOptions::NONE, &inputs, &outputs, Pick::Reference).is_err());
    }
}
