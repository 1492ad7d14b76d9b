//! LOGICAL_AND, LOGICAL_OR (with broadcasting) and LOGICAL_NOT.

use crate::OpError;
use crate::common::broadcast::binary;
use crate::common::cases::{self, case};
use crate::common::elementwise::{infer_binary, infer_unary, unary};
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// LOGICAL_AND or LOGICAL_OR.
pub struct Logical {
    op: BuiltinOperator,
    f: fn(bool, bool) -> bool,
}

/// LOGICAL_AND.
pub const LOGICAL_AND: Logical = Logical { op: BuiltinOperator::LOGICAL_AND, f: |a, b| a && b };
/// LOGICAL_OR.
pub const LOGICAL_OR: Logical = Logical { op: BuiltinOperator::LOGICAL_OR, f: |a, b| a || b };

/// LOGICAL_NOT.
pub struct LogicalNot;

impl OpDef for Logical {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_binary(node, &[TensorType::Bool])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let f = self.f;
        binary(node, move |a: u8, b: u8| u8::from(f(a != 0, b != 0)))
    }

    fn cases(&self) -> Vec<Case> {
        let options = match self.op {
            BuiltinOperator::LOGICAL_AND => BuiltinOptions::LogicalAndOptions(Box::default()),
            _ => BuiltinOptions::LogicalOrOptions(Box::default()),
        };
        let mut all = Vec::new();
        for (a, b, to) in
            [(&[4, 33][..], &[4, 33][..], &[4, 33][..]), (&[5, 70], &[], &[5, 70]), (&[8, 1], &[6], &[8, 6])]
        {
            let inputs = [(TensorType::Bool, a, None), (TensorType::Bool, b, None)];
            all.extend(case(format!("{a:?} {b:?}"), self.op, options.clone(), &inputs, (TensorType::Bool, to, None)));
        }
        all
    }
}

impl OpDef for LogicalNot {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LOGICAL_NOT)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &[TensorType::Bool])
    }

    fn reference(&self, _node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        unary(|x: u8| u8::from(x == 0))
    }

    fn cases(&self) -> Vec<Case> {
        let options = BuiltinOptions::LogicalNotOptions(Box::default());
        cases::unary(BuiltinOperator::LOGICAL_NOT, &options, &[(TensorType::Bool, None)])
    }
}
