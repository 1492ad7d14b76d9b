//! Trains the course's network on the full Fashion-MNIST data and prints one line per epoch, as `key value` pairs.
//!
//! `cargo run --release -p ferrolite-train --example fashion_mnist -- DIR [--epochs N] [--batch N] [--threads N]
//! [--shards N] [--samples N] [--profile] [--out M.tflite]`, where DIR holds the four idx files, plain or `.gz` (which
//! the `gzip` program unpacks).

use ferrolite_train::{
    Activation::*, Dataset, FitOptions, Loss, Optimizer, Progress, Sequential, Targets, TrainOptions, Trainer,
};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// The elements of an idx file of bytes, `header` bytes after its start.
fn idx(dir: &str, name: &str, header: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let plain = Path::new(dir).join(name);
    let bytes = if plain.exists() {
        std::fs::read(plain)?
    } else {
        let packed = Path::new(dir).join(format!("{name}.gz"));
        let unpacked = Command::new("gzip").arg("-dc").arg(&packed).output()?;
        if !unpacked.status.success() {
            return Err(format!("{}: {}", packed.display(), String::from_utf8_lossy(&unpacked.stderr)).into());
        }
        unpacked.stdout
    };
    Ok(bytes.get(header..).ok_or("not an idx file")?.to_vec())
}

fn load(dir: &str, part: &str) -> Result<(Vec<f32>, Vec<u32>), Box<dyn Error>> {
    let images = idx(dir, &format!("{part}-images-idx3-ubyte"), 16)?;
    let labels = idx(dir, &format!("{part}-labels-idx1-ubyte"), 8)?;
    Ok((images.iter().map(|&p| f32::from(p) / 255.0).collect(), labels.into_iter().map(u32::from).collect()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().ok_or("usage: fashion_mnist DIR [--epochs N] …")?;
    let text = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let number = |name: &str, default: usize| text(name).map_or(Ok(default), |v| v.parse());
    let (x, y) = load(dir, "train")?;
    let (test_x, test_y) = load(dir, "t10k")?;
    let shape = [28, 28, 1];
    let train = Dataset::new(&x, &shape, Targets::Labels(&y))?;
    let train = train.slice(0..number("--samples", train.len())?.min(train.len()))?;
    let test = Dataset::new(&test_x, &shape, Targets::Labels(&test_y))?;

    let network = Sequential::new(&shape)
        .conv_2d(16, 3, Relu)
        .max_pool_2d(2)
        .conv_2d(32, 3, Relu)
        .flatten()
        .dense(64, Relu)
        .dense(10, None);
    let options =
        TrainOptions { threads: number("--threads", 0)?, shards: number("--shards", 0)?, ..TrainOptions::default() };
    let loss = Loss::SparseCategoricalCrossEntropy;
    let mut trainer = Trainer::new(network.build(1)?, loss, Optimizer::adam(1e-3), options)?;
    trainer.set_profiling(args.iter().any(|a| a == "--profile"));
    let options = FitOptions {
        epochs: number("--epochs", 1)?,
        batch_size: number("--batch", 32)?,
        validation: Some(test),
        ..FitOptions::default()
    };
    trainer.fit(&train, &options, &mut |progress| {
        if let Progress::Epoch(e) = progress {
            let accuracy = e.scores.accuracy.unwrap_or(0.0);
            let test = e.validation.and_then(|v| v.accuracy).unwrap_or(0.0);
            let (epoch, seconds, loss) = (e.epoch, e.time.as_secs_f64(), e.scores.loss);
            println!(
                "epoch {epoch} seconds {seconds:.3} loss {loss:.4} accuracy {accuracy:.4} test_accuracy {test:.4}"
            );
        }
        ControlFlow::Continue(())
    })?;
    for node in trainer.profile() {
        let (ms, op, kernel) = (node.time.as_secs_f64() * 1e3, &node.op, &node.kernel);
        let gflops = node.macs as f64 * node.calls as f64 * 2.0 / node.time.as_secs_f64() / 1e9;
        println!("{ms:9.1} ms  {:6} calls  {gflops:6.1} GFLOP/s  {op:40} {kernel:40} {}", node.calls, node.output);
    }
    if let Some(path) = text("--out") {
        trainer.export().write_file(path)?;
    }
    Ok(())
}
