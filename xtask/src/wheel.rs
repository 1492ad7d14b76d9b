//! The Python wheel: built by maturin, installed into the checkout's environment, tested there.

use crate::{command, python, run, target};
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = "crates/ferrolite-python/Cargo.toml";
const TESTS: &str = "crates/ferrolite-python/tests";

/// The builder.
const MATURIN: &str = "maturin>=1.16,<2";

/// What the tests need: the peer for comparisons, and a package that ferrolite uses where it is installed.
pub(crate) const FOR_TESTS: &[&str] = &[MATURIN, "numpy", "pytest", "ml_dtypes", "ai-edge-litert==2.3.0"];

/// Builds the release wheel and installs it into `.venv`.
pub(crate) fn wheel() -> Result<(), String> {
    let python = python::with_packages(&[MATURIN, "numpy"])?;
    let wheel = build(&python)?;
    let size = std::fs::metadata(&wheel).map_or(0, |file| file.len());
    println!("{} ({:.1} MB), installed into .venv", wheel.display(), size as f64 / 1e6);
    Ok(())
}

/// Builds the wheel, installs it into the environment with [`FOR_TESTS`], and gives the command that tests it, which
/// prints `N passed, N failed, N skipped`.
pub(crate) fn pytest(python: &Path) -> Result<Command, String> {
    build(python)?;
    Ok(command(python, &["-m", "pytest", "--quiet", "--rootdir", TESTS, TESTS]))
}

/// Builds the wheel and installs it; the path of the wheel.
pub(crate) fn build(python: &Path) -> Result<PathBuf, String> {
    let out = target().join("wheels");
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
