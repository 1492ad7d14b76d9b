//! The interpreter: a plan with its memory.

use crate::arena::Arena;
use crate::delegate::Delegate;
use crate::delegates::{Cpu, Reference};
use crate::facts::{Facts, infer};
use crate::plan::{Context, Place, Plan, Work};
use crate::{Limits, NodeProfile, Profile, RuntimeError};
use ferrolite_kernels::Isa;
use ferrolite_kernels::ThreadPool;
use ferrolite_model::{Model, Node, Quantization, Signature, TensorId, TensorType};
use ferrolite_ops::op::Io;
use ferrolite_ops::tensor::{OutputData, elements_mut};
use ferrolite_ops::{AlignedBytes, Catalog, Element, Kernel, OpError, Shape, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
}

impl Default for Options {
    fn default() -> Self {
        Options {
            threads: 1,
            limits: Limits::default(),
            catalog: Catalog::builtin(),
            delegates: vec![Arc::new(Cpu), Arc::new(Reference)],
            isa: Isa::detect(),
            preserve_all: false,
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
    model: Arc<Model>,
    subgraph: usize,
    signature: Option<usize>,
    options: Options,
    pool: Arc<ThreadPool>,
    facts: Facts,
    plan: Plan,
    arena: Arena,
    heap: Vec<AlignedBytes>,
    times: Option<Vec<(u64, Duration)>>,
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
        let model = model.into();
        if subgraph >= model.subgraphs.len() {
            return Err(RuntimeError::Usage(format!("there is no subgraph {subgraph}")));
        }
        let pool = Arc::new(ThreadPool::new(options.threads.max(1)));
        let signature = model.signatures.iter().position(|s| s.subgraph == subgraph);
        let facts = Facts::of_file(&model, subgraph)?;
        let plan = Plan { steps: Vec::new(), places: Vec::new(), arena_bytes: 0 };
        let heap = Vec::new();
        let mut interpreter = Interpreter {
            model,
            subgraph,
            signature,
            options,
            pool,
            facts,
            plan,
            arena: Arena::default(),
            heap,
            times: None,
        };
        match shapes {
            [] => interpreter.replan()?,
            shapes => interpreter.resize_inputs(shapes)?,
        }
        Ok(interpreter)
    }

    /// Changes the shape of input `i` (a position in [`Self::inputs`]) and plans anew. All inputs have to be set again.
    pub fn resize_input(&mut self, i: usize, shape: &[usize]) -> Result<(), RuntimeError> {
        self.resize_inputs(&[(i, shape)])
    }

    /// Changes several inputs' shapes at once.
    pub fn resize_inputs(&mut self, shapes: &[(usize, &[usize])]) -> Result<(), RuntimeError> {
        let mut wanted = Facts::of_file(&self.model, self.subgraph)?;
        for &id in self.inputs() {
            wanted.shapes[id] = self.facts.shapes[id].clone();
        }
        for &(i, shape) in shapes {
            let id = self.input_id(i)?;
            self.context().check_size(id, shape)?;
            wanted.shapes[id] = Some(Shape::from_slice(shape));
        }
        let before = std::mem::replace(&mut self.facts, wanted);
        let planned = self.replan();
        if planned.is_err() {
            // Nothing has changed for the caller.
            self.facts = before;
        }
        planned
    }

    fn context(&self) -> Context<'_> {
        Context {
            model: &self.model,
            subgraph: self.subgraph,
            catalog: &self.options.catalog,
            delegates: &self.options.delegates,
            isa: self.options.isa,
            pool: &self.pool,
            limits: self.options.limits,
            preserve_all: self.options.preserve_all,
        }
    }

