//! The specification for float32 activations, with float32 or int8 weights.
//!
//! Source: LiteRT `kernels/lstm_eval.cc` (`LstmStepFloat`, `LstmStepHybrid`).

use super::cell::{CELL, Cell, FORGET, INPUT, Kind, OUTPUT, Sizes};
use super::infer::Pass;
use crate::common::recurrent::{Row, Weight, WeightInput, activate, logistic};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_model::schema::ActivationFunctionType;

/// The tensors of a cell, prepared.
struct Tensors {
    input: [Option<WeightInput>; 4],
    recurrent: [Option<WeightInput>; 4],
    aux: [Option<WeightInput>; 4],
    peephole: [Option<WeightInput>; 4],
    norm: [Option<Weights<f32>>; 4],
    bias: [Option<Weights<f32>>; 4],
    projection: Option<WeightInput>,
    projection_bias: Option<Weights<f32>>,
}

/// A gate as a run sees it.
#[derive(Clone, Copy)]
struct Gate<'a> {
    input: Weight<'a>,
    recurrent: Weight<'a>,
    diagonal: bool,
    aux: Option<Weight<'a>>,
    peephole: Option<Weight<'a>>,
    norm: Option<&'a [f32]>,
    bias: &'a [f32],
    activation: Activation,
}

#[derive(Clone, Copy)]
enum Activation {
    Logistic,
    Fused(ActivationFunctionType),
}

impl Tensors {
    fn prepare(node: &NodeView<'_>, cell: &Cell) -> Result<Tensors, OpError> {
        let at = cell.at;
        let weight = |index: Option<usize>| index.map(|i| WeightInput::prepare(node, i)).transpose();
        let vector = |index: usize| Weights::<f32>::prepare(index, node.input(index)?);
        let mut t = Tensors {
            input: Default::default(),
            recurrent: Default::default(),
            aux: Default::default(),
            peephole: Default::default(),
            norm: Default::default(),
            bias: Default::default(),
            projection: weight(cell.projection.then_some(at.projection))?,
            projection_bias: None,
        };
        for gate in cell.gates() {
            t.input[gate] = weight(Some(at.input + gate))?;
            t.recurrent[gate] = weight(Some(at.recurrent + gate))?;
            t.aux[gate] = weight(at.aux.filter(|_| cell.sizes.aux > 0).map(|aux| aux + gate))?;
            t.peephole[gate] = weight(at.peephole_of(gate).filter(|_| cell.peephole))?;
            t.norm[gate] = at.norm.filter(|_| cell.norm).map(|norm| vector(norm + gate)).transpose()?;
            t.bias[gate] = Some(vector(at.bias + gate)?);
        }
        if node.optional_input(at.projection + 1).is_some() {
            t.projection_bias = Some(vector(at.projection + 1)?);
        }
        Ok(t)
    }

    /// The weights of a gate that the cell has.
    fn gate<'s, 'a: 's>(&'s self, cell: &Cell, gate: usize, io: &Io<'a>) -> Result<Option<Gate<'s>>, OpError> {
        let get = |w: &'s Option<WeightInput>| w.as_ref().map(|w| w.get(io)).transpose();
        let (Some(input), Some(recurrent), Some(bias)) =
            (get(&self.input[gate])?, get(&self.recurrent[gate])?, &self.bias[gate])
        else {
            return Ok(None);
        };
        Ok(Some(Gate {
            input,
            recurrent,
            diagonal: cell.diagonal[gate],
            aux: get(&self.aux[gate])?,
            peephole: get(&self.peephole[gate])?,
            norm: self.norm[gate].as_ref().map(|norm| norm.get(io)).transpose()?,
            bias: bias.get(io)?,
            activation: match gate {
                CELL => Activation::Fused(cell.settings.activation),
                _ => Activation::Logistic,
            },
        }))
    }
}

