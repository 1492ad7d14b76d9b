//! Samples and their targets.

use crate::TrainError;
use crate::losses::Target;

/// Targets of a data set, one per sample.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// Class labels.
    Labels(&'a [u32]),
    /// Values, as many per sample as the model's output has.
    Values(&'a [f32]),
}

/// Samples with their targets, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) shape: &'a [usize],
    pub(crate) y: Targets<'a>,
    samples: usize,
}

impl<'a> Dataset<'a> {
    /// Samples of this shape (without the batch dimension), one after the other in `x`.
    ///
    /// # Errors
    /// When the numbers of samples, elements and targets do not fit each other, or there are none.
    pub fn new(x: &'a [f32], shape: &'a [usize], y: Targets<'a>) -> Result<Dataset<'a>, TrainError> {
        let features = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
        if features == 0 || x.is_empty() || !x.len().is_multiple_of(features) {
            return Err(TrainError::usage(format!("{} elements are not samples of shape {shape:?}", x.len())));
        }
        let samples = x.len() / features;
        let fits = match y {
            Targets::Labels(labels) => labels.len() == samples,
            Targets::Values(values) => !values.is_empty() && values.len().is_multiple_of(samples),
        };
        if !fits {
            let (kind, n) = match y {
                Targets::Labels(labels) => ("labels", labels.len()),
                Targets::Values(values) => ("target values", values.len()),
            };
            return Err(TrainError::usage(format!("{n} {kind} do not fit {samples} samples")));
        }
        Ok(Dataset { x, shape, y, samples })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples
    }

    /// Always false: a data set has samples.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// The samples from `range` on, as another data set.
    ///
    /// # Errors
    /// When the range is empty or not inside.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Result<Dataset<'a>, TrainError> {
        if range.start >= range.end || range.end > self.samples {
            return Err(TrainError::usage(format!("there are no samples {range:?} among {}", self.samples)));
        }
        let part = |n: usize| range.start * n..range.end * n;
        let x = &self.x[part(self.features())];
        let y = match self.y {
            Targets::Labels(labels) => Targets::Labels(&labels[range.clone()]),
            Targets::Values(values) => Targets::Values(&values[part(values.len() / self.samples)]),
        };
        Dataset::new(x, self.shape, y)
    }

    pub(crate) fn features(&self) -> usize {
        self.x.len() / self.samples
    }

    pub(crate) fn sample(&self, i: usize) -> &'a [f32] {
        let n = self.features();
        &self.x[i * n..(i + 1) * n]
    }

    pub(crate) fn target(&self, i: usize) -> Target<'a> {
        match self.y {
            Targets::Labels(labels) => Target::Label(i32::try_from(labels[i]).unwrap_or(-1)),
            Targets::Values(values) => {
                let n = values.len() / self.samples;
                Target::Values(&values[i * n..(i + 1) * n])
            }
        }
    }

    /// Checks targets against a model's output of `outputs` elements per sample.
    pub(crate) fn check(&self, labels: bool, features: usize, outputs: usize) -> Result<(), TrainError> {
        if self.features() != features {
            let shape = self.shape;
            return Err(TrainError::usage(format!(
                "samples of shape {shape:?} do not fit an input of {features} elements"
            )));
        }
        match self.y {
            Targets::Labels(given) if labels => match given.iter().position(|&label| label as usize >= outputs) {
                Some(i) => {
                    Err(TrainError::usage(format!("label {} of sample {i} is not one of {outputs} classes", given[i])))
                }
                None => Ok(()),
            },
            Targets::Values(values) if !labels => {
                let given = values.len() / self.samples;
                if given == outputs {
                    return Ok(());
                }
                Err(TrainError::usage(format!("{given} target values per sample do not fit an output of {outputs}")))
            }
            Targets::Labels(_) => Err(TrainError::usage("this loss compares with values, not with labels")),
            Targets::Values(_) => Err(TrainError::usage("this loss takes class labels, not values")),
        }
    }
}
