//! The rules that every model keeps: reading refuses a file that breaks one, and writing a model that does.
//!
//! They are what the rest of the system relies on without looking again: indices are in range, constants have the bytes
//! that their shape takes, nodes are in execution order, subgraphs do not call themselves. Whether the operators get
//! along with their tensors is the catalogue's business.

mod calls;
mod graph;
mod sparsity;
mod tensor;

use crate::error::{ModelError, Place};
use crate::model::*;
use crate::schema::BuiltinOperator;
use std::collections::HashSet;
use std::ops::RangeInclusive;

type Result<T> = std::result::Result<T, ModelError>;

/// The schema versions whose files this crate understands: all so far. Files in use have 3.
const VERSIONS: RangeInclusive<u32> = 1..=3;

/// Checks that a model keeps the rules of the format.
///
/// # Errors
/// The first broken rule, and where.
pub fn verify(model: &Model) -> Result<()> {
    let whole = |rule: String| Err(ModelError::invalid(Place::MODEL, rule));
    if !VERSIONS.contains(&model.version) {
        return whole(format!("schema version {} (known are {VERSIONS:?})", model.version));
    }
    if model.subgraphs.is_empty() {
        return whole("there is no subgraph".into());
    }
    for (index, code) in model.operator_codes.iter().enumerate() {
        if code.builtin == BuiltinOperator::CUSTOM && code.custom.is_none() {
            return whole(format!("operator code {index}: a custom operator has no name"));
        }
    }
    for (index, entry) in model.metadata.iter().enumerate() {
        let name = entry.name.as_deref().unwrap_or("");
        in_range(entry.buffer, model.buffers.len(), "buffer", "buffers")
            .or_else(|rule| whole(format!("metadata {index} ({name}): {rule}")))?;
    }
    for (index, buffer) in model.external_buffers.iter().enumerate() {
        in_range(buffer.group as usize, model.external_buffer_groups.len(), "group", "groups")
            .or_else(|rule| whole(format!("external buffer {index}: {rule}")))?;
    }
    for (index, subgraph) in model.subgraphs.iter().enumerate() {
        for (id, tensor) in subgraph.tensors.iter().enumerate() {
            tensor::check(model, subgraph, tensor)
                .map_err(|rule| ModelError::invalid(Place::tensor(index, id, tensor.name()), rule))?;
        }
        graph::check(model, index, subgraph)?;
    }
    calls::check(model)?;
    let mut keys = HashSet::new();
    for signature in &model.signatures {
        let key = signature.key.as_deref().unwrap_or("");
        let result = check_signature(model, signature);
        let result = if keys.insert(key) { result } else { Err("the key is not unique".into()) };
        result.or_else(|rule| whole(format!("signature {key:?}: {rule}")))?;
    }
    Ok(())
}

fn check_signature(model: &Model, signature: &Signature) -> std::result::Result<(), String> {
    in_range(signature.subgraph, model.subgraphs.len(), "subgraph", "subgraphs")?;
    let tensors = model.subgraphs.get(signature.subgraph).map_or(0, |subgraph| subgraph.tensors.len());
    for (what, entries) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        let mut names = HashSet::new();
        for (name, id) in entries {
            in_range(*id, tensors, "tensor", "tensors").map_err(|rule| format!("{what} {name:?}: {rule}"))?;
            if !names.insert(name) {
                return Err(format!("{what} {name:?}: the name is not unique"));
            }
        }
    }
    Ok(())
}

/// `tensor 99 is out of range (12 tensors)`.
fn in_range(index: usize, len: usize, what: &str, many: &str) -> std::result::Result<(), String> {
    if index < len { Ok(()) } else { Err(format!("{what} {index} is out of range ({len} {many})")) }
}
