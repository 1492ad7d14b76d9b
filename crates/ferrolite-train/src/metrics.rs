//! Metrics: running means over samples.

use crate::losses::Target;

/// Means over a number of samples.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Scores {
    /// The loss.
    pub loss: f32,
    /// Share of samples whose largest output is their label; only where targets are labels.
    pub accuracy: Option<f32>,
    /// Mean absolute difference from the target; only where targets are values.
    pub mean_absolute_error: Option<f32>,
}

/// Sums from which [`Scores`] are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    samples: usize,
    loss: f64,
    right: usize,
    absolute_error: f64,
    labels: bool,
}

impl Tally {
    pub(crate) fn add(&mut self, loss: f32, predicted: &[f32], target: Target<'_>) {
        self.samples += 1;
        self.loss += f64::from(loss);
        match target {
            Target::Label(label) => {
                self.labels = true;
                self.right += usize::from(usize::try_from(label) == Ok(argmax(predicted)));
            }
            Target::Values(values) => {
                let sum: f64 = predicted.iter().zip(values).map(|(&p, &t)| f64::from((p - t).abs())).sum();
                self.absolute_error += sum / values.len().max(1) as f64;
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        self.samples += other.samples;
        self.loss += other.loss;
        self.right += other.right;
        self.absolute_error += other.absolute_error;
        self.labels |= other.labels;
    }

    pub(crate) fn samples(&self) -> usize {
        self.samples
    }

    pub(crate) fn scores(&self) -> Scores {
        let n = self.samples.max(1) as f64;
        Scores {
            loss: (self.loss / n) as f32,
            accuracy: self.labels.then_some((self.right as f64 / n) as f32),
            mean_absolute_error: (!self.labels).then_some((self.absolute_error / n) as f32),
        }
    }
}

/// Index of the largest value, the first of equal ones.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}
