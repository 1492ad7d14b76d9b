//! From a subgraph to steps: infer shapes, fold constants, ask the delegates, place tensors.

use crate::arena::{self, Request};
use crate::delegate::{Delegate, GraphView, Partition};
use crate::facts::{Facts, KnownData, infer};
use crate::{Limits, RuntimeError};
use ferrolite_kernels::Isa;
use ferrolite_kernels::ThreadPool;
use ferrolite_model::{Bytes, Model, Node, TensorId, TensorType};
use ferrolite_ops::op::{Callees, Io};
use ferrolite_ops::tensor::OutputData;
use ferrolite_ops::{
    AlignedBytes, Catalog, Kernel, NoSession, NodeView, OpDef, OpError, Resources, Shape, TensorInfo, TensorMut,
    TensorRef,
};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// What planning needs beside the model.
pub(crate) struct Context<'a> {
    pub(crate) model: &'a Model,
    pub(crate) subgraph: usize,
    pub(crate) catalog: &'a Catalog,
    pub(crate) delegates: &'a [Arc<dyn Delegate>],
    pub(crate) isa: Isa,
    pub(crate) pool: &'a ThreadPool,
    pub(crate) resources: &'a Arc<Resources>,
    pub(crate) limits: Limits,
    /// Every tensor keeps its own memory until the next invocation.
    pub(crate) preserve_all: bool,
    /// See [`crate::Options::cache_bytes`].
    pub(crate) cache_bytes: usize,
    /// How many subgraphs are in the middle of a call. In a called one, inputs and outputs have memory of their own, to
    /// change hands without copies.
    pub(crate) depth: usize,
    pub(crate) callees: CalleeShapes,
}

/// Output shapes of callees that planning has asked for.
#[derive(Clone, Default)]
pub(crate) struct CalleeShapes(Rc<RefCell<HashMap<(usize, Vec<Shape>), Option<Vec<Shape>>>>>);

/// How deep subgraphs may call each other.
pub(crate) const MAX_DEPTH: usize = 32;

/// How many callees one plan looks into. Calls that branch into calls could make more than anybody has time for.
const MAX_CALLEES: usize = 1000;

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context of subgraph {}", self.subgraph)
    }
}

impl Callees for Context<'_> {
    fn output_shapes(&self, subgraph: usize, inputs: &[Shape]) -> Option<Vec<Shape>> {
        let key = (subgraph, inputs.to_vec());
        if let Some(found) = self.callees.0.borrow().get(&key) {
            return found.clone();
        }
        if self.depth >= MAX_DEPTH || self.callees.0.borrow().len() >= MAX_CALLEES {
            return None;
        }
        let depth = self.depth + 1;
        let callee = Context { subgraph, depth, preserve_all: false, callees: self.callees.clone(), ..*self };
        // What is wrong inside is said when it is called, if ever.
        let shapes = callee.shapes_for(inputs).ok().flatten();
        self.callees.0.borrow_mut().insert(key, shapes.clone());
        shapes
    }
}

/// Where a tensor's data is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// Nowhere: not used, or internal to a partition.
    None,
    /// In [`Facts::constants`].
    Constant,
    /// In the arena.
    Arena(Range<usize>),
    /// Own memory: variables, strings, unaligned constants, and tensors whose size is known only at run time.
    Heap,
    /// In the place of another tensor, which is not itself `Same`.
    Same(TensorId),
}

/// One unit of work.
pub(crate) struct Step {
    pub(crate) nodes: Vec<usize>,
    pub(crate) inputs: Vec<Option<TensorId>>,
    pub(crate) outputs: Vec<TensorId>,
    /// Variables that the step updates; they are not among the inputs.
    pub(crate) state: Vec<TensorId>,
    pub(crate) work: Work,
    pub(crate) macs: u64,
    /// Where `inputs` are.
    pub(crate) reads: Vec<Option<Slot>>,
    /// Where `outputs` are.
    pub(crate) writes: Vec<Slot>,
    /// The state, and outputs that are on the heap.
    pub(crate) owned: Vec<TensorId>,
}

