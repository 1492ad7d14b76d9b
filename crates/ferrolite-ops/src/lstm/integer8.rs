//! The specification of the other int8 cell of LSTM: sums of the gates' products in int8, which twelve intermediates
//! describe. It has no input gate, and always layer normalization and a projection.
//!
//! Sources: LiteRT `kernels/lstm.cc` (`PopulateQuantizedLstmParams8x8_8`), `kernels/lstm_eval.cc` (`LstmStepInteger8x8_8`),
//! `internal/reference/portable_tensor_utils.cc`.

use super::cell::{CELL, Cell, FORGET, OUTPUT, Sizes};
use super::infer::Pass;
use super::integer::{narrow, product, saturate, scale_of, update_cell};
use crate::common::recurrent::symmetric_scale;
use crate::common::requant::Multiplier;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::{OpError, ensure};

/// Per gate: the sum, the input's products, the output state's products.
pub const INTERMEDIATES: usize = 12;

/// A product with weights, requantized to an int8 of its own, and from there to the gate's sum.
struct Product {
    weights: Weights<i8>,
    zero_in: i32,
    to_own: Multiplier,
    zero: i32,
    to_sum: Multiplier,
}

struct Gate {
    input: Product,
    recurrent: Product,
    norm: Weights<i16>,
    norm_scale: f32,
    bias: Weights<i32>,
}

/// The reference kernel.
pub struct Reference {
    pass: Pass,
    gates: [Gate; 3],
    cell_clip: i16,
    projection: Weights<i8>,
    projection_bias: Option<Weights<i32>>,
    projection_scale: Multiplier,
    output_zero: i32,
    output_clip: i8,
}

fn multiplier(factor: f32) -> Result<Multiplier, OpError> {
    Multiplier::new(f64::from(factor))
}

impl Reference {
    /// Prepares the one pass of a node.
    pub fn prepare(node: &NodeView<'_>, pass: Pass) -> Result<Reference, OpError> {
        let cell = &pass.cell;
        let at = cell.at;
        let Some(norm_at) = at.norm.filter(|_| cell.norm && cell.projection && cell.coupled) else {
            return Err(OpError::unsupported(
                "an LSTM of 12 intermediates with an input gate, or without layer normalization or a projection",
            ));
        };
        ensure!(!cell.peephole, "an LSTM of 12 intermediates with peepholes");
        let (input_scale, input_zero) = narrow(node.input(0)?)?;
        let (state_scale, output_zero) = narrow(node.input(at.state)?)?;
        let (output_scale, _) = narrow(node.output(0)?)?;
        let (cell_scale, _) = scale_of(node.input(at.state + 1)?)?;
        ensure!(cell_scale == 1.0 / 32768.0, "the cell state's scale is {cell_scale}, not 2^-15");
        let gate = |gate: usize| {
            let (sum, _) = scale_of(&node.intermediates[3 * gate])?;
            let product = |first: usize, own: usize, scale: f32, zero_in: i32| {
                let weights = node.input(first + gate)?;
                let (own_scale, zero) = narrow(&node.intermediates[3 * gate + own])?;
                Ok::<_, OpError>(Product {
                    to_own: multiplier(symmetric_scale(weights)? * scale / own_scale)?,
                    weights: Weights::prepare(first + gate, weights)?,
                    zero_in,
                    zero,
                    // LiteRT reads the output gate's pair of these past the end of its table; here it is the pair meant.
                    to_sum: multiplier(own_scale / sum)?,
                })
            };
            let norm = node.input(norm_at + gate)?;
            let norm_multiplier = multiplier(symmetric_scale(norm)?)?;
            Ok::<_, OpError>(Gate {
                input: product(at.input, 1, input_scale, input_zero)?,
                recurrent: product(at.recurrent, 2, state_scale, output_zero)?,
                norm: Weights::prepare(norm_at + gate, norm)?,
                norm_scale: (f64::from(norm_multiplier.multiplier) * 2f64.powi(norm_multiplier.shift - 31)) as f32,
                bias: Weights::prepare(at.bias + gate, node.input(at.bias + gate)?)?,
            })
        };
        let gates = [gate(FORGET)?, gate(CELL)?, gate(OUTPUT)?];
        let projection = node.input(at.projection)?;
        let factor = f64::from(symmetric_scale(projection)?) * 2f64.powi(-15) / f64::from(state_scale);
        let bias = node.optional_input(at.projection + 1).map(|info| Weights::prepare(at.projection + 1, info));
        let clip = cell.settings.cell_clip;
        let clip = if clip < 1.0 { clip / cell_scale } else { 0.0 };
        Ok(Reference {
            gates,
            cell_clip: clip.clamp(-32768.0, 32767.0) as i16,
            projection: Weights::prepare(at.projection, projection)?,
            projection_bias: bias.transpose()?,
            projection_scale: multiplier(factor as f32)?,
            output_zero,
            output_clip: (cell.settings.proj_clip / output_scale).clamp(-128.0, 127.0) as i8,
            pass,
        })
    }
}

