//! Training.

use crate::array;
use crate::dtype;
use crate::error::value_error;
use ferrolite::train::{
    self as engine, Activation, Dataset, EpochStats, FitOptions, Loss, Optimizer, Padding, Progress, Scores, Targets,
    TrainError, TrainOptions, Window,
};
use ferrolite::{Model, TensorType};
use numpy::PyUntypedArrayMethods;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

type Size = (usize, usize);

/// A network being built: every method appends a layer.
#[pyclass(module = "ferrolite._ferrolite")]
pub(crate) struct Sequential(engine::Sequential);

fn activation(name: Option<&str>) -> PyResult<Activation> {
    match name {
        None | Some("linear") => Ok(Activation::None),
        Some("relu") => Ok(Activation::Relu),
        Some("relu6") => Ok(Activation::Relu6),
        Some(other) => Err(PyValueError::new_err(format!("there is no activation {other:?}: linear, relu, relu6"))),
    }
}

fn window(size: Size, strides: Size, padding: &str) -> PyResult<Window> {
    let padding = match padding {
        "valid" => Padding::Valid,
        "same" => Padding::Same,
        other => return Err(PyValueError::new_err(format!("there is no padding {other:?}: valid, same"))),
    };
    Ok(Window { size, strides, padding })
}

impl Sequential {
    fn with(&mut self, append: impl FnOnce(engine::Sequential) -> engine::Sequential) {
        self.0 = append(self.0.clone());
    }
}

#[pymethods]
impl Sequential {
    #[new]
    fn new(shape: Vec<usize>) -> Self {
        Sequential(engine::Sequential::new(&shape))
    }

    fn conv_2d(&mut self, filters: usize, size: Size, strides: Size, padding: &str, act: Option<&str>) -> PyResult<()> {
        let (window, act) = (window(size, strides, padding)?, activation(act)?);
        self.with(|net| net.conv_2d_window(filters, window, act));
        Ok(())
    }

    fn depthwise_conv_2d(&mut self, size: Size, strides: Size, padding: &str, act: Option<&str>) -> PyResult<()> {
        let (window, act) = (window(size, strides, padding)?, activation(act)?);
        self.with(|net| net.depthwise_conv_2d_window(window, act));
        Ok(())
    }

    fn max_pool_2d(&mut self, size: Size, strides: Size, padding: &str) -> PyResult<()> {
        let window = window(size, strides, padding)?;
        self.with(|net| net.max_pool_2d_window(window));
        Ok(())
    }

    fn average_pool_2d(&mut self, size: Size, strides: Size, padding: &str) -> PyResult<()> {
        let window = window(size, strides, padding)?;
        self.with(|net| net.average_pool_2d_window(window));
        Ok(())
    }

    fn global_average_pool_2d(&mut self) {
        self.with(engine::Sequential::global_average_pool_2d);
    }

    fn flatten(&mut self) {
        self.with(engine::Sequential::flatten);
    }

    fn dense(&mut self, units: usize, act: Option<&str>) -> PyResult<()> {
        let act = activation(act)?;
        self.with(|net| net.dense(units, act));
        Ok(())
    }

    fn rescaling(&mut self, scale: f32, offset: f32) {
        self.with(|net| net.rescaling(scale, offset));
    }

    fn softmax(&mut self) {
        self.with(engine::Sequential::softmax);
    }

    /// The model's file with random weights.
    fn build<'py>(&self, py: Python<'py>, seed: u64) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.0.build(seed).map_err(value_error)?.to_bytes();
        Ok(PyBytes::new(py, &bytes.map_err(value_error)?))
    }
}

/// Trains a model.
#[pyclass(frozen, module = "ferrolite._ferrolite")]
pub(crate) struct Trainer(Mutex<engine::Trainer>);

/// Arrays of a data set, copied so that training may run while Python code does.
struct Data {
    x: Vec<f32>,
    shape: Vec<usize>,
    labels: Option<Vec<u32>>,
    values: Vec<f32>,
}

impl Data {
    fn new(x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>, takes_labels: bool) -> PyResult<Data> {
        let (x, shape) = floats(x, "x")?;
        let shape = shape.get(1..).unwrap_or_default().to_vec();
        if takes_labels {
            let labels = array::contiguous(y)?;
            if dtype::tensor_type(&labels.dtype()) != Some(TensorType::UInt32) {
                return Err(PyValueError::new_err("labels have to be uint32"));
            }
            let read = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&b| u32::from_ne_bytes(b)).collect();
            let labels = Some(array::with_bytes(&labels, read));
            return Ok(Data { x, shape, labels, values: Vec::new() });
        }
        Ok(Data { x, shape, labels: None, values: floats(y, "y")?.0 })
    }

    fn dataset(&self) -> Result<Dataset<'_>, TrainError> {
        let targets = match &self.labels {
            Some(labels) => Targets::Labels(labels),
            None => Targets::Values(&self.values),
        };
        Dataset::new(&self.x, &self.shape, targets)
    }
}

