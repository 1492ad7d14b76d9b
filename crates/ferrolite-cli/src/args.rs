//! Arguments.

use clap::{Args, Parser, Subcommand};
use ferrolite::inputs::Source;
use std::path::PathBuf;

/// TensorFlow Lite in Rust: train small networks, quantize them with evidence, run them fast and safely.
#[derive(Parser)]
#[command(name = "ferrolite", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Examples:
  ferrolite quickstart                         train, quantize and compare on Fashion-MNIST
  ferrolite info model.tflite                  what is in a model
  ferrolite run model.tflite --input cat.png --labels labels.txt
  ferrolite bench model.tflite --threads 2 --profile

`ferrolite COMMAND --help` has more.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Info(InfoArgs),
    Run(RunArgs),
    Bench(BenchArgs),
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
    /// Print every tensor and node of every subgraph.
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

Pictures are resized to the input. Floats run from 0 to 1 unless --mean and --std say otherwise (127.5 and 127.5 for
-1 to 1); integer inputs take the bytes of the picture. Arrays of another type than the input's are taken as real
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
    /// Subtracted from the bytes of a picture; one number, or one per channel.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    pub mean: Vec<f32>,
    /// Divides them afterwards; one number, or one per channel.
    #[arg(long, value_delimiter = ',')]
    pub std: Vec<f32>,
    /// Seed of random inputs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub how: How,
}

/// Measure how fast a model runs on random inputs.
#[derive(Args)]
#[command(after_help = "Examples:
  ferrolite bench model.tflite
  ferrolite bench model.tflite --threads 2 --profile
  ferrolite bench model.tflite --runs 1000 --json")]
pub struct BenchArgs {
    /// A .tflite file.
    pub model: PathBuf,
    /// Show the time of each step, most first.
    #[arg(long)]
    pub profile: bool,
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
