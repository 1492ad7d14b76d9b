//! The interpreter: a plan with its memory.

use crate::delegate::Delegate;
use crate::delegates::{Cpu, Fused, Reference};
use crate::engine::Engine;
use crate::graph::Graph;
use crate::{Limits, Profile, RuntimeError};
use ferrolite_kernels::Isa;
use ferrolite_model::{Model, Quantization, Signature, Subgraph, TensorId, TensorType};
use ferrolite_ops::tensor::elements_mut;
use ferrolite_ops::{Catalog, Element, Resources, TensorRef};
use std::sync::Arc;

/// How to run a model.
#[derive(Clone)]
pub struct Options {
    /// Threads that share the work of a node; the calling thread is one of them.
    pub threads: usize,
    /// Bounds on memory.
    pub limits: Limits,
    /// Operators.
    pub catalog: Catalog,
    /// Who computes the nodes, asked in this order.
    pub delegates: Vec<Arc<dyn Delegate>>,
    /// Instruction set for kernels; by default the machine's best, or less if `FERROLITE_ISA` says so.
    pub isa: Isa,
    /// Keep every tensor readable after an invocation (takes more memory).
    pub preserve_all: bool,
    /// Where image operators follow each other and a tensor between them has more bytes than this, they are computed
    /// together, band by band, in about as much memory: such tensors stay in a cache of this size, have no memory of their
    /// own and cannot be observed. Results are the same. `usize::MAX` computes operators one by one.
    pub cache_bytes: usize,
    /// Variables and tables, for interpreters of one model's signatures that share them; `None` is one's own.
    pub resources: Option<Arc<Resources>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threads: 1,
            limits: Limits::default(),
            catalog: Catalog::builtin(),
            delegates: vec![Arc::new(Fused), Arc::new(Cpu), Arc::new(Reference)],
            isa: Isa::detect(),
            preserve_all: false,
            cache_bytes: 512 << 10,
            resources: None,
        }
    }
}

impl Options {
    /// Reference kernels only: slow, the specification of every result.
    pub fn reference() -> Options {
        Options { delegates: vec![Arc::new(Reference)], ..Options::default() }
    }
}

/// A tensor of an interpreter.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Index in the subgraph.
    pub id: TensorId,
    /// Name in the file.
    pub name: &'a str,
    /// Element type.
    pub ty: TensorType,
    /// Current dimensions.
    pub shape: &'a [usize],
    /// Scales and zero points.
    pub quantization: Option<&'a Quantization>,
    /// Data; empty while there is none.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The elements.
    ///
    /// # Errors
    /// When `T` is not the tensor's type.
    pub fn slice<T: Element>(&self) -> Result<&'a [T], RuntimeError> {
        let tensor = TensorRef { ty: self.ty, shape: self.shape, quantization: self.quantization, bytes: self.bytes };
        tensor.slice().map_err(|e| RuntimeError::Usage(format!("tensor {} ({:?}): {e}", self.id, self.name)))
    }
}

/// Runs one subgraph of a model.
///
/// ```no_run
/// # use ferrolite_runtime::Interpreter;
/// # use ferrolite_model::Model;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut interpreter = Interpreter::new(Model::from_file("model.tflite")?)?;
/// interpreter.input_mut::<f32>(0)?.fill(0.5);
/// interpreter.invoke()?;
/// println!("{:?}", interpreter.output::<f32>(0)?);
/// # Ok(())
/// # }
/// ```
pub struct Interpreter {
    engine: Engine,
    graph: Graph,
    signature: Option<usize>,
}

impl Interpreter {
    /// Plans the main subgraph with default options.
    pub fn new(model: impl Into<Arc<Model>>) -> Result<Interpreter, RuntimeError> {
        Interpreter::with_options(model, Options::default())
    }

    /// Plans the main subgraph.
    pub fn with_options(model: impl Into<Arc<Model>>, options: Options) -> Result<Interpreter, RuntimeError> {
        Interpreter::for_subgraph(model, 0, &[], options)
    }

    /// Plans the subgraph of a signature.
    pub fn for_signature(
        model: impl Into<Arc<Model>>,
        key: &str,
        options: Options,
    ) -> Result<Interpreter, RuntimeError> {
        let model = model.into();
        let found = model.signatures.iter().position(|s| s.key.as_deref() == Some(key));
        let keys = || model.signatures.iter().map(|s| s.key.as_deref().unwrap_or("")).collect::<Vec<_>>();
        let missing = || RuntimeError::Usage(format!("there is no signature {key:?}, only {:?}", keys()));
        let index = found.ok_or_else(missing)?;
        let subgraph = model.signatures[index].subgraph;
        let interpreter = Interpreter::for_subgraph(model, subgraph, &[], options)?;
        Ok(Interpreter { signature: Some(index), ..interpreter })
    }

    /// Plans any subgraph, with these shapes of inputs (by their position) in place of the file's.
    pub fn for_subgraph(
        model: impl Into<Arc<Model>>,
        subgraph: usize,
        shapes: &[(usize, &[usize])],
        options: Options,
    ) -> Result<Interpreter, RuntimeError> {
        let engine = Engine::new(model.into(), options);
        let signature = engine.model.signatures.iter().position(|s| s.subgraph == subgraph);
        let mut graph = Graph::new(&engine, subgraph)?;
        engine.check_operators(subgraph)?;
        graph.resize_inputs(&engine, shapes)?;
        Ok(Interpreter { engine, graph, signature })
    }

    /// Changes the shape of input `i` (a position in [`Self::inputs`]) and plans anew. All inputs have to be set again.
    pub fn resize_input(&mut self, i: usize, shape: &[usize]) -> Result<(), RuntimeError> {
        self.resize_inputs(&[(i, shape)])
    }

