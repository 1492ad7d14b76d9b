//! Post-training quantization.

use crate::array;
use crate::dtype;
use crate::error::value_error;
use crate::wrapper::InterpreterWrapper;
use ferrolite::quantize::{self as engine, Calibration, Method, Mode};
use ferrolite::{Options, TensorType};
use numpy::{PyArrayDescr, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs representative inputs and keeps the ranges of all tensors.
#[pyclass(frozen, module = "ferrolite._ferrolite")]
pub(crate) struct Calibrator(Mutex<State>);

enum State {
    Running { engine: Box<engine::Calibrator>, shapes: Vec<Vec<usize>>, types: Vec<TensorType> },
    Done(Calibration),
}

#[pymethods]
impl Calibrator {
    #[new]
    fn new(py: Python<'_>, wrapper: &InterpreterWrapper, threads: usize, method: &str) -> PyResult<Self> {
        let method: Method =
            method.parse().map_err(|e| PyValueError::new_err(format!("calibration method {method:?}: {e}")))?;
        let model = Arc::clone(&wrapper.model);
        let options = Options { threads, ..Options::default() };
        let started = py.detach(|| engine::Calibrator::with_options(Arc::clone(&model), options));
        let tensors = || model.subgraphs[0].inputs.iter().map(|&id| &model.subgraphs[0].tensors[id]);
        let size = |d: &i32| usize::try_from(*d).unwrap_or(1);
        let shapes = tensors().map(|t| t.shape.iter().map(size).collect()).collect();
        let types = tensors().map(|t| t.ty).collect();
        let engine = Box::new(started.map_err(value_error)?.method(method));
        Ok(Calibrator(Mutex::new(State::Running { engine, shapes, types })))
    }

    /// Runs one sample: an array per input, in the model's order, of the inputs' types. Shapes may change.
    fn feed(&self, py: Python<'_>, inputs: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let mut state = self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let State::Running { engine, shapes, types } = &mut *state else {
            return Err(PyRuntimeError::new_err("the calibration is finished"));
        };
        if inputs.len() != shapes.len() {
            let (given, wanted) = (inputs.len(), shapes.len());
            return Err(PyValueError::new_err(format!("a sample has {given} arrays, the model {wanted} inputs")));
        }
        let mut data = Vec::new();
        let mut resized = Vec::new();
        for (i, value) in inputs.iter().enumerate() {
            let input = array::contiguous(value)?;
            let given = dtype::tensor_type(&input.dtype());
            if given != Some(types[i]) {
                let (given, wanted) = (dtype::message_name(given), dtype::message_name(Some(types[i])));
                return Err(PyValueError::new_err(format!("sample for input {i} is {given}, expected {wanted}")));
            }
            if input.shape() != shapes[i] {
                resized.push((i, input.shape().to_vec()));
            }
            data.push(array::with_bytes(&input, <[u8]>::to_vec));
        }
        for (i, shape) in resized {
            engine.resize_input(i, &shape).map_err(value_error)?;
            shapes[i] = shape;
        }
        py.detach(|| engine.feed(&data)).map_err(value_error)
    }
}

/// Quantizes a model and returns the file's bytes.
#[pyfunction]
#[pyo3(signature = (wrapper, mode, input_type, output_type, per_channel, weight_bits, recipe, calibrator))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    wrapper: &InterpreterWrapper,
    mode: &str,
    input_type: Option<Bound<'py, PyArrayDescr>>,
    output_type: Option<Bound<'py, PyArrayDescr>>,
    per_channel: bool,
    weight_bits: u8,
    recipe: &str,
    calibrator: Option<&Calibrator>,
) -> PyResult<Bound<'py, PyBytes>> {
    let modes =
        [Mode::Float, Mode::WeightOnly, Mode::DynamicRange, Mode::Float16, Mode::Int8, Mode::Int8Only, Mode::Int16x8];
    let found = modes.into_iter().find(|m| m.name() == mode);
    let mode = found.ok_or_else(|| PyValueError::new_err(format!("there is no mode {mode:?}")))?;
    let ty = |descr: &Bound<'py, PyArrayDescr>| dtype::tensor_type(descr);
    let options = engine::Options {
        input_type: input_type.as_ref().and_then(ty),
        output_type: output_type.as_ref().and_then(ty),
        per_channel,
        weight_bits,
        rules: ferrolite::recipe::parse(recipe).map_err(|e| PyValueError::new_err(format!("recipe: {e}")))?,
        ..engine::Options::new(mode)
    };
    let calibration = calibrator.map(|c| {
        let mut state = c.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let unused = State::Done(Calibration::empty(&wrapper.model));
        let done = match std::mem::replace(&mut *state, unused) {
            State::Running { engine, .. } => engine.finish(),
            State::Done(calibration) => calibration,
        };
        *state = State::Done(done.clone());
        done
    });
    let bytes = py.detach(|| {
        let quantized = engine::quantize(&wrapper.model, &options, calibration.as_ref())?;
        Ok::<_, engine::QuantizeError>(quantized.to_bytes()?)
    });
    match bytes {
        Ok(bytes) => Ok(PyBytes::new(py, &bytes)),
        // `tf.lite` gives the model back as it is.
        Err(error @ engine::QuantizeError::Nothing(_)) if mode != Mode::Int8Only => {
            let text = CString::new(error.to_string()).map_err(value_error)?;
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 2)?;
            Ok(wrapper.model_content(py))
        }
        Err(error) => Err(value_error(error)),
    }
}
