//! Branches, loops, variables and calls of other subgraphs.

use ferrolite_model::schema::{CallOnceOptionsT, IfOptionsT, VarHandleOptionsT, WhileOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, ModelBuilder, TensorId, TensorType};
use ferrolite_ops::op::{InferResult, Inferred, reference};
use ferrolite_ops::{Catalog, Kernel, NodeView, OpDef, OpError, OpId, Resources};
use ferrolite_runtime::{Interpreter, Limits, Options, RuntimeError};
use smallvec::smallvec;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn add(b: &mut ModelBuilder, x: TensorId, y: TensorId, out: TensorId) {
    let options = BuiltinOptions::AddOptions(Box::default());
    b.node(BuiltinOperator::ADD, 1, options, &[Some(x), Some(y)], &[out]);
}

fn call_if(b: &mut ModelBuilder, branches: [usize; 2], inputs: &[TensorId], out: TensorId) {
    let [then, other] = branches.map(|i| i as i32);
    let options = IfOptionsT { then_subgraph_index: then, else_subgraph_index: other };
    let inputs: Vec<_> = inputs.iter().map(|&t| Some(t)).collect();
    b.node(BuiltinOperator::IF, 1, BuiltinOptions::IfOptions(Box::new(options)), &inputs, &[out]);
}

fn call_while(b: &mut ModelBuilder, [cond, body]: [usize; 2], state: &[TensorId], out: &[TensorId]) {
    let options = WhileOptionsT { cond_subgraph_index: cond as i32, body_subgraph_index: body as i32 };
    let inputs: Vec<_> = state.iter().map(|&t| Some(t)).collect();
    b.node(BuiltinOperator::WHILE, 1, BuiltinOptions::WhileOptions(Box::new(options)), &inputs, out);
}

/// A subgraph that says whether i < `limit`, for a state of i and a vector.
fn below(b: &mut ModelBuilder, limit: i32) -> usize {
    let graph = b.subgraph("below");
    let i = b.input("i", TensorType::Int32, &[]);
    b.input("x", TensorType::Float32, &[1]);
    let limit = b.constant_i32("limit", &[], &[limit]);
    let is = b.tensor("is", TensorType::Bool, &[]);
    b.node(BuiltinOperator::LESS, 1, BuiltinOptions::NONE, &[Some(i), Some(limit)], &[is]);
    b.output(is);
    graph
}

/// x and its first `one.len()` elements, one after another.
fn grow(b: &mut ModelBuilder, x: TensorId, one: TensorId) -> TensorId {
    let out = b.tensor("grown", TensorType::Float32, &[1]);
    let options = BuiltinOptions::ConcatenationOptions(Box::default());
    b.node(BuiltinOperator::CONCATENATION, 1, options, &[Some(x), Some(one)], &[out]);
    out
}

