//! The specification.

use super::infer::Pass;
use crate::common::recurrent::{Row, WeightInput, activate};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_kernels::Isa;

/// The tensors of a pass, prepared.
struct Tensors {
    input: WeightInput,
    recurrent: WeightInput,
    aux: Option<WeightInput>,
    bias: Weights<f32>,
}

/// A kernel for all passes of a node.
pub struct Reference {
    passes: Vec<(Pass, Tensors)>,
    /// Of the fast kernel, whose products are vector code.
    isa: Option<Isa>,
}

impl Reference {
    /// Prepares the passes of a node.
    pub fn prepare(node: &NodeView<'_>, passes: Vec<Pass>, isa: Option<Isa>) -> Result<Reference, OpError> {
        let prepared = passes.into_iter().map(|pass| {
            let tensors = Tensors {
                input: WeightInput::prepare(node, pass.first)?,
                recurrent: WeightInput::prepare(node, pass.first + 1)?,
                aux: pass.aux.map(|(_, weights)| WeightInput::prepare(node, weights)).transpose()?,
                bias: Weights::prepare(pass.first + 2, node.input(pass.first + 2)?)?,
            };
            Ok((pass, tensors))
        });
        Ok(Reference { passes: prepared.collect::<Result<_, OpError>>()?, isa })
    }
}

/// Quantized rows of a hybrid pass: input, auxiliary input, state.
fn quantized(pass: &Pass) -> [usize; 3] {
    if pass.hybrid { [pass.depth, pass.aux_depth, pass.units] } else { [0; 3] }
}

impl Kernel for Reference {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.passes.iter().try_for_each(|(pass, tensors)| run_pass(pass, tensors, self.isa, io))
    }

    fn scratch_bytes(&self) -> usize {
        let of = |pass: &Pass| quantized(pass).into_iter().map(scratch_size::<i8>).fold(0, usize::saturating_add);
        self.passes.iter().map(|(pass, _)| of(pass)).max().unwrap_or(0)
    }

    fn name(&self) -> &str {
        if self.isa.is_some() { "rnn/matvec" } else { "reference" }
    }
}

fn run_pass(pass: &Pass, tensors: &Tensors, isa: Option<Isa>, io: &mut Io<'_>) -> Result<(), OpError> {
    let Pass { steps, depth, aux_depth, units, asymmetric, .. } = *pass;
    let (w, r, bias) = (tensors.input.get(io)?, tensors.recurrent.get(io)?, tensors.bias.get(io)?);
    let aux_w = tensors.aux.as_ref().map(|w| w.get(io)).transpose()?;
    let xs = io.input(pass.input)?.slice::<f32>()?;
    let auxs = pass.aux.map(|(aux, _)| io.input(aux)?.slice::<f32>()).transpose()?;
    let mut scratch = Scratch::new(&mut *io.scratch);
    let [x_len, aux_len, h_len] = quantized(pass);
    let (x_mem, aux_mem, h_mem) = (scratch.take(x_len)?, scratch.take(aux_len)?, scratch.take(h_len)?);
    let Some(state) = io.state.get_mut(pass.state) else { return Err(OpError::invalid("state is missing")) };
    let hs = state.slice::<f32>()?;
    let out = io.outputs[pass.output].slice::<f32>()?;
    ensure!(hs.len() == steps.batch * units, "state of another size");
    for b in 0..steps.batch {
        let h = &mut hs[b * units..][..units];
        for t in (0..pass.rounds).flat_map(|_| 0..steps.time) {
            let t = if pass.backward { steps.time - 1 - t } else { t };
            let row = steps.row(b, t);
            let out = &mut out[row * pass.stride + pass.offset..][..units];
            out.copy_from_slice(bias);
            Row::new(&xs[row * depth..][..depth], x_mem, asymmetric, isa).accumulate(w, out);
            if let (Some(aux), Some(w)) = (auxs, aux_w) {
                let aux = &aux[pass.aux_start(b, t)..][..aux_depth];
                Row::new(aux, aux_mem, asymmetric, isa).accumulate(w, out);
            }
            Row::new(h, h_mem, asymmetric, isa).accumulate(r, out);
            out.iter_mut().for_each(|x| *x = activate(pass.activation, *x));
            h.copy_from_slice(out);
        }
    }
    Ok(())
}
