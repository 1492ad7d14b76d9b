//! The specification for int8: gates in int16, a cell state of int16 with a scale that is a power of two.
//!
//! Sources: LiteRT `kernels/lstm.cc` (`PopulateQuantizedLstmParams8x8_16`), `kernels/lstm_eval.cc`,
//! `internal/reference/portable_tensor_utils.cc`.

use super::cell::{CELL, Cell, INPUT, OUTPUT, Sizes};
use super::infer::Pass;
use crate::common::elementwise::checked_log2;
use crate::common::fixed16::{logistic, tanh};
use crate::common::inverse_sqrt::inverse_sqrt;
use crate::common::recurrent::symmetric_scale;
use crate::common::requant::{Multiplier, rounding_divide_by_pot};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};

/// Intermediates: the sums of the gates (with layer normalization), and the output before its projection.
const INTERMEDIATES: usize = 5;
/// See [`INTERMEDIATES`].
const HIDDEN: usize = 4;

/// Scale factors and tensors of a gate.
pub struct Gate {
    /// Of the input's products.
    pub input_scale: Multiplier,
    /// Of the output state's products.
    pub recurrent_scale: Multiplier,
    input: Weights<i8>,
    recurrent: Weights<i8>,
    /// Scales of the products with the cell state, and the weights.
    pub peephole: Option<(Multiplier, Weights<i16>)>,
    /// Layer normalization.
    pub norm: Option<Norm>,
    bias: Weights<i32>,
    /// tanh rather than the logistic function.
    pub tanh: bool,
}

/// Layer normalization of a gate.
pub struct Norm {
    weights: Weights<i16>,
    scale: Multiplier,
    /// Stands for a variance of 0.
    guard: i32,
}

/// Scale factors and tensors of a cell.
pub struct Parameters {
    /// The gates that it has.
    pub gates: [Option<Gate>; 4],
    /// Zero point of the input.
    pub input_zero: i32,
    /// Zero point of the output state.
    pub output_zero: i32,
    /// The cell state's scale is 2^this.
    pub cell_scale: i32,
    /// Bound of the cell state; 0 for none.
    pub cell_clip: i16,
    /// Scale and zero point of the output before its projection.
    pub hidden: (Multiplier, i32),
    /// The projection.
    pub projection: Option<Projection>,
}

/// The projection of the output.
pub struct Projection {
    weights: Weights<i8>,
    bias: Option<Weights<i32>>,
    /// Of its products.
    pub scale: Multiplier,
    /// Bound of the result; 0 for none.
    pub clip: i8,
}

impl Projection {
    /// The output from a sum of products.
    #[inline]
    pub fn finish(&self, sum: i32, zero: i32) -> i8 {
        let h = self.scale.apply(sum).saturating_add(zero).clamp(-128, 127) as i8;
        if self.clip > 0 { h.min(self.clip).max(-self.clip) } else { h }
    }
}

/// A factor that LiteRT has computed in float32.
fn multiplier(factor: f32) -> Result<Multiplier, OpError> {
    Multiplier::new(f64::from(factor))
}

/// A tensor's scale, which must be positive, and zero point.
pub fn scale_of(info: &TensorInfo<'_>) -> Result<(f32, i32), OpError> {
    let (scale, zero_point) = info.scale_zero_point()?;
    ensure!(scale.is_finite() && scale > 0.0, "tensor {:?} has scale {scale}", info.name);
    Ok((scale, zero_point))
}

/// [`scale_of`] a tensor of int8.
pub fn narrow(info: &TensorInfo<'_>) -> Result<(f32, i32), OpError> {
    let (scale, zero_point) = scale_of(info)?;
    ensure!((-128..=127).contains(&zero_point), "tensor {:?} has zero point {zero_point}", info.name);
    Ok((scale, zero_point))
}