/// while i < 5 { x = if i is odd { [x, 1] } else { x + x }; i += 1 }
fn growing() -> Model {
    let mut b = ModelBuilder::new();
    let start = b.input("i", TensorType::Int32, &[]);
    let x = b.input("x", TensorType::Float32, &[1]);
    let out = [b.tensor("i_out", TensorType::Int32, &[]), b.tensor("x_out", TensorType::Float32, &[1])];
    let cond = below(&mut b, 5);

    let then = b.subgraph("append");
    let given = b.input("x", TensorType::Float32, &[1]);
    let one = b.constant_f32("one", &[1], &[1.0]);
    let grown = grow(&mut b, given, one);
    b.output(grown);
    let other = b.subgraph("double");
    let given = b.input("x", TensorType::Float32, &[1]);
    let doubled = b.tensor("doubled", TensorType::Float32, &[1]);
    add(&mut b, given, given, doubled);
    b.output(doubled);

    let body = b.subgraph("body");
    let i = b.input("i", TensorType::Int32, &[]);
    let given = b.input("x", TensorType::Float32, &[1]);
    let (one, two) = (b.constant_i32("one", &[], &[1]), b.constant_i32("two", &[], &[2]));
    let (rest, odd) = (b.tensor("rest", TensorType::Int32, &[]), b.tensor("odd", TensorType::Bool, &[]));
    let div = BuiltinOptions::DivOptions(Box::default());
    let mul = BuiltinOptions::MulOptions(Box::default());
    let sub = BuiltinOptions::SubOptions(Box::default());
    let half = b.tensor("half", TensorType::Int32, &[]);
    let twice = b.tensor("twice", TensorType::Int32, &[]);
    b.node(BuiltinOperator::DIV, 1, div, &[Some(i), Some(two)], &[half]);
    b.node(BuiltinOperator::MUL, 1, mul, &[Some(half), Some(two)], &[twice]);
    b.node(BuiltinOperator::SUB, 1, sub, &[Some(i), Some(twice)], &[rest]);
    b.node(BuiltinOperator::EQUAL, 1, BuiltinOptions::NONE, &[Some(rest), Some(one)], &[odd]);
    let chosen = b.tensor("chosen", TensorType::Float32, &[1]);
    call_if(&mut b, [then, other], &[odd, given], chosen);
    let next = b.tensor("next", TensorType::Int32, &[]);
    add(&mut b, i, one, next);
    b.output(next);
    b.output(chosen);

    b.select(0);
    call_while(&mut b, [cond, body], &[start, x], &out);
    // Works on what comes out, whatever its size.
    let sum = b.tensor("sum", TensorType::Float32, &[1]);
    add(&mut b, out[1], out[1], sum);
    b.output(out[0]);
    b.output(sum);
    b.build().unwrap()
}

#[test]
fn loops_and_branches_may_change_shapes() {
    for options in [Options::default(), Options::reference()] {
        let mut it = Interpreter::with_options(growing(), options).unwrap();
        for (start, want) in [(0, vec![16.0f32, 8.0, 4.0]), (5, vec![2.0]), (3, vec![4.0, 4.0])] {
            it.set_input(0, &[start]).unwrap();
            it.set_input(1, &[1.0f32]).unwrap();
            it.invoke().unwrap();
            assert_eq!(it.output::<i32>(0).unwrap(), [start.max(5)]);
            assert_eq!(it.output::<f32>(1).unwrap(), want, "from {start}");
        }
    }
}

/// A loop over a state of i and x: i stays below `limit` iterations, x becomes what `change` makes of it.
fn looping(limit: i32, size: i32, change: impl FnOnce(&mut ModelBuilder, TensorId) -> TensorId) -> Model {
    let mut b = ModelBuilder::new();
    let start = b.input("i", TensorType::Int32, &[]);
    let x = b.input("x", TensorType::Float32, &[size]);
    let out = [b.tensor("i_out", TensorType::Int32, &[]), b.tensor("x_out", TensorType::Float32, &[size])];
    let cond = below(&mut b, limit);
    let body = b.subgraph("body");
    let i = b.input("i", TensorType::Int32, &[]);
    let given = b.input("x", TensorType::Float32, &[size]);
    let one = b.constant_i32("one", &[], &[1]);
    let next = b.tensor("next", TensorType::Int32, &[]);
    add(&mut b, i, one, next);
    let changed = change(&mut b, given);
    b.output(next);
    b.output(changed);
    b.select(0);
    call_while(&mut b, [cond, body], &[start, x], &out);
    b.output(out[0]);
    b.output(out[1]);
    b.build().unwrap()
}

