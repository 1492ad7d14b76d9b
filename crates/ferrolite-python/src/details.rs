//! What `tf.lite` tells about tensors and signatures.

use crate::arguments::Int;
use crate::array;
use crate::dtype;
use crate::wrapper::InterpreterWrapper;
use ferrolite::schema::QuantizationDetailsT;
use ferrolite::{DimensionMetadata, IndexVector, Model, Quantization, Tensor, TensorType};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::BTreeMap;

/// A NumPy array of int32.
pub(crate) fn int32(py: Python<'_>, values: impl Iterator<Item = i32>) -> PyResult<Bound<'_, PyAny>> {
    let bytes: Vec<u8> = values.flat_map(i32::to_ne_bytes).collect();
    array::copy(py, dtype::dtype(py, TensorType::Int32)?, &[bytes.len() / 4], &bytes)
}

fn float32<'py>(py: Python<'py>, values: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    array::copy(py, dtype::dtype(py, TensorType::Float32)?, &[values.len()], &bytes)
}

/// The details of a tensor, with `tf.lite`'s keys.
pub(crate) fn tensor<'py>(
    py: Python<'py>,
    wrapper: &InterpreterWrapper,
    index: Int,
    subgraph: Int,
) -> PyResult<Bound<'py, PyDict>> {
    let (s, id, tensor) = wrapper.tensor_of(index, subgraph)?;
    let shape = wrapper.lock(py)[s].shape(id, tensor);
    let signature = if tensor.shape_signature.is_empty() { &shape } else { &tensor.shape_signature };
    let details = PyDict::new(py);
    details.set_item("name", tensor.name())?;
    details.set_item("index", id)?;
    details.set_item("shape", int32(py, shape.iter().copied())?)?;
    details.set_item("shape_signature", int32(py, signature.iter().copied())?)?;
    details.set_item("dtype", dtype::class(py, tensor.ty)?)?;
    let (scale, zero_point) = tensor.quantization.as_ref().and_then(Quantization::as_per_tensor).unwrap_or((0.0, 0));
    details.set_item("quantization", (scale, clamp(zero_point)))?;
    details.set_item("quantization_parameters", quantization(py, wrapper, s, tensor)?)?;
    details.set_item("sparsity_parameters", sparsity(py, tensor)?)?;
    Ok(details)
}

/// A zero point as 32 bits; those of valid files fit.
fn clamp(zero_point: i64) -> i32 {
    zero_point.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

fn quantization<'py>(
    py: Python<'py>,
    wrapper: &InterpreterWrapper,
    subgraph: usize,
    tensor: &Tensor,
) -> PyResult<Bound<'py, PyDict>> {
    let model = &wrapper.model;
    let given = tensor.quantization.clone().unwrap_or_default();
    let mut zero_points: Vec<i32> = given.zero_point.iter().map(|&zp| clamp(zp)).collect();
    // What is left out is 0.
    zero_points.resize(given.scale.len(), 0);
    if wrapper.compress_zero_points && zero_points.windows(2).all(|pair| pair[0] == pair[1]) {
        zero_points.truncate(1);
    }
    let mut scales = float32(py, &given.scale)?;
    let mut block_size = 0;
    if let Some(QuantizationDetailsT::BlockwiseQuantization(blocks)) = &given.details {
        block_size = blocks.block_size;
        let tensors = &model.subgraphs[subgraph].tensors;
        let constant = |index: i32| {
            let tensor = usize::try_from(index).ok().and_then(|id| tensors.get(id))?;
            Some((tensor.ty, model.constant(tensor)?))
        };
        if let Some((ty @ (TensorType::Float16 | TensorType::Float32), bytes)) = constant(blocks.scales) {
            scales = array::copy(py, dtype::dtype(py, ty)?, &[bytes.len() * 8 / ty.bits()], bytes)?;
        }
        // Without them, blocks are symmetric.
        zero_points = match constant(blocks.zero_points) {
            Some((TensorType::Int32, bytes)) => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b)).collect(),
            _ => Vec::new(),
        };
    }
    let parameters = PyDict::new(py);
    parameters.set_item("scales", scales)?;
    parameters.set_item("zero_points", int32(py, zero_points.into_iter())?)?;
    parameters.set_item("quantized_dimension", given.quantized_dimension)?;
    parameters.set_item("block_size", block_size)?;
    Ok(parameters)
}

fn sparsity<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyDict>> {
    let parameters = PyDict::new(py);
    let Some(layout) = &tensor.sparsity else { return Ok(parameters) };
    let indices = |vector: &IndexVector| match vector {
        IndexVector::None => int32(py, std::iter::empty()),
        IndexVector::I32(v) => int32(py, v.iter().copied()),
        IndexVector::U16(v) => int32(py, v.iter().map(|&i| i.into())),
        IndexVector::U8(v) => int32(py, v.iter().map(|&i| i.into())),
    };
    let dimensions = PyList::empty(py);
    for dimension in &layout.dim_metadata {
        let entry = PyDict::new(py);
        match dimension {
            DimensionMetadata::Dense { size } => {
                entry.set_item("format", 0)?;
                entry.set_item("dense_size", *size)?;
            }
            DimensionMetadata::SparseCsr { segments, indices: columns } => {
                entry.set_item("format", 1)?;
                entry.set_item("array_segments", indices(segments)?)?;
                entry.set_item("array_indices", indices(columns)?)?;
            }
        }
        dimensions.append(entry)?;
    }
    parameters.set_item("traversal_order", int32(py, layout.traversal_order.iter().copied())?)?;
    if !layout.block_map.is_empty() {
        parameters.set_item("block_map", int32(py, layout.block_map.iter().copied())?)?;
    }
    parameters.set_item("dim_metadata", dimensions)?;
    Ok(parameters)
}

/// Inputs and outputs of every signature, by name.
pub(crate) fn signatures<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    for signature in &model.signatures {
        let Some(key) = &signature.key else { continue };
        let by_name = |names: &[(String, usize)]| names.iter().cloned().collect::<BTreeMap<_, _>>();
        let entry = PyDict::new(py);
        entry.set_item("inputs", by_name(&signature.inputs))?;
        entry.set_item("outputs", by_name(&signature.outputs))?;
        all.set_item(key, entry)?;
    }
    Ok(all)
}
