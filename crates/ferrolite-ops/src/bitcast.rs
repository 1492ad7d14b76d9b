//! BITCAST: the bits of a tensor as another type; a last dimension holds the parts where sizes differ.

use crate::common::cases::case;
use crate::common::strided::{elements, view_kernel};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// BITCAST. The output's type is the one that the model declares.
pub struct Bitcast;

impl OpDef for Bitcast {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BITCAST)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let (input, ty) = (node.input(0)?, node.output(0)?.ty);
        let bytes = |ty: TensorType| match ty.bits() {
            bits if bits >= 8 => Ok(bits / 8),
            _ => Err(OpError::unsupported(format!("BITCAST of {} to {}", input.ty, node.outputs[0].ty))),
        };
        let (from, to) = (bytes(input.ty)?, bytes(ty)?);
        let mut shape = input.shape.clone();
        if from > to {
            shape.push(from / to);
        } else if from < to {
            let last = shape.pop();
            ensure!(last == Some(to / from), "the last of {:?} is not the {} parts of {ty}", input.shape, to / from);
        }
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        view_kernel()
    }

    fn is_view(&self) -> bool {
        true
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (from, to, shape, output) in [
            (Float32, Int32, &[3, 4][..], &[3, 4][..]),
            (Int32, Float32, &[5], &[5]),
            (Int8, UInt8, &[2, 3], &[2, 3]),
            (Int16, Int8, &[3], &[3, 2]),
            (Int64, Int16, &[2, 3], &[2, 3, 4]),
            (UInt8, Int32, &[3, 4], &[3]),
            (Int32, Int64, &[2, 3, 2], &[2, 3]),
        ] {
            let (op, name) = (BuiltinOperator::BITCAST, format!("{from} {to} {shape:?}"));
            cases.extend(case(name, op, BuiltinOptions::NONE, &[(from, shape, None)], (to, output, None)));
        }
        cases
    }
}
