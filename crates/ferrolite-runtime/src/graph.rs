//! One planned subgraph with its memory.

use crate::arena::Arena;
use crate::engine::Engine;
use crate::facts::{Facts, KnownData, infer};
use crate::plan::{Late, Place, Plan, Slot, Step, Work};
use crate::{NodeProfile, Profile, RuntimeError, TensorView};
use ferrolite_kernels::ThreadPool;
use ferrolite_model::{Model, Node, Quantization, Subgraph, Tensor, TensorId, TensorType};
use ferrolite_ops::op::Io;
use ferrolite_ops::tensor::OutputData;
use ferrolite_ops::{AlignedBytes, Argument, OpError, Shape, TensorMut, TensorRef, TensorValue};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A plan with the memory that it runs in.
pub(crate) struct Graph {
    model: Arc<Model>,
    pool: Arc<ThreadPool>,
    subgraph: usize,
    facts: Facts,
    plan: Plan,
    arena: Arena,
    /// Tensors that are not in the arena, by tensor.
    heap: Vec<AlignedBytes>,
    /// Bytes in `heap`.
    heap_bytes: usize,
    times: Option<Vec<(u64, Duration)>>,
}

impl Graph {
    /// A subgraph that is not planned yet: [`Graph::resize_inputs`] does it.
    pub(crate) fn new(engine: &Engine, subgraph: usize) -> Result<Graph, RuntimeError> {
        let model = Arc::clone(&engine.model);
        if subgraph >= model.subgraphs.len() {
            return Err(RuntimeError::Usage(format!("there is no subgraph {subgraph}")));
        }
        Ok(Graph {
            facts: Facts::of_file(&model, subgraph)?,
            model,
            pool: Arc::clone(&engine.pool),
            subgraph,
            plan: Plan::default(),
            arena: Arena::default(),
            heap: Vec::new(),
            heap_bytes: 0,
            times: None,
        })
    }

    pub(crate) fn subgraph(&self) -> usize {
        self.subgraph
    }

    fn definition(&self) -> &Subgraph {
        &self.model.subgraphs[self.subgraph]
    }

