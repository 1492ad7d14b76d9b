//! From data to five measured models: train, export, quantize, evaluate, report.

use crate::datasets::{self, Dataset};
use crate::evaluate::{self, Evaluation};
use crate::quantize::{self, Calibrator, Mode};
use crate::report::Report;
use crate::train::{self, Activation, BatchProgress, EpochStats, Loss, Optimizer, Progress, Sequential, Trainer};
use crate::{Error, Model, Options, files, images};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct QuickstartOptions {
    /// Folder with the full idx files; the embedded sample where there is none.
    pub data: Option<PathBuf>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Training images per step.
    pub batch_size: usize,
    /// Folder for the results.
    pub out: PathBuf,
    /// Threads for training, 0 for one per core. Latency is always measured on one.
    pub threads: usize,
    /// Seed of the initial weights and of the order of images.
    pub seed: u64,
    /// Training images that show the int8 models which values occur.
    pub calibration_images: usize,
}

impl Default for QuickstartOptions {
    fn default() -> Self {
        QuickstartOptions {
            data: None,
            epochs: 10,
            batch_size: 32,
            out: PathBuf::from("quickstart-out"),
            threads: 0,
            seed: 1,
            calibration_images: 500,
        }
    }
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Event<'a> {
    /// Data is there.
    Loaded(&'a Dataset),
    /// A step of training is done.
    Batch(BatchProgress),
    /// An epoch is done.
    Epoch(&'a EpochStats),
    /// A file is written.
    Written {
        /// The file.
        path: &'a Path,
        /// Its size.
        bytes: u64,
    },
    /// Ranges are measured.
    Calibrating {
        /// Images done.
        done: usize,
        /// Images in all.
        all: usize,
    },
    /// A model runs over the test images.
    Evaluating {
        /// Name of the model.
        name: &'a str,
        /// Images done.
        done: usize,
        /// Images in all.
        all: usize,
    },
}

/// One of the models.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Short name, `int8`.
    pub name: &'static str,
    /// What its numbers are.
    pub description: &'static str,
    /// Where it was written.
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// How it did on the test images.
    pub evaluation: Evaluation,
    /// Part of the test images on which it agrees with the float model.
    pub agreement: f64,
}

/// Everything that came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The data.
    pub dataset: Dataset,
    /// The epochs.
    pub epochs: Vec<EpochStats>,
    /// Time of training, without validation.
    pub training_time: Duration,
    /// Parameters of the network.
    pub parameters: u64,
    /// The models, float first.
    pub variants: Vec<Variant>,
    /// The report.
    pub report: PathBuf,
    /// A test image and the labels, to try `ferrolite run` on.
    pub sample: (PathBuf, PathBuf),
}

/// Names, descriptions and modes of the quantized models.
const QUANTIZED: [(&str, &str, Mode); 4] = [
    ("dynamic", "int8 weights, float activations quantized on the fly", Mode::DynamicRange),
    ("float16", "weights stored as float16, computed in float32", Mode::Float16),
    ("int8", "int8 weights and activations, float input and output", Mode::Int8),
    ("int8_only", "int8 weights and activations, int8 input and output", Mode::Int8Only),
];

/// The course's network for 28×28 grey images in ten classes, or for images of another size.
pub fn network(rows: usize, columns: usize, classes: usize) -> Sequential {
    Sequential::new(&[rows, columns, 1])
        .names("image", "scores")
        .conv_2d(16, 3, Activation::Relu)
        .max_pool_2d(2)
        .conv_2d(32, 3, Activation::Relu)
        .flatten()
        .dense(64, Activation::Relu)
        .dense(classes, Activation::None)
}

