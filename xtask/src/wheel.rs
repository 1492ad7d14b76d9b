//! The Python wheel: built by maturin, installed into the checkout's environment, tested there.

use crate::{command, python, root, run};
use std::path::PathBuf;
use std::process::Command;

const MANIFEST: &str = "crates/ferrolite-python/Cargo.toml";
const TESTS: &str = "crates/ferrolite-python/tests";

/// The builder.
const MATURIN: &str = "maturin>=1.16,<2";

/// What the tests need: the peer for comparisons, and a package that ferrolite uses where it is installed.
const FOR_TESTS: &[&str] = &[MATURIN, "numpy", "pytest", "ml_dtypes", "ai-edge-litert==2.3.0"];

/// Builds the release wheel and installs it into `.venv`.
pub(crate) fn wheel() -> Result<(), String> {
    let python = python::with_packages(&[MATURIN, "numpy"])?;
    let wheel = build(&python)?;
    let size = std::fs::metadata(&wheel).map_or(0, |file| file.len());
    println!("{} ({:.1} MB), installed into .venv", wheel.display(), size as f64 / 1e6);
    Ok(())
}

/// Builds and installs the wheel, and gives the command that tests it, which prints `N passed, N failed, N skipped`.
///
/// # Errors
/// Why there is no environment (no Python, no network), or why the wheel cannot be built.
pub(crate) fn pytest() -> Result<Command, String> {
    let python = python::with_packages(FOR_TESTS)?;
    build(&python)?;
    Ok(command(python, &["-m", "pytest", "--quiet", "--rootdir", TESTS, TESTS]))
}

/// Whether there is a Python to build for; an error says why not.
pub(crate) fn available() -> Result<(), String> {
    python::with_packages(FOR_TESTS).map(drop)
}

/// Builds the wheel and installs it; the path of the wheel.
fn build(python: &PathBuf) -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir));
    let out = target.join("wheels");
    let _ = std::fs::remove_dir_all(&out);
    let mut maturin = command(python, &["-m", "maturin", "build", "--quiet", "--release", "--manifest-path", MANIFEST]);
    run(maturin.arg("--out").arg(&out).arg("--interpreter").arg(python))?;
    let files = std::fs::read_dir(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut wheels =
        files.filter_map(|file| Some(file.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "whl"));
    let wheel = wheels.next().ok_or("maturin gave no wheel")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall"];
    run(command(python, &pip).arg(&wheel))?;
    Ok(wheel)
}
