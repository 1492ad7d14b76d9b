//! Nodes that run as one kernel give what they give one by one.

use ferrolite_model::schema::BatchMatMulOptionsT;
use ferrolite_model::{BuiltinOperator as Op, BuiltinOptions, Model, ModelBuilder, Quantization, TensorId, TensorType};
use ferrolite_runtime::{Interpreter, Options};

const F32: TensorType = TensorType::Float32;

fn product(b: &mut ModelBuilder, x: TensorId, y: TensorId, adj_y: bool, shape: &[i32]) -> TensorId {
    let out = b.tensor("product", F32, shape);
    let options = BatchMatMulOptionsT { adj_y, ..BatchMatMulOptionsT::default() };
    let options = BuiltinOptions::BatchMatMulOptions(Box::new(options));
    b.node(Op::BATCH_MATMUL, 1, options, &[Some(x), Some(y)], &[out]);
    out
}

fn binary(b: &mut ModelBuilder, op: Op, x: TensorId, y: TensorId, shape: &[i32]) -> TensorId {
    let out = b.tensor("scores", F32, shape);
    let options = match op {
        Op::ADD => BuiltinOptions::AddOptions(Box::default()),
        Op::SUB => BuiltinOptions::SubOptions(Box::default()),
        _ => BuiltinOptions::MulOptions(Box::default()),
    };
    b.node(op, 1, options, &[Some(x), Some(y)], &[out]);
    out
}

/// Two sentences of three heads; `shown` makes the softmax an output as well.
fn attention(shown: bool) -> Model {
    let mut b = ModelBuilder::new();
    let q = b.input("q", F32, &[2, 3, 90, 8]);
    let k = b.input("k", F32, &[2, 3, 40, 8]);
    let mask = b.input("mask", F32, &[2, 1, 1, 40]);
    let rows = b.input("rows", F32, &[3, 90, 1]);
    let v = b.input("v", F32, &[6, 40, 16]);
    let scores = [2, 3, 90, 40];
    let x = product(&mut b, q, k, true, &scores);
    let scale = b.constant_f32("scale", &[], &[0.35]);
    let x = binary(&mut b, Op::MUL, scale, x, &scores);
    let x = binary(&mut b, Op::ADD, x, mask, &scores);
    let x = binary(&mut b, Op::SUB, rows, x, &scores);
    let soft = b.tensor("softmax", F32, &scores);
    let options = ferrolite_model::schema::SoftmaxOptionsT { beta: 0.5 };
    b.node(Op::SOFTMAX, 1, BuiltinOptions::SoftmaxOptions(Box::new(options)), &[Some(x)], &[soft]);
    let shape = b.constant_i32("shape", &[3], &[6, 90, 40]);
    let flat = b.tensor("flat", F32, &[6, 90, 40]);
    b.node(Op::RESHAPE, 1, BuiltinOptions::NONE, &[Some(soft), Some(shape)], &[flat]);
    let y = product(&mut b, flat, v, false, &[6, 90, 16]);
    b.output(y);
    if shown {
        b.output(flat);
    }
    b.build().unwrap()
}

fn run(model: Model, options: Options) -> (Vec<Vec<f32>>, Vec<String>) {
    let mut it = Interpreter::with_options(model, options).unwrap();
    it.set_profiling(true);
    for (i, n) in [2 * 3 * 90 * 8, 2 * 3 * 40 * 8, 80, 270, 6 * 40 * 16].into_iter().enumerate() {
        let data: Vec<f32> = (0..n).map(|j| ((j * 37 + i * 11) % 101) as f32 / 50.0 - 1.0).collect();
        it.set_input(i, &data).unwrap();
    }
    it.invoke().unwrap();
    let outputs = it.model().subgraphs[0].outputs.len();
    let kernels = it.profile().iter().map(|step| step.kernel.clone()).collect();
    ((0..outputs).map(|i| it.output::<f32>(i).unwrap().to_vec()).collect(), kernels)
}

