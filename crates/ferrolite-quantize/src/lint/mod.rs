//! Lint: what is wrong with a quantized model, and what its target cannot run. Rules are those of the operators'
//! catalogue.

mod targets;

pub use targets::Target;

use crate::QuantizeError;
use crate::graph::Graph;
use ferrolite_model::{BuiltinOperator, Model, Node, Quantization, Tensor, TensorId, TensorType};
use ferrolite_ops::Catalog;
use ferrolite_ops::quantize::{OutputRule, QuantRule, WeightRule};
use std::fmt;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Name of the rule that is broken: `bias-scale`, `same-scale`, `operator`, …
    pub rule: &'static str,
    /// Subgraph index.
    pub subgraph: usize,
    /// Node index.
    pub node: usize,
    /// Operator name.
    pub op: String,
    /// Name of its first output.
    pub output: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { rule, subgraph, node, op, output, message } = self;
        write!(f, "{rule}: subgraph {subgraph}, node {node} ({op}, output {output:?}): {message}")
    }
}

/// How far scales may be off that have to be the same: what rounding to float32 does to products.
const TOLERANCE: f64 = 1e-5;

/// Checks a model for a target, by the builtin operators' rules.
///
/// # Errors
/// When the model is not valid.
pub fn lint(model: &Model, target: Target) -> Result<Vec<Finding>, QuantizeError> {
    ferrolite_model::verify(model)?;
    let catalog = Catalog::builtin();
    let mut findings = Vec::new();
    for (subgraph, graph) in model.subgraphs.iter().enumerate() {
        let graph = Graph::new(model, graph);
        for (index, node) in graph.graph.nodes.iter().enumerate() {
            let mut report = |rule, message| {
                let output = node.outputs.first().map_or("", |&id| graph.graph.tensors[id].name()).to_owned();
                let op = model.operator(node).name().to_owned();
                findings.push(Finding { rule, subgraph, node: index, op, output, message });
            };
            check_target(&graph, node, target, &catalog, &mut report);
            let rule = catalog.find(model.operator(node)).and_then(|op| op.quantize());
            if let Some(rule) = rule {
                Checked { graph: &graph, node, rule }.check(&mut report);
            }
        }
    }
    Ok(findings)
}

/// Whether a target has the operator, in these types.
fn check_target(
    graph: &Graph<'_>,
    node: &Node,
    target: Target,
    catalog: &Catalog,
    report: &mut dyn FnMut(&'static str, String),
) {
    let code = graph.model.operator(node);
    let Some(ability) = target.ability() else {
        match catalog.find(code) {
            None => report("operator", format!("{target} has no operator {}", code.name())),
            Some(op) if !op.versions().contains(&code.version) => {
                let (version, last) = (code.version, op.versions().end().to_owned());
                report("version", format!("version {version} is not known, {last} is the newest"));
            }
            Some(_) => {}
        }
        return;
    };
    let is_there = match &code.custom {
        Some(name) if code.builtin == BuiltinOperator::CUSTOM => ability.custom.contains(&name.as_str()),
        _ => ability.operators.contains(&code.builtin),
    };
    if !is_there {
        return report("operator", format!("{target} has no operator {}", code.name()));
    }
    let tensors = || node.inputs.iter().flatten().chain(&node.outputs).map(|&id| &graph.graph.tensors[id]);
    let unknown = |tensor: &&Tensor| tensor.shape_signature.contains(&-1);
    if let Some(tensor) = tensors().find(unknown).filter(|_| ability.fixed_shapes) {
        report("shape", format!("{:?} has no fixed shape, which {target} needs", tensor.name()));
    }
    let is_constant = |tensor: &Tensor| graph.model.constant(tensor).is_some();
    // Integers without a scale are shapes and indices.
    let counts = |tensor: &Tensor| tensor.ty.is_float() || is_quantized(tensor);
    let activation = tensors().find(|t| !is_constant(t) && counts(t) && !ability.types.contains(&t.ty));
    if let Some(tensor) = activation {
        report("type", format!("{:?} is {}, which {target} does not compute with", tensor.name(), tensor.ty));
    }
    let float = tensors().any(|tensor| tensor.ty == TensorType::Float32 && !is_constant(tensor));
    let weights = tensors().find(|tensor| is_constant(tensor) && is_quantized(tensor));
    let converts = matches!(code.builtin, BuiltinOperator::QUANTIZE | BuiltinOperator::DEQUANTIZE);
    if let Some(weights) = weights.filter(|_| float && !converts) {
        let message = format!("{:?} is {} while activations are float32", weights.name(), weights.ty);
        report("hybrid", format!("{message}: {target} has no such kernels"));
    }
}

fn is_quantized(tensor: &Tensor) -> bool {
    !tensor.ty.is_float() && tensor.quantization.as_ref().is_some_and(|q| !q.scale.is_empty())
}

/// A node with the rule of its operator.
struct Checked<'a> {
    graph: &'a Graph<'a>,
    node: &'a Node,
    rule: QuantRule,
}

