//! The trainable constants of a model.

use crate::TrainError;
use ferrolite_model::{Bytes, Model, TensorId, TensorType};
use ferrolite_ops::Catalog;
use ferrolite_ops::tensor::copy_elements;
use std::ops::Range;

/// A trainable constant of subgraph 0.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) tensor: TensorId,
    /// Where its values are in the list of all parameters' values.
    pub(crate) range: Range<usize>,
}

/// Finds the float constants that their operators declare as weights or bias (by the same rules that quantization goes
/// by) and whose name is not `frozen`; returns them with their values.
pub(crate) fn find(
    model: &Model,
    frozen: &[String],
    catalog: &Catalog,
) -> Result<(Vec<Parameter>, Vec<f32>), TrainError> {
    let graph = &model.subgraphs[0];
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut values: Vec<f32> = Vec::new();
    for node in &graph.nodes {
        let Some(rule) = catalog.find(model.operator(node)).and_then(|op| op.quantize()) else { continue };
        for input in [rule.weights.map(|w| w.input), rule.bias].into_iter().flatten() {
            let Some(id) = node.inputs.get(input).copied().flatten() else { continue };
            let tensor = &graph.tensors[id];
            let is_frozen = frozen.iter().any(|name| tensor.name().starts_with(name.as_str()));
            if tensor.ty != TensorType::Float32 || is_frozen || parameters.iter().any(|p| p.tensor == id) {
                continue;
            }
            let Some(data) = model.constant(tensor) else { continue };
            if tensor.sparsity.is_some() {
                return Err(TrainError::usage(format!(
                    "tensor {:?} is sparse, which cannot be trained",
                    tensor.name()
                )));
            }
            let own = copy_elements::<f32>(data);
            parameters.push(Parameter { tensor: id, range: values.len()..values.len() + own.len() });
            values.extend(own);
        }
    }
    Ok((parameters, values))
}

/// Writes values into the model's constants.
pub(crate) fn store(model: &mut Model, parameters: &[Parameter], values: &[f32]) {
    for parameter in parameters {
        let bytes: Vec<u8> = values[parameter.range.clone()].iter().flat_map(|v| v.to_le_bytes()).collect();
        let buffer = model.subgraphs[0].tensors[parameter.tensor].buffer;
        let tensors = model.subgraphs.iter().flat_map(|graph| &graph.tensors);
        let users = tensors.filter(|t| t.buffer == buffer).count()
            + model.metadata.iter().filter(|m| m.buffer == buffer).count();
        if users == 1 {
            model.buffers[buffer] = Bytes::from(bytes);
        } else {
            // Equal constants (zero biases, say) share a buffer until they are trained.
            let own = model.add_buffer(bytes);
            model.subgraphs[0].tensors[parameter.tensor].buffer = own;
        }
    }
}
