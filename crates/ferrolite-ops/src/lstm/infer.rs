//! The passes that a node's cells make over its sequences, checked, and the outputs' shapes.

use super::cell::{BACKWARD, Cell, FORWARD, INPUT, Kind, Settings, UNIDIRECTIONAL};
use crate::common::recurrent::{Steps, expect_shape, expect_type};
use crate::op::{InferResult, Inferred, NodeView};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};
use ferrolite_model::schema::{
    BidirectionalSequenceLSTMOptionsT, LSTMKernelType, LSTMOptionsT, UnidirectionalSequenceLSTMOptionsT,
};
use ferrolite_model::{BuiltinOptions, TensorType};
use std::borrow::Cow;

/// A cell on its way through the sequences.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The cell.
    pub cell: Cell,
    /// The sequences.
    pub steps: Steps,
    /// Which input of the node it reads.
    pub input: usize,
    /// Which input of the node is the auxiliary one.
    pub aux: Option<usize>,
    /// Which output of the node it writes.
    pub output: usize,
    /// Where in a row of the output.
    pub offset: usize,
    /// Length of a row of the output.
    pub stride: usize,
    /// From the last step to the first.
    pub backward: bool,
    /// Which of the node's variables is the output state; the cell state follows.
    pub state: usize,
}

impl Pass {
    /// The time steps in their order.
    pub fn times(&self) -> impl Iterator<Item = usize> + use<> {
        let (time, backward) = (self.steps.time, self.backward);
        (0..time).map(move |t| if backward { time - 1 - t } else { t })
    }
}

/// The passes of a node.
pub type Passes = Result<Vec<Pass>, OpError>;

macro_rules! options {
    ($($name:ident: $ty:ty, $as:ident;)+) => {
        $(/// The node's options; absent ones are the defaults.
        pub fn $name<'a>(options: &'a BuiltinOptions) -> Result<Cow<'a, $ty>, OpError> {
            match options {
                BuiltinOptions::NONE => Ok(Cow::Owned(<$ty>::default())),
                options => match options.$as() {
                    Some(options) => Ok(Cow::Borrowed(options)),
                    None => Err(OpError::invalid("options of another operator")),
                },
            }
        })+
    };
}

options! {
    lstm_options: LSTMOptionsT, as_lstmoptions;
    unidirectional_options: UnidirectionalSequenceLSTMOptionsT, as_unidirectional_sequence_lstmoptions;
    bidirectional_options: BidirectionalSequenceLSTMOptionsT, as_bidirectional_sequence_lstmoptions;
}

/// Whether the options of an LSTM node ask for the basic kernel.
pub fn is_basic(options: &BuiltinOptions) -> bool {
    lstm_options(options).is_ok_and(|o| o.kernel_type == LSTMKernelType::BASIC)
}

/// 20 inputs, or 24 with those of layer normalization.
fn expect_inputs(node: &NodeView<'_>) -> Result<(), OpError> {
    node.expect(20..=24, 1)?;
    ensure!(matches!(node.inputs.len(), 20 | 24), "has {} inputs, takes 20 or 24", node.inputs.len());
    Ok(())
}

fn single(cell: Cell, steps: Steps) -> Pass {
    let stride = cell.sizes.outputs;
    Pass { cell, steps, input: 0, aux: None, output: 0, offset: 0, stride, backward: false, state: 0 }
}

/// The pass of an LSTM node (full kernel): one step.
pub fn lstm(node: &NodeView<'_>) -> Passes {
    let o = lstm_options(node.options)?;
    ensure!(o.kernel_type == LSTMKernelType::FULL, "unknown kernel type {}", o.kernel_type.0);
    expect_inputs(node)?;
    let x = node.input(0)?;
    let &[batch, _] = &x.shape[..] else {
        return Err(OpError::invalid(format!("input of shape {:?} has not 2 dimensions", x.shape)));
    };
    let settings = Settings {
        activation: o.fused_activation_function,
        cell_clip: o.cell_clip,
        proj_clip: o.proj_clip,
        asymmetric: o.asymmetric_quantize_inputs,
    };
    let cell = Cell::check(node, UNIDIRECTIONAL, settings, x, None, batch)?;
    Ok(vec![single(cell, Steps { batch, time: 1, time_major: true })])
}

