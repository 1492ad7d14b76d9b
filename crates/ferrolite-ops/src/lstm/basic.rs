//! The basic kernel: one step, one matrix for all gates, state in and out.
//!
//! A prior state that is a variable is updated as well.
//! Source: LiteRT `kernels/lstm.cc` (`basic`), `internal/optimized/optimized_ops.h` (`LstmCell`).

use crate::common::elementwise::checked_log2;
use crate::common::fixed16::{logistic as logistic16, tanh as tanh16};
use crate::common::linear::per_tensor;
use crate::common::recurrent::{Row, Weight, expect_shape, expect_type, logistic};
use crate::common::requant::{
    Multiplier, rounding_divide_by_pot, saturating_rounding_doubling_high_mul_i16 as mul,
    saturating_rounding_multiply_by_pot,
};
use crate::common::weights::Weights;
use crate::op::{InferResult, Inferred, Io, Kernel, NodeView};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int16, Int32, UInt8};
use smallvec::smallvec;

/// The prior activation and state.
pub const STATES: [usize; 2] = [1, 4];
const WEIGHTS: usize = 2;
const BIAS: usize = 3;

/// Sizes of a step.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    input: usize,
    cells: usize,
}

impl Sizes {
    fn of(node: &NodeView<'_>) -> Result<Sizes, OpError> {
        let (x, prior) = (node.input(0)?, node.input(STATES[0])?);
        let (&[batch, input], &[_, cells]) = (&x.shape[..], &prior.shape[..]) else {
            return Err(OpError::invalid(format!("input {:?} and activation {:?}", x.shape, prior.shape)));
        };
        let (Some(gates), Some(depth)) = (cells.checked_mul(4), cells.checked_add(input)) else {
            return Err(OpError::invalid("sizes overflow"));
        };
        expect_shape(prior, &[batch, cells])?;
        expect_shape(node.input(STATES[1])?, &[batch, cells])?;
        expect_shape(node.input(WEIGHTS)?, &[gates, depth])?;
        expect_shape(node.input(BIAS)?, &[gates])?;
        Ok(Sizes { batch, input, cells })
    }
}

pub fn infer(node: &NodeView<'_>) -> InferResult {
    node.expect(5..=5, 4)?;
    let Sizes { batch, input, cells } = Sizes::of(node)?;
    let ty = node.input(0)?.ty;
    let (fine, bias) = match ty {
        Float32 => (Float32, Float32),
        UInt8 => (Int16, Int32),
        ty => return Err(OpError::unsupported(format!("the basic kernel with an input of type {ty}"))),
    };
    for (index, ty) in [(STATES[0], ty), (WEIGHTS, ty), (BIAS, bias), (STATES[1], fine)] {
        expect_type(node.input(index)?, ty)?;
    }
    // What the last two hold on the way to the first two is part of the format.
    Ok(smallvec![
        Inferred::new(ty, [batch, cells]),
        Inferred::new(fine, [batch, cells]),
        Inferred::new(ty, [batch, input + cells]),
        Inferred::new(fine, [batch, 4 * cells]),
    ])
}

/// Multiply-accumulates of a run.
pub fn macs(node: &NodeView<'_>) -> u64 {
    Sizes::of(node).map_or(0, |s| {
        let [batch, input, cells] = [s.batch, s.input, s.cells].map(|n| n as u64);
        batch.saturating_mul(cells.saturating_mul(4)).saturating_mul(input + cells)
    })
}

/// A kernel whose arithmetic is `C`.
struct Basic<C> {
    sizes: Sizes,
    /// Whether the prior activation and state are variables.
    variables: [bool; 2],
    cell: C,
}

/// The arithmetic of a step of one sequence.
trait Step: Send + Sync {
    type Narrow: Element;
    type Fine: Element;
    type Bias: Element;
    fn weights(&self) -> &Weights<Self::Narrow>;
    fn bias(&self) -> &Weights<Self::Bias>;
    /// The gates before their functions: input, cell, forget, output.
    fn products(&self, x: &[Self::Narrow], w: &[Self::Narrow], bias: &[Self::Bias], gates: &mut [Self::Fine]);
    /// The new state and activation from one cell's gates and its prior state.
    fn cell(&self, gates: [Self::Fine; 4], prior: Self::Fine) -> (Self::Fine, Self::Narrow);
}

/// float32.
struct Float {
    weights: Weights<f32>,
    bias: Weights<f32>,
}

impl Step for Float {
    type Narrow = f32;
    type Fine = f32;
    type Bias = f32;

    fn weights(&self) -> &Weights<f32> {
        &self.weights
    }

    fn bias(&self) -> &Weights<f32> {
        &self.bias
    }

    fn products(&self, x: &[f32], w: &[f32], bias: &[f32], gates: &mut [f32]) {
        gates.copy_from_slice(bias);
        Row::new(x, &mut [], false, None).accumulate(Weight::Float(w), gates);
    }

    fn cell(&self, [i, g, f, o]: [f32; 4], prior: f32) -> (f32, f32) {
        let state = logistic(i) * g.tanh() + logistic(f) * prior;
        (state, logistic(o) * state.tanh())
    }
}

