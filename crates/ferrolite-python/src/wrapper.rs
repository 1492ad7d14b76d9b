//! The interpreter with the semantics of `tf.lite`: memory exists from `AllocateTensors` on, inputs may be resized before,
//! tensors are named by their index, every subgraph can be run. Method names are those of LiteRT's own wrapper, which
//! programs reach through `Interpreter._interpreter`.

use crate::arguments::{Flag, Int};
use crate::array;
use crate::checks::{check_shape, check_strict, check_type, narrow_of, shape_of};
use crate::details;
use crate::dtype;
use crate::error::{Phase, check_registration, model_error, runtime_error, value_error};
use crate::strings;
use ferrolite::encoding;
use ferrolite::{Bytes, Interpreter, Model, Options, Resources, RuntimeError, Subgraph, Tensor, TensorType};
use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const LIVE_VIEW: &str = "There is at least 1 reference to internal data
      in the interpreter in the form of a numpy array or slice. Be sure to
      only hold the function returned from tensor() if you are using raw
      data access.";
const NULL: &str = "Tensor data is null. Run allocate_tensors() first";
const UNALLOCATED: &str = "Cannot set tensor: Tensor is unallocated. Try calling allocate_tensors() first";

/// A model with the memory to run it.
#[pyclass(frozen, module = "ferrolite._ferrolite")]
pub(crate) struct InterpreterWrapper {
    file: Bytes,
    pub(crate) model: Arc<Model>,
    /// How every subgraph is planned. They share the variables and tables in `resources`, so that what one signature
    /// assigns another reads.
    options: Options,
    /// Threads of what is planned from now on.
    threads: AtomicUsize,
    /// List a zero point once where all are the same.
    pub(crate) compress_zero_points: bool,
    graphs: Mutex<Vec<Graph>>,
    /// NumPy views of each subgraph's memory.
    views: Vec<AtomicUsize>,
}

/// State of one subgraph.
#[derive(Default)]
pub(crate) struct Graph {
    /// Shapes given to tensors since the last allocation.
    resized: BTreeMap<usize, Vec<usize>>,
    /// Strings given to inputs before the first allocation, serialized.
    strings: BTreeMap<usize, Vec<u8>>,
    /// Since the first allocation.
    planned: Option<Interpreter>,
    /// An input has been resized since the last allocation.
    is_stale: bool,
}

impl Graph {
    /// Dimensions as they are now; the file's until something else is known.
    pub(crate) fn shape(&self, id: usize, tensor: &Tensor) -> Vec<i32> {
        let known = self.resized.get(&id).map(Vec::as_slice);
        match known.or_else(|| self.planned.as_ref()?.shape(id)) {
            Some(shape) => shape.iter().map(|&d| i32::try_from(d).unwrap_or(i32::MAX)).collect(),
            None => tensor.shape.clone(),
        }
    }
}

enum Refusal {
    NotReady,
    LiveView,
    Failed(RuntimeError, Phase),
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> PyErr {
        match refusal {
            Refusal::NotReady => PyRuntimeError::new_err("Invoke called on model that is not ready."),
            Refusal::LiveView => PyRuntimeError::new_err(LIVE_VIEW),
            Refusal::Failed(error, phase) => runtime_error(&error, phase),
        }
    }
}

/// Base of a NumPy view: keeps the interpreter alive, and its memory in place.
#[pyclass(frozen, module = "ferrolite._ferrolite")]
struct View {
    owner: Py<InterpreterWrapper>,
    subgraph: usize,
}

impl Drop for View {
    fn drop(&mut self) {
        self.owner.get().views[self.subgraph].fetch_sub(1, Ordering::Release);
    }
}

