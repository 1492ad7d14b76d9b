//! Rules of one tensor.

use super::{in_range, sparsity};
use crate::model::*;
use crate::schema::QuantizationDetailsT;
use crate::types::TensorType;

type Result = std::result::Result<(), String>;

pub(super) fn check(model: &Model, subgraph: &Subgraph, tensor: &Tensor) -> Result {
    in_range(tensor.buffer, model.buffers.len().max(1), "buffer", "buffers")?;
    for shape in [&tensor.shape, &tensor.shape_signature] {
        if let Some(dim) = shape.iter().find(|&&dim| dim < -1) {
            return Err(format!("shape {shape:?} has dimension {dim}"));
        }
    }
    if !tensor.shape_signature.is_empty() && tensor.shape_signature.len() != tensor.shape.len() {
        return Err(format!("shape {:?} and its signature {:?} differ in rank", tensor.shape, tensor.shape_signature));
    }
    let elements = tensor
        .shape
        .iter()
        .try_fold(1usize, |n, &dim| n.checked_mul(usize::try_from(dim).unwrap_or(1)))
        .filter(|&n| n.checked_mul(tensor.ty.bits()).is_some_and(|bits| bits <= isize::MAX as usize))
        .ok_or_else(|| format!("shape {:?} of {} has too many elements", tensor.shape, tensor.ty))?;
    if let Some(quantization) = &tensor.quantization {
        check_quantization(subgraph, tensor, quantization)?;
    }
    if tensor.is_variable && model.buffers.get(tensor.buffer).is_some_and(|data| !data.is_empty()) {
        return Err("a variable has constant data".into());
    }
    match (model.constant(tensor), &tensor.sparsity) {
        (Some(data), Some(layout)) => {
            let values = sparsity::check(&tensor.shape, layout)?;
            check_len(tensor, data.len(), values, "its sparse layout has")
        }
        (Some(data), None) if tensor.ty == TensorType::String => check_strings(data, elements),
        (Some(_), None) if tensor.shape.contains(&-1) => {
            Err(format!("a constant has the open shape {:?}", tensor.shape))
        }
        (Some(data), None) => check_len(tensor, data.len(), elements, "its shape has"),
        (None, _) => Ok(()),
    }
}

/// A constant has as many bytes as its elements take.
fn check_len(tensor: &Tensor, len: usize, elements: usize, why: &str) -> Result {
    match tensor.ty.byte_len(elements) {
        Some(want) if want != len => Err(format!(
            "the constant has {len} bytes, but {elements} elements of {}, which {why}, take {want}",
            tensor.ty
        )),
        _ => Ok(()),
    }
}

/// Strings are stored as their number, that many offsets and one more, and the text.
fn check_strings(data: &[u8], elements: usize) -> Result {
    let number = |i: usize| {
        let bytes = data.get(4 * i..)?.first_chunk()?;
        usize::try_from(i32::from_le_bytes(*bytes)).ok()
    };
    let broken = |what: &str| Err(format!("the string constant is malformed: {what}"));
    let Some(count) = number(0) else { return broken("it has no count") };
    if count != elements {
        return broken(&format!("it has {count} strings, its shape {elements}"));
    }
    let mut last = match count.checked_add(2).and_then(|n| n.checked_mul(4)) {
        Some(header) if header <= data.len() => header,
        _ => return broken("it is too short for its offsets"),
    };
    for i in 1..=count + 1 {
        match number(i) {
            Some(offset) if offset >= last && offset <= data.len() => last = offset,
            _ => return broken(&format!("offset {} is out of order or range", i - 1)),
        }
    }
    Ok(())
}

fn check_quantization(subgraph: &Subgraph, tensor: &Tensor, q: &Quantization) -> Result {
    let (scales, zeros) = (q.scale.len(), q.zero_point.len());
    if scales > 0 && zeros > 0 && scales != zeros {
        return Err(format!("{scales} scales but {zeros} zero points"));
    }
    if let Some(scale) = q.scale.iter().find(|scale| !scale.is_finite() || **scale < 0.0) {
        return Err(format!("scale {scale} is negative or not a number"));
    }
    if scales.max(zeros) > 1 {
        let axis = q.quantized_dimension;
        match q.axis(tensor.shape.len()).and_then(|axis| tensor.shape.get(axis)) {
            None => return Err(format!("quantized dimension {axis} is out of range (shape {:?})", tensor.shape)),
            Some(&dim) if usize::try_from(dim).is_ok_and(|dim| dim != scales.max(zeros)) => {
                return Err(format!("{} scales along dimension {axis} of shape {:?}", scales.max(zeros), tensor.shape));
            }
            Some(_) => {}
        }
    }
    let check_id = |what: &str, id: i32, optional: bool| match usize::try_from(id) {
        Ok(id) => in_range(id, subgraph.tensors.len(), &format!("{what} tensor"), "tensors"),
        Err(_) if id == -1 && optional => Ok(()),
        Err(_) => Err(format!("{what} tensor {id} is negative")),
    };
    match &q.details {
        Some(QuantizationDetailsT::BlockwiseQuantization(details)) => {
            check_id("scale", details.scales, false)?;
            check_id("zero point", details.zero_points, true)
        }
        Some(QuantizationDetailsT::MultiAxisQuantization(details)) => {
            check_id("scale", details.scales, false)?;
            check_id("zero point", details.zero_points, true)
        }
        _ => Ok(()),
    }
}