/// Does everything; `on` hears of it and may stop it, which leaves only whole files behind.
///
/// # Errors
/// When data cannot be read, files cannot be written, or `on` stopped it ([`Error::Interrupted`]).
pub fn run(options: &QuickstartOptions, on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>) -> Result<Outcome, Error> {
    let dataset = match &options.data {
        Some(dir) => datasets::fashion_mnist(dir)?,
        None => datasets::fashion_mnist_sample(),
    };
    files::create_dir(&options.out)?;
    tell(on, Event::Loaded(&dataset))?;
    let pixels = dataset.train.to_f32();
    let (float, epochs) = fit(options, &dataset, &pixels, on)?;

    let mut models = vec![("float", "float32 throughout", float.clone())];
    let calibration = calibrate(&float, &pixels, dataset.train.size(), options.calibration_images, on)?;
    for (name, description, mode) in QUANTIZED {
        let needs = mode.activation_type().map(|_| &calibration);
        models.push((name, description, quantize::quantize(&float, &quantize::Options::new(mode), needs)?));
    }
    let mut written = Vec::new();
    for (name, description, model) in models {
        let path = options.out.join(format!("fashion_{name}.tflite"));
        let bytes = model.to_bytes()?;
        write(&path, &bytes, on)?;
        // What is judged is what the file says.
        written.push((name, description, path, bytes.len() as u64, Model::from_bytes(bytes)?));
    }
    let mut variants: Vec<Variant> = Vec::new();
    for (name, description, path, bytes, model) in written {
        let all = dataset.test.len();
        let mut progress = |done| on(Event::Evaluating { name, done, all });
        let evaluation = evaluate::classify(model, &dataset.test, Options::default(), &mut progress)?;
        let agreement = variants.first().map_or(1.0, |float| evaluation.agreement(&float.evaluation));
        variants.push(Variant { name, description, path, bytes, evaluation, agreement });
    }
    let labels = options.out.join("labels.txt");
    write(&labels, (dataset.classes.join("\n") + "\n").as_bytes(), on)?;
    let sample = options.out.join("sample.png");
    let test = &dataset.test;
    write(&sample, &images::grey_png(test.image(0), test.columns, test.rows)?, on)?;
    let mut outcome = Outcome {
        training_time: epochs.iter().map(|epoch| epoch.time).sum(),
        parameters: crate::info::ModelInfo::new(&float, &crate::Catalog::builtin()).parameters,
        report: options.out.join("report.html"),
        sample: (sample, labels),
        dataset,
        epochs,
        variants,
    };
    let html = Report::of_quickstart(&outcome).to_html()?;
    let path = std::mem::take(&mut outcome.report);
    write(&path, html.as_bytes(), on)?;
    outcome.report = path;
    Ok(outcome)
}

/// Trains the float model.
fn fit(
    options: &QuickstartOptions,
    dataset: &Dataset,
    pixels: &[f32],
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<(Model, Vec<EpochStats>), Error> {
    let (rows, columns) = (dataset.train.rows, dataset.train.columns);
    let shape = [rows, columns, 1];
    let labels = |images: &datasets::Images| images.labels.iter().map(|&class| u32::from(class)).collect::<Vec<_>>();
    let (train_labels, test_labels, test_pixels) =
        (labels(&dataset.train), labels(&dataset.test), dataset.test.to_f32());
    let data = train::Dataset::new(pixels, &shape, (&train_labels[..]).into())?;
    let validation = train::Dataset::new(&test_pixels, &shape, (&test_labels[..]).into())?;
    let model = network(rows, columns, dataset.classes.len()).build(options.seed)?;
    let how = train::TrainOptions { threads: options.threads, seed: options.seed, ..Default::default() };
    let mut trainer = Trainer::new(model, Loss::SparseCategoricalCrossEntropy, Optimizer::adam(1e-3), how)?;
    let fit = train::FitOptions {
        epochs: options.epochs,
        batch_size: options.batch_size,
        validation: Some(validation),
        ..Default::default()
    };
    let history = trainer.fit(&data, &fit, &mut |progress| match progress {
        Progress::Batch(batch) => on(Event::Batch(batch)),
        Progress::Epoch(epoch) => on(Event::Epoch(epoch)),
    })?;
    if history.stopped {
        return Err(Error::Interrupted);
    }
    Ok((trainer.export(), history.epochs))
}

fn calibrate(
    model: &Model,
    pixels: &[f32],
    size: usize,
    count: usize,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<quantize::Calibration, Error> {
    let mut calibrator = Calibrator::new(model.clone())?;
    let all = count.clamp(1, pixels.len() / size);
    for (i, image) in pixels.chunks_exact(size).take(all).enumerate() {
        calibrator.feed_f32(&[image])?;
        tell(on, Event::Calibrating { done: i + 1, all })?;
    }
    Ok(calibrator.finish())
}

fn write(path: &Path, bytes: &[u8], on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>) -> Result<(), Error> {
    files::write(path, bytes)?;
    tell(on, Event::Written { path, bytes: bytes.len() as u64 })
}

fn tell(on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>, event: Event<'_>) -> Result<(), Error> {
    if on(event).is_break() { Err(Error::Interrupted) } else { Ok(()) }
}