    fn replan(&mut self) -> Result<(), RuntimeError> {
        let mut facts = self.facts.clone();
        let plan = self.context().plan(&mut facts)?;
        let graph = &self.model.subgraphs[self.subgraph];
        let mut heap = vec![AlignedBytes::default(); graph.tensors.len()];
        for (id, place) in plan.places.iter().enumerate() {
            if *place == Place::Heap {
                heap[id] = match (&facts.constants[id], &facts.shapes[id]) {
                    (Some(data), _) => AlignedBytes::from(&**data),
                    (None, Some(shape)) if graph.tensors[id].ty.bits() > 0 => {
                        AlignedBytes::zeroed(self.context().check_size(id, shape)?)
                    }
                    _ => AlignedBytes::default(),
                };
            }
        }
        self.arena = Arena::new(plan.arena_bytes);
        self.times = self.times.take().map(|_| vec![(0, Duration::ZERO); plan.steps.len()]);
        (self.facts, self.plan, self.heap) = (facts, plan, heap);
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Index of the subgraph that this interpreter runs.
    pub fn subgraph(&self) -> usize {
        self.subgraph
    }

    /// Tensors that the caller sets.
    pub fn inputs(&self) -> &[TensorId] {
        &self.model.subgraphs[self.subgraph].inputs
    }

    /// Tensors that the caller reads.
    pub fn outputs(&self) -> &[TensorId] {
        &self.model.subgraphs[self.subgraph].outputs
    }

    /// The signature that names this subgraph's inputs and outputs, if there is one: the one asked for, else the first.
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.map(|index| &self.model.signatures[index])
    }

