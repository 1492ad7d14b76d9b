//! Chains that are computed band by band give what their operators give one by one.

use crate::inputs::random_bytes;
use ferrolite_model::schema::{ActivationFunctionType, Conv2DOptionsT, DepthwiseConv2DOptionsT, Padding};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, ModelBuilder, Quantization, TensorId, TensorType};
use ferrolite_runtime::{Interpreter, Options};
use ferrolite_testkit::Rng;

/// Builds networks of convolutions.
struct Network {
    b: ModelBuilder,
    rng: Rng,
    ty: TensorType,
}

impl Network {
    fn new(seed: u64, ty: TensorType) -> Network {
        Network { b: ModelBuilder::new(), rng: Rng::new(seed), ty }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.rng.u64() % n as u64) as usize
    }

    fn quantize(&mut self, id: TensorId, scale: f32, zero_point: i64) {
        if self.ty == TensorType::Int8 {
            self.b.quantize(id, Quantization::per_tensor(scale, zero_point));
        }
    }

    fn image(&mut self, name: String, [h, w, c]: [usize; 3]) -> TensorId {
        let id = self.b.tensor(name, self.ty, &[1, h as i32, w as i32, c as i32]);
        self.quantize(id, 0.05, 3);
        id
    }

    fn input(&mut self, shape: [usize; 3]) -> TensorId {
        let id = self.b.input("x", self.ty, &[1, shape[0] as i32, shape[1] as i32, shape[2] as i32]);
        self.quantize(id, 0.05, -5);
        id
    }

    /// A convolution, depthwise or not, with random filters and geometry. Returns its output and its shape.
    fn conv(&mut self, x: TensorId, [h, w, c]: [usize; 3], depthwise: bool, name: &str) -> (TensorId, [usize; 3]) {
        let n = if depthwise { c } else { 1 + self.below(40) };
        let (k_h, k_w) = (1 + self.below(3).min(h - 1), 1 + self.below(3).min(w - 1));
        let stride = 1 + self.below(2);
        let padding = if self.below(2) == 0 { Padding::SAME } else { Padding::VALID };
        let out = |size: usize, k: usize| match padding {
            Padding::SAME => size.div_ceil(stride),
            _ => (size - k) / stride + 1,
        };
        let to = [out(h, k_h), out(w, k_w), n];
        let shape = if depthwise { [1, k_h, k_w, n] } else { [n, k_h, k_w, c] }.map(|d| d as i32);
        let elements = shape.iter().product::<i32>() as usize;
        let filter_data = random_bytes(&mut self.rng, self.ty, elements);
        let filter = self.b.constant(format!("{name}_filter"), self.ty, &shape, filter_data);
        self.quantize(filter, 0.02, 0);
        let bias_type = if self.ty == TensorType::Int8 { TensorType::Int32 } else { self.ty };
        let bias_data = random_bytes(&mut self.rng, bias_type, n);
        let bias = self.b.constant(format!("{name}_bias"), bias_type, &[n as i32], bias_data);
        self.quantize(bias, 0.001, 0);
        let y = self.image(name.to_owned(), to);
        let activation = if self.below(2) == 0 { ActivationFunctionType::RELU6 } else { ActivationFunctionType::NONE };
        let (op, options) = if depthwise {
            let options = DepthwiseConv2DOptionsT {
                padding,
                stride_w: stride as i32,
                stride_h: stride as i32,
                depth_multiplier: 1,
                fused_activation_function: activation,
                ..Default::default()
            };
            (BuiltinOperator::DEPTHWISE_CONV_2D, BuiltinOptions::DepthwiseConv2DOptions(Box::new(options)))
        } else {
            let options = Conv2DOptionsT {
                padding,
                stride_w: stride as i32,
                stride_h: stride as i32,
                fused_activation_function: activation,
                ..Default::default()
            };
            (BuiltinOperator::CONV_2D, BuiltinOptions::Conv2DOptions(Box::new(options)))
        };
        self.b.node(op, 3, options, &[Some(x), Some(filter), Some(bias)], &[y]);
        (y, to)
    }
}

