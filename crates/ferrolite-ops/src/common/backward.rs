//! What gradients of elementwise operators are made of.

use crate::activation_grad::{NAME as RELU_GRAD, through_activation};
use crate::gradient::GradientCtx;
use crate::{OpError, ensure};
use ferrolite_model::schema::{self, ActivationFunctionType};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId};

/// The node's tensors and the gradient of its only output.
pub struct Backward<'c, 'a> {
    ctx: &'c mut GradientCtx<'a>,
    /// Gradient of output 0.
    pub grad: TensorId,
    /// Output 0.
    pub output: TensorId,
    /// Shape of output 0.
    pub shape: Vec<i32>,
}

impl<'c, 'a> Backward<'c, 'a> {
    /// For a node with one output whose gradient is known.
    pub fn new(ctx: &'c mut GradientCtx<'a>) -> Result<Backward<'c, 'a>, OpError> {
        let grad = ctx.grad_outputs.first().copied().flatten();
        let (Some(grad), Some(&output)) = (grad, ctx.node.outputs.first()) else {
            return Err(OpError::invalid("output 0 has no gradient"));
        };
        let shape = ctx.shape(output);
        Ok(Backward { ctx, grad, output, shape })
    }

    /// As [`Backward::new`], with the gradient of what goes into the node's fused activation.
    pub fn of_fused(ctx: &'c mut GradientCtx<'a>) -> Result<Backward<'c, 'a>, OpError> {
        let grad = through_activation(ctx)?;
        Ok(Backward { grad, ..Backward::new(ctx)? })
    }

    /// Input `i`, which must be there.
    pub fn input(&self, i: usize) -> Result<TensorId, OpError> {
        let input = self.ctx.node.inputs.get(i).copied().flatten();
        input.ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }

    /// The node's options.
    pub fn options(&self) -> &'a BuiltinOptions {
        &self.ctx.node.options
    }

    /// Whether input `i` needs a gradient.
    pub fn needs(&self, i: usize) -> bool {
        self.ctx.needs.get(i) == Some(&true)
    }

    /// A scalar constant.
    pub fn scalar(&mut self, x: f32) -> TensorId {
        self.ctx.constant_f32(&[], &[x])
    }

    /// An elementwise operator whose output has the shape of the node's output.
    pub fn emit(&mut self, op: BuiltinOperator, inputs: &[TensorId]) -> TensorId {
        self.emit_like(op, inputs, self.output)
    }

    /// An elementwise operator whose output has the shape of a given tensor.
    pub fn emit_like(&mut self, op: BuiltinOperator, inputs: &[TensorId], like: TensorId) -> TensorId {
        let options = match op {
            BuiltinOperator::ADD => BuiltinOptions::AddOptions(Default::default()),
            BuiltinOperator::SUB => BuiltinOptions::SubOptions(Default::default()),
            BuiltinOperator::MUL => BuiltinOptions::MulOptions(Default::default()),
            BuiltinOperator::DIV => BuiltinOptions::DivOptions(Default::default()),
            BuiltinOperator::NEG => BuiltinOptions::NegOptions(Default::default()),
            BuiltinOperator::POW => BuiltinOptions::PowOptions(Default::default()),
            BuiltinOperator::SQUARE => BuiltinOptions::SquareOptions(Default::default()),
            BuiltinOperator::COS => BuiltinOptions::CosOptions(Default::default()),
            BuiltinOperator::SELECT_V2 => BuiltinOptions::SelectV2Options(Default::default()),
            _ => BuiltinOptions::NONE,
        };
        let shape = self.ctx.shape(like);
        self.ctx.emit(op, options, inputs, &shape)
    }

    /// a + b.
    pub fn add(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.emit(BuiltinOperator::ADD, &[a, b])
    }

    /// a − b.
    pub fn sub(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.emit(BuiltinOperator::SUB, &[a, b])
    }

    /// a · b.
    pub fn mul(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.emit(BuiltinOperator::MUL, &[a, b])
    }

    /// a / b.
    pub fn div(&mut self, a: TensorId, b: TensorId) -> TensorId {
        self.emit(BuiltinOperator::DIV, &[a, b])
    }

    /// −a.
    pub fn neg(&mut self, a: TensorId) -> TensorId {
        self.emit(BuiltinOperator::NEG, &[a])
    }

    /// a · factor.
    pub fn scale(&mut self, a: TensorId, factor: f32) -> TensorId {
        let factor = self.scalar(factor);
        self.mul(a, factor)
    }

    /// `grad` where `x` is strictly within the range of an activation, else 0; both have the shape of the output.
    pub fn where_within(&mut self, grad: TensorId, x: TensorId, activation: ActivationFunctionType) -> TensorId {
        let shape = self.shape.clone();
        let masked = self.ctx.emit_custom(RELU_GRAD, &[x, grad], &shape);
        // The operator reads the activation from the options of one that fuses it.
        let options = schema::AddOptionsT { fused_activation_function: activation, ..Default::default() };
        if let Some(node) = self.ctx.model.subgraphs[self.ctx.subgraph].nodes.last_mut() {
            node.options = BuiltinOptions::AddOptions(Box::new(options));
        }
        masked
    }

    /// `grad` where `x` > 0, else 0.
    pub fn where_positive(&mut self, grad: TensorId, x: TensorId) -> TensorId {
        self.where_within(grad, x, ActivationFunctionType::RELU)
    }

    /// `grad` where `low` < `x` < `high`, else 0.
    pub fn where_between(&mut self, grad: TensorId, x: TensorId, low: f32, high: f32) -> TensorId {
        let low = self.scalar(low);
        let above = self.sub(x, low);
        let grad = self.where_positive(grad, above);
        let high = self.scalar(high);
        let below = self.sub(high, x);
        self.where_positive(grad, below)
    }

    /// The gradient of an input that was broadcast: `grad`, which has the output's shape, summed over what repeats.
    pub fn reduce(&mut self, grad: TensorId, input: TensorId) -> Result<TensorId, OpError> {
        let (from, to) = (self.shape.clone(), self.ctx.shape(input));
        if from == to {
            return Ok(grad);
        }
        ensure!(to.len() <= from.len(), "shape {to:?} does not broadcast to {from:?}");
        let missing = from.len() - to.len();
        let repeats = |i: usize| i < missing || (to[i - missing] == 1 && from[i] != 1);
        let axes: Vec<i32> = (0..from.len()).filter(|&i| repeats(i)).map(|i| i as i32).collect();
        let left: Vec<i32> = (0..from.len()).filter(|&i| !repeats(i)).map(|i| from[i]).collect();
        let mut grad = grad;
        if !axes.is_empty() {
            let axes = self.ctx.constant_i32(&axes);
            let options = schema::ReducerOptionsT { keep_dims: false };
            let options = BuiltinOptions::ReducerOptions(Box::new(options));
            grad = self.ctx.emit(BuiltinOperator::SUM, options, &[grad, axes], &left);
        }
        if left != to {
            let shape = self.ctx.constant_i32(&to);
            let options = schema::ReshapeOptionsT { new_shape: Some(to.clone()) };
            let options = BuiltinOptions::ReshapeOptions(Box::new(options));
            grad = self.ctx.emit(BuiltinOperator::RESHAPE, options, &[grad, shape], &to);
        }
        Ok(grad)
    }

    /// The gradients of both inputs, each made by a function of the node if it is needed, and reduced to its shape.
    pub fn both(
        &mut self,
        first: impl FnOnce(&mut Self) -> Result<TensorId, OpError>,
        second: impl FnOnce(&mut Self) -> Result<TensorId, OpError>,
    ) -> Result<Vec<Option<TensorId>>, OpError> {
        let mut grads = vec![None, None];
        if self.needs(0) {
            let grad = first(self)?;
            grads[0] = Some(self.reduce(grad, self.input(0)?)?);
        }
        if self.needs(1) {
            let grad = second(self)?;
            grads[1] = Some(self.reduce(grad, self.input(1)?)?);
        }
        Ok(grads)
    }
}

/// The gradient of an operator with one input.
pub fn unary(
    ctx: &mut GradientCtx<'_>,
    f: impl FnOnce(&mut Backward<'_, '_>, TensorId) -> TensorId,
) -> Result<Vec<Option<TensorId>>, OpError> {
    let mut b = Backward::new(ctx)?;
    let x = b.input(0)?;
    Ok(vec![Some(f(&mut b, x))])
}