    /// Bytes of the arena.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Bytes of all memory that is this graph's own.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.len() + self.heap_bytes
    }

    /// Changes the shapes of inputs (by position) and plans anew. When that fails nothing has changed.
    pub(crate) fn resize_inputs(&mut self, engine: &Engine, shapes: &[(usize, &[usize])]) -> Result<(), RuntimeError> {
        let inputs = &self.definition().inputs;
        let mut wanted = Facts::of_file(&self.model, self.subgraph)?;
        for &id in inputs {
            wanted.shapes[id] = self.facts.shapes[id].clone();
        }
        for &(i, shape) in shapes {
            let missing = || RuntimeError::Usage(format!("there is no input {i}: the model has {}", inputs.len()));
            let id = *inputs.get(i).ok_or_else(missing)?;
            engine.context(self.subgraph).check_size(id, shape)?;
            wanted.shapes[id] = Some(Shape::from_slice(shape));
        }
        self.plan(engine, wanted)
    }

    fn plan(&mut self, engine: &Engine, mut facts: Facts) -> Result<(), RuntimeError> {
        let context = engine.context(self.subgraph);
        let plan = context.plan(&mut facts)?;
        let tensors = &self.definition().tensors;
        let mut heap = vec![AlignedBytes::default(); tensors.len()];
        for (id, place) in plan.places.iter().enumerate() {
            if *place == Place::Heap {
                heap[id] = match (&facts.constants[id], &facts.shapes[id]) {
                    (Some(data), _) => AlignedBytes::from(&**data),
                    (None, Some(shape)) if tensors[id].ty.bits() > 0 => {
                        AlignedBytes::zeroed(context.check_size(id, shape)?)
                    }
                    _ => AlignedBytes::default(),
                };
            }
        }
        self.arena = Arena::new(plan.arena_bytes);
        self.times = self.times.take().map(|_| vec![(0, Duration::ZERO); plan.steps.len()]);
        self.heap_bytes = heap.iter().map(|bytes| bytes.len()).sum();
        (self.facts, self.plan, self.heap) = (facts, plan, heap);
        self.reset_variables();
        Ok(())
    }

    /// Runs the graph as a callee: resizes it where the inputs' shapes are new, and moves data in and out.
    pub(crate) fn call(
        &mut self,
        engine: &mut Engine,
        inputs: &mut [Argument<'_>],
        outputs: &mut Vec<TensorValue>,
    ) -> Result<(), RuntimeError> {
        self.check_arguments(inputs)?;
        let definition = &self.model.subgraphs[self.subgraph];
        let mut known = definition.inputs.iter().zip(&*inputs);
        let is_planned = self.plan.places.len() == definition.tensors.len();
        if !is_planned || !known.all(|(&id, given)| self.facts.shapes[id].as_deref() == Some(given.shape())) {
            let shapes: Vec<_> = inputs.iter().map(Argument::shape).enumerate().collect();
            self.resize_inputs(engine, &shapes)?;
        }
        for (i, input) in inputs.iter_mut().enumerate() {
            let id = self.definition().inputs[i];
            match input {
                Argument::Copied(tensor) => self.set_bytes(id, tensor.bytes)?,
                Argument::Lent(value) => self.exchange(id, &mut value.bytes)?,
            }
        }
        let result = self.invoke(engine).and_then(|()| self.take_outputs(outputs));
        // The last one first, should the subgraph list an input twice.
        for i in (0..inputs.len()).rev() {
            if let Argument::Lent(value) = &mut inputs[i] {
                self.exchange(self.definition().inputs[i], &mut value.bytes)?;
            }
        }
        result
    }

    /// Checks number, types and sizes of a call's inputs.
    fn check_arguments(&self, inputs: &[Argument<'_>]) -> Result<(), RuntimeError> {
        let (index, definition) = (self.subgraph, self.definition());
        if inputs.len() != definition.inputs.len() {
            let (given, wanted) = (inputs.len(), definition.inputs.len());
            return Err(RuntimeError::Usage(format!("subgraph {index} takes {wanted} inputs, not {given}")));
        }
        for (i, (&id, given)) in definition.inputs.iter().zip(inputs).enumerate() {
            let (wanted, ty) = (definition.tensors[id].ty, given.ty());
            if wanted != ty {
                return Err(RuntimeError::Usage(format!("input {i} of subgraph {index} is {wanted}, not {ty}")));
            }
        }
        Ok(())
    }

    /// Gives a tensor on the heap other memory of the same size.
    fn exchange(&mut self, id: TensorId, bytes: &mut AlignedBytes) -> Result<(), RuntimeError> {
        let root = self.plan.root(id);
        if *self.plan.place_of(id) != Place::Heap || self.facts.constants[id].is_some() {
            return Err(RuntimeError::Usage(format!("tensor {id} is a constant, but also an input")));
        }
        let is_sized = self.definition().tensors[id].ty.bits() > 0;
        let (wanted, given) = (self.heap[root].len(), bytes.len());
        if is_sized && wanted != given {
            return Err(RuntimeError::Usage(format!("tensor {id} takes {wanted} bytes, not {given}")));
        }
        self.heap_bytes = self.heap_bytes - wanted + given;
        std::mem::swap(&mut self.heap[root], bytes);
        Ok(())
    }

    /// Moves the results into `outputs`, whose old memory takes their place. What the graph needs again is copied.
    fn take_outputs(&mut self, outputs: &mut Vec<TensorValue>) -> Result<(), RuntimeError> {
        let model = Arc::clone(&self.model);
        let definition = &model.subgraphs[self.subgraph];
        outputs.resize_with(definition.outputs.len(), TensorValue::default);
        for (&id, output) in definition.outputs.iter().zip(outputs) {
            let root = self.plan.root(id);
            let users = definition.outputs.iter().filter(|&&other| self.plan.root(other) == root).count();
            let is_kept = self.facts.constants[id].is_some() || definition.tensors[root].is_variable || users > 1;
            if is_kept || *self.plan.place_of(id) != Place::Heap {
                let tensor = self.tensor(id).ok_or_else(|| RuntimeError::Usage(format!("there is no tensor {id}")))?;
                let (ty, shape, bytes) = (tensor.ty, tensor.shape, tensor.bytes);
                output.assign(TensorRef { ty, shape, quantization: None, bytes });
                continue;
            }
            output.ty = definition.tensors[id].ty;
            output.shape.clear();
            output.shape.extend_from_slice(self.facts.shapes[id].as_deref().unwrap_or(&[]));
            let size = self.heap[root].len();
            if output.bytes.len() != size {
                output.bytes.resize_zeroed(size);
            }
            std::mem::swap(&mut self.heap[root], &mut output.bytes);
        }
        Ok(())
    }

    fn bytes_of(&self, id: TensorId) -> &[u8] {
        match self.plan.place_of(id) {
            Place::Constant => self.facts.constants[id].as_deref().unwrap_or(&[]),
            Place::Arena(range) => self.arena.get(range.clone()),
            Place::Heap => &self.heap[self.plan.root(id)],
            Place::None | Place::Same(_) => &[],
        }
    }

    pub(crate) fn shape(&self, id: TensorId) -> Option<&[usize]> {
        self.facts.shapes.get(id)?.as_deref()
    }

    pub(crate) fn tensor(&self, id: TensorId) -> Option<TensorView<'_>> {
        let tensor = self.definition().tensors.get(id)?;
        let shape = self.facts.shapes[id].as_deref().unwrap_or(&[]);
        let quantization = tensor.quantization.as_ref();
        let bytes = match (&self.facts.constants[id], &self.plan.places[id]) {
            (Some(data), _) => data,
            (None, _) => self.bytes_of(id),
        };
        Some(TensorView { id, name: tensor.name(), ty: tensor.ty, shape, quantization, bytes })
    }

    /// Bytes of any tensor but a constant, to write in place.
    pub(crate) fn bytes_mut(&mut self, id: TensorId) -> Result<&mut [u8], RuntimeError> {
        if self.facts.constants.get(id).is_none_or(Option::is_some) {
            return Err(RuntimeError::Usage(format!("tensor {id} is a constant of the model, or is not there")));
        }
        match self.plan.place_of(id).clone() {
            Place::Arena(range) => Ok(self.arena.get_mut(range)),
            Place::Heap => Ok(&mut self.heap[self.plan.root(id)]),
            _ => Err(RuntimeError::Usage(format!("tensor {id} has no memory in this plan"))),
        }
    }

    /// Copies raw data into any tensor but a constant; strings in the format's own serialization.
    pub(crate) fn set_bytes(&mut self, id: TensorId, data: &[u8]) -> Result<(), RuntimeError> {
        let tensor = self.definition().tensors.get(id);
        if tensor.is_some_and(|t| t.ty.bits() == 0) && *self.plan.place_of(id) == Place::Heap {
            let root = self.plan.root(id);
            self.heap[root].assign(data);
            return Ok(());
        }
        let target = self.bytes_mut(id)?;
        if target.len() != data.len() {
            let (wanted, given) = (target.len(), data.len());
            return Err(RuntimeError::Usage(format!("tensor {id} takes {wanted} bytes, not {given}")));
        }
        target.copy_from_slice(data);
        Ok(())
    }

    /// Sets all variables back to zero, quantized ones to their zero point.
    pub(crate) fn reset_variables(&mut self) {
        let graph = &self.model.subgraphs[self.subgraph];
        for (id, tensor) in graph.tensors.iter().enumerate() {
            if tensor.is_variable && self.facts.constants[id].is_none() {
                let zero_point = tensor.quantization.as_ref().and_then(Quantization::as_per_tensor).map_or(0, |q| q.1);
                let is_byte = matches!(tensor.ty, TensorType::Int8 | TensorType::UInt8);
                self.heap[id].fill(if is_byte { zero_point as u8 } else { 0 });
            }
        }
    }

    /// Runs the graph on what its inputs hold.
    pub(crate) fn invoke(&mut self, engine: &mut Engine) -> Result<(), RuntimeError> {
        let pool = (self.plan.is_long && self.pool.threads() > 1).then(|| Arc::clone(&self.pool));
        let _attention = pool.as_deref().map(ThreadPool::attend);
        (0..self.plan.steps.len()).try_for_each(|i| self.run_step(engine, i))
    }

    /// Runs the graph and shows every computed tensor to `observe` while its data is alive, inputs first.
    pub(crate) fn invoke_observed(
        &mut self,
        engine: &mut Engine,
        observe: &mut dyn FnMut(TensorView<'_>),
    ) -> Result<(), RuntimeError> {
        let mut show =
            |it: &Graph, ids: &[TensorId]| ids.iter().filter_map(|&id| it.tensor(id)).for_each(&mut *observe);
        show(self, &self.definition().inputs);
        for i in 0..self.plan.steps.len() {
            self.run_step(engine, i)?;
            show(self, &self.plan.steps[i].outputs);
        }
        Ok(())
    }

    fn run_step(&mut self, engine: &mut Engine, i: usize) -> Result<(), RuntimeError> {
        let start = self.times.is_some().then(Instant::now);
        if let Work::Deferred(_) = self.plan.steps[i].work {
            self.prepare_deferred(engine, i)?;
        }
        let result = self.execute(engine, i);
        if let (Some(times), Some(start)) = (&mut self.times, start) {
            times[i].0 += 1;
            times[i].1 += start.elapsed();
        }
        let node = self.plan.steps[i].nodes[0];
        result.map_err(|source| RuntimeError::node(&self.model, self.subgraph, node, source))
    }

    /// Runs a step's kernel.
    #[allow(unsafe_code)]
    fn execute(&mut self, engine: &mut Engine, i: usize) -> Result<(), OpError> {
        let Graph { model, pool, subgraph, facts, plan, arena, heap, heap_bytes, .. } = self;
        let tensors = &model.subgraphs[*subgraph].tensors;
        let Step { work, reads, writes, owned, state, .. } = &mut plan.steps[i];
        let lent = arena.lend();
        let (kernel, scratch) = match work {
            // SAFETY: `Plan::assert_disjoint` has checked that scratch overlaps no other place of this step.
            Work::Planned { kernel, scratch } => (&**kernel, unsafe { lent.write(scratch.clone()) }),
            Work::Deferred(Some(late)) => (&*late.kernel, &mut *late.scratch),
            Work::Deferred(None) => return Err(OpError::invalid("it was not prepared")),
        };
        // Outputs with memory of their own, and variables that the step updates, leave the heap while they are written.
        let mut taken: SmallVec<[(TensorId, AlignedBytes, Shape); 2]> = SmallVec::new();
        for &id in &*owned {
            let shape = facts.shapes[id].clone().unwrap_or_default();
            taken.push((id, std::mem::take(&mut heap[id]), shape));
            *heap_bytes -= taken.last().map_or(0, |(_, bytes, _)| bytes.len());
        }
        // A small step takes little longer than its surroundings: everything is put where the kernel will find it.
        let (inputs, outputs, variables) = (SmallVec::new(), SmallVec::new(), SmallVec::new());
        let mut io = Io { inputs, outputs, state: variables, scratch, pool, session: engine };
        for slot in &*reads {
            let Some(Slot { id, root, place }) = slot else {
                io.inputs.push(None);
                continue;
            };
            let bytes = match place {
                Place::Constant => facts.constants[*root].as_deref().unwrap_or(&[]),
                // SAFETY: `Plan::assert_disjoint` has checked that no output or scratch of this step overlaps it.
                Place::Arena(range) => unsafe { lent.read(range.clone()) },
                Place::Heap => &heap[*root],
                Place::None | Place::Same(_) => &[],
            };
            let (tensor, shape) = (&tensors[*id], facts.shapes[*id].as_deref().unwrap_or(&[]));
            io.inputs.push(Some(TensorRef { ty: tensor.ty, shape, quantization: tensor.quantization.as_ref(), bytes }));
        }
        // Every variable is on the heap, so that the first ones taken from there are the state.
        let (states, mut rest) = taken.split_at_mut(state.len());
        for (id, bytes, shape) in states {
            let (tensor, data) = (&tensors[*id], OutputData::Planned { shape, bytes });
            io.state.push(TensorMut { ty: tensor.ty, quantization: tensor.quantization.as_ref(), data });
        }
        for Slot { id, place, .. } in &*writes {
            let (tensor, shape) = (&tensors[*id], facts.shapes[*id].as_deref());
            let data = match place {
                Place::Arena(range) => {
                    // SAFETY: `Plan::assert_disjoint` has checked that nothing else of this step overlaps it.
                    OutputData::Planned { shape: shape.unwrap_or(&[]), bytes: unsafe { lent.write(range.clone()) } }
                }
                _ => match take_first(&mut rest) {
                    Some((_, bytes, own)) => match shape {
                        Some(shape) if tensor.ty.bits() > 0 => OutputData::Planned { shape, bytes },
                        _ => OutputData::Dynamic { shape: own, bytes },
                    },
                    // An output that nobody reads and that has no place.
                    None => OutputData::Planned { shape: &[], bytes: &mut [] },
                },
            };
            io.outputs.push(TensorMut { ty: tensor.ty, quantization: tensor.quantization.as_ref(), data });
        }
        let result = kernel.run(&mut io);
        drop(io);
        for (id, bytes, shape) in taken {
            *heap_bytes += bytes.len();
            heap[id] = bytes;
            facts.shapes[id] = Some(shape);
        }
        result
    }

    /// Makes sure that a node whose shapes depend on data is prepared for the shapes and data that its inputs have now.
    fn prepare_deferred(&mut self, engine: &Engine, i: usize) -> Result<(), RuntimeError> {
        let index = self.plan.steps[i].nodes[0];
        let Work::Deferred(late) = &mut self.plan.steps[i].work else { return Ok(()) };
        if let Some(late) = late.take().filter(|late| self.still_holds(late, index)) {
            self.set_output_shapes(engine, index, &late.outputs)?;
            self.plan.steps[i].work = Work::Deferred(Some(late));
            return Ok(());
        }
        let model = Arc::clone(&self.model);
        let node = &model.subgraphs[self.subgraph].nodes[index];
        let context = engine.context(self.subgraph);
        let error = |source| RuntimeError::node(&model, self.subgraph, index, source);
        let missing = || error(OpError::invalid("its inputs are not known"));
        let mut seen = Vec::new();
        let outputs: SmallVec<[Option<Shape>; 2]> = {
            let known = self.known(node);
            let view = self.facts.view(&model, self.subgraph, node, &known, None).ok_or_else(missing)?;
            let inferred = infer(context.op(index)?, &view).map_err(error)?;
            note_seen(&known, &mut seen);
            inferred.into_iter().map(|i| i.shape).collect()
        };
        self.set_output_shapes(engine, index, &outputs)?;
        let (kernel, macs) = {
            let known = self.known(node);
            let kernel = context.compile_now(&self.facts, &known, index)?;
            note_seen(&known, &mut seen);
            let view = self.facts.view(&model, self.subgraph, node, &known, None);
            (kernel, view.map_or(0, |view| context.op(index).map_or(0, |op| op.macs(&view))))
        };
        let inputs = node.inputs.iter().map(|id| id.and_then(|id| self.facts.shapes[id].clone())).collect();
        let scratch = AlignedBytes::zeroed(kernel.scratch_bytes());
        let step = &mut self.plan.steps[i];
        (step.macs, step.work) =
            (macs, Work::Deferred(Some(Box::new(Late { inputs, seen, outputs, kernel, scratch }))));
        Ok(())
    }

    /// Whether a kernel that was prepared late fits the present inputs: same shapes, and same data where it was looked
    /// at.
    fn still_holds(&self, late: &Late, node: usize) -> bool {
        let inputs = &self.definition().nodes[node].inputs;
        let mut shapes = inputs.iter().zip(&late.inputs);
        shapes.all(|(id, shape)| id.is_none_or(|id| self.facts.shapes[id] == *shape))
            && late.seen.iter().all(|(id, bytes)| self.bytes_of(*id) == &**bytes)
    }

    /// Gives the outputs of a deferred node their shapes, and memory where these are known.
    fn set_output_shapes(
        &mut self,
        engine: &Engine,
        node: usize,
        shapes: &[Option<Shape>],
    ) -> Result<(), RuntimeError> {
        let context = engine.context(self.subgraph);
        let outputs = &self.model.subgraphs[self.subgraph].nodes[node].outputs;
        for (&id, shape) in outputs.iter().zip(shapes) {
            if let Some(shape) = shape {
                let bytes = context.check_size(id, shape)?;
                let before = self.heap[id].len();
                if bytes != before {
                    let total = self.arena.len() + self.heap_bytes - before + bytes;
                    context.check_total(total)?;
                    self.heap_bytes = self.heap_bytes - before + bytes;
                    self.heap[id].resize_zeroed(bytes);
                }
            }
            self.facts.shapes[id].clone_from(shape);
        }
        Ok(())
    }

    /// The data of a node's inputs.
    fn known(&self, node: &Node) -> SmallVec<[KnownData<'_>; 4]> {
        node.inputs.iter().flatten().map(|&id| KnownData::new(id, self.bytes_of(id))).collect()
    }

    /// Starts (and clears) or stops the profiler.
    pub(crate) fn set_profiling(&mut self, on: bool) {
        self.times = on.then(|| vec![(0, Duration::ZERO); self.plan.steps.len()]);
    }

    /// What the profiler saw since it was started.
    pub(crate) fn profile(&self) -> Profile {
        let graph = self.definition();
        let times = self.times.iter().flatten();
        let entries = self.plan.steps.iter().zip(times).map(|(step, &(calls, time))| {
            let names: Vec<_> = step.nodes.iter().map(|&n| self.model.operator(&graph.nodes[n]).name()).collect();
            let kernel = match &step.work {
                Work::Planned { kernel, .. } => kernel.name().to_owned(),
                Work::Deferred(Some(late)) => format!("{} (prepared at run time)", late.kernel.name()),
                Work::Deferred(None) => "prepared at run time".to_owned(),
            };
            let output = step.outputs.first().map_or("", |&id| graph.tensors[id].name()).to_owned();
            let mut read: SmallVec<[TensorId; 8]> = step.inputs.iter().flatten().chain(&step.state).copied().collect();
            read.sort_unstable();
            read.dedup();
            let bytes = |ids: &[TensorId]| ids.iter().map(|&id| self.byte_len(id) as u64).sum::<u64>();
            NodeProfile {
                node: step.nodes[0],
                op: names.join("+"),
                kernel,
                output,
                macs: step.macs,
                is_integer: step.inputs.iter().flatten().any(|&id| is_quantized(&graph.tensors[id])),
                bytes_read: bytes(&read),
                bytes_written: bytes(&step.outputs) + bytes(&step.state),
                calls,
                time,
            }
        });
        entries.collect()
    }

    /// Bytes of a tensor with the shape that it has now; 0 where that is not known.
    fn byte_len(&self, id: TensorId) -> usize {
        let shape = self.facts.shapes[id].as_deref();
        let elements = shape.and_then(|shape| shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim)));
        elements.and_then(|n| self.definition().tensors[id].ty.byte_len(n)).unwrap_or(0)
    }
}

/// Whether a tensor holds integers that stand for real numbers.
fn is_quantized(tensor: &Tensor) -> bool {
    let quantization = tensor.quantization.as_ref();
    !tensor.ty.is_float() && quantization.is_some_and(|q| !q.scale.is_empty() || q.details.is_some())
}

/// Adds the data that somebody looked at.
fn note_seen(known: &[KnownData<'_>], seen: &mut Vec<(TensorId, Vec<u8>)>) {
    for data in known.iter().filter(|data| data.seen.get()) {
        if seen.iter().all(|(id, _)| *id != data.id) {
            seen.push((data.id, data.bytes.to_vec()));
        }
    }
}

fn take_first<'a, T>(rest: &mut &'a mut [T]) -> Option<&'a mut T> {
    let (first, others) = std::mem::take(rest).split_first_mut()?;
    *rest = others;
    Some(first)
}
