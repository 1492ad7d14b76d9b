//! Errors as Python programs written for `tf.lite` expect them.

use ferrolite::ops::OpError;
use ferrolite::{BuiltinOperator, Catalog, Model, ModelError, RuntimeError};
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

/// Refuses what `tf.lite` refuses when it registers a model's operators and signatures: operators of newer versions, and
/// signatures without a key.
pub(crate) fn check_registration(model: &Model) -> PyResult<()> {
    let catalog = Catalog::builtin();
    for code in &model.operator_codes {
        let is_known = code.builtin.variant_name().is_some();
        let text = match catalog.find(code) {
            _ if !is_known => {
                let number = code.builtin.0;
                format!("Op builtin_code out of range: {number}. Are you using old TFLite binary with newer model?")
            }
            Some(op) if code.builtin != BuiltinOperator::CUSTOM && !op.versions().contains(&code.version) => format!(
                "Didn't find op for builtin opcode '{}' version '{}'. An older version of this builtin might be \
                 supported. Are you using an old TFLite binary with a newer model?\n",
                code.name(),
                code.version
            ),
            _ => continue,
        };
        return Err(PyValueError::new_err(text + "Registration failed.\n"));
    }
    match model.signatures.iter().all(|signature| signature.key.is_some()) {
        true => Ok(()),
        false => Err(PyValueError::new_err("Missing exported method name for SignatureDef")),
    }
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
            let is_builtin = BuiltinOperator::ENUM_VALUES.iter().any(|known| known.variant_name() == Some(op));
            let why = if op.starts_with("Flex") {
                "Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter. Make \
                 sure you apply/link the Flex delegate before inference. For the Android, it can be resolved by adding \
                 \"org.tensorflow:tensorflow-lite-select-tf-ops\" dependency. See instructions: \
                 https://www.tensorflow.org/lite/guide/ops_select"
                    .to_owned()
            } else if is_builtin {
                format!("operator {op} is not supported yet\n")
            } else {
                format!(
                    "Encountered unresolved custom op: {op}.\nSee instructions: \
                     https://www.tensorflow.org/lite/guide/ops_custom "
                )
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
