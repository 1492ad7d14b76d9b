//! Options of MediaPipe's custom operators that are a C structure of 32-bit integers, as TensorFlow Lite lays it out.

use crate::OpError;
use crate::op::NodeView;
use crate::tensor::copy_elements;
use ferrolite_model::schema::{ActivationFunctionType, Padding};

/// The first `N` integers of a node's custom options.
pub fn raw_options<const N: usize>(node: &NodeView<'_>) -> Result<[i32; N], OpError> {
    let values = copy_elements::<i32>(node.custom_options.map_or(&[][..], |bytes| bytes));
    let first = values.first_chunk::<N>().copied();
    first.ok_or_else(|| OpError::invalid(format!("the options have {} fields, not {N}", values.len())))
}

/// A padding as the C interface numbers it.
pub fn raw_padding(value: i32) -> Result<Padding, OpError> {
    match value {
        1 => Ok(Padding::SAME),
        2 => Ok(Padding::VALID),
        other => Err(OpError::invalid(format!("unknown padding {other}"))),
    }
}

/// An activation as the C interface numbers it: as the file format does, for those that can be fused.
pub fn raw_activation(value: i32) -> Result<ActivationFunctionType, OpError> {
    match value {
        0 => Ok(ActivationFunctionType::NONE),
        1 => Ok(ActivationFunctionType::RELU),
        2 => Ok(ActivationFunctionType::RELU_N1_TO_1),
        3 => Ok(ActivationFunctionType::RELU6),
        other => Err(OpError::unsupported(format!("fused activation {other}"))),
    }
}