/// uint8 activations of scale 1/128 around 128, a state of int16 in F4.
struct UInt8Cell {
    weights: Weights<u8>,
    bias: Weights<i32>,
    weight_zero: i32,
    scale: Multiplier,
}

impl Step for UInt8Cell {
    type Narrow = u8;
    type Fine = i16;
    type Bias = i32;

    fn weights(&self) -> &Weights<u8> {
        &self.weights
    }

    fn bias(&self) -> &Weights<i32> {
        &self.bias
    }

    fn products(&self, x: &[u8], w: &[u8], bias: &[i32], gates: &mut [i16]) {
        for (r, gate) in gates.iter_mut().enumerate() {
            let row = w[r * x.len()..][..x.len()].iter().zip(x);
            let sum = row.fold(bias[r], |sum, (&w, &x)| {
                sum.wrapping_add((i32::from(w) - self.weight_zero).wrapping_mul(i32::from(x) - 128))
            });
            *gate = self.scale.apply_half_up(sum).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }

    fn cell(&self, [i, g, f, o]: [i16; 4], prior: i16) -> (i16, u8) {
        let new = rounding_divide_by_pot(mul(logistic16(i), tanh16(g, 3)).into(), 4) as i16;
        let state = new.saturating_add(mul(logistic16(f), prior));
        let in_f3 = saturating_rounding_multiply_by_pot(state.into(), 1).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        let activation = mul(logistic16(o), tanh16(in_f3, 3));
        let activation = rounding_divide_by_pot(activation.into(), 8).clamp(-128, 127);
        (state, (activation + 128) as u8)
    }
}

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let sizes = Sizes::of(node)?;
    let variables = [node.input(STATES[0])?.is_variable, node.input(STATES[1])?.is_variable];
    let (weights, bias) = (node.input(WEIGHTS)?, node.input(BIAS)?);
    if node.input(0)?.ty == Float32 {
        let cell = Float { weights: Weights::prepare(WEIGHTS, weights)?, bias: Weights::prepare(BIAS, bias)? };
        return Ok(Box::new(Basic { sizes, variables, cell }));
    }
    let (state_scale, _) = node.output(1)?.scale_zero_point()?;
    if checked_log2(state_scale) != Some(-11) {
        return Err(OpError::unsupported(format!("the basic kernel with a state of scale {state_scale}, not 2^-11")));
    }
    let (bias_scale, _) = bias.scale_zero_point()?;
    let cell = UInt8Cell {
        weights: Weights::prepare(WEIGHTS, weights)?,
        bias: Weights::prepare(BIAS, bias)?,
        weight_zero: per_tensor(weights)?.1,
        // To F3.
        scale: Multiplier::new(f64::from(4096.0 * bias_scale))?,
    };
    Ok(Box::new(Basic { sizes, variables, cell }))
}

impl<C: Step> Kernel for Basic<C> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Sizes { batch, input, cells } = self.sizes;
        let (weights, bias) = (self.cell.weights().get(io)?, self.cell.bias().get(io)?);
        let x = io.input(0)?.slice::<C::Narrow>()?;
        let [activation_in, state_in] = STATES.map(|index| io.optional_input(index));
        let [activation_out, state_out, concat, gates] = &mut io.outputs[..] else {
            return Err(OpError::invalid("an output is missing"));
        };
        let (activation_out, state_out) = (activation_out.slice::<C::Narrow>()?, state_out.slice::<C::Fine>()?);
        let (concat, gates) = (concat.slice::<C::Narrow>()?, gates.slice::<C::Fine>()?);
        let mut states = io.state.iter_mut();
        let mut variable = |is: bool| if is { states.next() } else { None };
        let (mut activation, mut state) = (variable(self.variables[0]), variable(self.variables[1]));
        let prior_activation: &[C::Narrow] = match (&mut activation, &activation_in) {
            (Some(variable), _) => variable.slice()?,
            (None, Some(input)) => input.slice()?,
            (None, None) => return Err(OpError::invalid("the prior activation is missing")),
        };
        let prior_state: &[C::Fine] = match (&mut state, &state_in) {
            (Some(variable), _) => variable.slice()?,
            (None, Some(input)) => input.slice()?,
            (None, None) => return Err(OpError::invalid("the prior state is missing")),
        };
        let depth = input + cells;
        ensure!(prior_activation.len() == batch * cells && concat.len() == batch * depth, "sizes have changed");
        for b in 0..batch {
            let row = &mut concat[b * depth..][..depth];
            row[..input].copy_from_slice(&x[b * input..][..input]);
            row[input..].copy_from_slice(&prior_activation[b * cells..][..cells]);
            let gates = &mut gates[b * 4 * cells..][..4 * cells];
            self.cell.products(row, weights, bias, gates);
            for k in 0..cells {
                let at = b * cells + k;
                let of_cell = [gates[k], gates[cells + k], gates[2 * cells + k], gates[3 * cells + k]];
                (state_out[at], activation_out[at]) = self.cell.cell(of_cell, prior_state[at]);
            }
        }
        if let Some(variable) = &mut activation {
            variable.slice()?.copy_from_slice(activation_out);
        }
        if let Some(variable) = &mut state {
            variable.slice()?.copy_from_slice(state_out);
        }
        Ok(())
    }
}
