//! ADD_N: the sum of several tensors of one shape.

use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// ADD_N.
pub struct AddN;

const TYPES: [TensorType; 2] = [TensorType::Float32, TensorType::Int32];

impl OpDef for AddN {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ADD_N)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=usize::MAX, 1)?;
        let first = node.input(0)?;
        check_type(first.ty, &TYPES)?;
        for i in 1..node.inputs.len() {
            let input = node.input(i)?;
            ensure!(input.ty == first.ty, "inputs of types {} and {} differ", first.ty, input.ty);
            ensure!(input.shape == first.shape, "shapes {:?} and {:?} differ", first.shape, input.shape);
        }
        Ok(smallvec![Inferred { ty: first.ty, shape: Some(first.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Float32 => reference(|io| sum(io, |a: f32, b| a + b)),
            _ => reference(|io| sum(io, i32::wrapping_add)),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in TYPES {
            for (shape, n) in [(&[2, 3, 5][..], 2), (&[4, 37], 3), (&[3], 5), (&[], 4)] {
                let case = (0..n).fold(NodeCase::new(), |case, _| case.drawn((ty, shape, None)));
                let options = BuiltinOptions::AddNOptions(Default::default());
                let name = format!("{ty} {shape:?} {n}");
                cases.extend(case.finish(name, BuiltinOperator::ADD_N, options, &[(ty, shape, None)]));
            }
        }
        cases
    }
}

fn sum<T: Element>(io: &mut Io<'_>, add: impl Fn(T, T) -> T) -> Result<(), OpError> {
    let output = io.outputs[0].slice::<T>()?;
    for (i, input) in io.inputs.iter().flatten().enumerate() {
        let input = input.slice::<T>()?;
        ensure!(input.len() == output.len(), "sizes changed since the kernel was prepared");
        if i == 0 {
            output.copy_from_slice(input);
        } else {
            output.iter_mut().zip(input).for_each(|(o, &x)| *o = add(*o, x));
        }
    }
    Ok(())
}
