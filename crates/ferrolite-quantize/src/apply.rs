//! The rewrite: a model and a plan give a model. No policy lives here.

use crate::QuantizeError;
use crate::graph::Graph;
use crate::params::{quantize_bias, quantize_weights, to_half};
use crate::plan::{Decision, Form, GraphPlan, QuantPlan, Weights};
use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, Model, Node, OperatorCode, Quantization, Tensor, TensorId, TensorType,
    min_operator_version,
};
use std::collections::HashMap;

impl QuantPlan {
    /// Rewrites the model that this plan was made for.
    ///
    /// # Errors
    /// When the plan is not of this model.
    pub fn apply(&self, model: &Model) -> Result<Model, QuantizeError> {
        if self.graphs.len() != model.subgraphs.len() {
            return Err(QuantizeError::OtherModel("the plan has another number of subgraphs".into()));
        }
        let mut result = model.clone();
        for (index, plan) in self.graphs.iter().enumerate() {
            let source = Graph::new(model, &model.subgraphs[index]);
            let fits = plan.nodes.len() == source.graph.nodes.len()
                && plan.homes.len() == source.graph.tensors.len()
                && plan.outputs.len() == source.graph.outputs.len()
                && plan.nodes.iter().zip(&source.graph.nodes).all(|(p, n)| p.inputs.len() == n.inputs.len());
            if !fits {
                return Err(QuantizeError::OtherModel(format!("the plan does not fit subgraph {index}")));
            }
            rewrite(&source, plan, &mut result, index);
        }
        result.compact();
        ferrolite_model::verify(&result)?;
        Ok(result)
    }
}

/// A subgraph being rewritten. Tensors keep their ids, new ones are appended.
struct Rewrite<'a> {
    source: &'a Graph<'a>,
    plan: &'a GraphPlan,
    model: &'a mut Model,
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    /// Indices of nodes whose tensors are of other types than before.
    changed: Vec<usize>,
    /// Results of QUANTIZE nodes that became superfluous, and what holds the same.
    same: HashMap<TensorId, TensorId>,
    /// By tensor: forms in which it exists already.
    made: Vec<Vec<(Form, TensorId)>>,
}

fn rewrite(source: &Graph<'_>, plan: &GraphPlan, model: &mut Model, index: usize) {
    let (tensors, made) = (source.graph.tensors.clone(), vec![Vec::new(); source.graph.tensors.len()]);
    let mut rewrite =
        Rewrite { source, plan, model, tensors, nodes: Vec::new(), changed: Vec::new(), same: HashMap::new(), made };
    for (i, node) in source.graph.nodes.iter().enumerate() {
        rewrite.node(i, node);
    }
    let outputs: Vec<TensorId> =
        source.graph.outputs.iter().zip(&plan.outputs).map(|(&id, form)| rewrite.read(id, form)).collect();
    for (id, home) in plan.homes.iter().enumerate() {
        let Some(params) = *home else { continue };
        let tensor = &mut rewrite.tensors[id];
        (tensor.ty, tensor.quantization) = (params.ty, Some(params.into()));
    }
    // The caller's tensor keeps its name, what it is made from gets another.
    for (&id, &output) in source.graph.outputs.iter().zip(&outputs) {
        let name = &source.graph.tensors[id].name;
        let is_port = |id| source.graph.inputs.contains(&id) || source.graph.outputs.contains(&id);
        if id != output && !is_port(output) && !source.graph.inputs.contains(&id) {
            rewrite.tensors[output].name = name.clone();
            rewrite.tensors[id].name = name.as_ref().map(|name| format!("{name}/computed"));
        }
    }
    let Rewrite { tensors, mut nodes, changed, .. } = rewrite;
    for signature in model.signatures.iter_mut().filter(|signature| signature.subgraph == index) {
        for (_, id) in &mut signature.outputs {
            if let Some(i) = source.graph.outputs.iter().position(|output| output == id) {
                *id = outputs[i];
            }
        }
    }
    let graph = &mut model.subgraphs[index];
    (graph.tensors, graph.outputs) = (tensors, outputs);
    for node in changed {
        let code = model.operator(&nodes[node]).clone();
        let version = min_operator_version(model, &model.subgraphs[index], &nodes[node]).max(code.version);
        nodes[node].opcode = operator(model, OperatorCode { version, ..code });
    }
    model.subgraphs[index].nodes = nodes;
}

/// Index of exactly this operator and version.
fn operator(model: &mut Model, code: OperatorCode) -> usize {
    let codes = &mut model.operator_codes;
    codes.iter().position(|known| *known == code).unwrap_or_else(|| {
        codes.push(code);
        codes.len() - 1
    })
}

