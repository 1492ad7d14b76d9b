//! Inference side by side with other interpreters, and networks to measure it on.

use crate::{python, root, run, target, wheel};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The second peer. It is large, and there is no wheel of it for every platform: without it LiteRT is compared with alone.
const OPENVINO: &str = "openvino";
const COMPARE: &str = "bench_compare.py";

/// Builds the wheel and has a Python script time it beside LiteRT and OpenVINO. The script takes the arguments.
pub(crate) fn bench_compare(args: &[&str]) -> Result<(), String> {
    if args.iter().any(|arg| ["--help", "-h"].contains(arg)) {
        return run(script(Path::new(python::BASE), COMPARE).arg("--help"));
    }
    let python = match python::with_packages(wheel::FOR_TESTS) {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: comparison of speed ({why})");
            return Ok(());
        }
    };
    if let Err(why) = python::with_packages(&[OPENVINO]) {
        println!("without OpenVINO: {why}");
    }
    wheel::build(&python)?;
    let mut compare = script(&python, COMPARE);
    for (option, folder) in [("--bench", bench_dir()), ("--zoo", zoo_dir())] {
        if folder.is_dir() {
            compare.arg(option).arg(folder);
        } else {
            println!("not measured: {} is not there", folder.display());
        }
    }
    run(compare.args(args))
}

/// Builds networks of Keras in several number formats.
pub(crate) fn bench_models(args: &[&str]) -> Result<(), String> {
    let out = target().join("bench-models");
    let venv = target().join("tensorflow");
    if !venv.exists() {
        println!("installing TensorFlow, about 1.9 GB, into {}", venv.display());
    }
    let python = match python::environment(&venv, &[python::TENSORFLOW]) {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: networks of Keras ({why})");
            return Ok(());
        }
    };
    run(script(&python, "bench_models.py").arg("--out").arg(out).args(args))
}

/// A script of ours. It runs where the caller is, so that paths among the arguments mean what they say.
fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(root().join("xtask/python").join(name));
    command
}

/// Networks that are always measured.
fn bench_dir() -> PathBuf {
    std::env::var_os("FERROLITE_BENCH").map_or_else(|| root().join("../shared/bench/models"), PathBuf::from)
}

/// Real networks.
pub(crate) fn zoo_dir() -> PathBuf {
    std::env::var_os("FERROLITE_ZOO").map_or_else(|| root().join("../shared/zoo"), PathBuf::from)
}
