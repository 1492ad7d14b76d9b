//! LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM and BIDIRECTIONAL_SEQUENCE_LSTM: cells that keep their state between runs.
//!
//! A node is one or two passes of a [`cell::Cell`] over sequences ([`infer`]). float32 and hybrid cells are in [`real`],
//! int8 ones in [`integer`] and [`integer8`], the basic kernel of LSTM in [`basic`].

mod basic;
mod cases;
mod cell;
mod fast;
mod infer;
mod integer;
mod integer8;
mod real;

use crate::OpError;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use cell::{BACKWARD, FORWARD, Kind, UNIDIRECTIONAL};
use ferrolite_model::{BuiltinOperator, Node};
use infer::{Pass, is_basic};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// LSTM.
pub struct Lstm;

/// UNIDIRECTIONAL_SEQUENCE_LSTM.
pub struct UnidirectionalSequenceLstm;

/// BIDIRECTIONAL_SEQUENCE_LSTM.
pub struct BidirectionalSequenceLstm;

fn reference(node: &NodeView<'_>, mut passes: Vec<Pass>) -> Result<Box<dyn Kernel>, OpError> {
    if passes.iter().all(|pass| pass.cell.kind != Kind::Integer) {
        return Ok(Box::new(real::Reference::prepare(node, passes)?));
    }
    match (passes.pop(), passes.is_empty()) {
        (Some(pass), true) => Ok(Box::new(integer::Reference::prepare(node, pass)?)),
        _ => Err(OpError::unsupported("int8 cells in two directions")),
    }
}

/// As [`reference`], for LSTM: its int8 cells are of two kinds, told apart by the number of intermediates.
fn reference_of_lstm(node: &NodeView<'_>, passes: Vec<Pass>) -> Result<Box<dyn Kernel>, OpError> {
    match passes[..] {
        [pass] if pass.cell.kind == Kind::Integer && node.intermediates.len() == integer8::INTERMEDIATES => {
            Ok(Box::new(integer8::Reference::prepare(node, pass)?))
        }
        _ => reference(node, passes),
    }
}

fn macs(passes: infer::Passes) -> u64 {
    let of =
        |pass: &Pass| pass.cell.macs().saturating_mul((pass.steps.batch as u64).saturating_mul(pass.steps.time as u64));
    passes.map_or(0, |passes| passes.iter().map(of).fold(0, u64::saturating_add))
}

impl OpDef for Lstm {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LSTM)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        if is_basic(node.options) {
            return basic::infer(node);
        }
        infer::outputs(&infer::lstm(node)?, false)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if is_basic(node.options) {
            return basic::reference(node);
        }
        reference_of_lstm(node, infer::lstm(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::LSTM
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn state_inputs(&self, node: &Node) -> SmallVec<[usize; 4]> {
        let at = UNIDIRECTIONAL.state;
        if is_basic(&node.options) { SmallVec::new() } else { smallvec![at, at + 1] }
    }

    fn optional_state_inputs(&self, node: &Node) -> SmallVec<[usize; 4]> {
        if is_basic(&node.options) { basic::STATES.into_iter().collect() } else { SmallVec::new() }
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        if is_basic(node.options) { basic::macs(node) } else { macs(infer::lstm(node)) }
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(BuiltinOperator::LSTM)
    }
}

impl OpDef for UnidirectionalSequenceLstm {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_LSTM)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer::outputs(&infer::unidirectional(node)?, true)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(node, infer::unidirectional(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::UNIDIRECTIONAL
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn state_inputs(&self, _node: &Node) -> SmallVec<[usize; 4]> {
        smallvec![UNIDIRECTIONAL.state, UNIDIRECTIONAL.state + 1]
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        macs(infer::unidirectional(node))
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_LSTM)
    }
}

impl OpDef for BidirectionalSequenceLstm {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BIDIRECTIONAL_SEQUENCE_LSTM)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer::outputs(&infer::bidirectional(node)?, true)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(node, infer::bidirectional(node)?)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::BIDIRECTIONAL
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn state_inputs(&self, _node: &Node) -> SmallVec<[usize; 4]> {
        let (fw, bw) = (FORWARD.state, BACKWARD.state);
        smallvec![fw, fw + 1, bw, bw + 1]
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        macs(infer::bidirectional(node))
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(BuiltinOperator::BIDIRECTIONAL_SEQUENCE_LSTM)
    }
}
