//! The parameters' values and the optimiser's memory, cut into pieces that threads update at the same time.

use crate::TrainError;
use crate::optimizers::{Optimizer, Update};
use crate::parameters::Parameter;
use crate::step::Step;
use ferrolite_kernels::{Isa, ThreadPool};
use std::ops::Range;

/// Elements of a piece: small enough to share work evenly, large enough to be worth a thread's while.
const PIECE: usize = 16 * 1024;

/// A piece of the list of all parameters' values.
pub(crate) struct Chunk {
    /// Which parameters it touches, and where in them.
    parts: Vec<(usize, Range<usize>)>,
    values: Vec<f32>,
    /// Memory of the optimiser.
    slots: [Vec<f32>; 2],
    /// Memory for a sum of gradients.
    sum: Vec<f32>,
}

/// Cuts parameters into pieces.
pub(crate) fn cut(parameters: &[Parameter], values: &[f32], optimizer: &Optimizer) -> Vec<Chunk> {
    let starts = (0..values.len()).step_by(PIECE);
    let chunk = |start: usize| {
        let range = start..values.len().min(start + PIECE);
        let part = |(i, p): (usize, &Parameter)| {
            let (from, to) = (range.start.max(p.range.start), range.end.min(p.range.end));
            (from < to).then(|| (i, from - p.range.start..to - p.range.start))
        };
        Chunk {
            parts: parameters.iter().enumerate().filter_map(part).collect(),
            values: values[range.clone()].to_vec(),
            slots: [0, 1].map(|slot| if slot < optimizer.slots() { vec![0.0; range.len()] } else { Vec::new() }),
            sum: vec![0.0; range.len()],
        }
    };
    starts.map(chunk).collect()
}

impl Chunk {
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Copies the values into a training graph.
    pub(crate) fn send(&self, step: &mut Step) -> Result<(), TrainError> {
        let mut at = 0;
        for (parameter, range) in &self.parts {
            let next = at + range.len();
            step.parameter(*parameter)?[range.clone()].copy_from_slice(&self.values[at..next]);
            at = next;
        }
        Ok(())
    }

    /// Moves the values against the sum of the gradients of some training graphs, added in their order.
    pub(crate) fn update(
        &mut self,
        kernels: (&ThreadPool, Isa),
        update: &Update,
        steps: &[&Step],
    ) -> Result<(), TrainError> {
        let [first, others @ ..] = steps else { return Ok(()) };
        let mut at = 0;
        for (parameter, range) in &self.parts {
            let next = at + range.len();
            let mut gradient = &first.gradient(*parameter)?[range.clone()];
            if !others.is_empty() {
                let sum = &mut self.sum[..range.len()];
                sum.copy_from_slice(gradient);
                for step in others {
                    let part = &step.gradient(*parameter)?[range.clone()];
                    sum.iter_mut().zip(part).for_each(|(sum, g)| *sum += g);
                }
                gradient = sum;
            }
            let [a, b] = &mut self.slots;
            let slots = [part(a, at..next), part(b, at..next)];
            update.apply(kernels.0, kernels.1, &mut self.values[at..next], slots, gradient);
            at = next;
        }
        Ok(())
    }
}

/// A part of an optimiser's slot, which is empty where it is not needed.
fn part(slot: &mut [f32], range: Range<usize>) -> &mut [f32] {
    if slot.is_empty() { slot } else { &mut slot[range] }
}