/// The pass of a UNIDIRECTIONAL_SEQUENCE_LSTM node.
pub fn unidirectional(node: &NodeView<'_>) -> Passes {
    let o = unidirectional_options(node.options)?;
    expect_inputs(node)?;
    let x = node.input(0)?;
    let steps = Steps::of(&x.shape, o.time_major)?;
    let settings = Settings {
        activation: o.fused_activation_function,
        cell_clip: o.cell_clip,
        proj_clip: o.proj_clip,
        asymmetric: o.asymmetric_quantize_inputs,
    };
    let cell = Cell::check(node, UNIDIRECTIONAL, settings, x, None, steps.batch)?;
    Ok(vec![single(cell, steps)])
}

/// The passes of a BIDIRECTIONAL_SEQUENCE_LSTM node, forward and backward.
///
/// An auxiliary input with weights of its own goes to both cells beside the input. One without weights is the backward
/// cell's input: the other half of an unmerged bidirectional layer before this one.
pub fn bidirectional(node: &NodeView<'_>) -> Passes {
    let o = bidirectional_options(node.options)?;
    node.expect(48..=48, if o.merge_outputs { 1 } else { 2 })?;
    let x = node.input(0)?;
    expect_type(x, TensorType::Float32)?;
    let steps = Steps::of(&x.shape, o.time_major)?;
    let settings = Settings {
        activation: o.fused_activation_function,
        cell_clip: o.cell_clip,
        proj_clip: o.proj_clip,
        asymmetric: o.asymmetric_quantize_inputs,
    };
    const AUX: usize = 39;
    let aux = node.optional_input(AUX);
    let weights = (AUX + 1..48).filter(|i| (i - AUX - 1) % 4 != INPUT).filter(|&i| node.optional_input(i).is_some());
    let with_weights = match weights.count() {
        0 => false,
        6 => true,
        n => return Err(OpError::invalid(format!("{n} of 6 weights of an auxiliary input"))),
    };
    if let Some(aux) = aux {
        expect_type(aux, TensorType::Float32)?;
        let depth = if with_weights { last(aux)? } else { last(x)? };
        expect_shape(aux, &steps.shape(depth))?;
    }
    ensure!(aux.is_some() || !with_weights, "weights of an auxiliary input that is missing");
    let beside = aux.filter(|_| with_weights).map(last).transpose()?;
    let forward = Cell::check(node, FORWARD, settings, x, beside, steps.batch)?;
    let backward = Cell::check(node, BACKWARD, settings, x, beside, steps.batch)?;
    ensure!(forward.kind == backward.kind, "cells of different types");
    let (n, m) = (forward.sizes.outputs, backward.sizes.outputs);
    let beside = with_weights.then_some(AUX);
    let merged = o.merge_outputs;
    Ok(vec![
        Pass { aux: beside, stride: if merged { n + m } else { n }, ..single(forward, steps) },
        Pass {
            input: if aux.is_some() && !with_weights { AUX } else { 0 },
            aux: beside,
            output: usize::from(!merged),
            offset: if merged { n } else { 0 },
            stride: if merged { n + m } else { m },
            backward: true,
            state: 2,
            ..single(backward, steps)
        },
    ])
}

fn last(info: &TensorInfo<'_>) -> Result<usize, OpError> {
    info.shape.last().copied().ok_or_else(|| OpError::invalid(format!("tensor {:?} is a scalar", info.name)))
}

/// Types and shapes of the outputs of passes; of LSTM, without the dimension of time.
pub fn outputs(passes: &[Pass], sequence: bool) -> InferResult {
    let mut outputs: smallvec::SmallVec<[Inferred; 2]> = smallvec::SmallVec::new();
    for pass in passes {
        if pass.output != outputs.len() {
            continue;
        }
        let ty = if pass.cell.kind == Kind::Integer { TensorType::Int8 } else { TensorType::Float32 };
        let [a, b, n] = pass.steps.shape(pass.stride);
        outputs.push(if sequence { Inferred::new(ty, [a, b, n]) } else { Inferred::new(ty, [pass.steps.batch, n]) });
    }
    Ok(outputs)
}
