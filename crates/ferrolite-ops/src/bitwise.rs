//! BITWISE_XOR and RIGHT_SHIFT of integers, with broadcasting. Source: LiteRT `kernels/{bitwise_xor,right_shift}.cc`.

use crate::OpError;
use crate::common::broadcast::binary;
use crate::common::cases;
use crate::common::elementwise::infer_binary;
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId};
use ferrolite_model::TensorType::*;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// One of the two operators.
pub struct Bitwise(BuiltinOperator);

/// BITWISE_XOR.
pub const BITWISE_XOR: Bitwise = Bitwise(BuiltinOperator::BITWISE_XOR);
/// RIGHT_SHIFT: signed types repeat their sign; the count is taken into 0 to bits − 1.
pub const RIGHT_SHIFT: Bitwise = Bitwise(BuiltinOperator::RIGHT_SHIFT);

const TYPES: [TensorType; 6] = [Int8, UInt8, Int16, UInt16, Int32, UInt32];

macro_rules! kernel {
    ($op:expr, $node:expr, $ty:ty) => {
        match $op {
            BuiltinOperator::BITWISE_XOR => binary($node, |a: $ty, b: $ty| a ^ b),
            _ => binary($node, |a: $ty, b: $ty| a >> b.clamp(0, <$ty>::BITS as $ty - 1)),
        }
    };
}

impl OpDef for Bitwise {
    fn id(&self) -> OpId {
        OpId::Builtin(self.0)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_binary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            Int8 => kernel!(self.0, node, i8),
            UInt8 => kernel!(self.0, node, u8),
            Int16 => kernel!(self.0, node, i16),
            UInt16 => kernel!(self.0, node, u16),
            Int32 => kernel!(self.0, node, i32),
            _ => kernel!(self.0, node, u32),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let shapes: [[&[i32]; 3]; 4] = [
            [&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]],
            [&[3, 5, 4], &[4], &[3, 5, 4]],
            [&[2, 3, 4, 3], &[1, 3, 1, 3], &[2, 3, 4, 3]],
            [&[], &[7], &[7]],
        ];
        let mut cases = Vec::new();
        for ty in TYPES {
            for [a, b, y] in shapes {
                let (name, inputs) = (format!("{ty} {a:?} {b:?}"), [(ty, a, None), (ty, b, None)]);
                cases.extend(cases::case(name, self.0, BuiltinOptions::NONE, &inputs, (ty, y, None)));
            }
        }
        cases
    }
}
