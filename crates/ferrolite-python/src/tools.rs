//! Facts about models, as JSON: Python makes dictionaries of it.

use crate::error::{facade_error, value_error};
use crate::wrapper::InterpreterWrapper;
use ferrolite::bench::{BenchOptions, bench as measure};
use ferrolite::info::ModelInfo;
use ferrolite::{Catalog, Options};
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// What a model is made of.
#[pyfunction]
pub(crate) fn info(py: Python<'_>, wrapper: &InterpreterWrapper) -> PyResult<String> {
    let info = py.detach(|| serde_json::to_string(&ModelInfo::new(&wrapper.model, &Catalog::builtin())));
    info.map_err(value_error)
}

/// How fast a model runs on random inputs; times in microseconds.
#[pyfunction]
#[pyo3(signature = (wrapper, threads, runs, seconds, warm_up, profile, seed))]
pub(crate) fn bench(
    py: Python<'_>,
    wrapper: &InterpreterWrapper,
    threads: usize,
    runs: Option<usize>,
    seconds: f64,
    warm_up: f64,
    profile: bool,
    seed: u64,
) -> PyResult<String> {
    let time = Duration::try_from_secs_f64(seconds).map_err(value_error)?;
    let warm_up = Duration::try_from_secs_f64(warm_up).map_err(value_error)?;
    let how = BenchOptions { warm_up, time, runs, profile, roofline: false, seed };
    let options = Options { threads, ..Options::default() };
    let report = py.detach(|| measure(Arc::clone(&wrapper.model), options, &how));
    serde_json::to_string(&report.map_err(|e| facade_error(&e))?).map_err(value_error)
}

/// Runs the command line tool on a command line, whose first word is the program's name, and returns the exit status.
#[pyfunction]
pub(crate) fn cli(py: Python<'_>, words: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| ferrolite_cli::run(words))
}