/// A tensor's place, views resolved.
pub(crate) struct Slot {
    pub(crate) id: TensorId,
    /// The tensor whose memory it is.
    pub(crate) root: TensorId,
    pub(crate) place: Place,
}

impl Step {
    /// A step whose state and places are still open.
    pub(crate) fn new(
        nodes: Vec<usize>,
        inputs: Vec<Option<TensorId>>,
        outputs: Vec<TensorId>,
        work: Work,
        macs: u64,
    ) -> Step {
        let (state, reads, writes, owned) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Step { nodes, inputs, outputs, state, work, macs, reads, writes, owned }
    }
}

pub(crate) enum Work {
    /// Ready to run.
    Planned { kernel: Box<dyn Kernel>, scratch: Range<usize> },
    /// Prepared when its inputs are known, and again when they have changed.
    Deferred(Option<Box<Late>>),
}

/// A node that was prepared while the graph ran.
pub(crate) struct Late {
    /// Shapes of the inputs that it was prepared for.
    pub(crate) inputs: SmallVec<[Option<Shape>; 4]>,
    /// Data of inputs that it was prepared for.
    pub(crate) seen: Vec<(TensorId, Vec<u8>)>,
    /// Shapes of the outputs as far as they were inferred.
    pub(crate) outputs: SmallVec<[Option<Shape>; 2]>,
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) scratch: AlignedBytes,
}

/// Steps in execution order and places of all tensors.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) places: Vec<Place>,
    pub(crate) arena_bytes: usize,
    /// Long enough for threads to be worth waking before there is work for them.
    pub(crate) is_long: bool,
}

/// Multiply-accumulates of a plan that is long.
const LONG: u64 = 3_000_000;