    /// Changes several inputs' shapes at once.
    pub fn resize_inputs(&mut self, shapes: &[(usize, &[usize])]) -> Result<(), RuntimeError> {
        self.graph.resize_inputs(&self.engine, shapes)
    }

    fn definition(&self) -> &Subgraph {
        &self.engine.model.subgraphs[self.graph.subgraph()]
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.engine.model
    }

    /// Index of the subgraph that this interpreter runs.
    pub fn subgraph(&self) -> usize {
        self.graph.subgraph()
    }

    /// Tensors that the caller sets.
    pub fn inputs(&self) -> &[TensorId] {
        &self.definition().inputs
    }

    /// Tensors that the caller reads.
    pub fn outputs(&self) -> &[TensorId] {
        &self.definition().outputs
    }

    /// The signature that names this subgraph's inputs and outputs, if there is one: the one asked for, else the first.
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.map(|index| &self.engine.model.signatures[index])
    }

    /// Bytes of the arena: the peak memory of all computed tensors and scratch.
    pub fn arena_bytes(&self) -> usize {
        self.graph.arena_bytes()
    }

    /// Threads that share the work.
    pub fn threads(&self) -> usize {
        self.engine.pool.threads()
    }

    fn input_id(&self, i: usize) -> Result<TensorId, RuntimeError> {
        let inputs = self.inputs();
        let missing = || RuntimeError::Usage(format!("there is no input {i}: the model has {}", inputs.len()));
        inputs.get(i).copied().ok_or_else(missing)
    }

    /// Dimensions of a tensor; `None` while they are not known, which is until the first invocation where they depend on
    /// data.
    pub fn shape(&self, id: TensorId) -> Option<&[usize]> {
        self.graph.shape(id)
    }

    /// Any tensor by its index. Intermediate ones are meaningful after an invocation with
    /// [`Options::preserve_all`] only.
    pub fn tensor(&self, id: TensorId) -> Option<TensorView<'_>> {
        self.graph.tensor(id)
    }

    /// Input `i` as it is.
    pub fn input_tensor(&self, i: usize) -> Option<TensorView<'_>> {
        self.inputs().get(i).and_then(|&id| self.tensor(id))
    }

    /// Output `i` of the last invocation.
    pub fn output_tensor(&self, i: usize) -> Option<TensorView<'_>> {
        self.outputs().get(i).and_then(|&id| self.tensor(id))
    }

    /// Output `i` of the last invocation as elements.
    pub fn output<T: Element>(&self, i: usize) -> Result<&[T], RuntimeError> {
        let missing = || RuntimeError::Usage(format!("there is no output {i}: the model has {}", self.outputs().len()));
        self.output_tensor(i).ok_or_else(missing)?.slice()
    }

    /// Input `i` to write in place.
    pub fn input_mut<T: Element>(&mut self, i: usize) -> Result<&mut [T], RuntimeError> {
        let id = self.input_id(i)?;
        let ty = self.definition().tensors[id].ty;
        let bytes = self.input_bytes_mut(i)?;
        elements_mut(ty, bytes).map_err(|e| RuntimeError::Usage(format!("input {i}: {e}")))
    }

    /// Bytes of input `i` to write in place.
    pub fn input_bytes_mut(&mut self, i: usize) -> Result<&mut [u8], RuntimeError> {
        let id = self.input_id(i)?;
        self.tensor_bytes_mut(id)
    }

    /// Bytes of any tensor but a constant, to write in place: inputs, variables, and others for those who know why.
    pub fn tensor_bytes_mut(&mut self, id: TensorId) -> Result<&mut [u8], RuntimeError> {
        self.graph.bytes_mut(id)
    }

    /// Copies elements into input `i`.
    pub fn set_input<T: Element>(&mut self, i: usize, values: &[T]) -> Result<(), RuntimeError> {
        let target = self.input_mut::<T>(i)?;
        if target.len() != values.len() {
            let (wanted, given) = (target.len(), values.len());
            return Err(RuntimeError::Usage(format!("input {i} takes {wanted} elements, not {given}")));
        }
        target.copy_from_slice(values);
        Ok(())
    }

    /// Copies raw data into input `i`; strings in the format's own serialization.
    pub fn set_input_bytes(&mut self, i: usize, data: &[u8]) -> Result<(), RuntimeError> {
        let id = self.input_id(i)?;
        self.set_tensor_bytes(id, data)
    }

    /// Copies raw data into any tensor but a constant; strings in the format's own serialization.
    pub fn set_tensor_bytes(&mut self, id: TensorId, data: &[u8]) -> Result<(), RuntimeError> {
        self.graph.set_bytes(id, data)
    }

    /// Sets all variables back to zero, quantized ones to their zero point.
    pub fn reset_variables(&mut self) {
        self.graph.reset_variables();
    }

    /// Runs the graph on the inputs.
    pub fn invoke(&mut self) -> Result<(), RuntimeError> {
        self.graph.invoke(&mut self.engine)
    }

    /// Runs the graph and shows every computed tensor to `observe` while its data is alive, inputs first. What
    /// [`Options::cache_bytes`] and delegates of several nodes hide is not shown.
    pub fn invoke_observed(&mut self, observe: &mut dyn FnMut(TensorView<'_>)) -> Result<(), RuntimeError> {
        self.graph.invoke_observed(&mut self.engine, observe)
    }

    /// Starts (and clears) or stops the profiler.
    pub fn set_profiling(&mut self, on: bool) {
        self.graph.set_profiling(on);
    }

    /// What the profiler saw since it was started.
    pub fn profile(&self) -> Profile {
        self.graph.profile()
    }
}
