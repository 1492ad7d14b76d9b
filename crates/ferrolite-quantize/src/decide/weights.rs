//! The schemes that change constants only: integer weights, for float activations or stored, and float16.

use super::{check_weights, weight_axis, weight_type};
use crate::graph::Graph;
use crate::params::weight_scales;
use crate::plan::{Decision, Form, GraphPlan, NodePlan, Weights};
use crate::{Options, QuantizeError, Scheme};
use ferrolite_model::{BuiltinOperator, Node, TensorId, TensorType};
use ferrolite_ops::Catalog;

/// Plans the nodes that have such a scheme.
pub(super) fn decide(
    graph: &Graph<'_>,
    schemes: &[(Scheme, TensorType)],
    options: &Options,
    catalog: &Catalog,
    plan: &mut GraphPlan,
) -> Result<(), QuantizeError> {
    for ((node, planned), &(scheme, ty)) in graph.graph.nodes.iter().zip(&mut plan.nodes).zip(schemes) {
        if !matches!(planned.decision, Decision::Float(_)) {
            continue;
        }
        match scheme {
            Scheme::DynamicRange => integer_weights(graph, node, ty, true, options, catalog, planned)?,
            Scheme::WeightOnly => integer_weights(graph, node, ty, false, options, catalog, planned)?,
            Scheme::Float16 => float16(graph, node, planned),
            Scheme::Float | Scheme::Int8 | Scheme::Int16x8 => {}
        }
    }
    Ok(())
}

/// Integer weights: for a hybrid kernel, or stored only.
fn integer_weights(
    graph: &Graph<'_>,
    node: &Node,
    ty: TensorType,
    hybrid: bool,
    options: &Options,
    catalog: &Catalog,
    planned: &mut NodePlan,
) -> Result<(), QuantizeError> {
    let Decision::Float(reason) = &mut planned.decision else { return Ok(()) };
    let rule = catalog.find(graph.model.operator(node)).and_then(|op| op.quantize());
    let rule = rule.filter(|rule| rule.hybrid || !hybrid);
    let Some((rule, weights)) = rule.and_then(|rule| rule.weights.map(|weights| (rule, weights))) else {
        *reason = match hybrid {
            true => "the operator has no kernel for float activations and int8 weights".into(),
            false => "the operator has no weights".into(),
        };
        return Ok(());
    };
    if let Err(why) = check_weights(graph, node, &rule) {
        *reason = why;
        return Ok(());
    }
    let Some(id) = node.inputs[weights.input] else { return Ok(()) };
    let elements = graph.graph.tensors[id].elements().unwrap_or(0);
    if elements < options.min_weight_elements {
        let least = options.min_weight_elements;
        *reason = format!("its weights have {elements} elements, fewer than {least} (Options::min_weight_elements)");
        return Ok(());
    }
    let axis = weight_axis(graph, node, weights, options, hybrid);
    let (Some(values), Some(channels)) = (graph.finite_constant(id), graph.channels(id, axis)) else { return Ok(()) };
    let ty = weight_type(weights, ty);
    let stored = Weights { ty, axis, scales: weight_scales(&values?, channels, ty) };
    (planned.decision, planned.inputs[weights.input]) = match hybrid {
        true => (Decision::Hybrid, Form::Weights(stored)),
        false => (Decision::WeightOnly, Form::Dequantized(stored)),
    };
    // Hybrid kernels want a bias that is constant from the beginning.
    for (input, form) in node.inputs.iter().zip(&mut planned.inputs) {
        if hybrid && matches!(form, Form::AsIs | Form::Float) && input.is_some_and(|id| graph.is_widened_constant(id)) {
            *form = Form::Constant;
        }
    }
    Ok(())
}

/// Every float32 constant that a node reads, stored as float16.
fn float16(graph: &Graph<'_>, node: &Node, planned: &mut NodePlan) {
    if is_hybrid(graph, node) {
        planned.decision = Decision::Float("its weights are integers already".into());
        return;
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