#[cfg(test)]
pub mod tests {
    //! Gradients against finite differences.

    use super::*;
    use crate::common::testing::{Pick, TestTensor, noise, run};
    use crate::op::OpDef;
    use crate::{Catalog, copy_elements};
    use ferrolite_model::{Model, Subgraph, Tensor, TensorType};
    use std::collections::HashMap;

    /// Runs every node of a graph from the given tensors.
    pub fn execute(model: &Model, tensors: &mut HashMap<TensorId, TestTensor>) {
        let graph = &model.subgraphs[0];
        for node in &graph.nodes {
            let code = &model.operator_codes[node.opcode];
            let inputs: Vec<TestTensor> = node
                .inputs
                .iter()
                .flatten()
                .map(|&id| {
                    tensors.get(&id).cloned().unwrap_or_else(|| {
                        let tensor = &graph.tensors[id];
                        let shape = tensor.shape.iter().map(|&d| d as usize).collect();
                        let bytes = model.buffers[tensor.buffer].to_vec();
                        TestTensor { ty: tensor.ty, shape, bytes, quantization: None, constant: true }
                    })
                })
                .collect();
            let catalog = Catalog::builtin();
            let op = catalog.find(code).unwrap_or_else(|| panic!("{}", code.name()));
            let output = (TensorType::Float32, None);
            let result = run(op, &node.options, &inputs, &[output], Pick::Reference).unwrap().remove(0);
            let shape: Vec<i32> = result.shape.iter().map(|&d| d as i32).collect();
            assert_eq!(shape, graph.tensors[node.outputs[0]].shape, "{}", code.name());
            tensors.insert(node.outputs[0], result);
        }
    }

    /// Compares an operator's gradient with finite differences of Σ seed · output, for float inputs of these shapes
    /// whose elements lie in `low..high`.
    pub fn check(op: &dyn OpDef, options: BuiltinOptions, shapes: &[&[usize]], output: &[usize], low: f32, high: f32) {
        let crate::OpId::Builtin(builtin) = op.id() else { panic!("not builtin") };
        let mut model = Model { buffers: vec![Default::default()], ..Default::default() };
        let opcode = model.operator_index(builtin, 1);
        let mut graph = Subgraph::default();
        let add = |graph: &mut Subgraph, shape: &[usize]| {
            let shape: Vec<i32> = shape.iter().map(|&d| d as i32).collect();
            graph.tensors.push(Tensor::new("t", TensorType::Float32, &shape));
            graph.tensors.len() - 1
        };
        let inputs: Vec<TensorId> = shapes.iter().map(|s| add(&mut graph, s)).collect();
        let (out, seed) = (add(&mut graph, output), add(&mut graph, output));
        let node = ferrolite_model::Node::new(opcode, inputs.iter().copied().map(Some).collect(), vec![out], options);
        graph.nodes.push(node.clone());
        model.subgraphs.push(graph);

        let mut given: HashMap<TensorId, TestTensor> = HashMap::new();
        for (id, shape) in inputs.iter().copied().zip(shapes).chain([(seed, &output)]) {
            let (low, high) = if id == seed { (-1.0, 1.0) } else { (low, high) };
            let values = noise(id as u64 + 5, shape.iter().product());
            let values: Vec<f32> = values.iter().map(|x| low + (x + 1.0) / 2.0 * (high - low)).collect();
            given.insert(id, TestTensor::f32(shape, &values));
        }
        let loss = |given: &HashMap<TensorId, TestTensor>| -> f64 {
            let args: Vec<TestTensor> = inputs.iter().map(|id| given[id].clone()).collect();
            let result = run(op, &node.options, &args, &[(TensorType::Float32, None)], Pick::Reference).unwrap();
            let products = result[0].values::<f32>().into_iter().zip(given[&seed].values::<f32>());
            products.map(|(y, s)| f64::from(y) * f64::from(s)).sum()
        };
        let gradient = op.gradient().expect("has a gradient");
        let grads = gradient(&mut GradientCtx {
            model: &mut model,
            subgraph: 0,
            node: &node,
            grad_outputs: &[Some(seed)],
            needs: &vec![true; inputs.len()],
        });
        let grads = grads.unwrap();
        let mut results = given.clone();
        execute(&model, &mut results);
        for (&input, grad) in inputs.iter().zip(grads) {
            let got = results[&grad.expect("a gradient")].values::<f32>();
            for (i, got) in got.into_iter().enumerate() {
                let at = |step: f32| {
                    let mut moved = given.clone();
                    let tensor = moved.get_mut(&input).unwrap();
                    let mut values: Vec<f32> = copy_elements(&tensor.bytes);
                    values[i] += step;
                    *tensor = TestTensor::f32(&tensor.shape.clone(), &values);
                    loss(&moved)
                };
                const STEP: f32 = 2e-3;
                let want = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
                let near = (f64::from(got) - want).abs() <= 1e-2 * (1.0 + want.abs());
                assert!(near, "{}: input {input}, element {i}: {got}, not {want}", op.id());
            }
        }
    }

