//! The one entry for chores: `cargo xtask help`.

#![forbid(unsafe_code)]

mod bench_compare;
mod bench_train;
mod codegen;
mod layers;
mod python;
mod test;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask <command>

  test                 format, lint and test everything; closes with `N passed, N failed`
  codegen [--check]    schema/tflite.fbs -> generated Rust (--check: only compare)
  ops-doc              write docs/OPS.md from the catalogue
  litert               compare every generated case and quickstart's files with LiteRT
  zoo                  compare real models with LiteRT
  wheel                build the Python wheel and install it into .venv
  bench compare        time side by side with LiteRT and OpenVINO (--help: options)
  bench models         build networks of Keras to compare with, in float, dynamic range, float16 and int8
  bench train          epoch time side by side with Keras
  help                 this text
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => test::test(),
        ["codegen"] => codegen::codegen(false),
        ["codegen", "--check"] => codegen::codegen(true),
        ["ops-doc"] => ops_doc(),
        ["litert"] => test::litert_alone(),
        ["zoo"] => test::zoo_alone(),
        ["wheel"] => wheel::wheel(),
        ["bench", "compare", rest @ ..] => bench_compare::bench_compare(rest),
        ["bench", "models", rest @ ..] => bench_compare::bench_models(rest),
        ["bench", "train", rest @ ..] => bench_train::bench_train(rest),
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no such command: {}\n\n{HELP}", words.join(" "))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout's root.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A command that runs in the checkout's root.
fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Cargo, the one that runs this program.
fn cargo(args: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// Runs a command to its end; an error when it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{:?} failed: {status}", command.get_program())) }
}

fn ops_doc() -> Result<(), String> {
    run(cargo(&["test", "--quiet", "--package", "ferrolite-runtime", "--test", "it", "ops_doc"])
        .env("UPDATE_EXPECT", "1"))
}
