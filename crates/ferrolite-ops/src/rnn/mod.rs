//! RNN, UNIDIRECTIONAL_SEQUENCE_RNN and BIDIRECTIONAL_SEQUENCE_RNN: h = activation(W · x + A · aux + R · h + bias).
//!
//! Sources: LiteRT `kernels/basic_rnn.cc`, `kernels/{uni,bi}directional_sequence_rnn.cc`, `internal/kernel_utils.cc`.

mod cases;
mod infer;
mod reference;

use crate::OpError;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use ferrolite_kernels::Isa;
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

/// The kernel of a node's passes; the fast one has an instruction set.
fn kernel(
    node: &NodeView<'_>,
    passes: fn(&NodeView<'_>) -> Passes,
    isa: Option<Isa>,
) -> Result<Box<dyn Kernel>, OpError> {
    Ok(Box::new(reference::Reference::prepare(node, passes(node)?, isa)?))
}

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
        kernel(node, self.passes, None)
    }

    fn fast(&self) -> &'static [FastKernel] {
        macro_rules! table {
            ($passes:path) => {
                &[FastKernel {
                    name: "matvec",
                    supports: |_| true,
                    prepare: |node, isa| kernel(node, $passes, Some(isa)),
                }]
            };
        }
        match self.op {
            BuiltinOperator::RNN => table!(infer::rnn),
            BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_RNN => table!(infer::unidirectional),
            _ => table!(infer::bidirectional),
        }
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
