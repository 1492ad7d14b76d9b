//! The passes that a node's cells make over its sequences, checked, and the outputs' shapes.

use crate::common::recurrent::{Steps, check_activation, expect_shape, expect_type, is_hybrid};
use crate::op::{Inferred, NodeView};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::Float32;
use ferrolite_model::schema::{
    ActivationFunctionType, BidirectionalSequenceRNNOptionsT, RNNOptionsT, SequenceRNNOptionsT,
};
use ferrolite_model::{BuiltinOptions, TensorType};
use smallvec::SmallVec;

/// A cell on its way through the sequences.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The sequences.
    pub steps: Steps,
    /// Which input of the node it reads.
    pub input: usize,
    /// Its first tensor among the node's inputs: weights, recurrent weights, bias, state.
    pub first: usize,
    /// Auxiliary input and its weights among the node's inputs.
    pub aux: Option<(usize, usize)>,
    /// Length of the input.
    pub depth: usize,
    /// Length of the auxiliary input.
    pub aux_depth: usize,
    /// Length of the state.
    pub units: usize,
    /// Which output of the node it writes.
    pub output: usize,
    /// Where in a row of the output.
    pub offset: usize,
    /// Length of a row of the output.
    pub stride: usize,
    /// From the last step to the first.
    pub backward: bool,
    /// How many times the whole sequence is run through.
    pub rounds: usize,
    /// Which of the node's variables is the state.
    pub state: usize,
    /// Weights are int8.
    pub hybrid: bool,
    /// Hybrid: quantizes activations asymmetrically.
    pub asymmetric: bool,
    /// Of the state.
    pub activation: ActivationFunctionType,
}

/// The passes of a node.
pub type Passes = Result<Vec<Pass>, OpError>;

impl Pass {
    /// Checks a cell whose weights begin at input `first`.
    fn check(
        node: &NodeView<'_>,
        steps: Steps,
        depth: usize,
        first: usize,
        activation: ActivationFunctionType,
        asymmetric: bool,
    ) -> Result<Pass, OpError> {
        check_activation(activation)?;
        expect_type(node.input(0)?, Float32)?;
        let weights = node.input(first)?;
        let &[units, _] = &weights.shape[..] else {
            return Err(OpError::invalid(format!("weights of shape {:?}", weights.shape)));
        };
        let hybrid = is_hybrid(weights.ty)?;
        let (recurrent, bias, state) = (node.input(first + 1)?, node.input(first + 2)?, node.input(first + 3)?);
        expect_shape(weights, &[units, depth])?;
        expect_shape(recurrent, &[units, units])?;
        expect_shape(bias, &[units])?;
        expect_shape(state, &[steps.batch, units])?;
        for (info, ty) in [(recurrent, weights.ty), (bias, Float32), (state, Float32)] {
            expect_type(info, ty)?;
        }
        Ok(Pass {
            steps,
            input: 0,
            first,
            aux: None,
            depth,
            aux_depth: 0,
            units,
            output: 0,
            offset: 0,
            stride: units,
            backward: false,
            rounds: 1,
            state: 0,
            hybrid,
            asymmetric,
            activation,
        })
    }

    /// First element of the row of the auxiliary input that belongs to a step.
    pub fn aux_start(&self, sequence: usize, time: usize) -> usize {
        let Pass { steps, depth, aux_depth, hybrid, .. } = *self;
        let row = steps.row(sequence, time);
        // LiteRT goes from step to step by the length of the input, but for batch-major float nodes. Where that stays inside
        // of the tensor (the auxiliary input is the longer one) its results are followed.
        if depth >= aux_depth || !steps.time_major && !hybrid {
            return row * aux_depth;
        }
        if steps.time_major { time * depth * steps.batch + sequence * aux_depth } else { row * depth }
    }

    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        let [batch, time, units, depth] =
            [self.steps.batch, self.steps.time, self.units, self.depth + self.aux_depth].map(|n| n as u64);
        batch.saturating_mul(time).saturating_mul(units).saturating_mul(depth.saturating_add(units))
    }
}

fn wrong_options() -> OpError {
    OpError::invalid("options of another operator")
}

