//! The trainer: parameters, replicas of the training graph, and the step of the optimiser.

use crate::autodiff::remove_dead_nodes;
use crate::chunks::{self, Chunk};
use crate::data::Dataset;
use crate::losses::Target;
use crate::metrics::Tally;
use crate::parameters::{self, Parameter};
use crate::step::{Recipe, Step};
use crate::{Loss, Optimizer, TrainError};
use ferrolite_kernels::{ThreadPool, flush_denormals};
use ferrolite_model::{Model, TensorId, TensorType};
use ferrolite_ops::OpError;
use ferrolite_runtime::{Interpreter, Options, Profile};
use std::ops::Range;
use std::sync::{Mutex, PoisonError, RwLock};

/// How to train.
#[derive(Clone, Default)]
pub struct TrainOptions {
    /// Threads that work at the same time; 0 for one per core.
    pub threads: usize,
    /// Parts of at least four samples that every batch is cut into, each computed by one thread; 0 for one per thread, and
    /// 1 shares the work inside of every operator instead. Results depend on it in the last digits, but on the number
    /// of threads they do not, where this is given.
    pub shards: usize,
    /// Seed of the order of samples.
    pub seed: u64,
    /// Parameters whose name starts with one of these keep their values.
    pub frozen: Vec<String>,
    /// Operators, delegates, limits and instruction set; its number of threads is not used.
    pub runtime: Options,
}

/// Trains a model. See [`Trainer::fit`].
///
/// ```no_run
/// use ferrolite_train::*;
/// # fn main() -> Result<(), TrainError> {
/// # let (images, labels) = (vec![0.0f32; 784], vec![3u32]);
/// let model = Sequential::new(&[28, 28, 1]).flatten().dense(64, Activation::Relu).dense(10, Activation::None).build(1)?;
/// let mut trainer =
///     Trainer::new(model, Loss::SparseCategoricalCrossEntropy, Optimizer::adam(1e-3), TrainOptions::default())?;
/// let data = Dataset::new(&images, &[28, 28, 1], Targets::Labels(&labels))?;
/// let options = FitOptions { epochs: 5, ..FitOptions::default() };
/// trainer.fit(&data, &options, &mut |progress| {
///     if let Progress::Epoch(epoch) = progress {
///         println!("{epoch:?}");
///     }
///     std::ops::ControlFlow::Continue(())
/// })?;
/// trainer.export().write_file("trained.tflite")?;
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    model: Model,
    pub(crate) loss: Loss,
    optimizer: Optimizer,
    runtime: Options,
    pub(crate) seed: u64,
    parameters: Vec<Parameter>,
    chunks: Vec<RwLock<Chunk>>,
    replicas: Vec<RwLock<Replica>>,
    pool: ThreadPool,
    /// Threads inside of a replica.
    inner: usize,
    /// Finished epochs and steps.
    pub(crate) epochs: u64,
    steps: u64,
    profiling: bool,
    /// The tensor that the loss is taken of.
    pub(crate) predictions: TensorId,
    /// Elements per sample of the input and of the predictions.
    pub(crate) features: usize,
    pub(crate) outputs: usize,
}

/// One copy of the training graph, planned for each size of batch that occurs.
#[derive(Default)]
struct Replica {
    steps: Vec<(usize, Step)>,
    /// Result of the last batch.
    tally: Tally,
    failure: Option<TrainError>,
}

/// Samples that a shard is worth its overhead for.
const SHARD: usize = 4;

/// Batch sizes that stay planned: the usual and the last one, of training runs with two settings.
const PLANS: usize = 4;

