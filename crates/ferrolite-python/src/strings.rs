//! String tensors: arrays of `bytes` and `str`, and the format's serialization of them.

use ferrolite::encoding;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

/// An array of `bytes`, `str` or NumPy's string types in the format's serialization.
pub(crate) fn from_array(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if !value.is_instance_of::<PyUntypedArray>() {
        let name = value.get_type().name()?;
        return Err(PyValueError::new_err(format!("Passed in value type is not a numpy array, got type {name}.")));
    }
    let items: Vec<Bound<'_, PyAny>> = value.call_method0("ravel")?.call_method0("tolist")?.extract()?;
    let strings = items.iter().map(|item| match item.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => match item.cast::<PyString>() {
            // Lone surrogates have no UTF-8.
            Ok(text) => match text.to_cow() {
                Ok(text) => Ok(text.into_owned().into_bytes()),
                Err(_) => Err(PyValueError::new_err("PyUnicode_AsUTF8AndSize() failed.")),
            },
            Err(_) => Err(PyValueError::new_err("PyBytes_AsStringAndSize() failed.")),
        },
    });
    let strings = strings.collect::<PyResult<Vec<_>>>()?;
    let packed = encoding::pack_strings(strings.iter().map(Vec::as_slice));
    packed.ok_or_else(|| PyValueError::new_err("Cannot set tensor: the strings are too many or too long"))
}

/// An array of `bytes` objects.
pub(crate) fn to_array<'py>(py: Python<'py>, shape: &[usize], packed: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let elements = shape.iter().product::<usize>();
    let damaged = || PyValueError::new_err("The tensor's strings are damaged");
    // A tensor that nobody has set has no serialization either.
    let is_unset = packed.is_empty() && elements == 0;
    let strings = if is_unset { Vec::new() } else { encoding::unpack_strings(packed).ok_or_else(damaged)? };
    if strings.len() != elements {
        return Err(PyValueError::new_err(format!("There are {} strings for shape {shape:?}", strings.len())));
    }
    let items: Vec<_> = strings.into_iter().map(|string| PyBytes::new(py, string)).collect();
    let options = PyDict::new(py);
    options.set_item("dtype", "O")?;
    let flat = py.import("numpy")?.call_method("array", (items,), Some(&options))?;
    let shaped = flat.call_method1("reshape", (shape.to_vec(),))?;
    if shape.is_empty() { shaped.call_method0("item") } else { Ok(shaped) }
}