/// The pass of an RNN node: one step.
pub fn rnn(node: &NodeView<'_>) -> Passes {
    let default = RNNOptionsT::default();
    let o = match node.options {
        BuiltinOptions::NONE => &default,
        options => options.as_rnnoptions().ok_or_else(wrong_options)?,
    };
    node.expect(5..=5, 1)?;
    let x = node.input(0)?;
    let &[batch, depth] = &x.shape[..] else {
        return Err(OpError::invalid(format!("input of shape {:?} has not 2 dimensions", x.shape)));
    };
    let steps = Steps { batch, time: 1, time_major: true };
    Ok(vec![Pass::check(node, steps, depth, 1, o.fused_activation_function, o.asymmetric_quantize_inputs)?])
}

/// The pass of a UNIDIRECTIONAL_SEQUENCE_RNN node.
pub fn unidirectional(node: &NodeView<'_>) -> Passes {
    let default = SequenceRNNOptionsT::default();
    let o = match node.options {
        BuiltinOptions::NONE => &default,
        options => options.as_sequence_rnnoptions().ok_or_else(wrong_options)?,
    };
    node.expect(5..=5, 1)?;
    let shape = &node.input(0)?.shape;
    let steps = Steps::of(shape, o.time_major)?;
    Ok(vec![Pass::check(node, steps, shape[2], 1, o.fused_activation_function, o.asymmetric_quantize_inputs)?])
}

/// The passes of a BIDIRECTIONAL_SEQUENCE_RNN node, forward and backward.
///
/// An auxiliary input with weights of its own goes to both cells beside the input. One without weights is the backward
/// cell's input: the other half of an unmerged bidirectional layer before this one.
pub fn bidirectional(node: &NodeView<'_>) -> Passes {
    const AUX: usize = 9;
    let default = BidirectionalSequenceRNNOptionsT::default();
    let o = match node.options {
        BuiltinOptions::NONE => &default,
        options => options.as_bidirectional_sequence_rnnoptions().ok_or_else(wrong_options)?,
    };
    node.expect(12..=12, if o.merge_outputs { 1 } else { 2 })?;
    let shape = &node.input(0)?.shape;
    let (steps, depth) = (Steps::of(shape, o.time_major)?, shape[2]);
    let (activation, asymmetric) = (o.fused_activation_function, o.asymmetric_quantize_inputs);
    let mut forward = Pass::check(node, steps, depth, 1, activation, asymmetric)?;
    let mut backward = Pass { state: 1, backward: true, ..Pass::check(node, steps, depth, 5, activation, asymmetric)? };
    let weights = [node.optional_input(AUX + 1), node.optional_input(AUX + 2)];
    match (node.optional_input(AUX), weights) {
        (None, [None, None]) => {}
        (Some(aux), [None, None]) => {
            expect_type(aux, Float32)?;
            expect_shape(aux, shape)?;
            // LiteRT gives the backward cell of a batch-major node the input nevertheless.
            backward.input = if o.time_major { AUX } else { 0 };
        }
        (Some(aux), [Some(fw), Some(bw)]) => {
            expect_type(aux, Float32)?;
            let n = aux.shape.last().copied().unwrap_or(0);
            expect_shape(aux, &steps.shape(n))?;
            for (pass, weights, index) in [(&mut forward, fw, AUX + 1), (&mut backward, bw, AUX + 2)] {
                expect_shape(weights, &[pass.units, n])?;
                expect_type(weights, node.input(pass.first)?.ty)?;
                (pass.aux, pass.aux_depth) = (Some((AUX, index)), n);
            }
        }
        _ => return Err(OpError::invalid("an auxiliary input with weights for one cell, or weights without it")),
    }
    ensure!(forward.hybrid == backward.hybrid, "cells of different types");
    if o.merge_outputs {
        let stride = forward.units + backward.units;
        (forward.stride, backward.stride, backward.offset) = (stride, stride, forward.units);
    } else {
        backward.output = 1;
    }
    if forward.hybrid && o.time_major {
        // LiteRT runs a hybrid, time-major node through its sequence once for every time step. The state goes on, so that
        // it matters.
        (forward.rounds, backward.rounds) = (steps.time, steps.time);
    }
    Ok(vec![forward, backward])
}

/// Types and shapes of the outputs of passes; of RNN, without the dimension of time.
pub fn outputs(passes: &[Pass], sequence: bool) -> SmallVec<[Inferred; 2]> {
    let mut outputs: SmallVec<[Inferred; 2]> = SmallVec::new();
    for pass in passes {
        if pass.output != outputs.len() {
            continue;
        }
        let [a, b, n] = pass.steps.shape(pass.stride);
        let ty = TensorType::Float32;
        outputs.push(if sequence { Inferred::new(ty, [a, b, n]) } else { Inferred::new(ty, [pass.steps.batch, n]) });
    }
    outputs
}
