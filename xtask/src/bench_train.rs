//! Training side by side with Keras: the same network, data, batch size and optimiser on the same machine.

use crate::{cargo, command, python};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const USAGE: &str = "cargo xtask bench train [--data DIR] [--epochs N] [--batch N]\n\
    DIR holds the idx files of Fashion-MNIST (Debian's dataset-fashion-mnist is found without it)";

/// One epoch as both programs print it.
#[derive(Clone, Copy, Default)]
struct Epoch {
    seconds: f64,
    test_accuracy: f64,
}

/// Times epochs of both and prints them with their ratio.
pub(crate) fn bench_train(args: &[&str]) -> Result<(), String> {
    let (mut data, mut epochs, mut batch) = ("/usr/share/datasets/fashion-mnist", "3", "32");
    let mut rest = args.iter();
    while let Some(&name) = rest.next() {
        let target = match name {
            "--data" => &mut data,
            "--epochs" => &mut epochs,
            "--batch" => &mut batch,
            _ => return Err(format!("unknown argument {name}\n{USAGE}")),
        };
        *target = rest.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
    }
    if !std::path::Path::new(data).is_dir() {
        return Err(format!("{data} is not a directory\n{USAGE}"));
    }

    println!("ferrolite:");
    let example = ["run", "--quiet", "--release", "--package", "ferrolite-train", "--example", "fashion_mnist", "--"];
    let ours = epochs_of(cargo(&example).args([data, "--epochs", epochs, "--batch", batch]))?;
    let python =
        python::with_packages(&[python::TENSORFLOW]).map_err(|e| format!("Keras cannot be compared with: {e}"))?;
    println!("Keras:");
    let keras = epochs_of(command(python, &["xtask/python/keras_train.py", data, epochs, batch]))?;

    println!("\nepoch   ferrolite       Keras    ratio   test accuracy");
    for (i, (a, b)) in ours.iter().zip(&keras).enumerate() {
        let ratio = b.seconds / a.seconds;
        let (ours, keras) = (a.test_accuracy, b.test_accuracy);
        println!("{:5}  {:8.2} s  {:8.2} s  {ratio:6.2}x   {ours:.4} / {keras:.4}", i + 1, a.seconds, b.seconds);
    }
    let (ours, keras) = (median(&ours), median(&keras));
    println!("median {ours:7.2} s  {keras:8.2} s  {:6.2}x", keras / ours);
    Ok(())
}

/// Runs a program, shows its lines and reads epochs from them.
fn epochs_of(mut program: impl std::borrow::BorrowMut<Command>) -> Result<Vec<Epoch>, String> {
    let program = program.borrow_mut();
    let name = program.get_program().to_string_lossy().into_owned();
    let mut child = program.stdout(Stdio::piped()).spawn().map_err(|e| format!("{name}: {e}"))?;
    let mut epochs = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(|e| format!("{name}: {e}"))?;
        println!("  {line}");
        epochs.extend(parse(&line));
    }
    let status = child.wait().map_err(|e| format!("{name}: {e}"))?;
    match epochs.is_empty() || !status.success() {
        true => Err(format!("{name} failed: {status}")),
        false => Ok(epochs),
    }
}

/// An epoch from a line of `key value` pairs; `None` for other lines.
fn parse(line: &str) -> Option<Epoch> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |key: &str| words.iter().position(|w| *w == key).and_then(|i| words.get(i + 1)?.parse().ok());
    Some(Epoch { seconds: value("seconds")?, test_accuracy: value("test_accuracy")? })
}

/// Median time of the epochs.
fn median(epochs: &[Epoch]) -> f64 {
    let mut seconds: Vec<f64> = epochs.iter().map(|e| e.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let (low, high) = (seconds.get((seconds.len().max(1) - 1) / 2), seconds.get(seconds.len() / 2));
    low.zip(high).map_or(f64::NAN, |(low, high)| (low + high) / 2.0)
}
