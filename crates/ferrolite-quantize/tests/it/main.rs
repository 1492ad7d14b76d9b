//! Quantization of small networks, built here, from decisions to numbers.

mod calibration;
mod compare;
mod integer;
mod io;
mod lint;
mod mixed;
mod weights;

use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, Model, ModelBuilder, Subgraph, Tensor, TensorId, TensorType, schema,
};
use ferrolite_quantize::{Calibration, Calibrator, Method, Mode, Options, quantize};
use ferrolite_runtime::Interpreter;
use std::sync::Arc;

/// Reproducible numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Uniform in -1..1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn many(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.next() * scale).collect()
    }
}

/// A float network under construction.
struct Net {
    b: ModelBuilder,
    random: Random,
}

impl Net {
    fn new(seed: u64) -> Net {
        Net { b: ModelBuilder::new(), random: Random::new(seed) }
    }

    fn input(&mut self, name: &str, shape: &[i32]) -> TensorId {
        self.b.input(name, TensorType::Float32, shape)
    }

    fn constant(&mut self, name: &str, shape: &[i32], scale: f32) -> TensorId {
        let n = shape.iter().product::<i32>() as usize;
        let values = self.random.many(n, scale);
        self.b.constant_f32(name, shape, &values)
    }

    fn op(
        &mut self,
        op: BuiltinOperator,
        options: BuiltinOptions,
        inputs: &[TensorId],
        name: &str,
        shape: &[i32],
    ) -> TensorId {
        let out = self.b.tensor(name, TensorType::Float32, shape);
        let inputs: Vec<_> = inputs.iter().map(|&id| Some(id)).collect();
        self.b.node(op, 1, options, &inputs, &[out]);
        out
    }

    fn shape(&self, id: TensorId) -> Vec<i32> {
        self.b.graph().tensors[id].shape.clone()
    }

    /// 3×3, same padding, ReLU.
    fn conv(&mut self, x: TensorId, channels: i32, name: &str) -> TensorId {
        let shape = self.shape(x);
        let fan_in = (9 * shape[3]) as f32;
        let w = self.constant(&format!("{name}/w"), &[channels, 3, 3, shape[3]], (3.0 / fan_in).sqrt());
        let bias = self.constant(&format!("{name}/b"), &[channels], 0.1);
        let options = schema::Conv2DOptionsT {
            stride_w: 1,
            stride_h: 1,
            fused_activation_function: schema::ActivationFunctionType::RELU,
            ..Default::default()
        };
        let options = BuiltinOptions::Conv2DOptions(Box::new(options));
        self.op(BuiltinOperator::CONV_2D, options, &[x, w, bias], name, &[shape[0], shape[1], shape[2], channels])
    }

    /// 2×2.
    fn pool(&mut self, op: BuiltinOperator, x: TensorId, name: &str) -> TensorId {
        let shape = self.shape(x);
        let options = schema::Pool2DOptionsT {
            padding: schema::Padding::VALID,
            stride_w: 2,
            stride_h: 2,
            filter_width: 2,
            filter_height: 2,
            ..Default::default()
        };
        let shape = [shape[0], shape[1] / 2, shape[2] / 2, shape[3]];
        self.op(op, BuiltinOptions::Pool2DOptions(Box::new(options)), &[x], name, &shape)
    }

    fn reshape(&mut self, x: TensorId, shape: &[i32], name: &str) -> TensorId {
        let wanted = self.b.constant_i32(format!("{name}/shape"), &[shape.len() as i32], shape);
        let options = BuiltinOptions::ReshapeOptions(Box::default());
        self.op(BuiltinOperator::RESHAPE, options, &[x, wanted], name, shape)
    }

    fn dense(&mut self, x: TensorId, units: i32, name: &str) -> TensorId {
        let shape = self.shape(x);
        let w = self.constant(&format!("{name}/w"), &[units, shape[1]], (3.0 / shape[1] as f32).sqrt());
        let bias = self.constant(&format!("{name}/b"), &[units], 0.1);
        let options = BuiltinOptions::FullyConnectedOptions(Box::default());
        self.op(BuiltinOperator::FULLY_CONNECTED, options, &[x, w, bias], name, &[shape[0], units])
    }

