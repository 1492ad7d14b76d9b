//! Whether values fit into tensors, with the messages of `tf.lite`.

use crate::array;
use crate::dtype;
use ferrolite::encoding;
use ferrolite::{Tensor, TensorType};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// A shape from an array of int32.
pub(crate) fn shape_of(value: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    let array = array::contiguous(value)
        .map_err(|_| PyValueError::new_err("Failed to convert numpy value into readable tensor."))?;
    if array.ndim() != 1 {
        return Err(PyValueError::new_err(format!("Shape should be 1D instead of {}.", array.ndim())));
    }
    if dtype::tensor_type(&array.dtype()) != Some(TensorType::Int32) {
        return Err(PyValueError::new_err(format!("Shape must be type int32 (was {}).", array.dtype().num())));
    }
    Ok(array::with_bytes(&array, |bytes| bytes.as_chunks().0.iter().map(|&d| i32::from_ne_bytes(d)).collect()))
}

/// The packed form of an array for a tensor of 4-bit integers. Any shape with the right number of elements will do.
pub(crate) fn narrow_of(
    array: &Bound<'_, PyUntypedArray>,
    given: Option<TensorType>,
    index: i64,
    tensor: &Tensor,
    shape: &[i32],
) -> PyResult<Vec<u8>> {
    let (ty, name) = (dtype::message_name(Some(tensor.ty)), tensor.name());
    let (wanted, low, high) = match tensor.ty {
        TensorType::Int4 => (TensorType::Int8, -8, 7),
        _ => (TensorType::UInt8, 0, 15),
    };
    if given != Some(wanted) {
        let given = dtype::message_name(given);
        return Err(PyValueError::new_err(format!(
            "Cannot set tensor: Expected a numpy array of {wanted} for {ty} input {index}, name: {name}, but got {given}"
        )));
    }
    let elements = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).product::<usize>();
    let bytes = array.len();
    if bytes != elements {
        return Err(PyValueError::new_err(format!(
            "Cannot set tensor: Numpy array for {ty} input {index}, name: {name}, has {bytes} bytes, but expected \
             {elements} bytes for {elements} elements"
        )));
    }
    let value = |byte: u8| if tensor.ty == TensorType::Int4 { i32::from(byte as i8) } else { i32::from(byte) };
    let packed = array::with_bytes(array, |bytes| {
        let fits = bytes.iter().all(|&byte| (low..=high).contains(&value(byte)));
        fits.then(|| encoding::pack_narrow(tensor.ty, bytes))
    });
    let range = format!("Cannot set tensor: Values for {ty} input must be between {low} and {high}.");
    packed.ok_or_else(|| PyValueError::new_err(range))
}

pub(crate) fn check_type(py: Python<'_>, given: Option<TensorType>, index: i64, tensor: &Tensor) -> PyResult<()> {
    if given.map_or(Ok(false), |given| dtype::fits(py, given, tensor.ty))? {
        return Ok(());
    }
    let (given, wanted) = (dtype::message_name(given), dtype::message_name(Some(tensor.ty)));
    Err(PyValueError::new_err(format!(
        "Cannot set tensor: Got value of type {given} but expected type {wanted} for input {index}, name: {} ",
        tensor.name()
    )))
}

/// Only dimensions that the file leaves open may change.
pub(crate) fn check_strict(index: i64, tensor: &Tensor, now: &[i32], wanted: &[i32]) -> PyResult<()> {
    if now.len() != wanted.len() {
        let text = format!("tensor->dims->size != dims.size() ({} != {})", now.len(), wanted.len());
        return Err(PyRuntimeError::new_err(text));
    }
    let signature = if tensor.shape_signature.is_empty() { now } else { &tensor.shape_signature };
    for (i, (&fixed, &wanted)) in signature.iter().zip(wanted).enumerate() {
        if fixed != -1 && fixed != wanted {
            return Err(PyRuntimeError::new_err(format!(
                "Attempting to resize dimension {i} of tensor {index} with value {fixed} to {wanted}. \
                 ResizeInputTensorStrict only allows mutating unknown dimensions identified by -1."
            )));
        }
    }
    Ok(())
}

pub(crate) fn check_shape(index: i64, given: &[usize], wanted: &[i32]) -> PyResult<()> {
    if given.len() != wanted.len() {
        let (given, wanted) = (given.len(), wanted.len());
        return Err(PyValueError::new_err(format!(
            "Cannot set tensor: Dimension mismatch. Got {given} but expected {wanted} for input {index}."
        )));
    }
    for (i, (&given, &wanted)) in given.iter().zip(wanted).enumerate() {
        if usize::try_from(wanted) != Ok(given) {
            return Err(PyValueError::new_err(format!(
                "Cannot set tensor: Dimension mismatch. Got {given} but expected {wanted} for dimension {i} of input \
                 {index}."
            )));
        }
    }
    Ok(())
}