impl<'a> Context<'a> {
    fn node_error(&self, node: usize) -> impl Fn(OpError) -> RuntimeError + '_ {
        move |source| RuntimeError::node(self.model, self.subgraph, node, source)
    }

    pub(crate) fn op(&self, node: usize) -> Result<&'a dyn OpDef, RuntimeError> {
        let code = self.model.operator(&self.model.subgraphs[self.subgraph].nodes[node]);
        self.catalog.find(code).ok_or_else(|| RuntimeError::unknown_operator(self.model, self.subgraph, node))
    }

    /// Builds the plan. `facts` comes with the shapes of inputs and leaves with all that planning finds out.
    pub(crate) fn plan(&self, facts: &mut Facts) -> Result<Plan, RuntimeError> {
        let graph = &self.model.subgraphs[self.subgraph];
        let mut places = vec![Place::None; graph.tensors.len()];
        let mut candidates = Vec::new();
        let mut deferred = Vec::new();
        for index in 0..graph.nodes.len() {
            match self.examine(facts, index)? {
                Fate::Folded => {}
                Fate::View { of } => {
                    let root = if let Place::Same(root) = places[of] { root } else { of };
                    places[graph.nodes[index].outputs[0]] = Place::Same(root);
                }
                Fate::Step => candidates.push(index),
                Fate::Deferred => deferred.push(index),
            }
        }
        let mut steps = self.compile(facts, &places, candidates)?;
        for node in deferred {
            let (inputs, outputs) = self.boundary(&places, &[node]);
            steps.push(Step::new(vec![node], inputs, outputs, Work::Deferred(None), 0));
        }
        for step in &mut steps {
            self.split_state(step)?;
        }
        // A partition runs when its last node would.
        steps.sort_by_key(|step| step.nodes.last().copied());
        if !self.preserve_all {
            steps = self.join_bands(facts, steps);
        }
        self.place(facts, &mut steps, places)
    }

    /// Shapes of the outputs for these shapes of the inputs, `None` where they depend on data.
    fn shapes_for(&self, inputs: &[Shape]) -> Result<Option<Vec<Shape>>, RuntimeError> {
        let graph = &self.model.subgraphs[self.subgraph];
        let mut facts = Facts::of_file(self.model, self.subgraph)?;
        graph.inputs.iter().zip(inputs).for_each(|(&id, shape)| facts.shapes[id] = Some(shape.clone()));
        for node in 0..graph.nodes.len() {
            self.examine(&mut facts, node)?;
        }
        Ok(graph.outputs.iter().map(|&id| facts.shapes[id].clone()).collect())
    }

    /// Infers one node's outputs and folds it if all that it reads is constant.
    fn examine(&self, facts: &mut Facts, index: usize) -> Result<Fate, RuntimeError> {
        let graph = &self.model.subgraphs[self.subgraph];
        let node = &graph.nodes[index];
        let op = self.op(index)?;
        let error = self.node_error(index);
        let inferred = match facts.view(self.model, self.subgraph, node, &[], Some(self)) {
            Some(view) => infer(op, &view).map_err(&error)?,
            None => return Ok(Fate::Deferred),
        };
        let Some(shapes) = inferred.into_iter().map(|i| i.shape).collect::<Option<Vec<_>>>() else {
            return Ok(Fate::Deferred);
        };
        for (&id, shape) in node.outputs.iter().zip(shapes) {
            self.check_size(id, &shape)?;
            facts.shapes[id] = Some(shape);
        }
        let is_constant = |id: &Option<TensorId>| id.is_none_or(|id| facts.constants[id].is_some());
        let sized = |id: TensorId| graph.tensors[id].ty.bits() > 0;
        let has_input = node.inputs.iter().any(Option::is_some);
        let is_known = op.reads_shapes_only() || node.inputs.iter().all(is_constant);
        let is_foldable = has_input && op.is_foldable() || op.is_fixed();
        if is_known && is_foldable && node.outputs.iter().all(|&id| sized(id)) {
            let folded = match facts.view(self.model, self.subgraph, node, &[], None) {
                Some(view) => {
                    let kernel = self.compile_now(facts, &[], index)?;
                    self.fold(&*kernel, &view).map_err(&error)?
                }
                None => return Ok(Fate::Deferred),
            };
            node.inputs.iter().flatten().filter_map(|&id| facts.constants[id].as_ref()).for_each(Bytes::release);
            for (&id, data) in node.outputs.iter().zip(folded) {
                facts.constants[id] = Some(data);
            }
            return Ok(Fate::Folded);
        }
        match node.inputs.first().copied().flatten() {
            Some(of) if op.is_view() && sized(of) && !graph.tensors[of].is_variable => Ok(Fate::View { of }),
            _ => Ok(Fate::Step),
        }
    }

    pub(crate) fn check_size(&self, id: TensorId, shape: &[usize]) -> Result<usize, RuntimeError> {
        let ty = self.model.subgraphs[self.subgraph].tensors[id].ty;
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        // A string takes its offset in the serialized form, and a pointer while it is copied.
        let of_elements = |n: usize| if ty.bits() == 0 { n.checked_mul(16) } else { ty.byte_len(n) };
        let bytes = elements.and_then(of_elements).unwrap_or(usize::MAX);
        let limit = self.limits.max_tensor_bytes;
        if bytes > limit {
            return Err(RuntimeError::tensor_limit(self.model, self.subgraph, id, bytes, limit));
        }
        Ok(if ty.bits() == 0 { 0 } else { bytes })
    }

    pub(crate) fn check_total(&self, bytes: usize) -> Result<(), RuntimeError> {
        let limit = self.limits.max_total_bytes;
        if bytes > limit {
            return Err(RuntimeError::Limit { what: "the plan".into(), bytes, limit });
        }
        Ok(())
    }

    /// Runs a node's kernel on constants.
    fn fold(&self, kernel: &dyn Kernel, view: &NodeView<'_>) -> Result<Vec<Bytes>, OpError> {
        let data = |t: &TensorInfo<'_>| {
            let data: &Bytes = t.constant?;
            Some(if is_aligned(data, t.ty) { data.clone() } else { Bytes::from_owner(AlignedBytes::from(&**data)) })
        };
        let aligned: Vec<Option<Bytes>> = view.inputs.iter().map(|t| t.as_ref().and_then(data)).collect();
        let size = |t: &TensorInfo<'_>| t.ty.byte_len(t.elements()).unwrap_or(0);
        let mut results: Vec<AlignedBytes> = view.outputs.iter().map(|t| AlignedBytes::zeroed(size(t))).collect();
        let mut scratch = AlignedBytes::zeroed(kernel.scratch_bytes());
        let inputs = view.inputs.iter().zip(&aligned).map(|(info, data)| {
            info.as_ref().zip(data.as_ref()).map(|(info, data)| TensorRef {
                ty: info.ty,
                shape: &info.shape,
                quantization: info.quantization,
                bytes: data,
            })
        });
        let outputs = view.outputs.iter().zip(&mut results).map(|(info, bytes)| TensorMut {
            ty: info.ty,
            quantization: info.quantization,
            data: OutputData::Planned { shape: &info.shape, bytes },
        });
        let (inputs, outputs) = (inputs.collect(), outputs.collect());
        kernel.run(&mut Io {
            inputs,
            outputs,
            state: SmallVec::new(),
            scratch: &mut scratch,
            pool: self.pool,
            session: &mut NoSession::new(self.resources.clone()),
        })?;
        Ok(results.into_iter().map(Bytes::from_owner).collect())
    }

    /// Lets the delegates claim and compile nodes whose shapes are known.
    fn compile(
        &self,
        facts: &mut Facts,
        places: &[Place],
        mut candidates: Vec<usize>,
    ) -> Result<Vec<Step>, RuntimeError> {
        let graph = &self.model.subgraphs[self.subgraph];
        // How many nodes, and the caller, read each tensor.
        let mut uses = vec![0usize; graph.tensors.len()];
        let read = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs);
        read.for_each(|&id| uses[id] += 1);
        let mut steps = Vec::new();
        for delegate in self.delegates {
            let mut claimed = delegate.claim(&self.graph_view(facts, &[], &candidates, places));
            if self.preserve_all {
                // What is inside of a partition has no memory.
                claimed.retain(|nodes| nodes.len() == 1);
            }
            let mut taken = vec![false; graph.nodes.len()];
            for nodes in claimed {
                if nodes.is_empty() || nodes.iter().any(|&n| candidates.binary_search(&n).is_err() || taken[n]) {
                    let name = delegate.name();
                    return Err(RuntimeError::Usage(format!(
                        "delegate {name} claims nodes that are not free: {nodes:?}"
                    )));
                }
                let view = self.graph_view(facts, &[], &candidates, places);
                let step = self.compile_partition(&**delegate, &view, &nodes)?;
                self.drop_packed(facts, &step, &uses);
                steps.push(step);
                nodes.into_iter().for_each(|n| taken[n] = true);
            }
            candidates.retain(|&n| !taken[n]);
        }
        match candidates.first() {
            Some(&node) => Err(self.node_error(node)(OpError::unsupported("no delegate takes this node"))),
            None => Ok(steps),
        }
    }

    /// Compiles one node by the first delegate that takes it, with the data of computed tensors at hand.
    pub(crate) fn compile_now(
        &self,
        facts: &Facts,
        known: &[KnownData<'_>],
        node: usize,
    ) -> Result<Box<dyn Kernel>, RuntimeError> {
        let candidates = [node];
        let graph = self.graph_view(facts, known, &candidates, &[]);
        let nodes = &self.model.subgraphs[self.subgraph].nodes[node];
        let partition = Partition { graph: &graph, nodes: &candidates, inputs: &nodes.inputs, outputs: &nodes.outputs };
        let taker = self.delegates.iter().find(|delegate| !delegate.claim(&graph).is_empty());
        let nobody = || OpError::unsupported("no delegate takes this node");
        taker.ok_or_else(nobody).and_then(|d| d.compile(&partition)).map_err(self.node_error(node))
    }

    fn graph_view<'v>(
        &'v self,
        facts: &'v Facts,
        known: &'v [KnownData<'v>],
        candidates: &'v [usize],
        places: &'v [Place],
    ) -> GraphView<'v> {
        GraphView {
            model: self.model,
            subgraph: self.subgraph,
            catalog: self.catalog,
            isa: self.isa,
            facts,
            known,
            candidates,
            places,
        }
    }

    fn compile_partition(
        &self,
        delegate: &dyn Delegate,
        graph: &GraphView<'_>,
        nodes: &[usize],
    ) -> Result<Step, RuntimeError> {
        let (inputs, outputs) = self.boundary(graph.places, nodes);
        let partition = Partition { graph, nodes, inputs: &inputs, outputs: &outputs };
        let kernel = delegate.compile(&partition).map_err(self.node_error(nodes[0]))?;
        // Most kernels have packed them by now.
        inputs.iter().flatten().filter_map(|&id| graph.facts.constants[id].as_ref()).for_each(Bytes::release);
        let macs = nodes.iter().map(|&n| graph.op(n).zip(graph.view(n)).map_or(0, |(op, view)| op.macs(&view))).sum();
        Ok(Step::new(nodes.to_vec(), inputs, outputs, Work::Planned { kernel, scratch: 0..0 }, macs))
    }

    /// Forgets results of folding that only this step uses, and that its kernel has packed: large weights that the file
    /// holds in another type.
    fn drop_packed(&self, facts: &mut Facts, step: &Step, uses: &[usize]) {
        let (graph, Work::Planned { kernel, .. }) = (&self.model.subgraphs[self.subgraph], &step.work) else { return };
        let [_] = step.nodes[..] else { return };
        for (position, id) in step.inputs.iter().enumerate() {
            let is_made =
                |&id: &TensorId| facts.constants[id].is_some() && self.model.constant(&graph.tensors[id]).is_none();
            let Some(id) = id.filter(is_made).filter(|_| !kernel.reads(position) && !self.preserve_all) else {
                continue;
            };
            if uses[id] == 1 {
                facts.constants[id] = Some(Bytes::default());
            }
        }
    }

    /// Moves the variables that a step updates from its inputs to its state.
    fn split_state(&self, step: &mut Step) -> Result<(), RuntimeError> {
        let graph = &self.model.subgraphs[self.subgraph];
        for &node in &step.nodes {
            let error = |text: String| self.node_error(node)(OpError::invalid(text));
            for position in self.op(node)?.state_inputs(&graph.nodes[node]) {
                let id = graph.nodes[node].inputs.get(position).copied().flatten();
                let Some(id) = id else { return Err(error(format!("input {position}, its state, is missing"))) };
                if !graph.tensors[id].is_variable || step.state.contains(&id) {
                    return Err(error(format!("input {position}, its state, is not a variable of its own")));
                }
                step.state.push(id);
            }
            for position in self.op(node)?.optional_state_inputs(&graph.nodes[node]) {
                let id = graph.nodes[node].inputs.get(position).copied().flatten();
                let Some(id) = id.filter(|&id| graph.tensors[id].is_variable) else { continue };
                if step.state.contains(&id) {
                    return Err(error(format!("input {position}, its state, is not a variable of its own")));
                }
                step.state.push(id);
            }
        }
        let state = &step.state;
        step.inputs.iter_mut().filter(|id| id.is_some_and(|id| state.contains(&id))).for_each(|id| *id = None);
        if step.outputs.iter().any(|id| state.contains(id)) {
            return Err(self.node_error(step.nodes[0])(OpError::invalid("its state is also an output")));
        }
        Ok(())
    }

    /// Tensors that cross a partition's border.
    fn boundary(&self, places: &[Place], nodes: &[usize]) -> (Vec<Option<TensorId>>, Vec<TensorId>) {
        let graph = &self.model.subgraphs[self.subgraph];
        if let [node] = nodes {
            return (graph.nodes[*node].inputs.clone(), graph.nodes[*node].outputs.clone());
        }
        let root = |id: TensorId| if let Place::Same(root) = places[id] { root } else { id };
        let is_view = |node: &Node| node.outputs.iter().any(|&id| root(id) != id);
        let made: Vec<TensorId> = nodes.iter().flat_map(|&n| graph.nodes[n].outputs.iter().copied()).collect();
        let mut inputs = Vec::new();
        for id in nodes.iter().flat_map(|&n| graph.nodes[n].inputs.iter().flatten().copied()) {
            if !made.contains(&root(id)) && !inputs.contains(&Some(id)) {
                inputs.push(Some(id));
            }
        }
        let used_outside = |id: &TensorId| {
            let others = graph.nodes.iter().enumerate().filter(|(i, n)| !nodes.contains(i) && !is_view(n));
            let mut used = others.flat_map(|(_, n)| n.inputs.iter().flatten()).chain(&graph.outputs);
            used.any(|&used| root(used) == *id)
        };
        let outputs = made.iter().copied().filter(used_outside).collect();
        (inputs, outputs)
    }

    /// Gives every tensor its place.
    fn place(&self, facts: &Facts, steps: &mut Vec<Step>, mut places: Vec<Place>) -> Result<Plan, RuntimeError> {
        let graph = &self.model.subgraphs[self.subgraph];
        let end = steps.len();
        // First and last step that needs each tensor's memory.
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; graph.tensors.len()];
        let root = |places: &[Place], id: TensorId| if let Place::Same(root) = places[id] { root } else { id };
        let mut touch = |places: &[Place], id: TensorId, step: usize| {
            let span = &mut spans[root(places, id)];
            *span = Some(span.map_or((step, step), |(first, last)| (first.min(step), last.max(step))));
        };
        for (i, step) in steps.iter().enumerate() {
            step.inputs.iter().flatten().chain(&step.outputs).chain(&step.state).for_each(|&id| touch(&places, id, i));
        }
        for &id in &graph.inputs {
            touch(&places, id, 0);
            touch(&places, id, end);
        }
        graph.outputs.iter().for_each(|&id| touch(&places, id, end));

        let deferred: Vec<TensorId> = steps
            .iter()
            .filter(|s| matches!(s.work, Work::Deferred(_)))
            .flat_map(|s| s.outputs.iter().copied())
            .collect();
        let border: Vec<TensorId> = match self.depth > 0 {
            true => graph.inputs.iter().chain(&graph.outputs).map(|&id| root(&places, id)).collect(),
            false => Vec::new(),
        };
        let mut requests = Vec::new();
        let mut owners = Vec::new();
        let mut heap_bytes = 0usize;
        for (id, tensor) in graph.tensors.iter().enumerate() {
            let Some((first, last)) = spans[id] else { continue };
            if matches!(places[id], Place::Same(_)) {
                continue;
            }
            if let Some(data) = &facts.constants[id] {
                places[id] = if is_aligned(data, tensor.ty) { Place::Constant } else { Place::Heap };
                continue;
            }
            if tensor.ty.bits() == 0 || tensor.is_variable || deferred.contains(&id) || border.contains(&id) {
                places[id] = Place::Heap;
                heap_bytes += facts.shapes[id].as_ref().map_or(Ok(0), |shape| self.check_size(id, shape))?;
                continue;
            }
            let Some(shape) = &facts.shapes[id] else {
                places[id] = Place::Heap;
                continue;
            };
            let bytes = self.check_size(id, shape)?;
            let (first, last) = if self.preserve_all { (0, end) } else { (first, last) };
            requests.push(Request { bytes, first, last });
            owners.push(Owner::Tensor(id));
        }
        for (i, step) in steps.iter().enumerate() {
            if let Work::Planned { kernel, .. } = &step.work {
                requests.push(Request { bytes: kernel.scratch_bytes(), first: i, last: i });
                owners.push(Owner::Scratch(i));
            }
        }
        let (ranges, arena_bytes) = arena::place(&requests)?;
        self.check_total(arena_bytes.saturating_add(heap_bytes))?;
        for (owner, range) in owners.into_iter().zip(ranges) {
            match owner {
                Owner::Tensor(id) => places[id] = Place::Arena(range),
                Owner::Scratch(i) => {
                    if let Work::Planned { scratch, .. } = &mut steps[i].work {
                        *scratch = range;
                    }
                }
            }
        }
        let is_long = steps.iter().map(|step| step.macs).fold(0, u64::saturating_add) >= LONG;
        let mut plan = Plan { steps: std::mem::take(steps), places, arena_bytes, is_long };
        plan.resolve();
        plan.assert_disjoint();
        Ok(plan)
    }
}