impl Gate<'_> {
    /// The gate's value.
    fn run(&self, x: &Row<'_>, aux: Option<&Row<'_>>, (h, h_row): (&[f32], &Row<'_>), c: &[f32], out: &mut [f32]) {
        match self.norm {
            None => out.copy_from_slice(self.bias),
            Some(_) => out.fill(0.0),
        }
        x.accumulate(self.input, out);
        if let (Some(row), Some(w)) = (aux, self.aux) {
            row.accumulate(w, out);
        }
        if self.diagonal {
            out.iter_mut().enumerate().for_each(|(i, out)| *out += self.recurrent.real(i) * h[i]);
        } else {
            h_row.accumulate(self.recurrent, out);
        }
        if let Some(w) = self.peephole {
            out.iter_mut().enumerate().for_each(|(i, out)| *out += w.real(i) * c[i]);
        }
        if let Some(norm) = self.norm {
            normalize(out);
            out.iter_mut().zip(norm).zip(self.bias).for_each(|((out, norm), bias)| *out = *out * norm + bias);
        }
        match self.activation {
            Activation::Logistic => out.iter_mut().for_each(|x| *x = logistic(*x)),
            Activation::Fused(f) => out.iter_mut().for_each(|x| *x = activate(f, *x)),
        }
    }
}

/// To mean 0 and deviation 1.
fn normalize(values: &mut [f32]) {
    let n = values.len() as f32;
    let mean = values.iter().fold(0.0, |sum, x| sum + x) / n;
    let variance = values.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean)) / n;
    let inverse = 1.0 / (variance + 1e-8).sqrt();
    values.iter_mut().for_each(|x| *x = (*x - mean) * inverse);
}

fn clip(values: &mut [f32], bound: f32) {
    if bound > 0.0 {
        values.iter_mut().for_each(|x| *x = x.min(bound).max(-bound));
    }
}

/// Memory of a step.
struct Work<'a> {
    gates: [&'a mut [f32]; 4],
    x: &'a mut [i8],
    aux: &'a mut [i8],
    h: &'a mut [i8],
    projected: &'a mut [i8],
}

impl<'a> Work<'a> {
    fn lengths(cell: &Cell) -> [usize; 4] {
        let Sizes { input, aux, cells, outputs } = cell.sizes;
        if cell.kind == Kind::Hybrid { [input, aux, outputs, cells] } else { [0; 4] }
    }

    fn bytes(cell: &Cell) -> usize {
        let gates = scratch_size::<f32>(cell.sizes.cells).saturating_mul(4);
        Work::lengths(cell).into_iter().map(scratch_size::<i8>).fold(gates, usize::saturating_add)
    }

    fn take(cell: &Cell, scratch: &'a mut [u8]) -> Result<Work<'a>, OpError> {
        let mut scratch = Scratch::new(scratch);
        let n = cell.sizes.cells;
        let [x, aux, h, projected] = Work::lengths(cell);
        Ok(Work {
            gates: [scratch.take(n)?, scratch.take(n)?, scratch.take(n)?, scratch.take(n)?],
            x: scratch.take(x)?,
            aux: scratch.take(aux)?,
            h: scratch.take(h)?,
            projected: scratch.take(projected)?,
        })
    }
}

/// A kernel for all passes of a node.
pub struct Reference {
    passes: Vec<(Pass, Tensors)>,
}

impl Reference {
    /// Prepares the passes of a node.
    pub fn prepare(node: &NodeView<'_>, passes: Vec<Pass>) -> Result<Reference, OpError> {
        let prepared = passes.into_iter().map(|pass| {
            let tensors = Tensors::prepare(node, &pass.cell)?;
            Ok((pass, tensors))
        });
        Ok(Reference { passes: prepared.collect::<Result<_, OpError>>()? })
    }
}

impl Kernel for Reference {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.passes.iter().try_for_each(|(pass, tensors)| run_pass(pass, tensors, io))
    }

    fn scratch_bytes(&self) -> usize {
        self.passes.iter().map(|(pass, _)| Work::bytes(&pass.cell)).max().unwrap_or(0)
    }
}

