//! Where the shared data is.

use std::path::{Path, PathBuf};

/// The folder of conformance cases for `test`, or `None`, saying that the test is skipped.
pub fn opsuite_dir(test: &str) -> Option<PathBuf> {
    find(test, "FERROLITE_OPSUITE", "opsuite", "index.json")
}

/// The folder of real models for `test`, or `None`, saying that the test is skipped.
pub fn zoo_dir(test: &str) -> Option<PathBuf> {
    find(test, "FERROLITE_ZOO", "zoo", "manifest.json")
}

/// Says that a test is skipped, and why.
pub fn skipped(test: &str, reason: &str) {
    println!("skipped: {test} ({reason})");
}

/// The folder that `variable` names, or `shared/<name>` beside this checkout or one of the folders above it.
fn find(test: &str, variable: &str, name: &str, marker: &str) -> Option<PathBuf> {
    let found = match std::env::var_os(variable) {
        Some(dir) => Some(PathBuf::from(dir)),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|dir| dir.join("shared").join(name))
            .find(|dir| dir.join(marker).is_file()),
    };
    let found = found.filter(|dir| dir.join(marker).is_file());
    if found.is_none() {
        skipped(test, &format!("no {marker} in ${variable}, and no shared/{name} beside the checkout"));
    }
    found
}
