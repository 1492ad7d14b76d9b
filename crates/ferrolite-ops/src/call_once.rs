//! CALL_ONCE: runs an initializer subgraph, the first time only.

use crate::common::calls::{check_callee, subgraph};
use crate::common::resource_cases;
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::BuiltinOperator;
use smallvec::smallvec;
use std::ops::RangeInclusive;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

/// CALL_ONCE.
pub struct CallOnce;

fn initializer(node: &NodeView<'_>) -> Result<usize, OpError> {
    let Some(options) = node.options.as_call_once_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let (index, graph) = subgraph(node, options.init_subgraph_index)?;
    ensure!(graph.inputs.is_empty() && graph.outputs.is_empty(), "initializer {index} has inputs or outputs");
    check_callee(node, options.init_subgraph_index, 0)
}

impl OpDef for CallOnce {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CALL_ONCE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(0..=0, 0)?;
        initializer(node)?;
        Ok(smallvec![])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let index = initializer(node)?;
        // A kernel runs in one session.
        let done = AtomicBool::new(false);
        reference(move |io| {
            if done.load(Acquire) {
                return Ok(());
            }
            let state = io.session.resources().initializer(index);
            let mut has_run = state.lock().unwrap_or_else(PoisonError::into_inner);
            if !*has_run {
                io.session.call(index, &mut [], &mut Vec::new())?;
                *has_run = true;
            }
            done.store(true, Release);
            Ok(())
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::call_once()
    }
}