impl Product {
    /// Adds the product of a row of weights, in the scale of the gate's sum.
    fn value(&self, weights: &[i8], r: usize, x: &[i8]) -> i32 {
        let sum = self.to_own.apply(product(weights, r, x, self.zero_in, 0));
        let own = sum.saturating_add(self.zero).clamp(-128, 127);
        self.to_sum.apply(own - self.zero)
    }
}

/// A gate as a run sees it.
#[derive(Clone, Copy)]
struct Bound<'a> {
    gate: &'a Gate,
    input: &'a [i8],
    recurrent: &'a [i8],
    norm: &'a [i16],
    bias: &'a [i32],
}

impl Gate {
    fn bind<'s, 'a: 's>(&'s self, io: &Io<'a>) -> Result<Bound<'s>, OpError> {
        Ok(Bound {
            gate: self,
            input: self.input.weights.get(io)?,
            recurrent: self.recurrent.weights.get(io)?,
            norm: self.norm.get(io)?,
            bias: self.bias.get(io)?,
        })
    }
}

impl Bound<'_> {
    /// The gate's value in F0, by a function of its normalized sum.
    fn run(&self, x: &[i8], h: &[i8], f: impl Fn(f32) -> f32, out: &mut [i16]) {
        let Gate { input, recurrent, norm_scale, .. } = self.gate;
        for (r, out) in out.iter_mut().enumerate() {
            let from_state = recurrent.value(self.recurrent, r, h);
            *out = saturate(input.value(self.input, r, x).saturating_add(from_state));
        }
        let n = out.len() as f32;
        let (sum, squares) = out.iter().fold((0.0f32, 0.0f32), |(sum, squares), &v| {
            let v = f32::from(v);
            (sum + v, squares + v * v)
        });
        let mean = sum / n;
        let variance = squares / n - mean * mean;
        let inverse = 1.0 / if variance == 0.0 { 1e-8f32 } else { variance }.sqrt();
        let bias_scale = 2f32.powi(-10) * norm_scale;
        for ((value, &weight), &bias) in out.iter_mut().zip(self.norm).zip(self.bias) {
            let normal = (f32::from(*value) - mean) * inverse;
            let weighted = normal * f32::from(weight) * norm_scale + bias as f32 * bias_scale;
            let raw = saturate((weighted * 4096.0).round() as i32);
            *value = saturate((f(f32::from(raw) * 2f32.powi(-12)) * 32768.0) as i32);
        }
    }
}

impl Kernel for Reference {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Reference { pass, .. } = self;
        let Cell { sizes: Sizes { input, cells, outputs, .. }, .. } = pass.cell;
        let steps = pass.steps;
        let [forget, cell, output] = &self.gates;
        let (forget, cell, output) = (forget.bind(io)?, cell.bind(io)?, output.bind(io)?);
        let projection = self.projection.get(io)?;
        let bias = self.projection_bias.as_ref().map(|bias| bias.get(io)).transpose()?;
        let xs = io.input(0)?.slice::<i8>()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let (f, g, o) = (scratch.take::<i16>(cells)?, scratch.take::<i16>(cells)?, scratch.take::<i16>(cells)?);
        let [h, c] = &mut io.state[..] else { return Err(OpError::invalid("state is missing")) };
        let (hs, cs) = (h.slice::<i8>()?, c.slice::<i16>()?);
        let out = io.outputs[0].slice::<i8>()?;
        ensure!(hs.len() == steps.batch * outputs && cs.len() == steps.batch * cells, "state of another size");
        let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
        for b in 0..steps.batch {
            let (h, c) = (&mut hs[b * outputs..][..outputs], &mut cs[b * cells..][..cells]);
            for t in pass.times() {
                let row = steps.row(b, t);
                let x = &xs[row * input..][..input];
                forget.run(x, h, logistic, f);
                cell.run(x, h, f32::tanh, g);
                update_cell(c, -15, None, f, g, self.cell_clip);
                output.run(x, h, logistic, o);
                for (o, &c) in o.iter_mut().zip(&*c) {
                    let squashed = saturate((f32::tanh(f32::from(c) * 2f32.powi(-15)) * 32768.0) as i32);
                    let product = i32::from(*o) * i32::from(squashed);
                    *o = crate::common::requant::rounding_divide_by_pot(product, 15) as i16;
                }
                for (r, h) in h.iter_mut().enumerate() {
                    let row = projection[r * cells..][..cells].iter().zip(&*o);
                    let sum = row.fold(bias.map_or(0i64, |bias| bias[r].into()), |sum, (&w, &x)| {
                        sum + i64::from(w) * i64::from(x)
                    });
                    let value = self.projection_scale.apply(sum as i32).saturating_add(self.output_zero);
                    *h = value.clamp(-128, 127) as i8;
                    if self.output_clip > 0 {
                        *h = (*h).min(self.output_clip).max(-self.output_clip);
                    }
                }
                out[row * outputs..][..outputs].copy_from_slice(h);
            }
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        scratch_size::<i16>(self.pass.cell.sizes.cells).saturating_mul(3)
    }
}