impl Parameters {
    /// Prepares a cell.
    pub fn prepare(node: &NodeView<'_>, cell: &Cell) -> Result<Parameters, OpError> {
        let at = cell.at;
        let given = node.intermediates.len();
        ensure!(given == INTERMEDIATES, "has {given} intermediates, an integer LSTM has {INTERMEDIATES}");
        let (input_scale, input_zero) = narrow(node.input(0)?)?;
        let (state_scale, output_zero) = narrow(node.input(at.state)?)?;
        let (output_scale, _) = narrow(node.output(0)?)?;
        let (cell_state_scale, _) = scale_of(node.input(at.state + 1)?)?;
        let (hidden_scale, hidden_zero) = narrow(&node.intermediates[HIDDEN])?;
        let cell_scale = checked_log2(cell_state_scale)
            .ok_or_else(|| OpError::invalid(format!("the cell state's scale {cell_state_scale} is no power of 2")))?;
        if !(-15..=-9).contains(&cell_scale) {
            return Err(OpError::unsupported(format!("a cell state of scale 2^{cell_scale}, not 2^-15 to 2^-9")));
        }
        let vector = |index: usize| Weights::<i32>::prepare(index, node.input(index)?);
        let mut gates = [None, None, None, None];
        for gate in cell.gates() {
            let sum = if cell.norm { scale_of(&node.intermediates[gate])?.0 } else { 2f32.powi(-12) };
            let (input, recurrent) = (node.input(at.input + gate)?, node.input(at.recurrent + gate)?);
            let peephole = at.peephole_of(gate).filter(|_| cell.peephole).map(|index| {
                let weights = node.input(index)?;
                let factor = 2f64.powi(cell_scale) * f64::from(symmetric_scale(weights)?) / f64::from(sum);
                Ok::<_, OpError>((multiplier(factor as f32)?, Weights::<i16>::prepare(index, weights)?))
            });
            let norm = at.norm.filter(|_| cell.norm).map(|norm| {
                let weights = node.input(norm + gate)?;
                let scale = symmetric_scale(weights)?;
                Ok::<_, OpError>(Norm {
                    weights: Weights::prepare(norm + gate, weights)?,
                    scale: multiplier(scale)?,
                    guard: ((10_000.0 * scale) as i32).max(1),
                })
            });
            gates[gate] = Some(Gate {
                input_scale: multiplier(symmetric_scale(input)? * input_scale / sum)?,
                recurrent_scale: multiplier(symmetric_scale(recurrent)? * state_scale / sum)?,
                input: Weights::prepare(at.input + gate, input)?,
                recurrent: Weights::prepare(at.recurrent + gate, recurrent)?,
                peephole: peephole.transpose()?,
                norm: norm.transpose()?,
                bias: vector(at.bias + gate)?,
                tanh: gate == CELL,
            });
        }
        let projection = cell.projection.then(|| {
            let weights = node.input(at.projection)?;
            let bias = node.optional_input(at.projection + 1).map(|_| vector(at.projection + 1));
            Ok::<_, OpError>(Projection {
                weights: Weights::prepare(at.projection, weights)?,
                bias: bias.transpose()?,
                scale: multiplier(symmetric_scale(weights)? * hidden_scale / state_scale)?,
                clip: (cell.settings.proj_clip / output_scale).clamp(-128.0, 127.0) as i8,
            })
        });
        let unit = 2f64.powi(-15);
        Ok(Parameters {
            gates,
            input_zero,
            output_zero,
            cell_scale,
            cell_clip: (cell.settings.cell_clip / cell_state_scale).clamp(-32768.0, 32767.0) as i16,
            hidden: (multiplier((unit / f64::from(hidden_scale) * unit) as f32)?, hidden_zero),
            projection: projection.transpose()?,
        })
    }
}

/// bias + Σ w · (x − zero): the row of `w` that starts at `r · x.len()`.
#[inline]
pub fn product(w: &[i8], r: usize, x: &[i8], zero: i32, bias: i32) -> i32 {
    let row = w[r * x.len()..][..x.len()].iter().zip(x);
    row.fold(bias, |sum, (&w, &x)| sum.wrapping_add(i32::from(w).wrapping_mul(i32::from(x).wrapping_sub(zero))))
}