#[test]
fn attention_is_one_step() {
    let want = run(attention(false), Options::reference()).0;
    for threads in [1, 2] {
        let (got, kernels) = run(attention(false), Options { threads, ..Options::default() });
        assert!(kernels.len() == 1 && kernels[0].starts_with("attention/"), "{kernels:?}");
        assert!(got[0].iter().zip(&want[0]).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn what_somebody_reads_is_computed_for_itself() {
    let want = run(attention(true), Options::reference()).0;
    let (got, kernels) = run(attention(true), Options::default());
    assert_eq!(kernels.len(), 6, "{kernels:?}");
    let pairs = got.iter().flatten().zip(want.iter().flatten());
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
    let (_, kernels) = run(attention(false), Options { preserve_all: true, ..Options::default() });
    assert_eq!(kernels.len(), 6, "{kernels:?}");
}

/// Functions of one tensor: x · logistic(x) in a type, then hard-sigmoid by parts, its steps alone or shown as outputs.
fn pointwise(ty: TensorType, shown: bool) -> Model {
    let mut b = ModelBuilder::new();
    let quantized = ty != F32;
    let shape = [1, 9, 11, 5];
    let tensor = |b: &mut ModelBuilder, name: &str, scale: f32, zero: i64| {
        let id = b.tensor(name, ty, &shape);
        if quantized {
            b.quantize(id, Quantization::per_tensor(scale, zero));
        }
        id
    };
    let x = b.input("x", ty, &shape);
    if quantized {
        b.quantize(x, Quantization::per_tensor(0.05, -3));
    }
    let gate = tensor(&mut b, "gate", 1.0 / 256.0, -128);
    b.node(Op::LOGISTIC, 1, BuiltinOptions::NONE, &[Some(x)], &[gate]);
    let swish = tensor(&mut b, "swish", 0.03, -110);
    b.node(Op::MUL, 1, BuiltinOptions::MulOptions(Box::default()), &[Some(gate), Some(x)], &[swish]);
    let last = if quantized {
        let three = b.constant_i8("three", &[], &[100]);
        b.quantize(three, Quantization::per_tensor(0.03, 0));
        let moved = tensor(&mut b, "moved", 0.06, -60);
        b.node(Op::ADD, 1, BuiltinOptions::AddOptions(Box::default()), &[Some(three), Some(swish)], &[moved]);
        let last = tensor(&mut b, "last", 0.025, -128);
        b.node(Op::RELU6, 1, BuiltinOptions::NONE, &[Some(moved)], &[last]);
        last
    } else {
        swish
    };
    b.output(last);
    if shown {
        b.output(gate);
    }
    b.build().unwrap()
}

#[test]
fn a_function_of_one_tensor_is_one_step() {
    let run = |model: Model, options: Options| {
        let ty = model.subgraphs[0].tensors[0].ty;
        let mut it = Interpreter::with_options(model, options).unwrap();
        it.set_profiling(true);
        if ty == F32 {
            let x: Vec<f32> = (0..495).map(|i| i as f32 / 25.0 - 9.0).collect();
            it.set_input(0, &x).unwrap();
        } else {
            let x: Vec<i8> = (0..495).map(|i| i as i8).collect();
            it.set_input(0, &x).unwrap();
        }
        it.invoke().unwrap();
        let kernels: Vec<String> = it.profile().iter().map(|step| step.kernel.clone()).collect();
        let values: Vec<f32> = match ty {
            F32 => it.output::<f32>(0).unwrap().to_vec(),
            _ => it.output::<i8>(0).unwrap().iter().map(|&x| f32::from(x)).collect(),
        };
        (values, kernels)
    };
    for (ty, name, error) in [(F32, "silu_f32", 1e-6), (TensorType::Int8, "pointwise_8bit_table", 0.0)] {
        let want = run(pointwise(ty, false), Options::reference()).0;
        let (got, kernels) = run(pointwise(ty, false), Options::default());
        assert_eq!(kernels, [name]);
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= error * (1.0 + b.abs())));
        // The gate is read by the caller too.
        let (got, kernels) = run(pointwise(ty, true), Options::default());
        assert!(kernels.len() >= 2, "{kernels:?}");
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= error * (1.0 + b.abs())));
    }
}