impl Network {
    /// A function of every element.
    fn elementwise(&mut self, x: TensorId, shape: [usize; 3], name: &str) -> TensorId {
        let y = self.image(name.to_owned(), shape);
        let c = shape[2];
        match self.below(3) {
            0 => self.b.node(BuiltinOperator::HARD_SWISH, 1, BuiltinOptions::NONE, &[Some(x)], &[y]),
            1 => {
                let factors = self.b.constant_f32(format!("{name}_factors"), &[c as i32], &vec![0.75; c]);
                let options = BuiltinOptions::MulOptions(Box::default());
                self.b.node(BuiltinOperator::MUL, 1, options, &[Some(factors), Some(x)], &[y])
            }
            _ => {
                let options = BuiltinOptions::AddOptions(Box::default());
                self.b.node(BuiltinOperator::ADD, 1, options, &[Some(x), Some(x)], &[y])
            }
        };
        y
    }
}

/// A chain of convolutions, and of every tensor what it is called.
fn chain(seed: u64, ty: TensorType, also_output: bool) -> Model {
    let mut net = Network::new(seed, ty);
    let mut shape = [20 + net.below(40), 34 + net.below(20), 1 + net.below(20)];
    let mut x = net.input(shape);
    for i in 0..2 + net.below(3) {
        let depthwise = net.below(2) == 0;
        (x, shape) = net.conv(x, shape, depthwise, &format!("t{i}"));
        if ty == TensorType::Float32 {
            x = net.elementwise(x, shape, &format!("e{i}"));
        }
        if i == 0 && also_output {
            net.b.output(x);
        }
    }
    net.b.output(x);
    net.b.build().unwrap()
}

fn run(model: &Model, options: Options) -> (Vec<Vec<u8>>, usize, usize) {
    let mut it = Interpreter::with_options(model.clone(), options).unwrap();
    let mut rng = Rng::new(99);
    let input = it.input_tensor(0).unwrap();
    let data = random_bytes(&mut rng, input.ty, input.shape.iter().product());
    it.set_input_bytes(0, &data).unwrap();
    it.set_profiling(true);
    it.invoke().unwrap();
    it.invoke().unwrap();
    let outputs = (0..it.outputs().len()).map(|i| it.output_tensor(i).unwrap().bytes.to_vec()).collect();
    (outputs, it.profile().len(), it.arena_bytes())
}

#[test]
fn bands_change_no_result() {
    let (mut fewer_steps, mut total) = (0, 0);
    for seed in 0..40 {
        for ty in [TensorType::Float32, TensorType::Int8] {
            let model = chain(seed, ty, false);
            let whole = Options { cache_bytes: usize::MAX, ..Options::default() };
            let (want, steps, _) = run(&model, whole);
            for (cache_bytes, threads) in [(0, 1), (2000, 1), (8000, 1), (2000, 2), (0, 3)] {
                let (got, joined, _) = run(&model, Options { cache_bytes, threads, ..Options::default() });
                assert!(got == want, "chain {seed} of {ty}, cache of {cache_bytes}, {threads} threads");
                fewer_steps += usize::from(joined < steps);
                total += 1;
            }
        }
    }
    assert!(fewer_steps * 2 > total, "only {fewer_steps} of {total} runs had a chain");
}

#[test]
fn what_others_read_is_not_hidden_in_a_chain() {
    for seed in 0..20 {
        let model = chain(seed, TensorType::Float32, true);
        let (want, ..) = run(&model, Options { cache_bytes: usize::MAX, ..Options::default() });
        let (got, ..) = run(&model, Options { cache_bytes: 0, ..Options::default() });
        assert_eq!(want.len(), 2);
        assert!(got == want, "chain {seed}");
    }
}

#[test]
fn chains_take_less_memory() {
    let mut net = Network::new(3, TensorType::Float32);
    let shape = [100, 100, 1];
    let x = net.input(shape);
    let mut at = (x, shape);
    for i in 0..4 {
        at = net.conv(at.0, at.1, false, &format!("t{i}"));
        if at.1[0] < 20 {
            break;
        }
    }
    net.b.output(at.0);
    let model = net.b.build().unwrap();
    let (_, _, whole) = run(&model, Options { cache_bytes: usize::MAX, ..Options::default() });
    let (_, _, bands) = run(&model, Options { cache_bytes: 20_000, ..Options::default() });
    assert!(bands < whole, "{bands} bytes, {whole} without bands");
}