    fn softmax(&mut self, x: TensorId, name: &str) -> TensorId {
        let options = schema::SoftmaxOptionsT { beta: 1.0 };
        let shape = self.shape(x);
        self.op(BuiltinOperator::SOFTMAX, BuiltinOptions::SoftmaxOptions(Box::new(options)), &[x], name, &shape)
    }

    fn add(&mut self, a: TensorId, b: TensorId, name: &str) -> TensorId {
        let shape = self.shape(a);
        self.op(BuiltinOperator::ADD, BuiltinOptions::AddOptions(Box::default()), &[a, b], name, &shape)
    }

    fn concat(&mut self, parts: &[TensorId], name: &str) -> TensorId {
        let mut shape = self.shape(parts[0]);
        let last = shape.len() - 1;
        shape[last] = parts.iter().map(|&id| self.shape(id)[last]).sum();
        let options = schema::ConcatenationOptionsT { axis: -1, ..Default::default() };
        let options = BuiltinOptions::ConcatenationOptions(Box::new(options));
        self.op(BuiltinOperator::CONCATENATION, options, parts, name, &shape)
    }

    /// An operator that has no integer kernel.
    fn float_only(&mut self, x: TensorId, name: &str) -> TensorId {
        let shape = self.shape(x);
        self.op(BuiltinOperator::COS, BuiltinOptions::CosOptions(Box::default()), &[x], name, &shape)
    }

    fn finish(mut self, outputs: &[TensorId]) -> Arc<Model> {
        outputs.iter().for_each(|&id| self.b.output(id));
        self.b.signature("serving_default");
        self.b.metadata("note", vec![7u8; 3]);
        Arc::new(self.b.build().unwrap())
    }
}

/// conv → max pool → reshape → dense → softmax.
fn classifier(seed: u64) -> Arc<Model> {
    let mut net = Net::new(seed);
    let x = net.input("x", &[1, 8, 8, 3]);
    let conv = net.conv(x, 16, "conv");
    let pool = net.pool(BuiltinOperator::MAX_POOL_2D, conv, "pool");
    let flat = net.reshape(pool, &[1, 256], "flat");
    let dense = net.dense(flat, 10, "dense");
    let y = net.softmax(dense, "y");
    net.finish(&[y])
}

fn elements(model: &Model, id: TensorId) -> usize {
    model.subgraphs[0].tensors[id].elements().unwrap()
}

/// Inputs in -1..1 for every input of a model.
fn sample(model: &Model, random: &mut Random) -> Vec<Vec<f32>> {
    model.subgraphs[0].inputs.iter().map(|&id| random.many(elements(model, id), 1.0)).collect()
}

fn calibrate(model: &Arc<Model>) -> Calibration {
    calibrate_by(model, Method::MinMax)
}

