//! The Python face: `ferrolite._ferrolite`.
//!
//! What programs import is `python/ferrolite`; this library gives it the interpreter with the semantics and message texts
//! of `tf.lite` (`wrapper`), and the quantizer, the trainer and the tools of the façade. Everything that computes
//! releases the interpreter lock.

#![deny(missing_docs)]

mod arguments;
mod array;
mod checks;
mod details;
mod dtype;
mod error;
mod quantize;
mod runner;
mod strings;
mod tools;
mod train;
mod wrapper;

use pyo3::prelude::*;

/// Native part of ferrolite.
#[pymodule]
fn _ferrolite(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<wrapper::InterpreterWrapper>()?;
    module.add_class::<runner::Runner>()?;
    module.add_class::<quantize::Calibrator>()?;
    module.add_class::<train::Sequential>()?;
    module.add_class::<train::Trainer>()?;
    module.add_function(wrap_pyfunction!(quantize::quantize, module)?)?;
    module.add_function(wrap_pyfunction!(tools::info, module)?)?;
    module.add_function(wrap_pyfunction!(tools::bench, module)?)?;
    module.add_function(wrap_pyfunction!(tools::cli, module)?)?;
    Ok(())
}