impl InterpreterWrapper {
    pub(crate) fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Vec<Graph>> {
        self.graphs.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, for code that is detached from the interpreter.
    fn lock_detached(&self) -> MutexGuard<'_, Vec<Graph>> {
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subgraph(&self, index: i64) -> PyResult<(usize, &Subgraph)> {
        let count = self.model.subgraphs.len();
        let found = usize::try_from(index).ok().and_then(|i| Some((i, self.model.subgraphs.get(i)?)));
        found.ok_or_else(|| {
            PyValueError::new_err(format!("Invalid subgraph index {index} exceeds max subgraph index {count}"))
        })
    }

    pub(crate) fn tensor_of(&self, index: Int, subgraph: Int) -> PyResult<(usize, usize, &Tensor)> {
        let (s, graph) = self.subgraph(subgraph.0)?;
        let found = usize::try_from(index.0).ok().and_then(|i| Some((s, i, graph.tensors.get(i)?)));
        found.ok_or_else(|| value_error(invalid_tensor(index.0, graph)))
    }

    fn has_views(&self, subgraph: usize) -> bool {
        self.views[subgraph].load(Ordering::Acquire) > 0
    }

    fn allocate(&self, s: usize) -> Result<(), Refusal> {
        let mut graphs = self.lock_detached();
        if self.has_views(s) {
            return Err(Refusal::LiveView);
        }
        let graph = &mut graphs[s];
        if graph.planned.is_some() && !graph.is_stale {
            return Ok(());
        }
        let inputs = self.model.subgraphs[s].inputs.iter().enumerate();
        let shapes: Vec<(usize, &[usize])> =
            inputs.filter_map(|(i, id)| Some((i, graph.resized.get(id)?.as_slice()))).collect();
        let failed = |error| Refusal::Failed(error, Phase::Prepare);
        match &mut graph.planned {
            Some(planned) => planned.resize_inputs(&shapes).map_err(failed)?,
            None => {
                let options = Options { threads: self.threads.load(Ordering::Relaxed), ..self.options.clone() };
                let planned = Interpreter::for_subgraph(Arc::clone(&self.model), s, &shapes, options);
                let mut planned = planned.map_err(failed)?;
                for (id, packed) in std::mem::take(&mut graph.strings) {
                    planned.set_tensor_bytes(id, &packed).map_err(failed)?;
                }
                graph.planned = Some(planned);
            }
        }
        graph.resized.clear();
        graph.is_stale = false;
        Ok(())
    }

    fn invoke(&self, s: usize) -> Result<(), Refusal> {
        let mut graphs = self.lock_detached();
        if self.has_views(s) {
            return Err(Refusal::LiveView);
        }
        match &mut graphs[s] {
            Graph { planned: Some(planned), is_stale: false, .. } => {
                planned.invoke().map_err(|error| Refusal::Failed(error, Phase::Invoke))
            }
            _ => Err(Refusal::NotReady),
        }
    }
}

fn invalid_tensor(index: i64, graph: &Subgraph) -> String {
    format!("Invalid tensor index {index} exceeds max tensor index {}", graph.tensors.len())
}

/// Calls `read` with a tensor's shape and bytes; `None` while it has none.
fn with_data<R>(
    model: &Model,
    s: usize,
    graph: &Graph,
    id: usize,
    read: impl FnOnce(&[usize], &[u8]) -> PyResult<R>,
) -> PyResult<Option<R>> {
    let subgraph = &model.subgraphs[s];
    let tensor = &subgraph.tensors[id];
    let file_shape = || tensor.shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect::<Vec<_>>();
    if let Some(data) = model.constant_of(subgraph, id) {
        return read(&file_shape(), data).map(Some);
    }
    if let Some(packed) = graph.strings.get(&id) {
        return read(&file_shape(), packed).map(Some);
    }
    let planned = graph.planned.as_ref().filter(|_| !graph.resized.contains_key(&id));
    let Some((planned, shape)) = planned.and_then(|p| Some((p, p.shape(id)?))) else {
        // Nothing of something is there without memory.
        let shape: Vec<usize> = graph.shape(id, tensor).iter().map(|&d| usize::try_from(d).unwrap_or(1)).collect();
        return if shape.contains(&0) { read(&shape, &[]).map(Some) } else { Ok(None) };
    };
    let bytes = planned.tensor(id).map_or(&[][..], |view| view.bytes);
    if bytes.is_empty() && shape.iter().product::<usize>() > 0 {
        return Ok(None);
    }
    read(shape, bytes).map(Some)
}

#[pymethods]
impl InterpreterWrapper {
    #[new]
    #[pyo3(signature = (path, content, reference, preserve_all, threads, compress_zero_points))]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        content: Option<&[u8]>,
        reference: bool,
        preserve_all: Flag,
        threads: Int,
        compress_zero_points: Flag,
    ) -> PyResult<Self> {
        let file = match (&path, content) {
            (_, Some(content)) => Bytes::from(content),
            (Some(path), None) => {
                let mapped = py.detach(|| Bytes::map_file(path));
                let failed = |source| ferrolite::ModelError::Io { path: path.clone(), source };
                let file = mapped.map_err(|e| model_error(py, &failed(e), Some(path)))?;
                if file.is_empty() {
                    let text = "mmap of size 0 requested.The model allocation is null/empty";
                    return Err(PyValueError::new_err(text));
                }
                file
            }
            (None, None) => return Err(PyValueError::new_err("`model_path` or `model_content` must be specified.")),
        };
        let model = py.detach(|| Model::from_bytes(file.clone()));
        let model = Arc::new(model.map_err(|error| model_error(py, &error, path.as_deref()))?);
        check_registration(&model)?;
        let base = if reference { Options::reference() } else { Options::default() };
        let resources = Some(Arc::new(Resources::with_limit(base.limits.max_total_bytes)));
        let options = Options { preserve_all: preserve_all.0, resources, ..base };
        let threads = AtomicUsize::new(usize::try_from(threads.0).unwrap_or(1));
        let compress_zero_points = compress_zero_points.0;
        let count = model.subgraphs.len();
        let graphs = Mutex::new((0..count).map(|_| Graph::default()).collect());
        let views = (0..count).map(|_| AtomicUsize::new(0)).collect();
        Ok(InterpreterWrapper { file, model, options, threads, compress_zero_points, graphs, views })
    }

