//! Arguments.

use clap::ValueEnum;
use clap::{Args, Parser, Subcommand};
use ferrolite::images::Normalization;
use ferrolite::inputs::Source;
use ferrolite::quantize::{Method, Mode, Target};
use ferrolite::{TensorType, samples::Samples};
use std::path::PathBuf;

/// TensorFlow Lite in Rust: train small networks, quantize them with evidence, run them fast and safely.
#[derive(Parser)]
#[command(name = "ferrolite", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Examples:
  ferrolite quickstart                         train, quantize and compare on Fashion-MNIST
  ferrolite info model.tflite                  what is in a model
  ferrolite run model.tflite --input cat.png --labels labels.txt
  ferrolite bench model.tflite --threads 2 --profile
  ferrolite quantize model.tflite -o int8.tflite --mode int8 --data photos/
  ferrolite compare model.tflite int8.tflite --data photos/

`ferrolite COMMAND --help` has more.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Quickstart(QuickstartArgs),
    Info(InfoArgs),
    Run(RunArgs),
    Bench(BenchArgs),
    Quantize(QuantizeArgs),
    Compare(CompareArgs),
    Lint(LintArgs),
    Train(TrainArgs),
}

/// Train a small network on Fashion-MNIST, quantize it four ways, and compare the five models.
///
/// Writes fashion_float.tflite, _dynamic, _float16, _int8 and _int8_only, runs each over the test images, prints a table
/// and writes report.html. Without --data an embedded sample of 6,000 training and 1,000 test images is used.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite quickstart
  ferrolite quickstart --epochs 3 --out /tmp/try
  ferrolite quickstart --data /usr/share/datasets/fashion-mnist   (Debian's dataset-fashion-mnist)")]
pub struct QuickstartArgs {
    /// Folder with the full idx or idx.gz files.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Passes over the training images.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Folder for the models and the report.
    #[arg(long, value_name = "DIR", default_value = "quickstart-out")]
    pub out: PathBuf,
    /// Threads for training; one per core by default.
    #[arg(long, short, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Seed of the initial weights and of the order of images.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Show what a model is made of: operators, tensors, signatures, quantization, sizes, multiply-accumulates.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite info model.tflite
  ferrolite info model.tflite --json | jq .macs
  ferrolite info model.tflite --dump | less")]
pub struct InfoArgs {
    /// A .tflite file.
    pub model: PathBuf,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
    /// Print the whole model as text: every tensor, node and option.
    #[arg(long, conflicts_with = "json")]
    pub dump: bool,
}

/// Run a model once on files, or on random values, and show its outputs.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite run model.tflite                                  random input
  ferrolite run model.tflite --input cat.jpg --labels labels.txt --top 3
  ferrolite run model.tflite --input x.npy --output out       writes out/NAME.npy
  ferrolite run model.tflite --input ids=ids.npy --input mask=mask.npy

Pictures are resized to the input. Floats run from 0 to 1 unless the model's metadata, or --mean and --std, say
otherwise (127.5 and 127.5 for -1 to 1); integer inputs take the bytes of the picture. Arrays of another type than the input's are taken as real
numbers and quantized.")]
pub struct RunArgs {
    /// A .tflite file.
    pub model: PathBuf,
    /// A .npy, .npz, .png or .jpg file, for the inputs in order, or by name as NAME=FILE; may be repeated.
    #[arg(long, short, value_name = "[NAME=]FILE")]
    pub input: Vec<Source>,
    /// Names of the classes, one per line; by default those in the model file, if any.
    #[arg(long, short, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How many classes to show.
    #[arg(long, default_value_t = 5)]
    pub top: usize,
    /// Write each output as .npy into this folder.
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub pictures: Pictures,
    /// Seed of random inputs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub how: How,
}

/// How bytes of pictures become numbers.
#[derive(Args)]
pub struct Pictures {
    /// Subtracted from the bytes of a picture; one number, or one per channel.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    pub mean: Vec<f32>,
    /// Divides them afterwards; one number, or one per channel.
    #[arg(long, value_delimiter = ',')]
    pub std: Vec<f32>,
}

impl Pictures {
    /// What was given, if anything was.
    pub fn normalization(&self) -> Option<Normalization> {
        let or = |given: &[f32], default: f32| if given.is_empty() { vec![default] } else { given.to_vec() };
        let is_given = !self.mean.is_empty() || !self.std.is_empty();
        is_given.then(|| Normalization { mean: or(&self.mean, 0.0), std: or(&self.std, 1.0) })
    }
}

/// Samples of a model's inputs.
#[derive(Args)]
pub struct Data {
    /// Samples: a .npy or .npz file whose first dimension counts them, or a folder of pictures or .npy files; for the
    /// inputs in order, or by name as NAME=FILE; may be repeated.
    #[arg(long, short, value_name = "[NAME=]FILE")]
    pub data: Vec<Source>,
    /// Take at most so many samples, evenly spread over all.
    #[arg(long, value_name = "COUNT")]
    pub samples: Option<usize>,
    #[command(flatten)]
    pub pictures: Pictures,
}

impl Data {
    pub fn open(&self, model: &ferrolite::Model) -> Result<Samples, ferrolite::Error> {
        let samples = Samples::open(model, &self.data, self.pictures.normalization().as_ref())?;
        Ok(match self.samples {
            Some(count) => samples.spread(count),
            None => samples,
        })
    }
}

/// Measure how fast a model runs on random inputs.
///
/// --profile tells where the time goes: a line per kind of operator, then the steps that take most. --roofline measures for a
/// second what this machine can do at most, and tells how near every step comes: OP/s are operations, two per
/// multiply-accumulate; op/B those per byte of inputs, constants and outputs; a step is bound by its multiply-accumulates
/// (compute) or by its bytes (memory, or the cache that holds them), and `of roofline` is the least time that allows / its
/// time.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite bench model.tflite
  ferrolite bench model.tflite --threads 2 --profile
  ferrolite bench model.tflite --profile --all | less
  ferrolite bench model.tflite --roofline                   what could still be faster
  ferrolite bench model.tflite --html roofline.html         the same as a picture
  ferrolite bench model.tflite --runs 1000 --json
  ferrolite bench model.tflite --profile --json | jq '.operators[] | [.operator, .share]'
  FERROLITE_ISA=avx2 ferrolite bench model.tflite           as on a CPU without AVX-512")]
pub struct BenchArgs {
    /// A .tflite file.
    pub model: PathBuf,
    /// Show the time of each kind of operator and of the steps, most first.
    #[arg(long)]
    pub profile: bool,
    /// Show every step, not only those that take most.
    #[arg(long)]
    pub all: bool,
    /// Also compare each step with what this machine can do at most.
    #[arg(long)]
    pub roofline: bool,
    /// Write the comparison with what this machine can do at most as a page with a plot.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
    /// Count this many runs.
    #[arg(long, conflicts_with = "seconds")]
    pub runs: Option<usize>,
    /// Count runs for this long.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    #[command(flatten)]
    pub how: How,
}

/// How to run a model.
#[derive(Args)]
pub struct How {
    /// Threads that share the work.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Use the reference kernels only: slow, the specification of every result.
    #[arg(long)]
    pub reference: bool,
}

impl How {
    pub fn options(&self) -> ferrolite::Options {
        let base = if self.reference { ferrolite::Options::reference() } else { ferrolite::Options::default() };
        ferrolite::Options { threads: self.threads.into(), ..base }
    }
}

/// Make a model smaller and faster by storing and computing in fewer bits.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite quantize model.tflite -o small.tflite --mode dynamic
  ferrolite quantize model.tflite -o half.tflite --mode float16
  ferrolite quantize model.tflite -o int8.tflite --mode int8 --data samples.npy
  ferrolite quantize model.tflite -o int8.tflite --mode int8 --data photos/ --mean 127.5 --std 127.5 --samples 200
  ferrolite quantize model.tflite -o int8.tflite --mode int8 --data ids=ids.npy --data mask=mask.npy
  ferrolite quantize model.tflite -o mcu.tflite --mode int8-only --io-type uint8 --data samples.npz
  ferrolite quantize model.tflite -o int8.tflite --mode int8 --data samples.npy --calibration mse
  ferrolite quantize model.tflite -o int4.tflite --mode dynamic --weights int4
  ferrolite quantize model.tflite -o mixed.tflite --mode int8 --recipe mixed.json --data samples.npy
    where mixed.json holds [{\"operators\": [\"FULLY_CONNECTED\"], \"scheme\": \"int16x8\"},
                            {\"tensors\": \"^logits$\", \"scheme\": \"float\"}]

The first dimension of each array of samples counts them: [100, 28, 28, 1] holds 100 samples of an input [1, 28, 28, 1].
A hundred samples that look like real inputs, prepared as the model takes them, are enough. docs/quantization.md tells
which mode and which calibration to take, and what a recipe may say.")]
pub struct QuantizeArgs {
    /// A float .tflite file.
    pub model: PathBuf,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// How.
    #[arg(long, short, value_enum, required_unless_present = "recipe", default_value = "float")]
    pub mode: QuantizeMode,
    /// Rules for mixed precision, a JSON file: exceptions from the mode.
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Type of weights; int4 for CONV_2D, FULLY_CONNECTED and EMBEDDING_LOOKUP, int8 for the others.
    #[arg(long, value_enum, default_value = "int8")]
    pub weights: WeightType,
    /// What int8, int8-only and int16x8 measure ranges on.
    #[command(flatten)]
    pub data: Data,
    /// How ranges come from samples: min-max, moving-average, percentile, percentile=99.9, entropy or mse.
    #[arg(long, value_name = "METHOD", default_value = "min-max")]
    pub calibration: Method,
    /// Type of float inputs and outputs in the result: float32, int8, uint8 or int16; by default int8 for int8-only,
    /// float32 for the others.
    #[arg(long, value_name = "TYPE", value_parser = io_type)]
    pub io_type: Option<TensorType>,
    /// Threads for measuring.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
}

fn io_type(text: &str) -> Result<TensorType, String> {
    use TensorType::{Float32, Int8, Int16, UInt8};
    let found = [Float32, Int8, UInt8, Int16].into_iter().find(|ty| ty.to_string() == text);
    found.ok_or_else(|| "it is one of float32, int8, uint8, int16".to_owned())
}

/// Types of weights.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum WeightType {
    /// One byte.
    Int8,
    /// Half a byte.
    Int4,
}

/// Modes of quantization.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum QuantizeMode {
    /// As it is, but for the rules of a recipe.
    Float,
    /// int8 weights; activations stay float and are quantized while running. A quarter of the size.
    Dynamic,
    /// Weights stored as integers, computed with as floats. A quarter of the size, or an eighth with int4.
    WeightOnly,
    /// Weights as float16. Half of the size.
    Float16,
    /// int8 weights and activations; float input and output, and float where int8 is not possible.
    Int8,
    /// int8 throughout, input and output too; an error where that is not possible.
    Int8Only,
    /// int8 weights, int16 activations: nearly as exact as float.
    Int16x8,
}

impl From<QuantizeMode> for Mode {
    fn from(mode: QuantizeMode) -> Mode {
        match mode {
            QuantizeMode::Float => Mode::Float,
            QuantizeMode::WeightOnly => Mode::WeightOnly,
            QuantizeMode::Dynamic => Mode::DynamicRange,
            QuantizeMode::Float16 => Mode::Float16,
            QuantizeMode::Int8 => Mode::Int8,
            QuantizeMode::Int8Only => Mode::Int8Only,
            QuantizeMode::Int16x8 => Mode::Int16x8,
        }
    }
}

/// Compare a quantized model with its float one: every tensor's error, and what each layer alone costs.
///
/// Both are run on the same samples; integer inputs are quantized. Tensors are matched by name, outputs by position. Layers
/// are ranked by what the outputs are off by when one layer is quantized as in the second model, and all others are float.
/// SNR is the power of the float values over that of the error: 20 dB is an error of a tenth, 40 dB of a hundredth.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite compare float.tflite int8.tflite --data samples.npy
  ferrolite compare float.tflite int8.tflite --data photos/ --samples 50 --html compare.html --csv compare.csv
  ferrolite compare float.tflite int8.tflite --data samples.npy --recipe keep.json --worst 3
  ferrolite quantize float.tflite -o better.tflite --mode int8 --recipe keep.json --data samples.npy")]
pub struct CompareArgs {
    /// The float .tflite file.
    #[arg(value_name = "FLOAT")]
    pub wanted: PathBuf,
    /// The quantized one.
    #[arg(value_name = "QUANTIZED")]
    pub given: PathBuf,
    /// What both are run on.
    #[command(flatten)]
    pub data: Data,
    /// Samples that layers are quantized alone on; 0 leaves that out.
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub layer_samples: usize,
    /// Write all tensors as CSV.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a page with tables and histograms.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a recipe for `ferrolite quantize` that keeps the most costly layers in float.
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// How many layers that recipe keeps.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub worst: usize,
}

/// Check a model: rules of quantization that it breaks, and what its target cannot run.
///
/// Prints a line for each finding, and fails if there are any. Rules are bias-scale, bias-type, same-scale, fixed-output,
/// zero-point, axis, range and scale; the target's are operator, version, type, shape and hybrid.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite lint int8.tflite
  ferrolite lint int8.tflite --target microcontroller
  ferrolite lint int8.tflite --target edgetpu")]
pub struct LintArgs {
    /// A .tflite file.
    pub model: PathBuf,
    /// What it is to run on: cpu, edgetpu or microcontroller.
    #[arg(long, value_name = "TARGET", default_value = "cpu")]
    pub target: Target,
}

/// Train an exercise of the course.
#[derive(Args)]
pub struct TrainArgs {
    #[command(subcommand)]
    pub what: TrainCommand,
}

#[derive(Subcommand)]
pub enum TrainCommand {
    Linear(LinearArgs),
}

/// Find the line y = 2x − 1 from six points by gradient descent.
///
/// Trains one neuron, exports it, runs it at random inputs and plots the result.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite train linear
  ferrolite train linear --epochs 20 --learning-rate 0.1 --out /tmp/linear")]
pub struct LinearArgs {
    /// Passes over the six points, one step each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Step size of the descent; above about 0.17 it diverges.
    #[arg(long, default_value_t = 0.05)]
    pub learning_rate: f64,
    /// Seed of the initial weight and of the random inputs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for linear.tflite and linear.html.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}