enum Owner {
    Tensor(TensorId),
    Scratch(usize),
}

/// What becomes of a node.
enum Fate {
    /// Computed now, its results are constants.
    Folded,
    /// Its output is another shape of an input.
    View { of: TensorId },
    /// A delegate compiles it.
    Step,
    /// Its shapes depend on data.
    Deferred,
}

fn is_aligned(data: &[u8], ty: TensorType) -> bool {
    let align = (ty.bits() / 8).next_power_of_two().clamp(1, 16);
    (data.as_ptr() as usize).is_multiple_of(align)
}

impl Plan {
    /// The tensor whose place this one shares; usually itself.
    pub(crate) fn root(&self, id: TensorId) -> TensorId {
        if let Place::Same(root) = self.places[id] { root } else { id }
    }

    /// The place of a tensor, views resolved.
    pub(crate) fn place_of(&self, id: TensorId) -> &Place {
        &self.places[self.root(id)]
    }

    /// Notes in every step where its tensors are.
    fn resolve(&mut self) {
        let mut steps = std::mem::take(&mut self.steps);
        let slot = |id: TensorId| Slot { id, root: self.root(id), place: self.place_of(id).clone() };
        for step in &mut steps {
            step.reads = step.inputs.iter().map(|id| id.map(slot)).collect();
            step.writes = step.outputs.iter().map(|&id| slot(id)).collect();
            let tensors = step.state.iter().chain(&step.outputs).copied();
            step.owned = tensors.filter(|&id| *self.place_of(id) == Place::Heap).collect();
        }
        self.steps = steps;
    }

    /// Panics unless, in every step, what is written overlaps nothing else that the step touches. The interpreter's
    /// `unsafe` rests on this; a violation is a bug of the planner, never of a model.
    fn assert_disjoint(&self) {
        for step in &self.steps {
            let arena = |id: &TensorId| match self.place_of(*id) {
                Place::Arena(range) if !range.is_empty() => Some(range.clone()),
                _ => None,
            };
            let read: Vec<_> = step.inputs.iter().flatten().filter_map(arena).collect();
            let mut written: Vec<_> = step.outputs.iter().filter_map(arena).collect();
            if let Work::Planned { scratch, .. } = &step.work {
                written.extend((!scratch.is_empty()).then(|| scratch.clone()));
            }
            let overlap = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
            for (i, w) in written.iter().enumerate() {
                let others = read.iter().chain(&written[i + 1..]);
                assert!(
                    others.into_iter().all(|other| !overlap(w, other)),
                    "the plan overlaps in nodes {:?}",
                    step.nodes
                );
            }
        }
    }
}