    #[test]
    fn equal_finite_differences() {
        let none = || BuiltinOptions::NONE;
        for (name, low, high) in [
            ("ABS", 0.2, 2.0),
            ("COS", -2.0, 2.0),
            ("EXP", -1.0, 1.0),
            ("LOG", 0.5, 3.0),
            ("NEG", -1.0, 1.0),
            ("RSQRT", 0.5, 3.0),
            ("SIN", -2.0, 2.0),
            ("SQRT", 0.5, 3.0),
            ("SQUARE", -2.0, 2.0),
            ("LOGISTIC", -3.0, 3.0),
            ("TANH", -2.0, 2.0),
            ("ELU", -2.0, -0.1),
            ("ELU", 0.1, 2.0),
            ("HARD_SWISH", -2.9, 2.9),
            ("HARD_SWISH", 3.1, 5.0),
            ("RELU", 0.1, 2.0),
            ("RELU", -2.0, -0.1),
            ("RELU6", 0.1, 5.9),
            ("RELU6", 6.1, 9.0),
            ("RELU_N1_TO_1", -0.9, 0.9),
            ("RELU_N1_TO_1", -3.0, -1.1),
            ("RELU_0_TO_1", 0.1, 0.9),
        ] {
            check(named(name), none(), &[&[2, 3]], &[2, 3], low, high);
        }
        for (name, low, high) in [
            ("ADD", -1.0, 1.0),
            ("SUB", -1.0, 1.0),
            ("MUL", -1.0, 1.0),
            ("DIV", 0.5, 2.0),
            ("SQUARED_DIFFERENCE", -1.0, 1.0),
            ("POW", 0.5, 2.0),
            ("MAXIMUM", -1.0, 1.0),
            ("MINIMUM", -1.0, 1.0),
        ] {
            check(named(name), none(), &[&[2, 3, 2], &[3, 1]], &[2, 3, 2], low, high);
            check(named(name), none(), &[&[], &[2, 2]], &[2, 2], low, high);
        }
        check(named("PRELU"), none(), &[&[2, 2, 3], &[3]], &[2, 2, 3], -2.0, -0.1);
        check(named("PRELU"), none(), &[&[2, 2, 3], &[1, 3]], &[2, 2, 3], 0.1, 2.0);
        let leaky = schema::LeakyReluOptionsT { alpha: 0.3 };
        let leaky = BuiltinOptions::LeakyReluOptions(Box::new(leaky));
        check(named("LEAKY_RELU"), leaky.clone(), &[&[4]], &[4], -2.0, -0.1);
        check(named("LEAKY_RELU"), leaky, &[&[4]], &[4], 0.1, 2.0);
        let clamped = schema::MulOptionsT { fused_activation_function: ActivationFunctionType::RELU6 };
        let clamped = BuiltinOptions::MulOptions(Box::new(clamped));
        check(named("MUL"), clamped, &[&[3, 2], &[2]], &[3, 2], 0.5, 2.0);
    }

    fn named(name: &str) -> &'static dyn OpDef {
        let found = crate::OPS.iter().find(|op| op.id().to_string() == name);
        *found.unwrap_or_else(|| panic!("no {name}"))
    }
}