fn calibrate_by(model: &Arc<Model>, method: Method) -> Calibration {
    let mut calibrator = Calibrator::new(model.clone()).unwrap().method(method);
    let mut random = Random::new(99);
    for _ in 0..200 {
        let inputs = sample(model, &mut random);
        calibrator.feed_f32(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    }
    calibrator.finish()
}

/// Outputs as numbers; inputs are quantized where the model takes integers.
fn run(model: &Arc<Model>, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut interpreter = Interpreter::new(model.clone()).unwrap();
    for (i, values) in inputs.iter().enumerate() {
        let tensor = interpreter.input_tensor(i).unwrap();
        let scale = tensor.quantization.and_then(|q| q.as_per_tensor());
        match (tensor.ty, scale) {
            (TensorType::Float32, _) => interpreter.set_input(i, values).unwrap(),
            (TensorType::Int8, Some((scale, zero))) => {
                let q: Vec<i8> = values.iter().map(|v| ((v / scale).round() + zero as f32) as i8).collect();
                interpreter.set_input(i, &q).unwrap();
            }
            (TensorType::UInt8, Some((scale, zero))) => {
                let q: Vec<u8> = values.iter().map(|v| ((v / scale).round() + zero as f32) as u8).collect();
                interpreter.set_input(i, &q).unwrap();
            }
            (TensorType::Int16, Some((scale, _))) => {
                let q: Vec<i16> = values.iter().map(|v| (v / scale).round() as i16).collect();
                interpreter.set_input(i, &q).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    interpreter.invoke().unwrap();
    let outputs = (0..interpreter.outputs().len()).map(|i| {
        let tensor = interpreter.output_tensor(i).unwrap();
        let scale = tensor.quantization.and_then(|q| q.as_per_tensor());
        let real = |q: i64| {
            let (scale, zero) = scale.unwrap();
            scale * (q - zero) as f32
        };
        match tensor.ty {
            TensorType::Float32 => tensor.slice::<f32>().unwrap().to_vec(),
            TensorType::Int8 => tensor.slice::<i8>().unwrap().iter().map(|&q| real(q.into())).collect(),
            TensorType::UInt8 => tensor.slice::<u8>().unwrap().iter().map(|&q| real(q.into())).collect(),
            TensorType::Int16 => tensor.slice::<i16>().unwrap().iter().map(|&q| real(q.into())).collect(),
            other => panic!("{other:?}"),
        }
    });
    outputs.collect()
}

/// Signal to noise in dB over some inputs, the worst of the outputs.
fn fidelity(float: &Arc<Model>, quantized: &Arc<Model>) -> f64 {
    let mut random = Random::new(7);
    let mut powers: Vec<(f64, f64)> = Vec::new();
    for _ in 0..8 {
        let inputs = sample(float, &mut random);
        let (wanted, given) = (run(float, &inputs), run(quantized, &inputs));
        powers.resize(wanted.len(), (0.0, 0.0));
        for ((wanted, given), power) in wanted.iter().zip(&given).zip(&mut powers) {
            assert_eq!(wanted.len(), given.len());
            for (&a, &b) in wanted.iter().zip(given) {
                power.0 += f64::from(a).powi(2);
                power.1 += f64::from(a - b).powi(2);
            }
        }
    }
    powers.iter().map(|(signal, noise)| 10.0 * (signal / noise.max(1e-30)).log10()).fold(f64::INFINITY, f64::min)
}

/// Quantizes, and checks what holds for every result: it survives a file, runs, and is not quantized twice.
fn quantized(model: &Arc<Model>, options: &Options) -> Arc<Model> {
    let calibration = options.mode.activation_type().map(|_| calibrate(model));
    let result = quantize(model, options, calibration.as_ref()).unwrap();
    let again = Model::from_bytes(result.to_bytes().unwrap()).unwrap();
    assert_eq!(again, result);
    assert_eq!(result.signatures.len(), model.signatures.len());
    assert_eq!(result.metadata[0].name.as_deref(), Some("note"));
    assert_eq!(*result.buffers[result.metadata[0].buffer], [7, 7, 7]);
    let names = |graph: &Subgraph, ids: &[TensorId]| {
        ids.iter().map(|&id| graph.tensors[id].name().to_owned()).collect::<Vec<_>>()
    };
    let (before, after) = (&model.subgraphs[0], &result.subgraphs[0]);
    assert_eq!(names(before, &before.inputs), names(after, &after.inputs));
    assert_eq!(names(before, &before.outputs), names(after, &after.outputs));
    let ids = |named: &[(String, TensorId)]| named.iter().map(|n| n.1).collect::<Vec<_>>();
    assert_eq!(ids(&result.signatures[0].inputs), after.inputs);
    assert_eq!(ids(&result.signatures[0].outputs), after.outputs);
    let result = Arc::new(result);
    run(&result, &sample(model, &mut Random::new(1)));
    result
}

fn in_mode(model: &Arc<Model>, mode: Mode) -> Arc<Model> {
    quantized(model, &Options::new(mode))
}

/// Operators with their versions, in execution order.
fn operators(model: &Model) -> Vec<String> {
    model.subgraphs[0].nodes.iter().map(|node| model.operator(node).to_string()).collect()
}

/// The tensor of this name.
fn tensor<'a>(model: &'a Model, name: &str) -> &'a Tensor {
    let found = model.subgraphs[0].tensors.iter().find(|tensor| tensor.name() == name);
    found.unwrap_or_else(|| panic!("no tensor {name}"))
}

/// Type, scale and zero point of a tensor.
fn params(model: &Model, name: &str) -> (TensorType, f32, i64) {
    let tensor = tensor(model, name);
    let (scale, zero_point) = tensor.quantization.as_ref().unwrap().as_per_tensor().unwrap();
    (tensor.ty, scale, zero_point)
}
