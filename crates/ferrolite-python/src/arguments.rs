//! Arguments as LiteRT's bindings take them.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat};

/// An index: an `int` or whatever converts to one, such as any NumPy number, but no `float`; of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Int(pub(crate) i64);

impl FromPyObject<'_, '_> for Int {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Int> {
        let number = match value.extract::<i64>() {
            Err(_) if !value.is_instance_of::<PyFloat>() && value.hasattr("__int__")? => {
                value.call_method0("__int__")?.extract::<i64>()?
            }
            other => other?,
        };
        match i32::try_from(number) {
            Ok(_) => Ok(Int(number)),
            Err(_) => Err(PyTypeError::new_err(format!("{number} does not fit into 32 bits"))),
        }
    }
}

/// A flag: `None` is false, and all that has a truth value of its own is taken by it; text and lists have none.
#[derive(Clone, Copy)]
pub(crate) struct Flag(pub(crate) bool);

impl FromPyObject<'_, '_> for Flag {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Flag> {
        if let Ok(flag) = value.cast::<PyBool>() {
            return Ok(Flag(flag.is_true()));
        }
        if value.is_none() || value.hasattr("__bool__")? {
            return Ok(Flag(value.is_truthy()?));
        }
        let name = value.get_type().name()?;
        Err(PyTypeError::new_err(format!("a flag is True or False, not {name}")))
    }
}
