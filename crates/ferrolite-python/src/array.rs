//! NumPy arrays as bytes and back. All of the crate's `unsafe` is here.

#![allow(unsafe_code)]

use numpy::npyffi::{self, NpyTypes, PY_ARRAY_API};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::ffi;
use pyo3::prelude::*;
use std::os::raw::{c_int, c_void};

/// The value as an array that is C-contiguous, aligned and of native byte order; the value itself where it is one.
pub(crate) fn contiguous<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Ok(array) = value.cast::<PyUntypedArray>()
        && is_plain(array)
    {
        return Ok(array.clone());
    }
    let py = value.py();
    let flags = npyffi::NPY_ARRAY_C_CONTIGUOUS | npyffi::NPY_ARRAY_ALIGNED | npyffi::NPY_ARRAY_NOTSWAPPED;
    // SAFETY: `value` is a live object and the interpreter lock is held; the call takes no reference and returns a new
    // one or an error.
    let array = unsafe {
        let null = std::ptr::null_mut();
        let made = PY_ARRAY_API.PyArray_CheckFromAny(py, value.as_ptr(), null, 0, 0, flags, std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    Ok(array.cast_into::<PyUntypedArray>()?)
}

fn is_plain(array: &Bound<'_, PyUntypedArray>) -> bool {
    array.is_c_contiguous() && array.is_aligned() && array.dtype().is_native_byteorder() != Some(false)
}

/// Calls `read` with the bytes of an array from [`contiguous`]; of one that is not, or of objects, with none.
pub(crate) fn with_bytes<R>(array: &Bound<'_, PyUntypedArray>, read: impl FnOnce(&[u8]) -> R) -> R {
    let descr = array.dtype();
    if descr.has_object() || !array.is_c_contiguous() || array.is_empty() {
        return read(&[]);
    }
    let len = array.len() * descr.itemsize();
    // SAFETY: a C-contiguous array that is not empty has `len` initialized bytes at `data`, which live as long as the
    // array, which `array` keeps alive. The interpreter lock is held throughout, since `read` gets no way to release it;
    // writers that do not hold it break NumPy's own rules.
    let bytes = unsafe { std::slice::from_raw_parts((*array.as_array_ptr()).fields.data.cast::<u8>(), len) };
    read(bytes)
}

/// A new array with a copy of these bytes; a NumPy scalar where `shape` is empty.
///
/// # Errors
/// When there is no memory, or fewer bytes than elements ask for.
pub(crate) fn copy<'py>(
    py: Python<'py>,
    descr: Bound<'py, PyArrayDescr>,
    shape: &[usize],
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let len = shape.iter().product::<usize>() * descr.itemsize();
    if bytes.len() < len || descr.has_object() {
        return Err(crate::error::value_error(format!("{} bytes are not {len}", bytes.len())));
    }
    let array = new_array(py, descr, shape, std::ptr::null_mut(), 0)?;
    // SAFETY: the new array owns `len` bytes, C-contiguous, which nobody else knows yet.
    unsafe {
        let target = (*array.as_ptr().cast::<npyffi::PyArrayObject>()).fields.data.cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, len);
    }
    Ok(as_result(array))
}

/// A view of memory that `owner` keeps alive and in its place.
///
/// # Safety
/// As long as `owner` lives, `data` must point to as many bytes as elements of this shape take; while
/// Python code runs, nothing may write there without the interpreter lock. For a `writable` view all writes of Python
/// code must be allowed.
pub(crate) unsafe fn view<'py>(
    py: Python<'py>,
    descr: Bound<'py, PyArrayDescr>,
    shape: &[usize],
    data: *mut u8,
    writable: bool,
    owner: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let flags = if writable { npyffi::NPY_ARRAY_WRITEABLE } else { 0 };
    let array = new_array(py, descr, shape, data, flags)?;
    // SAFETY: `array` is a new array; the call takes over the reference to `owner`, also when it fails.
    let done = unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), owner.into_ptr()) };
    if done < 0 { Err(PyErr::fetch(py)) } else { Ok(array) }
}

fn new_array<'py>(
    py: Python<'py>,
    descr: Bound<'py, PyArrayDescr>,
    shape: &[usize],
    data: *mut u8,
    flags: c_int,
) -> PyResult<Bound<'py, PyAny>> {
    let mut dims: Vec<npyffi::npy_intp> = shape.iter().map(|&d| d as npyffi::npy_intp).collect();
    // SAFETY: the call takes over the reference to `descr`; `dims` are as many as said; without strides the array is
    // C-contiguous; without data it allocates its own.
    unsafe {
        let made = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, NpyTypes::PyArray_Type),
            descr.into_dtype_ptr(),
            dims.len() as c_int,
            dims.as_mut_ptr(),
            std::ptr::null_mut(),
            data.cast::<c_void>(),
            flags,
            std::ptr::null_mut::<ffi::PyObject>(),
        );
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// An array without dimensions as a scalar of its type.
fn as_result(array: Bound<'_, PyAny>) -> Bound<'_, PyAny> {
    let py = array.py();
    // SAFETY: the call takes over the reference to `array` and returns one that is not null for an array that is not.
    unsafe {
        let result = PY_ARRAY_API.PyArray_Return(py, array.into_ptr().cast());
        Bound::from_owned_ptr(py, result)
    }
}