impl<'a> Checked<'a> {
    fn tensor(&self, id: TensorId) -> &'a Tensor {
        &self.graph.graph.tensors[id]
    }

    fn input(&self, i: usize) -> Option<&'a Tensor> {
        self.node.inputs.get(i).copied().flatten().map(|id| self.tensor(id))
    }

    fn check(&self, report: &mut dyn FnMut(&'static str, String)) {
        let inputs: Vec<usize> = match self.rule.activations {
            Some(listed) => listed.to_vec(),
            None => (0..self.node.inputs.len()).collect(),
        };
        let inputs: Vec<&Tensor> =
            inputs.into_iter().filter_map(|i| self.input(i)).filter(|tensor| is_activation(tensor)).collect();
        let outputs: Vec<&Tensor> = self.node.outputs.iter().map(|&id| self.tensor(id)).collect();
        let outputs: Vec<&Tensor> = outputs.into_iter().filter(|tensor| is_activation(tensor)).collect();
        for tensor in inputs.iter().chain(&outputs) {
            check_activation(tensor, report);
        }
        self.check_outputs(&inputs, &outputs, report);
        if let Some(weights) = self.rule.weights {
            self.check_weights(weights, report);
        }
    }

    fn check_outputs(&self, inputs: &[&Tensor], outputs: &[&Tensor], report: &mut dyn FnMut(&'static str, String)) {
        for output in outputs {
            let Some((scale, zero_point)) = output.quantization.as_ref().and_then(Quantization::as_per_tensor) else {
                continue;
            };
            match self.rule.output {
                OutputRule::Fixed { int8, int16 } => {
                    let prescribed = match output.ty {
                        TensorType::Int8 => int8,
                        TensorType::UInt8 => (int8.0, int8.1 + 128),
                        _ => int16,
                    };
                    if !near(scale, prescribed.0) || zero_point != prescribed.1 {
                        let (wanted, zero) = prescribed;
                        let message = format!("{:?} has scale {scale} and zero point {zero_point}", output.name());
                        report("fixed-output", format!("{message}; the operator prescribes {wanted} and {zero}"));
                    }
                }
                OutputRule::SameAsInput => {
                    for input in inputs.iter().filter(|input| input.ty == output.ty) {
                        let own = input.quantization.as_ref().and_then(Quantization::as_per_tensor);
                        if own.is_some_and(|(s, z)| !near(s, scale) || z != zero_point) {
                            let (a, b) = (input.name(), output.name());
                            report("same-scale", format!("{a:?} and {b:?} differ in scale or zero point"));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn check_weights(&self, rule: WeightRule, report: &mut dyn FnMut(&'static str, String)) {
        let Some(weights) = self.input(rule.input).filter(|tensor| is_quantized(tensor)) else { return };
        let Some(quantization) = &weights.quantization else { return };
        // Older models have weights of uint8, with a zero point.
        if weights.ty == TensorType::UInt8 {
            return;
        }
        let name = weights.name();
        if quantization.zero_point.iter().any(|&zero| zero != 0) {
            report("zero-point", format!("the weights {name:?} have a zero point that is not 0"));
        }
        let axis = quantization.quantized_dimension;
        if quantization.scale.len() > 1 && axis != rule.axis as i32 {
            report("axis", format!("the weights {name:?} have scales along dimension {axis}, not {}", rule.axis));
        }
        let data = self.graph.model.constant(weights).filter(|_| weights.ty == TensorType::Int8);
        if data.is_some_and(|data| data.contains(&0x80)) {
            report("range", format!("the weights {name:?} hold -128; they are to be symmetric, -127..=127"));
        }
        let input = self.input(rule.activation).filter(|tensor| is_activation(tensor));
        let bias = self.rule.bias.and_then(|i| self.input(i));
        if let (Some(input), Some(bias)) = (input, bias) {
            check_bias(input, quantization, bias, report);
        }
    }
}

/// Per-tensor quantized values.
fn is_activation(tensor: &Tensor) -> bool {
    matches!(tensor.ty, TensorType::Int8 | TensorType::UInt8 | TensorType::Int16) && is_quantized(tensor)
}

fn check_activation(tensor: &Tensor, report: &mut dyn FnMut(&'static str, String)) {
    let Some(quantization) = &tensor.quantization else { return };
    let name = tensor.name();
    if quantization.scale.len() > 1 {
        report("axis", format!("the activations {name:?} have several scales"));
    }
    if quantization.scale.iter().any(|scale| !scale.is_normal() || *scale < 0.0) {
        report("scale", format!("{name:?} has the scale {:?}", quantization.scale[0]));
    }
    if tensor.ty == TensorType::Int16 && quantization.zero_point.iter().any(|&zero| zero != 0) {
        report("zero-point", format!("{name:?} is int16 and has a zero point that is not 0"));
    }
}

fn check_bias(input: &Tensor, weights: &Quantization, bias: &Tensor, report: &mut dyn FnMut(&'static str, String)) {
    let name = bias.name();
    let fits = match input.ty {
        TensorType::Int16 => matches!(bias.ty, TensorType::Int64 | TensorType::Int32),
        _ => bias.ty == TensorType::Int32,
    };
    if !fits {
        return report("bias-type", format!("the bias {name:?} is {}, the activations are {}", bias.ty, input.ty));
    }
    let input_scale = input.quantization.as_ref().and_then(Quantization::as_per_tensor).map(|(scale, _)| scale);
    // Kernels do not read it; compilers of accelerators do.
    let (Some(input_scale), Some(own)) = (input_scale, &bias.quantization) else { return };
    if own.zero_point.iter().any(|&zero| zero != 0) {
        report("zero-point", format!("the bias {name:?} has a zero point that is not 0"));
    }
    let (given, wanted) = (own.scale.len(), weights.scale.len());
    if given == 0 {
        return;
    }
    if given != wanted {
        return report("bias-scale", format!("the bias {name:?} has {given} scales, the weights {wanted}"));
    }
    let wrong = own.scale.iter().zip(&weights.scale).position(|(own, weight)| !near(*own, input_scale * weight));
    if let Some(i) = wrong {
        let (own, wanted) = (own.scale[i], input_scale * weights.scale[i]);
        report("bias-scale", format!("scale {i} of the bias {name:?} is {own}, input and weights make it {wanted}"));
    }
}

fn near(a: f32, b: f32) -> bool {
    (f64::from(a) - f64::from(b)).abs() <= TOLERANCE * f64::from(a.abs().max(b.abs()))
}