fn floats(value: &Bound<'_, PyAny>, name: &str) -> PyResult<(Vec<f32>, Vec<usize>)> {
    let array = array::contiguous(value)?;
    if dtype::tensor_type(&array.dtype()) != Some(TensorType::Float32) {
        return Err(PyValueError::new_err(format!("{name} has to be float32")));
    }
    let read = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&b| f32::from_ne_bytes(b)).collect();
    Ok((array::with_bytes(&array, read), array.shape().to_vec()))
}

fn scores<'py>(py: Python<'py>, scores: &Scores, prefix: &str) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    named.set_item(format!("{prefix}loss"), scores.loss)?;
    let others = [("accuracy", scores.accuracy), ("mean_absolute_error", scores.mean_absolute_error)];
    for (name, value) in others {
        if let Some(value) = value {
            named.set_item(format!("{prefix}{name}"), value)?;
        }
    }
    Ok(named)
}

fn epoch<'py>(py: Python<'py>, stats: &EpochStats) -> PyResult<Bound<'py, PyDict>> {
    let named = scores(py, &stats.scores, "")?;
    if let Some(validation) = &stats.validation {
        named.update(scores(py, validation, "val_")?.as_mapping())?;
    }
    named.set_item("seconds", stats.time.as_secs_f64())?;
    named.set_item("samples_per_second", stats.samples_per_second)?;
    Ok(named)
}

#[pymethods]
impl Trainer {
    #[new]
    #[pyo3(signature = (model, loss, optimizer, learning_rate, momentum, nesterov, seed, threads, frozen))]
    fn new(
        py: Python<'_>,
        model: &[u8],
        loss: &str,
        optimizer: &str,
        learning_rate: f64,
        momentum: f64,
        nesterov: bool,
        seed: u64,
        threads: usize,
        frozen: Vec<String>,
    ) -> PyResult<Self> {
        let loss = match loss {
            "sparse_categorical_crossentropy" => Loss::SparseCategoricalCrossEntropy,
            "mean_squared_error" | "mse" => Loss::MeanSquaredError,
            other => {
                return Err(PyValueError::new_err(format!(
                    "there is no loss {other:?}: sparse_categorical_crossentropy, mean_squared_error"
                )));
            }
        };
        let optimizer = match optimizer {
            "adam" => Optimizer::adam(learning_rate),
            "sgd" => Optimizer::Sgd { learning_rate, momentum, nesterov },
            other => return Err(PyValueError::new_err(format!("there is no optimizer {other:?}: adam, sgd"))),
        };
        let options = TrainOptions { threads, seed, frozen, ..TrainOptions::default() };
        let model = Model::from_bytes(model).map_err(value_error)?;
        let trainer = py.detach(|| engine::Trainer::new(model, loss, optimizer, options));
        Ok(Trainer(Mutex::new(trainer.map_err(value_error)?)))
    }

    /// Trains; `on_epoch` gets the results of every epoch and stops training when it returns true.
    #[pyo3(signature = (x, y, labels, epochs, batch_size, shuffle, validation, on_epoch))]
    fn fit<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        labels: bool,
        epochs: usize,
        batch_size: usize,
        shuffle: bool,
        validation: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
        on_epoch: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let data = Data::new(x, y, labels)?;
        let validation = validation.map(|(x, y)| Data::new(&x, &y, labels)).transpose()?;
        let mut raised = None;
        let mut on = |progress: Progress<'_>| {
            let heard = Python::attach(|py| {
                py.check_signals()?;
                match (progress, &on_epoch) {
                    (Progress::Epoch(stats), Some(callback)) => {
                        callback.bind(py).call1((stats.epoch, epoch(py, stats)?))?.is_truthy()
                    }
                    _ => Ok(false),
                }
            });
            match heard {
                Ok(false) => ControlFlow::Continue(()),
                Ok(true) => ControlFlow::Break(()),
                Err(error) => {
                    raised = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let history = py.detach(|| {
            let validation = validation.as_ref().map(Data::dataset).transpose()?;
            let options = FitOptions { epochs, batch_size, shuffle, validation };
            let mut trainer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            trainer.fit(&data.dataset()?, &options, &mut on)
        });
        match raised {
            Some(error) => Err(error),
            None => history.map_err(train_error)?.epochs.iter().map(|stats| epoch(py, stats)).collect(),
        }
    }

    /// Loss and metrics of the parameters as they are.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        labels: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let data = Data::new(x, y, labels)?;
        let found = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).evaluate(&data.dataset()?));
        scores(py, &found.map_err(train_error)?, "")
    }

    /// The model's file with the parameters as they are.
    fn export<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let model = self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).export();
        Ok(PyBytes::new(py, &model.to_bytes().map_err(value_error)?))
    }
}

fn train_error(error: TrainError) -> PyErr {
    match error {
        TrainError::Diverged { .. } => PyRuntimeError::new_err(error.to_string()),
        other => value_error(other),
    }
}
