//! Rules of the nodes of one subgraph.

use super::{Result, in_range};
use crate::error::{ModelError, Place};
use crate::model::*;

/// What is known of a tensor before the first node, and then node by node.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Nothing has a value for it. A model may have such tensors, which running it refuses.
    Unset,
    /// A node further on writes it.
    Later,
    /// Constant data.
    Constant,
    /// Set by the caller.
    Input,
    /// Kept from the last invocation.
    Variable,
    /// Written by a node.
    Computed(usize),
}

pub(super) fn check(model: &Model, index: usize, subgraph: &Subgraph) -> Result<()> {
    let tensors = subgraph.tensors.len();
    for (what, ids) in [("input", &subgraph.inputs), ("output", &subgraph.outputs)] {
        for &id in ids {
            in_range(id, tensors, &format!("{what} tensor"), "tensors")
                .map_err(|rule| ModelError::invalid(Place::subgraph(index), rule))?;
        }
    }
    let mut states: Vec<State> = (subgraph.tensors.iter())
        .map(|tensor| match model.constant(tensor) {
            Some(_) => State::Constant,
            None if tensor.is_variable => State::Variable,
            None => State::Unset,
        })
        .collect();
    for &id in &subgraph.inputs {
        if let Some(state @ (State::Unset | State::Variable)) = states.get_mut(id) {
            *state = State::Input;
        }
    }
    for &id in subgraph.nodes.iter().flat_map(|node| &node.outputs) {
        if let Some(state @ State::Unset) = states.get_mut(id) {
            *state = State::Later;
        }
    }
    for (position, node) in subgraph.nodes.iter().enumerate() {
        check_node(model, subgraph, node, position, &mut states).map_err(|rule| {
            let name = model.operator_codes.get(node.opcode).map_or("", OperatorCode::name);
            ModelError::invalid(Place::node(index, position, name), rule)
        })?;
    }
    Ok(())
}

fn check_node(
    model: &Model,
    subgraph: &Subgraph,
    node: &Node,
    position: usize,
    states: &mut [State],
) -> std::result::Result<(), String> {
    let tensors = subgraph.tensors.len();
    in_range(node.opcode, model.operator_codes.len(), "operator code", "operator codes")?;
    for &id in node.inputs.iter().flatten() {
        in_range(id, tensors, "input tensor", "tensors")?;
    }
    for &id in &node.intermediates {
        in_range(id, tensors, "intermediate tensor", "tensors")?;
    }
    let (mutating, inputs) = (node.mutating_variable_inputs.len(), node.inputs.len());
    if mutating != 0 && mutating != inputs {
        return Err(format!("{mutating} marks of mutated inputs for {inputs} inputs"));
    }
    let name = |id: TensorId| subgraph.tensors.get(id).map_or("", Tensor::name);
    for &id in &node.outputs {
        in_range(id, tensors, "output tensor", "tensors")?;
        match states.get_mut(id) {
            Some(State::Constant) => return Err(format!("output tensor {id} ({}) is a constant", name(id))),
            Some(State::Computed(other)) => {
                return Err(format!("output tensor {id} ({}) is computed by node {other} already", name(id)));
            }
            Some(State::Input) => {
                return Err(format!("output tensor {id} ({}) is an input of the subgraph", name(id)));
            }
            Some(state) => *state = State::Computed(position),
            None => {}
        }
    }
    // After the outputs, so that a node that reads what it writes is found too.
    for &id in node.inputs.iter().flatten() {
        match states.get(id) {
            Some(State::Computed(by)) if *by == position => {
                return Err(format!("input tensor {id} ({}) is computed by the node itself", name(id)));
            }
            Some(State::Later) => {
                return Err(format!("input tensor {id} ({}) is used before it is computed", name(id)));
            }
            _ => {}
        }
    }
    Ok(())
}
