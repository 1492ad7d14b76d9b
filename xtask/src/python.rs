//! Python environments: the checkout's own, `.venv`, and others for what is large.

use crate::{command, root, run};
use std::path::{Path, PathBuf};

/// The system's Python, which environments are made with.
pub(crate) const BASE: &str = if cfg!(windows) { "python" } else { "python3" };

/// TensorFlow without its GPU part: a build of its own for x86-64 Linux; elsewhere `tensorflow` is that.
pub(crate) const TENSORFLOW: &str =
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) { "tensorflow-cpu" } else { "tensorflow" };

/// The Python of `.venv` with these packages installed; an error says why it cannot be had (no Python, no network).
pub(crate) fn with_packages(packages: &[&str]) -> Result<PathBuf, String> {
    environment(&root().join(".venv"), packages)
}

/// The Python of an environment, which is made where there is none, with these packages installed.
pub(crate) fn environment(venv: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let bin = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    let python = venv.join(bin);
    if !python.exists() {
        let create = command(BASE, &["-m", "venv"]).arg(venv).output().map_err(|e| format!("{BASE}: {e}"))?;
        if !create.status.success() {
            // A half-made environment would be taken for a good one next time.
            let _ = std::fs::remove_dir_all(venv);
            return Err(format!("{BASE} -m venv failed: {}", String::from_utf8_lossy(&create.stderr).trim()));
        }
    }
    let mut pip = command(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.args(packages)).map_err(|e| format!("pip install {}: {e}", packages.join(" ")))?;
    Ok(python)
}
