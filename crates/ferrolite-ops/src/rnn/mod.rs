//! RNN, UNIDIRECTIONAL_SEQUENCE_RNN and BIDIRECTIONAL_SEQUENCE_RNN: h = activation(W · x + A · aux + R · h + bias).
//!
//! Sources: LiteRT `kernels/basic_rnn.cc`, `kernels/{uni,bi}directional_sequence_rnn.cc`, `internal/kernel_utils.cc`.

mod cases;
mod infer;
mod reference;

use crate::OpError;
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId};
use ferrolite_model::{BuiltinOperator, Node};
use infer::Passes;
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// One of the operators.
pub struct RnnOp {
    op: BuiltinOperator,
    passes: fn(&NodeView<'_>) -> Passes,
    states: &'static [usize],
}

/// RNN.
pub const RNN: RnnOp = RnnOp { op: BuiltinOperator::RNN, passes: infer::rnn, states: &[4] };

/// UNIDIRECTIONAL_SEQUENCE_RNN.
pub const UNIDIRECTIONAL_SEQUENCE_RNN: RnnOp =
    RnnOp { op: BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_RNN, passes: infer::unidirectional, states: &[4] };

/// BIDIRECTIONAL_SEQUENCE_RNN.
pub const BIDIRECTIONAL_SEQUENCE_RNN: RnnOp =
    RnnOp { op: BuiltinOperator::BIDIRECTIONAL_SEQUENCE_RNN, passes: infer::bidirectional, states: &[4, 8] };

impl OpDef for RnnOp {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let passes = (self.passes)(node)?;
        Ok(infer::outputs(&passes, self.op != BuiltinOperator::RNN))
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(reference::Reference::prepare(node, (self.passes)(node)?)?))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn state_inputs(&self, _node: &Node) -> SmallVec<[usize; 4]> {
        SmallVec::from_slice(self.states)
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        (self.passes)(node).map_or(0, |passes| passes.iter().map(|pass| pass.macs()).fold(0, u64::saturating_add))
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(self.op)
    }
}