impl Trainer {
    /// Prepares training of all weights and biases of a float model with one input and one output.
    ///
    /// # Errors
    /// When the model has nothing to train, or cannot be differentiated.
    pub fn new(model: Model, loss: Loss, optimizer: Optimizer, options: TrainOptions) -> Result<Trainer, TrainError> {
        let catalog = &options.runtime.catalog;
        let Some(graph) = model.subgraphs.first() else { return Err(TrainError::usage("the model has no subgraph")) };
        let (&[input], &[output]) = (&graph.inputs[..], &graph.outputs[..]) else {
            let (inputs, outputs) = (graph.inputs.len(), graph.outputs.len());
            return Err(TrainError::usage(format!(
                "the model has {inputs} inputs and {outputs} outputs; only one of each can be trained"
            )));
        };
        for (what, id) in [("input", input), ("output", output)] {
            let ty = graph.tensors[id].ty;
            if ty != TensorType::Float32 {
                return Err(TrainError::usage(format!("the model's {what} is {ty}; only float32 models are trained")));
            }
        }
        let (parameters, values) = parameters::find(&model, &options.frozen, catalog)?;
        if parameters.is_empty() {
            return Err(TrainError::usage("the model has no float weights to train"));
        }
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let shards = if options.shards == 0 { threads } else { options.shards };
        let predictions = loss.predictions(&model, output);
        // Planning for one sample finds every error that does not depend on the batch size.
        let recipe = Recipe { model: &model, loss, parameters: &parameters, options: &options.runtime };
        let mut probe = Step::new(&recipe, 1)?;
        let (features, outputs) = (probe.samples()?.len(), probe.predictions()?.len());
        let rank = probe.predictions_rank();
        if loss.takes_labels() && rank != 2 {
            return Err(TrainError::usage(format!("the logits have {rank} dimensions; labels need [batch, classes]")));
        }
        let chunks = chunks::cut(&parameters, &values, &optimizer).into_iter().map(RwLock::new).collect();
        Ok(Trainer {
            loss,
            optimizer,
            seed: options.seed,
            parameters,
            chunks,
            replicas: (0..shards).map(|_| RwLock::default()).collect(),
            pool: ThreadPool::new(threads.min(shards)),
            inner: if shards == 1 { threads } else { 1 },
            epochs: 0,
            steps: 0,
            profiling: false,
            predictions,
            features,
            outputs,
            runtime: options.runtime,
            model,
        })
    }

    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        self.parameters.last().map_or(0, |p| p.range.end)
    }

    /// Names and shapes of the trained tensors.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &[i32])> {
        let tensors = &self.model.subgraphs[0].tensors;
        self.parameters.iter().map(|p| (tensors[p.tensor].name(), &tensors[p.tensor].shape[..]))
    }

    /// The optimiser.
    pub fn optimizer(&self) -> Optimizer {
        self.optimizer
    }

    /// Changes the optimiser's learning rate, for schedules: between calls of [`Trainer::fit`].
    pub fn set_learning_rate(&mut self, rate: impl Into<f64>) {
        self.optimizer.set_learning_rate(rate.into());
    }

    /// Starts or stops measuring the time of every node of the training graph. Starting forgets the plans and with them
    /// what was measured.
    pub fn set_profiling(&mut self, on: bool) {
        if on {
            self.replicas.iter().for_each(|replica| write(replica).steps.clear());
        }
        self.profiling = on;
    }

    /// Times of the training graph's nodes, for one shard and the batch size that was used last.
    pub fn profile(&self) -> Profile {
        self.replicas.first().and_then(|r| read(r).steps.last().map(|(_, step)| step.profile())).unwrap_or_default()
    }

    /// The model with the current parameters.
    pub fn export(&self) -> Model {
        let mut values = Vec::with_capacity(self.parameters());
        self.chunks.iter().for_each(|chunk| values.extend_from_slice(read(chunk).values()));
        let mut model = self.model.clone();
        parameters::store(&mut model, &self.parameters, &values);
        model
    }

    /// One step of the optimiser on the samples `indices`.
    pub(crate) fn train_batch(&mut self, data: &Dataset<'_>, indices: &[usize]) -> Result<Tally, TrainError> {
        let _flush = flush_denormals();
        let shards = self.replicas.len().min(indices.len().div_ceil(SHARD));
        // Shards differ by one sample at most.
        let bound = |r: usize| indices.len() * r / shards;
        let scale = 1.0 / indices.len() as f32;
        self.pool.run(shards, &|r| {
            let mut replica = write(&self.replicas[r]);
            let result = self.run_shard(&mut replica, data, &indices[bound(r)..bound(r + 1)], scale);
            replica.failure = result.err();
        });
        let mut tally = Tally::default();
        for replica in &self.replicas[..shards] {
            let mut replica = write(replica);
            if let Some(failure) = replica.failure.take() {
                return Err(failure);
            }
            tally.merge(&replica.tally);
        }
        self.steps += 1;
        let update = self.optimizer.at(self.steps);
        let isa = self.runtime.isa;
        let replicas: Vec<_> = self.replicas[..shards].iter().map(read).collect();
        let steps: Vec<&Step> = replicas.iter().filter_map(|r| r.steps.last()).map(|(_, step)| step).collect();
        let failure = Mutex::new(Ok(()));
        self.pool.run(self.chunks.len(), &|c| {
            if let Err(e) = write(&self.chunks[c]).update((&self.pool, isa), &update, &steps) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Err(e);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map(|()| tally)
    }

    /// Forward and backward of a part of a batch; leaves the gradients in the replica's last step.
    fn run_shard(
        &self,
        replica: &mut Replica,
        data: &Dataset<'_>,
        indices: &[usize],
        scale: f32,
    ) -> Result<(), TrainError> {
        let step = self.planned(replica, indices.len())?;
        for chunk in &self.chunks {
            read(chunk).send(step)?;
        }
        step.set_scale(scale)?;
        let rows = step.samples()?.chunks_exact_mut(self.features);
        rows.zip(indices).for_each(|(row, &i)| row.copy_from_slice(data.sample(i)));
        if self.loss.takes_labels() {
            for (label, &i) in step.labels()?.iter_mut().zip(indices) {
                if let Target::Label(given) = data.target(i) {
                    *label = given;
                }
            }
        } else {
            for (row, &i) in step.targets()?.chunks_exact_mut(self.outputs).zip(indices) {
                if let Target::Values(given) = data.target(i) {
                    row.copy_from_slice(given);
                }
            }
        }
        step.run()?;
        let mut tally = Tally::default();
        let predictions = step.predictions()?.chunks_exact(self.outputs);
        for ((predicted, &loss), &i) in predictions.zip(step.losses()?).zip(indices) {
            tally.add(loss, predicted, data.target(i));
        }
        replica.tally = tally;
        Ok(())
    }

    /// The replica's plan for a batch size, moved to the end of its list.
    fn planned<'r>(&self, replica: &'r mut Replica, batch: usize) -> Result<&'r mut Step, TrainError> {
        match replica.steps.iter().position(|(size, _)| *size == batch) {
            Some(at) => {
                let last = replica.steps.len() - 1;
                replica.steps.swap(at, last);
            }
            None => {
                let options = Options { threads: self.inner, ..self.runtime.clone() };
                let recipe =
                    Recipe { model: &self.model, loss: self.loss, parameters: &self.parameters, options: &options };
                let mut step = Step::new(&recipe, batch)?;
                step.set_profiling(self.profiling);
                if replica.steps.len() == PLANS {
                    replica.steps.remove(0);
                }
                replica.steps.push((batch, step));
            }
        }
        match replica.steps.last_mut() {
            Some((_, step)) => Ok(step),
            None => Err(TrainError::usage("there is no plan")),
        }
    }

    /// Runs a model with the trainer's input over samples, on all threads. `take` gets the outputs of some samples at a
    /// time, in order, to add to its thread's result; the results are in order of the samples.
    pub(crate) fn forward<T: Default + Send>(
        &self,
        mut model: Model,
        x: &[f32],
        take: &(dyn Fn(Range<usize>, &[f32], &mut T) -> Result<(), OpError> + Sync),
    ) -> Result<Vec<T>, TrainError> {
        const BATCH: usize = 32;
        remove_dead_nodes(&mut model.subgraphs[0]);
        let model = std::sync::Arc::new(model);
        let samples = x.len() / self.features;
        let parts = self.pool.threads().min(samples.div_ceil(BATCH)).max(1);
        let results: Vec<Mutex<Result<T, TrainError>>> = (0..parts).map(|_| Mutex::new(Ok(T::default()))).collect();
        let run = |part: usize| -> Result<T, TrainError> {
            let mut result = T::default();
            let options = Options { threads: self.inner, ..self.runtime.clone() };
            let mut interpreter = Interpreter::with_options(model.clone(), options)?;
            let mut shape = interpreter.input_tensor(0).map(|t| t.shape.to_vec()).unwrap_or_default();
            let (mut at, end) = (samples * part / parts, samples * (part + 1) / parts);
            while at < end {
                let next = end.min(at + BATCH);
                if shape[0] != next - at {
                    shape[0] = next - at;
                    interpreter.resize_input(0, &shape)?;
                }
                interpreter.set_input(0, &x[at * self.features..next * self.features])?;
                interpreter.invoke()?;
                take(at..next, interpreter.output(0)?, &mut result)
                    .map_err(|e| TrainError::usage(format!("samples {at}..{next}: {e}")))?;
                at = next;
            }
            Ok(result)
        };
        self.pool.run(parts, &|part| {
            *results[part].lock().unwrap_or_else(PoisonError::into_inner) = run(part);
        });
        results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