    /// The file that the model was read from.
    pub(crate) fn model_content<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.file)
    }

    /// Number of NumPy views of the main subgraph's memory.
    fn live_views(&self) -> usize {
        self.views.first().map_or(0, |views| views.load(Ordering::Acquire))
    }

    /// A number that is another for every living interpreter.
    fn interpreter(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Bytes of the arena of a subgraph, 0 before its allocation.
    fn arena_bytes(&self, py: Python<'_>) -> usize {
        self.lock(py).first().and_then(|graph| graph.planned.as_ref()).map_or(0, Interpreter::arena_bytes)
    }

    /// Threads of subgraphs that are allocated from now on.
    #[pyo3(name = "SetNumThreads")]
    fn set_num_threads(&self, threads: Int) {
        self.threads.store(usize::try_from(threads.0).unwrap_or(1).max(1), Ordering::Relaxed);
    }

    #[pyo3(name = "AllocateTensors", signature = (subgraph_index = Int(-1)), text_signature = "($self, subgraph_index=-1)")]
    fn allocate_tensors(&self, py: Python<'_>, subgraph_index: Int) -> PyResult<()> {
        let (s, _) = self.subgraph(if subgraph_index.0 == -1 { 0 } else { subgraph_index.0 })?;
        Ok(py.detach(|| self.allocate(s))?)
    }

    #[pyo3(name = "Invoke", signature = (subgraph_index = Int(0)), text_signature = "($self, subgraph_index=0)")]
    fn invoke_subgraph(&self, py: Python<'_>, subgraph_index: Int) -> PyResult<()> {
        let (s, _) = self.subgraph(subgraph_index.0)?;
        Ok(py.detach(|| self.invoke(s))?)
    }

    #[pyo3(name = "ResizeInputTensor", signature = (index, shape, strict, subgraph_index = Int(0)), text_signature = "($self, index, shape, strict, subgraph_index=0)")]
    fn resize_input_tensor(
        &self,
        py: Python<'_>,
        index: Int,
        shape: &Bound<'_, PyAny>,
        strict: Flag,
        subgraph_index: Int,
    ) -> PyResult<()> {
        let (s, subgraph) = self.subgraph(subgraph_index.0)?;
        let wanted = shape_of(shape)?;
        let mut graphs = self.lock(py);
        if self.has_views(s) {
            return Err(Refusal::LiveView.into());
        }
        let Ok((_, id, tensor)) = self.tensor_of(index, subgraph_index) else {
            return Err(PyRuntimeError::new_err(invalid_tensor(index.0, subgraph)));
        };
        let now = graphs[s].shape(id, tensor);
        if strict.0 {
            check_strict(index.0, tensor, &now, &wanted)?;
        }
        if now == wanted {
            return Ok(());
        }
        let sizes: Option<Vec<usize>> = wanted.iter().map(|&d| usize::try_from(d).ok()).collect();
        let elements = sizes.as_ref().and_then(|s| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d)));
        let overflown = |what| {
            let text = format!("Shape {wanted:?} of tensor {}: BytesRequired number of {what} overflowed.", index.0);
            PyRuntimeError::new_err(text)
        };
        let (Some(sizes), Some(elements)) = (sizes, elements) else { return Err(overflown("elements")) };
        if elements.checked_mul(tensor.ty.bits().div_ceil(8)).is_none() {
            return Err(overflown("bytes"));
        }
        if self.model.constant_of(subgraph, id).is_some() {
            return Err(PyRuntimeError::new_err("Attempting to resize a fixed-size tensor."));
        }
        graphs[s].is_stale = true;
        graphs[s].strings.remove(&id);
        graphs[s].resized.insert(id, sizes);
        Ok(())
    }

    #[pyo3(name = "SetTensor", signature = (index, value, subgraph_index = Int(0)), text_signature = "($self, index, value, subgraph_index=0)")]
    fn set_tensor(&self, py: Python<'_>, index: Int, value: &Bound<'_, PyAny>, subgraph_index: Int) -> PyResult<()> {
        let (s, id, tensor) = self.tensor_of(index, subgraph_index)?;
        let array = array::contiguous(value)
            .map_err(|_| PyValueError::new_err("Failed to convert value into readable tensor."))?;
        let given = dtype::tensor_type(&array.dtype());
        let mut graphs = self.lock(py);
        let graph = &mut graphs[s];
        let packed = match tensor.ty {
            TensorType::Int4 | TensorType::UInt4 => {
                Some(narrow_of(&array, given, index.0, tensor, &graph.shape(id, tensor))?)
            }
            _ => {
                check_type(py, given, index.0, tensor)?;
                check_shape(index.0, array.shape(), &graph.shape(id, tensor))?;
                match tensor.ty {
                    TensorType::String => Some(strings::from_array(value)?),
                    TensorType::Int2 => Some(array::with_bytes(&array, |b| encoding::pack_narrow(tensor.ty, b))),
                    _ => None,
                }
            }
        };
        let planned = match (&mut graph.planned, packed.as_ref()) {
            (Some(planned), _) if !graph.resized.contains_key(&id) => planned,
            (None, Some(packed)) if tensor.ty == TensorType::String && self.model.subgraphs[s].inputs.contains(&id) => {
                graph.strings.insert(id, packed.clone());
                return Ok(());
            }
            _ if tensor.ty == TensorType::Int4 || tensor.ty == TensorType::UInt4 => {
                let text = format!("{UNALLOCATED} for input {}, name: {}", index.0, tensor.name());
                return Err(PyValueError::new_err(text));
            }
            _ => return Err(PyValueError::new_err(UNALLOCATED)),
        };
        let done = match packed {
            Some(packed) => planned.set_tensor_bytes(id, &packed),
            None => array::with_bytes(&array, |bytes| planned.set_tensor_bytes(id, bytes)),
        };
        done.map_err(|error| PyValueError::new_err(format!("Cannot set tensor: {error}")))
    }

    #[pyo3(name = "GetTensor", signature = (index, subgraph_index = Int(0)), text_signature = "($self, index, subgraph_index=0)")]
    fn get_tensor<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        let (s, id, tensor) = self.tensor_of(index, subgraph_index)?;
        let graphs = self.lock(py);
        let found = with_data(&self.model, s, &graphs[s], id, |shape, bytes| {
            let descr = dtype::dtype(py, tensor.ty)?;
            match tensor.ty {
                TensorType::String => strings::to_array(py, shape, bytes),
                TensorType::Resource | TensorType::Variant => Err(PyValueError::new_err(NULL)),
                TensorType::Int4 | TensorType::Int2 | TensorType::UInt4 => {
                    array::copy(py, descr, shape, &encoding::unpack_narrow(tensor.ty, bytes))
                }
                // The stored elements of a sparse tensor are fewer than those of its shape.
                _ if tensor.sparsity.is_some() && bytes.len() < shape.iter().product::<usize>() * descr.itemsize() => {
                    let stored = bytes.len() / descr.itemsize();
                    array::copy(py, descr, &[stored], bytes)
                }
                _ => array::copy(py, descr, shape, bytes),
            }
        });
        found?.ok_or_else(|| PyValueError::new_err(NULL))
    }

    /// A NumPy view of a tensor. While it lives, nothing that would move the memory is possible.
    #[pyo3(signature = (base, index, subgraph_index = Int(0)), text_signature = "($self, base, index, subgraph_index=0)")]
    fn tensor<'py>(
        slf: &Bound<'py, Self>,
        base: &Bound<'py, PyAny>,
        index: Int,
        subgraph_index: Int,
    ) -> PyResult<Bound<'py, PyAny>> {
        // What LiteRT makes the owner; here it is the view itself that counts.
        let _ = base;
        let (py, this) = (slf.py(), slf.get());
        let (s, id, tensor) = this.tensor_of(index, subgraph_index)?;
        if tensor.ty.bits() < 8 {
            let ty = tensor.ty;
            let text = format!("Tensors of type {ty} have no view; use get_tensor() and set_tensor()");
            return Err(PyValueError::new_err(text));
        }
        let mut graphs = this.lock(py);
        let graph = &mut graphs[s];
        let descr = dtype::dtype(py, tensor.ty)?;
        let data = with_data(&this.model, s, graph, id, |shape, bytes| {
            let elements = shape.iter().product::<usize>();
            let is_whole = bytes.len() >= elements * descr.itemsize();
            let shape = if is_whole { shape.to_vec() } else { vec![bytes.len() / descr.itemsize()] };
            Ok((shape, bytes.as_ptr().cast_mut()))
        });
        let (shape, address) = data?.ok_or_else(|| PyValueError::new_err(NULL))?;
        // Constants of the file are shared with other interpreters, so that they are read-only.
        let writable = graph.planned.as_mut().and_then(|p| Some(p.tensor_bytes_mut(id).ok()?.as_mut_ptr()));
        this.views[s].fetch_add(1, Ordering::AcqRel);
        let base = Bound::new(py, View { owner: slf.clone().unbind(), subgraph: s })?;
        #[allow(unsafe_code)]
        // SAFETY: the memory belongs to `this`, which `base` keeps alive; while the view is counted, nothing plans anew or
        // runs the subgraph, so that the memory stays where it is and only holders of the interpreter lock write to it.
        // It holds as many bytes as the shape takes, which was checked above; NumPy looks after alignment.
        unsafe {
            array::view(py, descr, &shape, writable.unwrap_or(address), writable.is_some(), base.into_any())
        }
    }

    #[pyo3(name = "ResetVariableTensors")]
    fn reset_variable_tensors(&self, py: Python<'_>) {
        self.lock(py).iter_mut().filter_map(|graph| graph.planned.as_mut()).for_each(Interpreter::reset_variables);
    }

    #[pyo3(name = "InputIndices")]
    fn input_indices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        details::int32(py, self.subgraph(0)?.1.inputs.iter().map(|&id| id as i32))
    }

    #[pyo3(name = "OutputIndices")]
    fn output_indices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        details::int32(py, self.subgraph(0)?.1.outputs.iter().map(|&id| id as i32))
    }

    #[pyo3(name = "NumSubgraphs")]
    fn num_subgraphs(&self) -> usize {
        self.model.subgraphs.len()
    }

    #[pyo3(name = "NumTensors")]
    fn num_tensors(&self, subgraph_index: Int) -> PyResult<usize> {
        Ok(self.subgraph(subgraph_index.0)?.1.tensors.len())
    }

    #[pyo3(name = "NumNodes")]
    fn num_nodes(&self) -> PyResult<usize> {
        Ok(self.subgraph(0)?.1.nodes.len())
    }

    #[pyo3(name = "NodeName")]
    fn node_name(&self, index: Int) -> &str {
        self.node(index).map_or("", |node| self.model.operator(node).name())
    }

    #[pyo3(name = "NodeInputs")]
    fn node_inputs<'py>(&self, py: Python<'py>, index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::int32(py, self.node(index)?.inputs.iter().map(|id| id.map_or(-1, |id| id as i32)))
    }

    #[pyo3(name = "NodeOutputs")]
    fn node_outputs<'py>(&self, py: Python<'py>, index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::int32(py, self.node(index)?.outputs.iter().map(|&id| id as i32))
    }

    /// All that is known about a tensor, as `get_tensor_details` lists it.
    #[pyo3(name = "TensorDetails")]
    fn tensor_details<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyDict>> {
        details::tensor(py, self, index, subgraph_index)
    }

    #[pyo3(name = "TensorName")]
    fn tensor_name(&self, index: Int, subgraph_index: Int) -> &str {
        self.tensor_of(index, subgraph_index).map_or("", |(_, _, tensor)| tensor.name())
    }

    #[pyo3(name = "TensorType")]
    fn tensor_type<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::tensor(py, self, index, subgraph_index)?.as_any().get_item("dtype")
    }

    #[pyo3(name = "TensorSize")]
    fn tensor_size<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::tensor(py, self, index, subgraph_index)?.as_any().get_item("shape")
    }

    #[pyo3(name = "TensorSizeSignature")]
    fn tensor_signature<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::tensor(py, self, index, subgraph_index)?.as_any().get_item("shape_signature")
    }

    #[pyo3(name = "TensorQuantization")]
    fn tensor_scale<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::tensor(py, self, index, subgraph_index)?.as_any().get_item("quantization")
    }

    #[pyo3(name = "TensorQuantizationParameters")]
    fn tensor_scales<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        let details = details::tensor(py, self, index, subgraph_index)?;
        let parameters = details.as_any().get_item("quantization_parameters")?;
        Ok(PyTuple::new(py, parameters.call_method0("values")?.try_iter()?.collect::<PyResult<Vec<_>>>()?)?.into_any())
    }

    #[pyo3(name = "TensorSparsityParameters")]
    fn tensor_sparsity<'py>(&self, py: Python<'py>, index: Int, subgraph_index: Int) -> PyResult<Bound<'py, PyAny>> {
        details::tensor(py, self, index, subgraph_index)?.as_any().get_item("sparsity_parameters")
    }

    #[pyo3(name = "GetSignatureDefs")]
    fn signature_defs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        details::signatures(py, &self.model)
    }

    #[pyo3(name = "GetSubgraphIndexFromSignature")]
    fn subgraph_of_signature(&self, key: &str) -> PyResult<usize> {
        let found = self.model.signatures.iter().find(|s| s.key.as_deref() == Some(key));
        found.map(|s| s.subgraph).ok_or_else(|| PyValueError::new_err("No matching signature."))
    }
}

impl InterpreterWrapper {
    fn node(&self, index: Int) -> PyResult<&ferrolite::Node> {
        let nodes = &self.subgraph(0)?.1.nodes;
        let found = usize::try_from(index.0).ok().and_then(|i| nodes.get(i));
        found.ok_or_else(|| PyValueError::new_err("Invalid node index"))
    }
}
