//! Element types as NumPy knows them.

use ferrolite::TensorType;
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Types of the package `ml_dtypes`, where it is installed: bfloat16 and the 8-bit floats.
static ML_DTYPES: PyOnceLock<Option<Py<PyModule>>> = PyOnceLock::new();

fn ml_dtype<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyArrayDescr>> {
    let module = ML_DTYPES.get_or_init(py, || py.import("ml_dtypes").ok().map(Bound::unbind));
    let class = module.as_ref()?.bind(py).getattr(name).ok()?;
    PyArrayDescr::new(py, class).ok()
}

/// The dtype in which a tensor's elements are handed out. Packed integers are unpacked to bytes, strings are objects
/// (`bytes`); types that NumPy lacks are their bits when `ml_dtypes` is not installed.
pub(crate) fn dtype(py: Python<'_>, ty: TensorType) -> PyResult<Bound<'_, PyArrayDescr>> {
    static CACHE: [PyOnceLock<Py<PyArrayDescr>>; 32] = [const { PyOnceLock::new() }; 32];
    let name = match ty {
        TensorType::String | TensorType::Resource | TensorType::Variant => "O",
        TensorType::Int4 | TensorType::Int2 => "int8",
        TensorType::UInt4 => "uint8",
        TensorType::BFloat16 => "uint16",
        TensorType::Float8E4M3FN | TensorType::Float8E5M2 => "uint8",
        other => other.name(),
    };
    // The package takes megabytes: it is imported only for types of its own.
    let make = || match is_extension(ty).then(|| ml_dtype(py, ty.name())).flatten() {
        Some(own) => Ok(own.unbind()),
        None => PyArrayDescr::new(py, name).map(Bound::unbind),
    };
    match CACHE.get(ty as usize) {
        Some(cell) => cell.get_or_try_init(py, make).map(|d| d.bind(py).clone()),
        None => make().map(|d| d.into_bound(py)),
    }
}

/// The class that details name as a tensor's type: `numpy.float32`; strings are `numpy.bytes_`.
pub(crate) fn class(py: Python<'_>, ty: TensorType) -> PyResult<Bound<'_, PyAny>> {
    match ty {
        TensorType::String => Ok(PyArrayDescr::new(py, "S")?.typeobj().into_any()),
        _ => Ok(dtype(py, ty)?.typeobj().into_any()),
    }
}

fn is_extension(ty: TensorType) -> bool {
    matches!(ty, TensorType::BFloat16 | TensorType::Float8E4M3FN | TensorType::Float8E5M2)
}

/// The tensor type of an array's elements, `None` where there is none.
pub(crate) fn tensor_type(descr: &Bound<'_, PyArrayDescr>) -> Option<TensorType> {
    use TensorType::*;
    Some(match (descr.kind(), descr.itemsize()) {
        (b'f', 4) => Float32,
        (b'f', 2) => Float16,
        (b'f', 8) => Float64,
        (b'i', 1) => Int8,
        (b'i', 2) => Int16,
        (b'i', 4) => Int32,
        (b'i', 8) => Int64,
        (b'u', 1) => UInt8,
        (b'u', 2) => UInt16,
        (b'u', 4) => UInt32,
        (b'u', 8) => UInt64,
        (b'b', 1) => Bool,
        (b'c', 8) => Complex64,
        (b'c', 16) => Complex128,
        (b'S' | b'U' | b'O', _) => String,
        (_, 1 | 2) => {
            let extensions = [BFloat16, Float8E4M3FN, Float8E5M2, Int4, UInt4, Int2];
            let py = descr.py();
            return extensions.into_iter().find(|ty| ml_dtype(py, ty.name()).is_some_and(|d| d.is_equiv_to(descr)));
        }
        _ => return None,
    })
}

/// Whether an array of type `given` may be copied into a tensor of type `wanted`.
pub(crate) fn fits(py: Python<'_>, given: TensorType, wanted: TensorType) -> PyResult<bool> {
    use TensorType::*;
    Ok(given == wanted
        || matches!((given, wanted), (Int8, Int4 | Int2) | (UInt8, UInt4))
        // Without the package, such elements travel as their bits.
        || is_extension(wanted) && tensor_type(&dtype(py, wanted)?) == Some(given))
}

/// The name in messages: `FLOAT32`, `NOTYPE`.
pub(crate) fn message_name(ty: Option<TensorType>) -> std::string::String {
    ty.map_or_else(|| "NOTYPE".to_owned(), |ty| ty.name().to_uppercase())
}
