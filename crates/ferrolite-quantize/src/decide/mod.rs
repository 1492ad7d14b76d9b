//! Policy: which nodes and tensors change, and to what.

mod groups;
mod integer;
mod weights;

use crate::graph::Graph;
use crate::plan::{Decision, Form, GraphPlan, NodePlan, QuantPlan};
use crate::{Calibration, Mode, Options, QuantizeError, Refusal, Scheme};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, Node, TensorType, schema};
use ferrolite_ops::Catalog;
use ferrolite_ops::quantize::{QuantRule, WeightRule};

pub(crate) fn decide(
    model: &Model,
    options: &Options,
    calibration: Option<&Calibration>,
    catalog: &Catalog,
) -> Result<QuantPlan, QuantizeError> {
    check_io_types(options)?;
    let mut graphs = Vec::with_capacity(model.subgraphs.len());
    for (index, subgraph) in model.subgraphs.iter().enumerate() {
        let graph = Graph::new(model, subgraph);
        let schemes: Vec<_> = subgraph.nodes.iter().map(|node| options.scheme(model, subgraph, node)).collect();
        let mut plan = keep(&graph, &schemes);
        if index == 0 && schemes.iter().any(|(scheme, _)| scheme.activation_type().is_some()) {
            let Some(calibration) = calibration else {
                return Err(QuantizeError::NeedsCalibration { mode: options.mode.name() });
            };
            calibration.check(subgraph)?;
            let method = calibration.method();
            if method.is_for_8_bits() && schemes.iter().any(|(scheme, _)| *scheme == Scheme::Int16x8) {
                return Err(QuantizeError::Method { method, mode: Mode::Int16x8.name() });
            }
            plan = integer::decide(&graph, &schemes, options, calibration, catalog)?;
        }
        weights::decide(&graph, &schemes, options, catalog, &mut plan)?;
        graphs.push(plan);
    }
    let plan = QuantPlan { graphs };
    let refusals: Vec<Refusal> = plan.kept_in_float().map(|kept| refusal(model, kept)).collect();
    if options.mode == Mode::Int8Only && !refusals.is_empty() {
        return Err(QuantizeError::Unquantizable { nodes: refusals });
    }
    if plan.changed() == 0 {
        return Err(QuantizeError::Nothing(nothing(model, options, &refusals)));
    }
    Ok(plan)
}

/// Why a plan changes nothing.
fn nothing(model: &Model, options: &Options, refusals: &[Refusal]) -> String {
    if let Some(why) = crate::graph::without_floats(model) {
        return why;
    }
    match refusals.first() {
        None if options.mode == Mode::Float16 => "the model has no float32 constants".into(),
        None => "no node of it can be quantized".into(),
        Some(first) => format!("all {} float nodes stay as they are, the first one: {first}", refusals.len()),
    }
}

fn refusal(model: &Model, (subgraph, node, reason): (usize, usize, &str)) -> Refusal {
    let graph = &model.subgraphs[subgraph];
    let output = graph.nodes[node].outputs.first().map_or("", |&id| graph.tensors[id].name());
    let op = model.operator(&graph.nodes[node]).name().to_owned();
    Refusal { subgraph, node, op, output: output.into(), reason: reason.into() }
}

fn check_io_types(options: &Options) -> Result<(), QuantizeError> {
    use TensorType::{Float32, Int8, Int16, UInt8};
    let mode = options.mode.name();
    let check = |ty: Option<TensorType>, allowed: &[TensorType], possible| match ty {
        Some(ty) if !allowed.contains(&ty) => Err(QuantizeError::IoType { mode, ty, possible }),
        _ => Ok(()),
    };
    // A QUANTIZE from int16 to uint8 does not exist, one from uint8 to int16 does.
    let activations = options.mode.activation_type().or(options.needs_calibration().then_some(Int8));
    let (inputs, outputs) = match activations {
        None => ((&[Float32][..], "float32"), (&[Float32][..], "float32")),
        Some(Int16) => (
            (&[Float32, Int16, Int8, UInt8][..], "float32, int16, int8 or uint8"),
            (&[Float32, Int16, Int8][..], "float32, int16 or int8"),
        ),
        Some(_) => {
            let all = (&[Float32, Int8, UInt8, Int16][..], "float32, int8, uint8 or int16");
            (all, all)
        }
    };
    check(options.input_type, inputs.0, inputs.1)?;
    check(options.output_type, outputs.0, outputs.1)
}

/// The plan that changes nothing.
fn keep(graph: &Graph<'_>, schemes: &[(Scheme, TensorType)]) -> GraphPlan {
    let nodes = graph.graph.nodes.iter().zip(schemes).map(|(node, (scheme, _))| {
        let decision = match scheme {
            _ if !graph.computes_with_floats(node) => Decision::Untouched,
            Scheme::Float => Decision::Float(AS_ASKED.into()),
            _ => Decision::Float("it is outside of the main subgraph".into()),
        };
        NodePlan { decision, inputs: vec![Form::AsIs; node.inputs.len()] }
    });
    GraphPlan {
        nodes: nodes.collect(),
        homes: vec![None; graph.graph.tensors.len()],
        outputs: vec![Form::AsIs; graph.graph.outputs.len()],
    }
}

/// Why a node is left in float that no rule and no mode quantizes.
const AS_ASKED: &str = "it is left in float as asked";

/// Dimension of the weight scales of a node: per channel unless the options or the operator's kernel want a single one.
fn weight_axis(graph: &Graph<'_>, node: &Node, rule: WeightRule, options: &Options, hybrid: bool) -> Option<usize> {
    // The hybrid DEPTHWISE_CONV_2D takes per-channel scales only.
    let per_channel = options.per_channel || (hybrid && graph.builtin(node) == BuiltinOperator::DEPTHWISE_CONV_2D);
    per_channel.then_some(rule.axis)
}

/// Type of a node's weights: as asked, where the operator has kernels for it.
fn weight_type(rule: WeightRule, asked: TensorType) -> TensorType {
    if rule.int4 { asked } else { TensorType::Int8 }
}

/// Checks that a node's weights can be quantized; says why not.
fn check_weights(graph: &Graph<'_>, node: &Node, rule: &QuantRule) -> Result<(), String> {
    let Some(weights) = rule.weights else { return Ok(()) };
    let Some(id) = node.inputs.get(weights.input).copied().flatten() else {
        return Err(format!("input {}, its weights, is missing", weights.input));
    };
    let tensor = &graph.graph.tensors[id];
    if tensor.ty != TensorType::Float32 {
        return Err(format!("its weights {:?} are {} already", tensor.name(), tensor.ty));
    }
    if tensor.sparsity.is_some() {
        return Err(format!("its weights {:?} are sparse", tensor.name()));
    }
    if !graph.is_float_constant(id) {
        return Err(format!("its weights {:?} are not constant", tensor.name()));
    }
    if graph.channels(id, Some(weights.axis)).is_none() {
        return Err(format!("its weights {:?} have no dimension {}", tensor.name(), weights.axis));
    }
    match &node.options {
        BuiltinOptions::FullyConnectedOptions(o)
            if o.weights_format != schema::FullyConnectedOptionsWeightsFormat::DEFAULT =>
        {
            Err("its weights are stored shuffled".into())
        }
        _ => Ok(()),
    }
}