    /// Bytes of the arena: the peak memory of all computed tensors and scratch.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Threads that share the work.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn input_id(&self, i: usize) -> Result<TensorId, RuntimeError> {
        let inputs = self.inputs();
        let missing = || RuntimeError::Usage(format!("there is no input {i}: the model has {}", inputs.len()));
        inputs.get(i).copied().ok_or_else(missing)
    }

    fn bytes_of(&self, id: TensorId) -> &[u8] {
        match self.plan.place_of(id) {
            Place::Constant => self.facts.constants[id].as_deref().unwrap_or(&[]),
            Place::Arena(range) => self.arena.get(range.clone()),
            Place::Heap => &self.heap[self.plan.root(id)],
            Place::None | Place::Same(_) => &[],
        }
    }

    /// Dimensions of a tensor; `None` while they are not known, which is until the first invocation where they depend on
    /// data.
    pub fn shape(&self, id: TensorId) -> Option<&[usize]> {
        self.facts.shapes.get(id)?.as_deref()
    }

    /// Any tensor by its index. Intermediate ones are meaningful after an invocation with
    /// [`Options::preserve_all`] only.
    pub fn tensor(&self, id: TensorId) -> Option<TensorView<'_>> {
        let tensor = self.model.subgraphs[self.subgraph].tensors.get(id)?;
        let shape = self.facts.shapes[id].as_deref().unwrap_or(&[]);
        let quantization = tensor.quantization.as_ref();
        let bytes = match (&self.facts.constants[id], &self.plan.places[id]) {
            (Some(data), _) => data,
            (None, _) => self.bytes_of(id),
        };
        Some(TensorView { id, name: tensor.name(), ty: tensor.ty, shape, quantization, bytes })
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
        let ty = self.model.subgraphs[self.subgraph].tensors[id].ty;
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
        if self.facts.constants.get(id).is_none_or(Option::is_some) {
            return Err(RuntimeError::Usage(format!("tensor {id} is a constant of the model, or is not there")));
        }
        match self.plan.place_of(id).clone() {
            Place::Arena(range) => Ok(self.arena.get_mut(range)),
            Place::Heap => Ok(&mut self.heap[self.plan.root(id)]),
            _ => Err(RuntimeError::Usage(format!("tensor {id} has no memory in this plan"))),
        }
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
        let tensor = self.model.subgraphs[self.subgraph].tensors.get(id);
        if tensor.is_some_and(|t| t.ty == TensorType::String) && *self.plan.place_of(id) == Place::Heap {
            let root = self.plan.root(id);
            self.heap[root] = AlignedBytes::from(data);
            return Ok(());
        }
        let target = self.tensor_bytes_mut(id)?;
        if target.len() != data.len() {
            let (wanted, given) = (target.len(), data.len());
            return Err(RuntimeError::Usage(format!("tensor {id} takes {wanted} bytes, not {given}")));
        }
        target.copy_from_slice(data);
        Ok(())
    }

    /// Sets all variables back to zero, quantized ones to their zero point.
    pub fn reset_variables(&mut self) {
        let graph = &self.model.subgraphs[self.subgraph];
        for (id, tensor) in graph.tensors.iter().enumerate() {
            if tensor.is_variable {
                let zero_point = tensor.quantization.as_ref().and_then(Quantization::as_per_tensor).map_or(0, |q| q.1);
                let is_byte = matches!(tensor.ty, TensorType::Int8 | TensorType::UInt8);
                self.heap[id].fill(if is_byte { zero_point as u8 } else { 0 });
            }
        }
    }

    /// Runs the graph on the inputs.
    pub fn invoke(&mut self) -> Result<(), RuntimeError> {
        (0..self.plan.steps.len()).try_for_each(|i| self.run_step(i))
    }

    /// Runs the graph and shows every computed tensor to `observe` while its data is alive, inputs first.
    pub fn invoke_observed(&mut self, observe: &mut dyn FnMut(TensorView<'_>)) -> Result<(), RuntimeError> {
        let mut show =
            |it: &Interpreter, ids: &[TensorId]| ids.iter().filter_map(|&id| it.tensor(id)).for_each(&mut *observe);
        show(self, self.inputs());
        for i in 0..self.plan.steps.len() {
            self.run_step(i)?;
            show(self, &self.plan.steps[i].outputs);
        }
        Ok(())
    }

    fn run_step(&mut self, i: usize) -> Result<(), RuntimeError> {
        let late = match self.plan.steps[i].work {
            Work::Planned { .. } => None,
            Work::Deferred => Some(self.prepare_deferred(i)?),
        };
        let node = self.plan.steps[i].nodes[0];
        let start = self.times.is_some().then(Instant::now);
        let result = self.execute(i, late.as_deref());
        if let (Some(times), Some(start)) = (&mut self.times, start) {
            times[i].0 += 1;
            times[i].1 += start.elapsed();
        }
        result.map_err(|source| RuntimeError::node(&self.model, self.subgraph, node, source))
    }

    /// Runs step `i` by its planned kernel, or by the `late` one.
    #[allow(unsafe_code)]
    fn execute(&mut self, i: usize, late: Option<&dyn Kernel>) -> Result<(), OpError> {
        let step = &self.plan.steps[i];
        let tensors = &self.model.subgraphs[self.subgraph].tensors;
        // Outputs with memory of their own leave the heap while they are written.
        let mut owned: SmallVec<[(TensorId, AlignedBytes, Shape); 2]> = SmallVec::new();
        for &id in &step.outputs {
            if *self.plan.place_of(id) == Place::Heap {
                let shape = self.facts.shapes[id].clone().unwrap_or_default();
                owned.push((id, std::mem::take(&mut self.heap[id]), shape));
            }
        }
        let mut late_scratch = AlignedBytes::zeroed(late.map_or(0, |kernel| kernel.scratch_bytes()));
        let (plan, facts, heap) = (&self.plan, &self.facts, &self.heap);
        let lent = self.arena.lend();
        let (kernel, scratch) = match (&step.work, late) {
            (_, Some(kernel)) => (kernel, &mut *late_scratch),
            // SAFETY: `Plan::assert_disjoint` has checked that scratch overlaps no other place of this step.
            (Work::Planned { kernel, scratch }, None) => (&**kernel, unsafe { lent.write(scratch.clone()) }),
            (Work::Deferred, None) => return Err(OpError::invalid("it was not prepared")),
        };
        let inputs = step.inputs.iter().map(|id| {
            id.map(|id| TensorRef {
                ty: tensors[id].ty,
                shape: facts.shapes[id].as_deref().unwrap_or(&[]),
                quantization: tensors[id].quantization.as_ref(),
                bytes: match plan.place_of(id) {
                    Place::Constant => facts.constants[id].as_deref().unwrap_or(&[]),
                    // SAFETY: `Plan::assert_disjoint` has checked that no output or scratch of this step overlaps it.
                    Place::Arena(range) => unsafe { lent.read(range.clone()) },
                    Place::Heap => &heap[plan.root(id)],
                    Place::None | Place::Same(_) => &[],
                },
            })
        });
        let inputs = inputs.collect();
        let mut owned_rest = owned.iter_mut();
        let outputs = step.outputs.iter().map(|&id| {
            let shape = facts.shapes[id].as_deref();
            let data = match plan.place_of(id) {
                Place::Arena(range) => {
                    // SAFETY: `Plan::assert_disjoint` has checked that nothing else of this step overlaps it.
                    OutputData::Planned { shape: shape.unwrap_or(&[]), bytes: unsafe { lent.write(range.clone()) } }
                }
                _ => match owned_rest.next() {
                    Some((_, bytes, own)) => match shape {
                        Some(shape) if tensors[id].ty.bits() > 0 => OutputData::Planned { shape, bytes },
                        _ => OutputData::Dynamic { shape: own, bytes },
                    },
                    // An output that nobody reads and that has no place.
                    None => OutputData::Planned { shape: &[], bytes: &mut [] },
                },
            };
            TensorMut { ty: tensors[id].ty, quantization: tensors[id].quantization.as_ref(), data }
        });
        let outputs = outputs.collect();
        let result = kernel.run(&mut Io { inputs, outputs, scratch, pool: &self.pool });
        for (id, bytes, shape) in owned {
            self.heap[id] = bytes;
            self.facts.shapes[id] = Some(shape);
        }
        result
    }

    /// Infers and compiles a node whose shapes depend on data, now that its inputs are there.
    fn prepare_deferred(&mut self, i: usize) -> Result<Box<dyn Kernel>, RuntimeError> {
        let index = self.plan.steps[i].nodes[0];
        let node = &self.model.subgraphs[self.subgraph].nodes[index];
        let error = |source| RuntimeError::node(&self.model, self.subgraph, index, source);
        let missing = || error(OpError::invalid("its inputs are not known"));
        let shapes: SmallVec<[Option<Shape>; 2]> = {
            let known = self.known(node);
            let view = self.facts.view(&self.model, self.subgraph, node, &known).ok_or_else(missing)?;
            infer(self.context().op(index)?, &view).map_err(error)?.into_iter().map(|i| i.shape).collect()
        };
        for (&id, shape) in node.outputs.iter().zip(shapes) {
            if let Some(shape) = &shape {
                let bytes = self.context().check_size(id, shape)?;
                self.heap[id].resize_zeroed(bytes);
            }
            self.facts.shapes[id] = shape;
        }
        let known = self.known(node);
        self.context().compile_now(&self.facts, &known, index)
    }

    /// The data of a node's inputs.
    fn known(&self, node: &Node) -> SmallVec<[(TensorId, &[u8]); 4]> {
        node.inputs.iter().flatten().map(|&id| (id, self.bytes_of(id))).collect()
    }

    /// Starts (and clears) or stops the profiler.
    pub fn set_profiling(&mut self, on: bool) {
        self.times = on.then(|| vec![(0, Duration::ZERO); self.plan.steps.len()]);
    }

    /// What the profiler saw since it was started.
    pub fn profile(&self) -> Profile {
        let graph = &self.model.subgraphs[self.subgraph];
        let times = self.times.iter().flatten();
        let entries = self.plan.steps.iter().zip(times).map(|(step, &(calls, time))| {
            let names: Vec<_> = step.nodes.iter().map(|&n| self.model.operator(&graph.nodes[n]).name()).collect();
            let kernel = match &step.work {
                Work::Planned { kernel, .. } => kernel.name().to_owned(),
                Work::Deferred => "prepared at run time".to_owned(),
            };
            let output = step.outputs.first().map_or("", |&id| graph.tensors[id].name()).to_owned();
            NodeProfile { node: step.nodes[0], op: names.join("+"), kernel, output, macs: step.macs, calls, time }
        });
        entries.collect()
    }
}
