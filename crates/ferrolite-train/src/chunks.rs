//! The parameters' values and the optimiser's memory, cut into pieces that threads update at the same time.

use crate::TrainError;
use crate::optimizers::{Optimizer, Update};
use crate::parameters::Parameter;
use crate::step::Step;
use std::ops::Range;

/// Elements of a piece: small enough to share work evenly, large enough to be worth a thread's while.
const PIECE: usize = 16 * 1024;

/// A piece of the list of all parameters' values.
pub(crate) struct Chunk {
    /// Which parameters it touches, and where in them.
    parts: Vec<(usize, Range<usize>)>,
    values: Vec<f32>,
    gradient: Vec<f32>,
    slots: Vec<Vec<f32>>,
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
            gradient: vec![0.0; range.len()],
            slots: vec![vec![0.0; range.len()]; optimizer.slots()],
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

    /// Starts the sum of gradients, or goes on with it.
    pub(crate) fn add_gradient(&mut self, step: &Step, is_first: bool) -> Result<(), TrainError> {
        let mut at = 0;
        for (parameter, range) in &self.parts {
            let next = at + range.len();
            let (sum, part) = (&mut self.gradient[at..next], &step.gradient(*parameter)?[range.clone()]);
            if is_first {
                sum.copy_from_slice(part);
            } else {
                sum.iter_mut().zip(part).for_each(|(sum, g)| *sum += g);
            }
            at = next;
        }
        Ok(())
    }

    /// Moves the values against the summed gradient.
    pub(crate) fn update(&mut self, update: Update) {
        update.apply(&mut self.values, &self.gradient, &mut self.slots);
    }
}