impl Rewrite<'_> {
    fn node(&mut self, index: usize, node: &Node) {
        let planned = &self.plan.nodes[index];
        if let Some((float, integers, params)) = self.source.quantized_by(node)
            && self.plan.homes[float] == Some(params)
            && !self.source.graph.outputs.contains(&integers)
        {
            self.same.insert(integers, float);
            return;
        }
        let inputs: Vec<Option<TensorId>> =
            node.inputs.iter().zip(&planned.inputs).map(|(id, form)| id.map(|id| self.read(id, form))).collect();
        let mut result = Node { inputs, ..node.clone() };
        if matches!(planned.decision, Decision::Integer | Decision::Hybrid) {
            let activation = planned.inputs.iter().find_map(|form| match form {
                Form::Integer(params) => Some(params.ty),
                _ => None,
            });
            let ty = activation.unwrap_or(TensorType::Float32);
            adapt_options(&mut result.options, &planned.decision, ty);
            self.changed.push(self.nodes.len());
        }
        self.nodes.push(result);
    }

    /// The tensor that holds `id` in a form; made when it is asked for first.
    fn read(&mut self, id: TensorId, form: &Form) -> TensorId {
        let is_there = match form {
            Form::AsIs => true,
            Form::Float => self.plan.homes[id].is_none(),
            Form::Integer(params) => self.plan.homes[id] == Some(*params),
            _ => false,
        };
        if is_there {
            return self.same.get(&id).copied().unwrap_or(id);
        }
        if let Some((_, made)) = self.made[id].iter().find(|(known, _)| known == form) {
            return *made;
        }
        let made = self.make(id, form);
        self.made[id].push((form.clone(), made));
        made
    }

    fn make(&mut self, id: TensorId, form: &Form) -> TensorId {
        match form {
            Form::AsIs => id,
            Form::Float => self.convert(BuiltinOperator::DEQUANTIZE, id, id, TensorType::Float32, None),
            Form::Integer(params) => {
                if let Some(values) = self.source.float_constant(id) {
                    return self.constant(id, params.ty, params.quantize_all(&values), Some((*params).into()));
                }
                // What was made from integers is read from them.
                let source = match self.source.integer_source(id) {
                    Some((integers, same)) if same == *params => return self.read(integers, &Form::AsIs),
                    Some((integers, _)) => self.read(integers, &Form::AsIs),
                    None => id,
                };
                self.convert(BuiltinOperator::QUANTIZE, source, id, params.ty, Some((*params).into()))
            }
            Form::Weights(weights) => self.weights(id, weights),
            Form::Dequantized(weights) => {
                let integers = self.weights(id, weights);
                self.convert(BuiltinOperator::DEQUANTIZE, integers, id, TensorType::Float32, None)
            }
            Form::Bias { ty, scales } => {
                let values = self.source.float_constant(id).unwrap_or_default();
                let axis = (scales.len() > 1).then_some(0);
                self.constant(id, *ty, quantize_bias(&values, scales, *ty), Some(scaled(scales, axis)))
            }
            Form::Constant => {
                let values = self.source.float_constant(id).unwrap_or_default();
                self.constant(id, TensorType::Float32, values.iter().flat_map(|v| v.to_le_bytes()).collect(), None)
            }
            Form::Half => {
                let values = self.source.float_constant(id).unwrap_or_default();
                let half = self.constant(id, TensorType::Float16, to_half(&values), None);
                self.convert(BuiltinOperator::DEQUANTIZE, half, id, TensorType::Float32, None)
            }
        }
    }

    /// Adds the integer weights that stand for `id`.
    fn weights(&mut self, id: TensorId, Weights { ty, axis, scales }: &Weights) -> TensorId {
        let values = self.source.float_constant(id).unwrap_or_default();
        let Some(channels) = self.source.channels(id, *axis) else { return id };
        let data = quantize_weights(&values, scales, channels, *ty);
        self.constant(id, *ty, data, Some(scaled(scales, *axis)))
    }

    /// Adds a constant that stands for `id`.
    fn constant(
        &mut self,
        id: TensorId,
        ty: TensorType,
        data: Vec<u8>,
        quantization: Option<Quantization>,
    ) -> TensorId {
        let buffer = self.model.add_buffer(data);
        let tensors = &self.source.graph.tensors;
        let name = tensors[self.source.dequantized(id).unwrap_or(id)].name.clone();
        let like = tensors[id].clone();
        self.tensors.push(Tensor { name, ty, buffer, quantization, external_buffer: 0, ..like });
        self.tensors.len() - 1
    }

    /// Appends a QUANTIZE or DEQUANTIZE from `source` to a new tensor that stands for `id`.
    fn convert(
        &mut self,
        op: BuiltinOperator,
        source: TensorId,
        id: TensorId,
        ty: TensorType,
        quantization: Option<Quantization>,
    ) -> TensorId {
        let like = self.source.graph.tensors[id].clone();
        let suffix = if ty == TensorType::Float32 { "dequantized" } else { "quantized" };
        let name = like.name.as_ref().map(|name| format!("{name}/{suffix}"));
        self.tensors.push(Tensor { name, ty, quantization, buffer: 0, ..like });
        let output = self.tensors.len() - 1;
        let options = match op {
            BuiltinOperator::QUANTIZE => BuiltinOptions::QuantizeOptions(Box::default()),
            _ => BuiltinOptions::DequantizeOptions(Box::default()),
        };
        let opcode = operator(self.model, OperatorCode { builtin: op, custom: None, version: 1 });
        self.changed.push(self.nodes.len());
        self.nodes.push(Node::new(opcode, vec![Some(source)], vec![output], options));
        output
    }
}

fn scaled(scales: &[f32], axis: Option<usize>) -> Quantization {
    Quantization::per_channel(scales.to_vec(), axis.map_or(0, |axis| axis as i32))
}

/// Options as the quantized kernels want them.
fn adapt_options(options: &mut BuiltinOptions, decision: &Decision, ty: TensorType) {
    match (decision, options) {
        // Activations are quantized with a zero point: twice the resolution behind a ReLU.
        (Decision::Hybrid, BuiltinOptions::FullyConnectedOptions(o)) => o.asymmetric_quantize_inputs = true,
        (Decision::Hybrid, BuiltinOptions::BatchMatMulOptions(o)) => o.asymmetric_quantize_inputs = true,
        (Decision::Hybrid, BuiltinOptions::SVDFOptions(o)) => o.asymmetric_quantize_inputs = true,
        // Scales are any, not powers of two.
        (Decision::Integer, BuiltinOptions::AddOptions(o)) if ty == TensorType::Int16 => o.pot_scale_int16 = false,
        (Decision::Integer, BuiltinOptions::SubOptions(o)) if ty == TensorType::Int16 => o.pot_scale_int16 = false,
        _ => {}
    }
}
