//! Tests of the façade through its public API.

mod html;
mod info;
mod inputs;
mod quickstart;
mod runner;
mod sample;

use std::path::PathBuf;

/// A folder that is removed afterwards.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes the folder.
    pub fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("ferrolite-it-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