/// The nearest int16.
#[inline]
pub fn saturate(x: i32) -> i16 {
    x.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

impl Norm {
    /// Normalizes in place and adds the bias: from the gate's own scale to 2^−12.
    fn run(&self, weights: &[i16], bias: &[i32], values: &mut [i16]) {
        const TWO_TO_20: i64 = 1 << 20;
        let n = values.len().max(1) as i64;
        let sums = values.iter().map(|&v| i64::from(v)).fold((0i64, 0i64), |(sum, sq), v| (sum + v, sq + v * v));
        // The mean has 10 fractional bits, the variance 20.
        let mean = (sums.0 * 1024 / n) as i32;
        let variance = sums.1.wrapping_mul(TWO_TO_20 / n).wrapping_sub(i64::from(mean) * i64::from(mean));
        let variance = (variance / TWO_TO_20) as i32;
        let inverse = inverse_sqrt(if variance < 1 { self.guard } else { variance });
        let to_gate = Multiplier { shift: self.scale.shift + 12, ..self.scale };
        for ((value, &weight), &bias) in values.iter_mut().zip(weights).zip(bias) {
            let centred = (1024 * i32::from(*value)).wrapping_sub(mean);
            let weighted = inverse.apply(centred).wrapping_mul(weight.into()).wrapping_add(bias);
            let weighted = i64::from(weighted);
            let rounded = (if weighted > 0 { weighted + 512 } else { weighted - 512 }) / 1024;
            *value = saturate(to_gate.apply(rounded as i32));
        }
    }
}

/// A gate as a run sees it.
#[derive(Clone, Copy)]
struct Bound<'a> {
    gate: &'a Gate,
    input: &'a [i8],
    recurrent: &'a [i8],
    peephole: Option<(Multiplier, &'a [i16])>,
    norm: Option<(&'a Norm, &'a [i16])>,
    bias: &'a [i32],
}

impl Gate {
    fn bind<'s, 'a: 's>(&'s self, io: &Io<'a>) -> Result<Bound<'s>, OpError> {
        let peephole = self.peephole.as_ref().map(|(scale, w)| Ok::<_, OpError>((*scale, w.get(io)?)));
        let norm = self.norm.as_ref().map(|norm| Ok::<_, OpError>((norm, norm.weights.get(io)?)));
        Ok(Bound {
            gate: self,
            input: self.input.get(io)?,
            recurrent: self.recurrent.get(io)?,
            peephole: peephole.transpose()?,
            norm: norm.transpose()?,
            bias: self.bias.get(io)?,
        })
    }
}

impl Bound<'_> {
    /// The gate's value in F0.
    fn run(&self, p: &Parameters, x: &[i8], h: &[i8], c: &[i16], out: &mut [i16]) {
        for (r, out) in out.iter_mut().enumerate() {
            // With layer normalization the bias comes after it.
            let bias = if self.norm.is_some() { 0 } else { self.bias[r] };
            let from_input = product(self.input, r, x, p.input_zero, bias);
            let sum = saturate(self.gate.input_scale.apply(from_input));
            let from_state = product(self.recurrent, r, h, p.output_zero, 0);
            *out = saturate(self.gate.recurrent_scale.apply(from_state).saturating_add(sum.into()));
        }
        finish(self.gate, self.peephole, self.norm.map(|(norm, w)| (norm, w, self.bias)), c, out);
    }
}

/// What follows a gate's matrix products.
fn finish(
    gate: &Gate,
    peephole: Option<(Multiplier, &[i16])>,
    norm: Option<(&Norm, &[i16], &[i32])>,
    c: &[i16],
    out: &mut [i16],
) {
    if let Some((scale, weights)) = peephole {
        // All cells have one; LiteRT takes the length of the output for their number, which a projection makes another.
        for ((out, &w), &c) in out.iter_mut().zip(weights).zip(c) {
            *out = saturate(scale.apply(i32::from(w) * i32::from(c)).saturating_add((*out).into()));
        }
    }
    if let Some((norm, weights, bias)) = norm {
        norm.run(weights, bias, out);
    }
    if gate.tanh {
        out.iter_mut().for_each(|x| *x = tanh(*x, 3));
    } else {
        out.iter_mut().for_each(|x| *x = logistic(*x));
    }
}