#[test]
fn a_loop_that_does_not_end_is_ended() {
    let limits = Limits { max_iterations: 100, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let mut it = Interpreter::with_options(looping(100, 1, |_, x| x), options.clone()).unwrap();
    it.invoke().unwrap();
    assert_eq!(it.output::<i32>(0).unwrap(), [100]);
    let mut it = Interpreter::with_options(looping(i32::MAX, 1, |_, x| x), options).unwrap();
    let error = it.invoke().unwrap_err().to_string();
    assert!(error.contains("node 0 (WHILE)") && error.contains("100 iterations"), "{error}");
}

#[test]
fn memory_of_callees_counts() {
    // Doubles in every iteration: 4 KiB, 8 KiB ...
    let model = looping(20, 1000, |b, x| grow(b, x, x));
    let limits = Limits { max_total_bytes: 1 << 20, ..Limits::default() };
    let mut it = Interpreter::with_options(model, Options { limits, ..Options::default() }).unwrap();
    let error = it.invoke().unwrap_err().to_string();
    assert!(error.contains("see Limits"), "{error}");
    // It goes on with less.
    it.set_input(0, &[17]).unwrap();
    it.invoke().unwrap();
    assert_eq!(it.output_tensor(1).unwrap().shape, [8000]);
}

#[test]
fn what_a_loop_passes_on_stays() {
    let mut it = Interpreter::new(looping(3, 2, |_, x| x)).unwrap();
    it.set_input(1, &[1.0f32, 2.0]).unwrap();
    for _ in 0..2 {
        it.invoke().unwrap();
        assert_eq!(it.output::<f32>(1).unwrap(), [1.0, 2.0]);
        assert_eq!(it.input_tensor(1).unwrap().slice::<f32>().unwrap(), [1.0, 2.0]);
    }
    // The shape of what comes out is known before it has run.
    assert_eq!(Interpreter::new(looping(3, 2, |_, x| x)).unwrap().output_tensor(1).unwrap().shape, [2]);
}

fn var_handle(b: &mut ModelBuilder) -> TensorId {
    let handle = b.tensor("handle", TensorType::Resource, &[]);
    let options = VarHandleOptionsT { container: None, shared_name: Some("total".into()) };
    b.node(BuiltinOperator::VAR_HANDLE, 1, BuiltinOptions::VarHandleOptions(Box::new(options)), &[], &[handle]);
    handle
}

fn assign(b: &mut ModelBuilder, handle: TensorId, value: TensorId) {
    let options = BuiltinOptions::AssignVariableOptions(Box::default());
    b.node(BuiltinOperator::ASSIGN_VARIABLE, 1, options, &[Some(handle), Some(value)], &[]);
}

fn read(b: &mut ModelBuilder, handle: TensorId) -> TensorId {
    let value = b.tensor("value", TensorType::Float32, &[2]);
    let options = BuiltinOptions::ReadVariableOptions(Box::default());
    b.node(BuiltinOperator::READ_VARIABLE, 1, options, &[Some(handle)], &[value]);
    value
}

/// Signatures `add` (total += x) and `get`; the first use of either sets the total to 10.
fn accumulator() -> Model {
    let mut b = ModelBuilder::new();
    let initialize = |b: &mut ModelBuilder| {
        let options = BuiltinOptions::CallOnceOptions(Box::new(CallOnceOptionsT { init_subgraph_index: 2 }));
        b.node(BuiltinOperator::CALL_ONCE, 1, options, &[], &[]);
        var_handle(b)
    };
    let x = b.input("x", TensorType::Float32, &[2]);
    let handle = initialize(&mut b);
    let (before, after) = (read(&mut b, handle), b.tensor("after", TensorType::Float32, &[2]));
    add(&mut b, before, x, after);
    assign(&mut b, handle, after);
    b.output(after);
    b.signature("add");
    b.subgraph("get");
    let handle = initialize(&mut b);
    let value = read(&mut b, handle);
    b.output(value);
    b.signature("get");
    b.subgraph("initialize");
    let handle = var_handle(&mut b);
    let ten = b.constant_f32("ten", &[2], &[10.0, 10.0]);
    assign(&mut b, handle, ten);
    b.build().unwrap()
}

#[test]
fn signatures_share_variables() {
    let model = Arc::new(accumulator());
    let shared = Options { resources: Some(Arc::new(Resources::default())), ..Options::default() };
    let open = |key, options: &Options| Interpreter::for_signature(Arc::clone(&model), key, options.clone()).unwrap();
    let (mut adder, mut getter) = (open("add", &shared), open("get", &shared));
    getter.invoke().unwrap();
    assert_eq!(getter.output::<f32>(0).unwrap(), [10.0, 10.0]);
    adder.set_input(0, &[1.0f32, 2.0]).unwrap();
    adder.invoke().unwrap();
    adder.invoke().unwrap();
    getter.invoke().unwrap();
    assert_eq!(getter.output::<f32>(0).unwrap(), [12.0, 14.0]);
    let mut apart = open("get", &Options::default());
    apart.invoke().unwrap();
    assert_eq!(apart.output::<f32>(0).unwrap(), [10.0, 10.0]);
}

#[test]
fn variables_are_limited() {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[300]);
    let handle = var_handle(&mut b);
    assign(&mut b, handle, x);
    let limits = Limits { max_total_bytes: 2000, ..Limits::default() };
    let options = Options { limits, resources: Some(Arc::new(Resources::with_limit(1000))), ..Options::default() };
    let mut it = Interpreter::with_options(b.build().unwrap(), options).unwrap();
    let error = it.invoke().unwrap_err().to_string();
    assert!(error.contains("ASSIGN_VARIABLE") && error.contains("the limit is 1000"), "{error}");
}

