//! Planning, memory, delegates, late shapes, and errors, on models of operators made for the purpose.

use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, ModelBuilder, TensorType};
use ferrolite_ops::op::{InferResult, Inferred, reference};
use ferrolite_ops::{Catalog, Io, Kernel, NodeView, OpDef, OpError, OpId};
use ferrolite_runtime::{Delegate, GraphView, Interpreter, Limits, Options, Partition, RuntimeError};
use smallvec::smallvec;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Adds one to every element.
struct Increment;

impl OpDef for Increment {
    fn id(&self) -> OpId {
        OpId::Custom("Increment")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        Ok(smallvec![Inferred::new(input.ty, input.shape.iter().copied())])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| add(io, 1.0))
    }
}

fn add(io: &mut Io<'_>, amount: f32) -> Result<(), OpError> {
    let input = io.input(0)?.slice::<f32>()?;
    let output = io.outputs[0].slice::<f32>()?;
    output.iter_mut().zip(input).for_each(|(out, x)| *out = x + amount);
    Ok(())
}

fn options() -> Options {
    Options { catalog: Catalog::builtin().with(Increment), ..Options::default() }
}

/// input -> Increment × `length` -> output, on `elements` floats.
fn chain(length: usize, elements: i32) -> Model {
    let mut b = ModelBuilder::new();
    let mut x = b.input("x", TensorType::Float32, &[elements]);
    for i in 0..length {
        let y = b.tensor(format!("y{i}"), TensorType::Float32, &[elements]);
        b.custom("Increment", Vec::new(), &[Some(x)], &[y]);
        x = y;
    }
    b.output(x);
    b.build().unwrap()
}

/// x, shape -> RESHAPE -> Increment -> output: every shape depends on data.
fn late() -> Model {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[6]);
    let shape = b.input("shape", TensorType::Int32, &[2]);
    let y = b.tensor("y", TensorType::Float32, &[-1, -1]);
    let z = b.tensor("z", TensorType::Float32, &[-1, -1]);
    b.node(BuiltinOperator::RESHAPE, 1, BuiltinOptions::NONE, &[Some(x), Some(shape)], &[y]);
    b.custom("Increment", Vec::new(), &[Some(y)], &[z]);
    b.output(z);
    b.build().unwrap()
}

#[test]
fn a_chain_shares_memory_and_keeps_its_input() {
    let mut it = Interpreter::with_options(chain(20, 1000), options()).unwrap();
    it.set_input(0, &[1.0f32; 1000]).unwrap();
    it.invoke().unwrap();
    assert_eq!(it.output::<f32>(0).unwrap(), [21.0; 1000]);
    it.invoke().unwrap();
    assert_eq!(it.output::<f32>(0).unwrap(), [21.0; 1000], "the input has to survive a run");
    assert!(it.arena_bytes() <= 3 * 4032, "{} bytes for a chain", it.arena_bytes());

    let kept = Interpreter::with_options(chain(20, 1000), Options { preserve_all: true, ..options() }).unwrap();
    assert!(kept.arena_bytes() >= 21 * 4000);
}

#[test]
fn preserved_tensors_can_be_read_afterwards() {
    let mut it = Interpreter::with_options(chain(3, 4), Options { preserve_all: true, ..options() }).unwrap();
    it.invoke().unwrap();
    assert_eq!(it.tensor(1).unwrap().slice::<f32>().unwrap(), [1.0; 4]);
    assert_eq!(it.tensor(2).unwrap().slice::<f32>().unwrap(), [2.0; 4]);
}

#[test]
fn observers_see_every_computed_tensor_alive() {
    let mut it = Interpreter::with_options(chain(5, 4), options()).unwrap();
    let mut seen = Vec::new();
    it.invoke_observed(&mut |t| seen.push((t.name.to_owned(), t.slice::<f32>().unwrap()[0]))).unwrap();
    let want: Vec<(String, f32)> =
        [("x".to_owned(), 0.0)].into_iter().chain((0..5).map(|i| (format!("y{i}"), i as f32 + 1.0))).collect();
    assert_eq!(seen, want);
}

