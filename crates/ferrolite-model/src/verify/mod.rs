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

#[cfg(test)]
mod tests {
    use crate::*;

    fn model() -> Model {
        let mut b = ModelBuilder::new();
        let x = b.input("x", TensorType::Float32, &[1, 2]);
        let w = b.constant_f32("w", &[3, 2], &[1.0; 6]);
        let y = b.tensor("y", TensorType::Float32, &[1, 3]);
        let options = BuiltinOptions::FullyConnectedOptions(Box::default());
        b.node(BuiltinOperator::FULLY_CONNECTED, 1, options, &[Some(x), Some(w), None], &[y]);
        let z = b.tensor("z", TensorType::Float32, &[1, 3]);
        b.node(BuiltinOperator::RELU, 1, BuiltinOptions::NONE, &[Some(y)], &[z]);
        b.output(z);
        b.signature("serving_default");
        let called = b.subgraph("called");
        assert_eq!(called, 1);
        b.build().unwrap()
    }

    /// What a model with one change is refused for.
    fn refused(change: impl FnOnce(&mut Model)) -> String {
        let mut model = model();
        change(&mut model);
        let error = verify(&model).unwrap_err().to_string();
        assert_eq!(model.to_bytes().unwrap_err().to_string(), error, "writing says the same");
        error
    }

    #[test]
    fn errors_say_where_and_which_rule() {
        for (want, got) in [
            (
                "subgraph 0, node 0 (FULLY_CONNECTED): input tensor 99 is out of range (4 tensors)",
                refused(|m| m.subgraphs[0].nodes[0].inputs[1] = Some(99)),
            ),
            ("subgraph 0: output tensor 7 is out of range (4 tensors)", refused(|m| m.subgraphs[0].outputs[0] = 7)),
            (
                "subgraph 0, node 0 (FULLY_CONNECTED): input tensor 3 (z) is used before it is computed",
                refused(|m| m.subgraphs[0].nodes[0].inputs[0] = Some(3)),
            ),
            (
                "subgraph 0, node 1 (RELU): output tensor 2 (y) is computed by node 0 already",
                refused(|m| m.subgraphs[0].nodes[1].outputs[0] = 2),
            ),
            (
                "subgraph 0, node 1 (RELU): output tensor 1 (w) is a constant",
                refused(|m| m.subgraphs[0].nodes[1].outputs[0] = 1),
            ),
            (
                "subgraph 0, node 1: operator code 5 is out of range (2 operator codes)",
                refused(|m| m.subgraphs[0].nodes[1].opcode = 5),
            ),
            (
                "subgraph 0, tensor 1 (w): the constant has 24 bytes, but 8 elements of float32, which its shape has, take 32",
                refused(|m| m.subgraphs[0].tensors[1].shape = vec![4, 2]),
            ),
            (
                "subgraph 0, tensor 0 (x): shape [1, -2] has dimension -2",
                refused(|m| m.subgraphs[0].tensors[0].shape = vec![1, -2]),
            ),
            (
                "subgraph 0, tensor 0 (x): shape [2147483647, 2147483647, 2147483647] of float32 has too many elements",
                refused(|m| m.subgraphs[0].tensors[0].shape = vec![i32::MAX; 3]),
            ),
            (
                "subgraph 0, tensor 1 (w): 2 scales along dimension 0 of shape [3, 2]",
                refused(|m| {
                    m.subgraphs[0].tensors[1].quantization = Some(Quantization::per_channel(vec![1.0, 2.0], 0));
                }),
            ),
            ("subgraph 0, node 1 (RELU): called subgraph 4 is out of range (2 subgraphs)", refused(|m| call(m, 4))),
            ("subgraph 0: it is part of a recursion", refused(|m| call(m, 0))),
            (
                "signature \"serving_default\": output \"z\": tensor 9 is out of range (4 tensors)",
                refused(|m| m.signatures[0].outputs[0].1 = 9),
            ),
            ("there is no subgraph", refused(|m| m.subgraphs.clear())),
        ] {
            assert_eq!(got, want);
        }
    }

    fn call(model: &mut Model, subgraph: i32) {
        let options = schema::CallOnceOptionsT { init_subgraph_index: subgraph };
        model.subgraphs[0].nodes[1].options = BuiltinOptions::CallOnceOptions(Box::new(options));
    }

    #[test]
    fn string_constants_are_well_formed() {
        let good: Vec<u8> = [2i32, 16, 17, 19].iter().flat_map(|v| v.to_le_bytes()).chain(*b"abc").collect();
        let check = |data: &[u8]| {
            let mut b = ModelBuilder::new();
            b.constant("s", TensorType::String, &[2], data);
            b.build().map(|_| ())
        };
        check(&good).unwrap();
        for len in 1..good.len() {
            assert!(check(&good[..len]).is_err(), "{len}");
        }
        for (at, value) in [(0, 3u8), (0, 1), (4, 12), (8, 18), (8, 15), (11, 0x80), (12, 20)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(check(&bad).is_err(), (at, value) != (8, 18), "{at} {value}");
        }
    }
}
