//! The fit loop.

use crate::TrainError;
use crate::data::{Dataset, Targets};
use crate::metrics::{Scores, Tally};
use crate::random::Rng;
use crate::trainer::Trainer;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions<'a> {
    /// Passes over the data.
    pub epochs: usize,
    /// Samples per step of the optimiser. The last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Whether every epoch sees the samples in a new order.
    pub shuffle: bool,
    /// Data to evaluate on after every epoch.
    pub validation: Option<Dataset<'a>>,
}

impl Default for FitOptions<'_> {
    /// One epoch of shuffled batches of 32.
    fn default() -> Self {
        FitOptions { epochs: 1, batch_size: 32, shuffle: true, validation: None }
    }
}

/// What [`Trainer::fit`] reports while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A batch is done.
    Batch(BatchProgress),
    /// An epoch is done, validation included.
    Epoch(&'a EpochStats),
}

/// State of an epoch after one of its batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchProgress {
    /// Epoch of this call, from 1.
    pub epoch: usize,
    /// Epochs of this call.
    pub epochs: usize,
    /// Batches done in this epoch.
    pub batch: usize,
    /// Batches of an epoch.
    pub batches: usize,
    /// Speed in this epoch.
    pub samples_per_second: f64,
    /// Time left for this epoch at that speed.
    pub remaining: Duration,
    /// Means over the epoch so far.
    pub scores: Scores,
}

/// Results of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochStats {
    /// Epoch of this call, from 1.
    pub epoch: usize,
    /// Epochs of this call.
    pub epochs: usize,
    /// Means over the training data, each sample taken when it was trained on.
    pub scores: Scores,
    /// Means over the validation data with the parameters at the epoch's end.
    pub validation: Option<Scores>,
    /// Time for training, validation not included.
    pub time: Duration,
    /// Training samples per second.
    pub samples_per_second: f64,
}

/// The finished epochs of one [`Trainer::fit`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// One entry per finished epoch.
    pub epochs: Vec<EpochStats>,
    /// Whether the caller stopped before the last epoch was done.
    pub stopped: bool,
}

impl Trainer {
    /// Trains on `data`. Calls `on` after every batch and epoch, and stops when it returns `Break`; fitting may go on
    /// later from there. The result depends on nothing but the model, the data, the options and the seed.
    ///
    /// # Errors
    /// When data and model do not fit, or the loss diverges.
    pub fn fit(
        &mut self,
        data: &Dataset<'_>,
        options: &FitOptions<'_>,
        on: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<History, TrainError> {
        if options.batch_size == 0 {
            return Err(TrainError::usage("a batch has at least one sample"));
        }
        self.check(data)?;
        options.validation.iter().try_for_each(|data| self.check(data))?;
        let mut history = History::default();
        let mut order: Vec<usize> = (0..data.len()).collect();
        for epoch in 1..=options.epochs {
            if options.shuffle {
                Rng::new(self.seed, self.epochs).shuffle(&mut order);
            }
            let Some((scores, time)) = self.epoch(data, options, epoch, &order, on)? else {
                history.stopped = true;
                break;
            };
            self.epochs += 1;
            let validation = options.validation.map(|data| self.evaluate(&data)).transpose()?;
            let samples_per_second = data.len() as f64 / time.as_secs_f64().max(1e-9);
            let stats = EpochStats { epoch, epochs: options.epochs, scores, validation, time, samples_per_second };
            history.epochs.push(stats);
            if on(Progress::Epoch(&stats)).is_break() {
                history.stopped = epoch < options.epochs;
                break;
            }
        }
        Ok(history)
    }

    /// One pass over the data; `None` when the caller stops it.
    fn epoch(
        &mut self,
        data: &Dataset<'_>,
        options: &FitOptions<'_>,
        epoch: usize,
        order: &[usize],
        on: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Option<(Scores, Duration)>, TrainError> {
        let start = Instant::now();
        let mut tally = Tally::default();
        let batches = order.len().div_ceil(options.batch_size);
        for (i, indices) in order.chunks(options.batch_size).enumerate() {
            let batch = i + 1;
            let done = self.train_batch(data, indices)?;
            let loss = done.scores().loss;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch, batch, loss });
            }
            tally.merge(&done);
            let samples_per_second = tally.samples() as f64 / start.elapsed().as_secs_f64().max(1e-9);
            let left = (order.len() - tally.samples()) as f64 / samples_per_second;
            let progress = BatchProgress {
                epoch,
                epochs: options.epochs,
                batch,
                batches,
                samples_per_second,
                remaining: Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX),
                scores: tally.scores(),
            };
            if on(Progress::Batch(progress)).is_break() {
                return Ok(None);
            }
        }
        Ok(Some((tally.scores(), start.elapsed())))
    }

    /// Checks that data fit the model and the loss.
    fn check(&self, data: &Dataset<'_>) -> Result<(), TrainError> {
        data.check(self.loss.takes_labels(), self.features, self.outputs)
    }

    /// Loss and metrics of the current parameters on data.
    ///
    /// # Errors
    /// When data and model do not fit.
    pub fn evaluate(&self, data: &Dataset<'_>) -> Result<Scores, TrainError> {
        self.check(data)?;
        let mut model = self.export();
        model.subgraphs[0].outputs = vec![self.predictions];
        let width = self.outputs;
        let parts = self.forward(model, data.x, &|range, outputs, tally: &mut Tally| {
            for (predicted, i) in outputs.chunks_exact(width).zip(range) {
                let target = data.target(i);
                tally.add(self.loss.sample(predicted, target, None)?, predicted, target);
            }
            Ok(())
        })?;
        let mut total = Tally::default();
        parts.iter().for_each(|part| total.merge(part));
        Ok(total.scores())
    }

    /// Outputs of the model for samples, one after the other.
    ///
    /// # Errors
    /// When the elements are not whole samples.
    pub fn predict(&self, x: &[f32]) -> Result<Vec<f32>, TrainError> {
        if x.is_empty() || !x.len().is_multiple_of(self.features) {
            let (given, wanted) = (x.len(), self.features);
            return Err(TrainError::usage(format!("{given} elements are not samples of {wanted}")));
        }
        let parts = self.forward(self.export(), x, &|_, outputs, all: &mut Vec<f32>| {
            all.extend_from_slice(outputs);
            Ok(())
        })?;
        Ok(parts.concat())
    }
}

/// Class labels as targets.
impl<'a> From<&'a [u32]> for Targets<'a> {
    fn from(labels: &'a [u32]) -> Self {
        Targets::Labels(labels)
    }
}

/// Values as targets.
impl<'a> From<&'a [f32]> for Targets<'a> {
    fn from(values: &'a [f32]) -> Self {
        Targets::Values(values)
    }
}
