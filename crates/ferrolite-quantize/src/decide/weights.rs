//! The modes that change weights only: dynamic range and float16.

use super::{check_weights, keep, weight_axis};
use crate::graph::Graph;
use crate::params::weight_scales;
use crate::plan::{Decision, Form, GraphPlan};
use crate::{Options, QuantizeError};
use ferrolite_model::{BuiltinOperator, Node, TensorId};
use ferrolite_ops::Catalog;

/// int8 weights for the operators that have a hybrid kernel.
pub(super) fn dynamic_range(
    graph: &Graph<'_>,
    options: &Options,
    catalog: &Catalog,
) -> Result<GraphPlan, QuantizeError> {
    let mut plan = keep(graph);
    for (node, planned) in graph.graph.nodes.iter().zip(&mut plan.nodes) {
        let Decision::Float(reason) = &mut planned.decision else { continue };
        let rule = catalog.find(graph.model.operator(node)).and_then(|op| op.quantize()).filter(|rule| rule.hybrid);
        let Some((rule, weights)) = rule.and_then(|rule| rule.weights.map(|weights| (rule, weights))) else {
            *reason = "the operator has no kernel for float activations and int8 weights".into();
            continue;
        };
        if let Err(why) = check_weights(graph, node, &rule) {
            *reason = why;
            continue;
        }
        let Some(id) = node.inputs[weights.input] else { continue };
        let elements = graph.graph.tensors[id].elements().unwrap_or(0);
        if elements < options.min_weight_elements {
            let least = options.min_weight_elements;
            *reason =
                format!("its weights have {elements} elements, fewer than {least} (Options::min_weight_elements)");
            continue;
        }
        let axis = weight_axis(graph, node, weights, options, true);
        let (Some(values), Some(channels)) = (graph.finite_constant(id), graph.channels(id, axis)) else { continue };
        planned.inputs[weights.input] = Form::Weights { axis, scales: weight_scales(&values?, channels) };
        planned.decision = Decision::Hybrid;
        // Hybrid kernels want a bias that is constant from the beginning.
        for (input, form) in node.inputs.iter().zip(&mut planned.inputs) {
            if *form == Form::AsIs && input.is_some_and(|id| graph.is_widened_constant(id)) {
                *form = Form::Constant;
            }
        }
    }
    Ok(plan)
}

/// Every float32 constant that a node reads, stored as float16.
pub(super) fn float16(graph: &Graph<'_>) -> GraphPlan {
    let mut plan = keep(graph);
    for (node, planned) in graph.graph.nodes.iter().zip(&mut plan.nodes) {
        if is_hybrid(graph, node) {
            planned.decision = Decision::Float("its weights are integers already".into());
            continue;
        }
        for (input, form) in node.inputs.iter().zip(&mut planned.inputs) {
            if input.is_some_and(|id| graph.dequantized(id).is_none() && graph.is_float_constant(id)) {
                *form = Form::Half;
                planned.decision = Decision::Half;
            }
        }
        if let Decision::Float(reason) = &mut planned.decision {
            *reason = "it reads no float32 constants".into();
        }
    }
    plan
}

/// Whether a node computes in float with integer weights. Kernels of such nodes want the rest of their constants as they are.
fn is_hybrid(graph: &Graph<'_>, node: &Node) -> bool {
    let converts = matches!(graph.builtin(node), BuiltinOperator::QUANTIZE | BuiltinOperator::DEQUANTIZE);
    let has_scales = |id: &TensorId| {
        let tensor = &graph.graph.tensors[*id];
        !tensor.ty.is_float()
            && tensor.quantization.as_ref().is_some_and(|q| !q.scale.is_empty() || q.details.is_some())
    };
    !converts && node.inputs.iter().flatten().any(has_scales)
}