fn run_pass(pass: &Pass, tensors: &Tensors, io: &mut Io<'_>) -> Result<(), OpError> {
    let Pass { cell, steps, .. } = pass;
    let Sizes { input, aux: aux_len, cells, outputs } = cell.sizes;
    let mut gates = [None; 4];
    for (gate, slot) in gates.iter_mut().enumerate() {
        *slot = tensors.gate(cell, gate, io)?;
    }
    let projection = tensors.projection.as_ref().map(|w| w.get(io)).transpose()?;
    let projection_bias = tensors.projection_bias.as_ref().map(|b| b.get(io)).transpose()?;
    let xs = io.input(pass.input)?.slice::<f32>()?;
    let auxs = pass.aux.map(|aux| io.input(aux)?.slice::<f32>()).transpose()?;
    let mut work = Work::take(cell, &mut *io.scratch)?;
    let [_, _, ..] = &io.state[pass.state..] else { return Err(OpError::invalid("state is missing")) };
    let (h, c) = io.state[pass.state..].split_at_mut(1);
    let (hs, cs) = (h[0].slice::<f32>()?, c[0].slice::<f32>()?);
    let out = io.outputs[pass.output].slice::<f32>()?;
    ensure!(hs.len() == steps.batch * outputs && cs.len() == steps.batch * cells, "state of another size");
    // A sequence has its own states also where LiteRT mixes them up: in batch-major, merged outputs.
    for b in 0..steps.batch {
        let (h, c) = (&mut hs[b * outputs..][..outputs], &mut cs[b * cells..][..cells]);
        for t in pass.times() {
            let row = steps.row(b, t);
            let x = &xs[row * input..][..input];
            let aux = auxs.map(|aux| &aux[row * aux_len..][..aux_len]);
            step(cell, &gates, (projection, projection_bias), (x, aux), (h, c), &mut work);
            out[row * pass.stride + pass.offset..][..outputs].copy_from_slice(h);
        }
    }
    Ok(())
}

fn step(
    cell: &Cell,
    gates: &[Option<Gate<'_>>; 4],
    (projection, projection_bias): (Option<Weight<'_>>, Option<&[f32]>),
    (x, aux): (&[f32], Option<&[f32]>),
    (h, c): (&mut [f32], &mut [f32]),
    work: &mut Work<'_>,
) {
    let settings = &cell.settings;
    let x = Row::new(x, work.x, settings.asymmetric, None);
    let aux = aux.map(|aux| Row::new(aux, work.aux, settings.asymmetric, None));
    let h_row = Row::new(h, work.h, settings.asymmetric, None);
    let [i, f, g, o] = &mut work.gates;
    let run = |gate: usize, c: &[f32], out: &mut [f32]| {
        if let Some(gate) = &gates[gate] {
            gate.run(&x, aux.as_ref(), (h, &h_row), c, out);
        }
    };
    run(INPUT, c, i);
    run(FORGET, c, f);
    run(CELL, c, g);
    for (k, c) in c.iter_mut().enumerate() {
        let input = if cell.coupled { 1.0 - f[k] } else { i[k] };
        *c = f[k] * *c + g[k] * input;
    }
    clip(c, settings.cell_clip);
    run(OUTPUT, c, o);
    for (k, o) in o.iter_mut().enumerate() {
        // Without an activation LiteRT's output is made of the cell gate, which is where it would write the activated state.
        let none = settings.activation == ActivationFunctionType::NONE;
        *o *= if none { g[k] } else { activate(settings.activation, c[k]) };
    }
    let Some(projection) = projection else { return h.copy_from_slice(o) };
    match projection_bias {
        Some(bias) => h.copy_from_slice(bias),
        None => h.fill(0.0),
    }
    Row::new(o, work.projected, settings.asymmetric, None).accumulate(projection, h);
    clip(h, settings.proj_clip);
}
