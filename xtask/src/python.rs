//! The checkout's own Python environment, `.venv`.

use crate::{command, root, run};
use std::path::PathBuf;

/// The environment's Python with these packages installed; an error says why it cannot be had (no Python, no network).
pub(crate) fn with_packages(packages: &[&str]) -> Result<PathBuf, String> {
    let venv = root().join(".venv");
    let bin = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    let python = venv.join(bin);
    if !python.exists() {
        let base = if cfg!(windows) { "python" } else { "python3" };
        let create = command(base, &["-m", "venv", ".venv"]).output().map_err(|e| format!("{base}: {e}"))?;
        if !create.status.success() {
            // A half-made environment would be taken for a good one next time.
            let _ = std::fs::remove_dir_all(&venv);
            return Err(format!("{base} -m venv failed: {}", String::from_utf8_lossy(&create.stderr).trim()));
        }
    }
    let mut pip = command(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.args(packages)).map_err(|e| format!("pip install {}: {e}", packages.join(" ")))?;
    Ok(python)
}