/// Fills as many elements as input 0 says, with input 1, and counts how often it is prepared.
struct Repeat(Arc<AtomicUsize>);

impl OpDef for Repeat {
    fn id(&self) -> OpId {
        OpId::Custom("Repeat")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let count = node.input(0)?.indices()?;
        Ok(smallvec![count.map_or(Inferred::dynamic(TensorType::Float32), |n| {
            Inferred::new(TensorType::Float32, [n[0] as usize])
        })])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        reference(|io| {
            let value = io.input(1)?.slice::<f32>()?[0];
            io.outputs[0].slice::<f32>()?.fill(value);
            Ok(())
        })
    }
}

#[test]
fn late_kernels_are_kept_until_what_they_saw_changes() {
    let mut b = ModelBuilder::new();
    let count = b.input("count", TensorType::Int32, &[1]);
    let value = b.input("value", TensorType::Float32, &[1]);
    let out = b.tensor("out", TensorType::Float32, &[-1]);
    b.custom("Repeat", Vec::new(), &[Some(count), Some(value)], &[out]);
    b.output(out);
    let prepared = Arc::new(AtomicUsize::new(0));
    let options = Options { catalog: Catalog::builtin().with(Repeat(Arc::clone(&prepared))), ..Options::default() };
    let mut it = Interpreter::with_options(b.build().unwrap(), options).unwrap();
    for (count, value, preparations) in [(2, 1.0f32, 1), (2, 2.0, 1), (3, 2.0, 2), (3, 5.0, 2), (2, 1.0, 3)] {
        it.set_input(0, &[count]).unwrap();
        it.set_input(1, &[value]).unwrap();
        it.invoke().unwrap();
        assert_eq!(it.output::<f32>(0).unwrap(), vec![value; count as usize]);
        assert_eq!(prepared.load(Ordering::Relaxed), preparations, "{count} × {value}");
    }
}

#[test]
fn unknown_operators_of_callees_are_found_early() {
    let unknown = |name: &'static str| {
        looping(3, 1, move |b, x| {
            let y = b.tensor("y", TensorType::Float32, &[1]);
            b.custom(name, Vec::new(), &[Some(x)], &[y]);
            y
        })
    };
    let error = Interpreter::new(unknown("Mystery")).err().unwrap();
    assert!(matches!(&error, RuntimeError::UnknownOperator { subgraph: 2, node: 1, op } if op == "Mystery"), "{error}");
    assert!(error.to_string().contains("Catalog::with"), "{error}");
    let error = Interpreter::new(unknown("FlexErf")).err().unwrap().to_string();
    assert!(error.contains("SELECT_TF_OPS") && error.contains("node 1") && error.contains("Erf"), "{error}");
}
