//! Errors as Python programs written for `tf.lite` expect them.

use ferrolite::ops::OpError;
use ferrolite::{ModelError, RuntimeError};
use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::path::Path;

/// When a node failed.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    Prepare,
    Invoke,
}

/// An error of another library as `ValueError`.
pub(crate) fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Why a model cannot be read: `tf.lite`'s text, and what is wrong as the exception's cause.
pub(crate) fn model_error(py: Python<'_>, error: &ModelError, path: Option<&Path>) -> PyErr {
    let known = match (error, path) {
        (ModelError::Io { .. }, Some(path)) => {
            format!("Could not open '{}'.The model allocation is null/empty", path.display())
        }
        (ModelError::NotTflite(_) | ModelError::Damaged(_), _) => "The model is not a valid Flatbuffer buffer".into(),
        _ => return value_error(error),
    };
    let raised = PyValueError::new_err(known);
    raised.set_cause(py, Some(value_error(error)));
    raised
}

/// Why a model cannot be planned or run. What ferrolite does not have yet is a `NotImplementedError`, which is a
/// `RuntimeError` too.
pub(crate) fn runtime_error(error: &RuntimeError, phase: Phase) -> PyErr {
    let done = match phase {
        Phase::Prepare => "prepare",
        Phase::Invoke => "invoke",
    };
    match error {
        RuntimeError::Node { node, op, source, .. } => {
            let name = op.split(' ').next().unwrap_or(op);
            let text = format!("{source}\nNode number {node} ({name}) failed to {done}.");
            match source {
                OpError::Unsupported(_) => PyNotImplementedError::new_err(text),
                OpError::Invalid(_) => PyRuntimeError::new_err(text),
            }
        }
        RuntimeError::UnknownOperator { node, op, .. } => {
            let is_custom = op.parse::<i32>().is_err() && op.to_uppercase() != *op;
            let why = match is_custom {
                true => format!(
                    "Encountered unresolved custom op: {op}.\nSee instructions: \
                     https://www.tensorflow.org/lite/guide/ops_custom "
                ),
                false => format!("operator {op} is not supported yet\n"),
            };
            PyNotImplementedError::new_err(format!("{why}Node number {node} ({op}) failed to {done}."))
        }
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

/// An error of the façade.
pub(crate) fn facade_error(error: &ferrolite::Error) -> PyErr {
    let help = error.help().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    PyValueError::new_err(format!("{error}{help}"))
}
