//! A model as a function of arrays, for `ferrolite.Model`.

use crate::arguments::Int;
use crate::array;
use crate::dtype;
use crate::error::{Phase, facade_error, runtime_error};
use crate::strings;
use crate::wrapper::InterpreterWrapper;
use ferrolite::{Array, Error, Model, Options, TensorType};
use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// A subgraph of a model as a function of arrays. Calls from several threads run one after the other.
#[pyclass(frozen, module = "ferrolite._ferrolite")]
pub(crate) struct Runner {
    model: Arc<Model>,
    subgraph: usize,
    runner: Mutex<ferrolite::Runner>,
}

#[pymethods]
impl Runner {
    #[new]
    fn new(wrapper: &InterpreterWrapper, subgraph: usize, threads: usize) -> PyResult<Self> {
        let options = Options { threads, ..Options::default() };
        let model = Arc::clone(&wrapper.model);
        let runner = ferrolite::Runner::new(Arc::clone(&model), subgraph, options).map_err(|e| facade_error(&e))?;
        Ok(Runner { model, subgraph, runner: Mutex::new(runner) })
    }

    /// Runs the subgraph on arrays by the indices of their input tensors, of the inputs' types, and returns the tensors
    /// with the indices `outputs`.
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<(Int, Bound<'py, PyAny>)>,
        outputs: Vec<usize>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let subgraph = &self.model.subgraphs[self.subgraph];
        let mut given = Vec::new();
        for (index, value) in inputs {
            let input = subgraph.inputs.iter().position(|&id| i64::try_from(id) == Ok(index.0));
            let input = input.ok_or_else(|| PyValueError::new_err(format!("tensor {} is no input", index.0)))?;
            given.push((input, to_array(&value, subgraph.tensors[subgraph.inputs[input]].ty)?));
        }
        let results = py.detach(|| self.runner.lock().unwrap_or_else(PoisonError::into_inner).run(&given));
        let results = results.map_err(|error| match &error {
            Error::Runtime(error) => runtime_error(error, Phase::Invoke),
            other => facade_error(other),
        })?;
        let result = |id: usize| {
            let found = subgraph.outputs.iter().position(|&output| output == id).and_then(|i| results.get(i));
            from_array(py, found.ok_or_else(|| PyValueError::new_err(format!("tensor {id} is no output")))?)
        };
        outputs.into_iter().map(result).collect()
    }
}

/// The elements of a NumPy array for a tensor of type `wanted`.
fn to_array(value: &Bound<'_, PyAny>, wanted: TensorType) -> PyResult<Array> {
    let array = array::contiguous(value)?;
    let given = dtype::tensor_type(&array.dtype());
    if !given.map_or(Ok(false), |given| dtype::fits(value.py(), given, wanted))? {
        let (given, wanted) = (dtype::message_name(given), dtype::message_name(Some(wanted)));
        return Err(PyValueError::new_err(format!("an array of {given} is no {wanted}")));
    }
    let bytes = match wanted {
        TensorType::String => strings::from_array(value)?,
        _ => array::with_bytes(&array, <[u8]>::to_vec),
    };
    Ok(Array { ty: wanted, shape: array.shape().to_vec(), bytes })
}

fn from_array<'py>(py: Python<'py>, array: &Array) -> PyResult<Bound<'py, PyAny>> {
    match array.ty {
        TensorType::String => strings::to_array(py, &array.shape, &array.bytes),
        ty => array::copy(py, dtype::dtype(py, ty)?, &array.shape, &array.bytes),
    }
}