#[test]
fn shapes_that_depend_on_data_are_settled_when_it_runs() {
    let mut it = Interpreter::with_options(late(), options()).unwrap();
    it.set_input(0, &[0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    for shape in [[2, 3], [3, 2], [6, -1]] {
        it.set_input(1, &shape).unwrap();
        it.invoke().unwrap();
        let output = it.output_tensor(0).unwrap();
        assert_eq!(output.shape[0], shape[0] as usize);
        assert_eq!(output.slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
    it.set_input(1, &[4, 2]).unwrap();
    let error = it.invoke().unwrap_err().to_string();
    assert!(error.contains("node 0 (RESHAPE)") && error.contains("[4, 2]"), "{error}");
    it.set_input(1, &[1, 6]).unwrap();
    it.invoke().unwrap();
}

#[test]
fn resizing_plans_anew_and_a_refused_size_changes_nothing() {
    let limits = Limits { max_tensor_bytes: 1 << 16, ..Limits::default() };
    let mut it = Interpreter::with_options(chain(2, 4), Options { limits, ..options() }).unwrap();
    it.resize_input(0, &[3, 5]).unwrap();
    it.invoke().unwrap();
    assert_eq!(it.output_tensor(0).unwrap().shape, [3, 5]);
    for shape in [[1 << 20, 1], [usize::MAX, 8]] {
        let error = it.resize_input(0, &shape).unwrap_err();
        assert!(matches!(error, RuntimeError::Limit { .. }), "{error}");
    }
    it.invoke().unwrap();
    assert_eq!(it.output_tensor(0).unwrap().shape, [3, 5]);
}

#[test]
fn the_whole_plan_is_limited() {
    let limits = Limits { max_total_bytes: 10_000, ..Limits::default() };
    let error = Interpreter::with_options(chain(2, 4000), Options { limits, ..options() }).err().unwrap();
    assert!(error.to_string().contains("the limit is 10000"), "{error}");
}

#[test]
fn an_unknown_operator_is_named_with_a_way_out() {
    let error = Interpreter::new(chain(1, 1)).err().unwrap().to_string();
    assert!(error.contains("node 0") && error.contains("Increment") && error.contains("Catalog::with"), "{error}");
}

#[test]
fn wrong_calls_say_what_would_be_right() {
    let mut it = Interpreter::with_options(chain(1, 4), options()).unwrap();
    assert!(it.set_input(0, &[1.0f32; 3]).unwrap_err().to_string().contains("takes 4 elements, not 3"));
    assert!(it.set_input(0, &[1i32; 4]).unwrap_err().to_string().contains("float32"));
    assert!(it.set_input(1, &[1.0f32; 4]).unwrap_err().to_string().contains("has 1"));
    assert!(it.output::<i8>(0).is_err());
}

/// Takes all runs of Increment as one partition.
struct Fuse {
    nodes: Vec<Vec<usize>>,
}

struct AddMany(f32);

impl Kernel for AddMany {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        assert_eq!((io.inputs.len(), io.outputs.len()), (1, 1));
        add(io, self.0)
    }

    fn name(&self) -> &str {
        "add_many"
    }
}

impl Delegate for Fuse {
    fn name(&self) -> &str {
        "fuse"
    }

    fn claim(&self, _: &GraphView<'_>) -> Vec<Vec<usize>> {
        self.nodes.clone()
    }

    fn compile(&self, partition: &Partition<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(AddMany(partition.nodes.len() as f32)))
    }
}

fn fused(nodes: Vec<Vec<usize>>) -> Options {
    let mut options = options();
    options.delegates.insert(0, Arc::new(Fuse { nodes }));
    options
}

#[test]
fn a_delegate_runs_several_nodes_as_one_step() {
    let mut it = Interpreter::with_options(chain(6, 4), fused(vec![vec![1, 2, 3]])).unwrap();
    it.set_profiling(true);
    it.invoke().unwrap();
    assert_eq!(it.output::<f32>(0).unwrap(), [6.0; 4]);
    let kernels: Vec<_> = it.profile().iter().map(|p| p.kernel.clone()).collect();
    assert_eq!(kernels, ["reference", "add_many", "reference", "reference"]);
}

#[test]
fn a_delegate_cannot_claim_what_is_not_free() {
    for nodes in [vec![vec![0, 1], vec![1, 2]], vec![vec![9]], vec![vec![]]] {
        let error = Interpreter::with_options(chain(6, 4), fused(nodes)).err().unwrap();
        assert!(error.to_string().contains("delegate fuse"), "{error}");
    }
}

#[test]
fn weights_that_are_made_when_planning_are_packed_like_those_of_the_file() {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[2, 3]);
    let halves = [0x3c00u16, 0x4000, 0x4200, 0xbc00, 0x3800, 0x0000].into_iter().flat_map(u16::to_le_bytes);
    let stored = b.constant("w16", TensorType::Float16, &[2, 3], halves.collect::<Vec<u8>>());
    let (w, y) = (b.tensor("w", TensorType::Float32, &[2, 3]), b.tensor("y", TensorType::Float32, &[2, 2]));
    b.node(BuiltinOperator::DEQUANTIZE, 3, BuiltinOptions::NONE, &[Some(stored)], &[w]);
    let options = BuiltinOptions::FullyConnectedOptions(Box::default());
    b.node(BuiltinOperator::FULLY_CONNECTED, 1, options, &[Some(x), Some(w), None], &[y]);
    b.output(y);
    let model = Arc::new(b.build().unwrap());
    for preserve_all in [false, true] {
        let options = Options { preserve_all, ..Options::default() };
        let mut it = Interpreter::with_options(Arc::clone(&model), options).unwrap();
        it.set_input(0, &[1.0f32, 10.0, 100.0, 2.0, 0.0, 0.0]).unwrap();
        it.invoke().unwrap();
        assert_eq!(it.output::<f32>(0).unwrap(), [321.0, 4.0, 2.0, -2.0]);
        // Without, the weights are only in the kernel.
        assert_eq!(it.tensor(w).unwrap().bytes.len(), if preserve_all { 24 } else { 0 });
    }
}