/// The cell state from the gates: `scale` is the exponent of its scale, 0 for `clip` is no bound.
pub fn update_cell(c: &mut [i16], scale: i32, input: Option<&[i16]>, forget: &[i16], cell: &[i16], clip: i16) {
    for (k, c) in c.iter_mut().enumerate() {
        let kept = rounding_divide_by_pot(i32::from(forget[k]) * i32::from(*c), 15) as i16;
        let input = input.map_or_else(|| i16::MAX.wrapping_sub(forget[k]), |input| input[k]);
        let new = rounding_divide_by_pot(i32::from(input) * i32::from(cell[k]), 30 + scale) as i16;
        *c = kept.saturating_add(new);
        if clip > 0 {
            *c = (*c).min(clip).max(-clip);
        }
    }
}

/// The reference kernel.
pub struct Reference {
    pass: Pass,
    parameters: Parameters,
}

impl Reference {
    /// Prepares the one pass of a node.
    pub fn prepare(node: &NodeView<'_>, pass: Pass) -> Result<Reference, OpError> {
        Ok(Reference { parameters: Parameters::prepare(node, &pass.cell)?, pass })
    }
}

impl Kernel for Reference {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Reference { pass, parameters: p } = self;
        let (steps, Sizes { input, cells, outputs, .. }) = (pass.steps, pass.cell.sizes);
        let mut gates = [None; 4];
        for (gate, slot) in p.gates.iter().zip(&mut gates) {
            *slot = gate.as_ref().map(|gate| gate.bind(io)).transpose()?;
        }
        let projection = match &p.projection {
            None => None,
            Some(projection) => {
                let bias = projection.bias.as_ref().map(|bias| bias.get(io)).transpose()?;
                Some((projection, projection.weights.get(io)?, bias))
            }
        };
        let xs = io.input(0)?.slice::<i8>()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let mut work = [scratch.take(cells)?, scratch.take(cells)?, scratch.take(cells)?, scratch.take(cells)?];
        let hidden = scratch.take::<i8>(cells)?;
        let [h, c] = &mut io.state[..] else { return Err(OpError::invalid("state is missing")) };
        let (hs, cs) = (h.slice::<i8>()?, c.slice::<i16>()?);
        let out = io.outputs[0].slice::<i8>()?;
        ensure!(hs.len() == steps.batch * outputs && cs.len() == steps.batch * cells, "state of another size");
        for b in 0..steps.batch {
            let (h, c) = (&mut hs[b * outputs..][..outputs], &mut cs[b * cells..][..cells]);
            for t in pass.times() {
                let row = steps.row(b, t);
                let x = &xs[row * input..][..input];
                for (gate, out) in gates[..OUTPUT].iter().zip(&mut work) {
                    if let Some(gate) = gate {
                        gate.run(p, x, h, c, out);
                    }
                }
                let [i, f, g, o] = &mut work;
                update_cell(c, p.cell_scale, gates[INPUT].map(|_| &**i), f, g, p.cell_clip);
                if let Some(gate) = &gates[OUTPUT] {
                    gate.run(p, x, h, c, o);
                }
                output(p, projection, o, c, hidden, h);
                out[row * outputs..][..outputs].copy_from_slice(h);
            }
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let cells = self.pass.cell.sizes.cells;
        scratch_size::<i16>(cells).saturating_mul(4).saturating_add(scratch_size::<i8>(cells))
    }
}

/// The output state from the output gate and the cell state.
fn output(
    p: &Parameters,
    projection: Option<(&Projection, &[i8], Option<&[i32]>)>,
    gate: &[i16],
    c: &[i16],
    hidden: &mut [i8],
    h: &mut [i8],
) {
    let (scale, zero) = p.hidden;
    let bits = (15 + p.cell_scale) as u32;
    let value = |k: usize, zero: i32| {
        let product = i32::from(gate[k]) * i32::from(tanh(c[k], bits));
        scale.apply(product).saturating_add(zero).clamp(-128, 127) as i8
    };
    let Some((projection, weights, bias)) = projection else {
        return h.iter_mut().enumerate().for_each(|(k, h)| *h = value(k, zero));
    };
    // LiteRT stores it with the negative zero point here, and takes that off again below.
    hidden.iter_mut().enumerate().for_each(|(k, m)| *m = value(k, -zero));
    for (r, h) in h.iter_mut().enumerate() {
        let sum = product(weights, r, hidden, -zero, bias.map_or(0, |bias| bias[r]));
        *h = projection.finish(sum, p.output_zero);
    }
}
