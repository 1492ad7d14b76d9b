//! Constants with a scale per block of their last dimension.

use crate::op::NodeView;
use crate::tensor::{TensorInfo, copy_elements};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{BFloat16, Float16, Float32};
use ferrolite_model::schema::QuantizationDetailsT;
use half::{bf16, f16};

/// Scales of a tensor's blocks.
pub struct Blocks {
    /// Elements of a block, which lie along the last dimension.
    pub size: usize,
    /// One per block, in the order of the blocks' elements.
    pub scales: Vec<f32>,
}

/// Whether a tensor is quantized by blocks.
pub fn is_blockwise(info: &TensorInfo<'_>) -> bool {
    matches!(info.quantization.and_then(|q| q.details.as_ref()), Some(QuantizationDetailsT::BlockwiseQuantization(_)))
}

/// The scales of a tensor of `node` that is quantized by blocks; they are a constant of the same subgraph.
///
/// # Errors
/// When scales are missing, are not one per block, or there are zero points other than 0.
pub fn blocks(node: &NodeView<'_>, info: &TensorInfo<'_>) -> Result<Blocks, OpError> {
    let details = info.quantization.and_then(|q| q.details.as_ref());
    let Some(QuantizationDetailsT::BlockwiseQuantization(details)) = details else {
        return Err(OpError::unsupported(format!("quantization of {:?}", info.name)));
    };
    let name = info.name;
    let constant = |id: i32| {
        let tensor = node.model.subgraphs.get(node.subgraph)?.tensors.get(usize::try_from(id).ok()?)?;
        Some((tensor.ty, node.model.constant(tensor)?))
    };
    let Some((ty, data)) = constant(details.scales) else {
        return Err(OpError::invalid(format!("the scales of {name:?} are not constant")));
    };
    let scales: Vec<f32> = match ty {
        Float32 => copy_elements(data),
        Float16 => copy_elements::<f16>(data).into_iter().map(f16::to_f32).collect(),
        BFloat16 => copy_elements::<bf16>(data).into_iter().map(bf16::to_f32).collect(),
        other => return Err(OpError::unsupported(format!("scales of {name:?} of type {other}"))),
    };
    if let Some((_, zero_points)) = constant(details.zero_points).filter(|_| details.zero_points > 0) {
        ensure!(zero_points.iter().all(|&b| b == 0), "{name:?} has zero points other than 0");
    }
    let size = usize::try_from(details.block_size).unwrap_or(0);
    let last = info.shape.last().copied().unwrap_or(0);
    ensure!(size > 0 && last % size == 0, "blocks of {size} in rows of {last} of {name:?}");
    ensure!(scales.len() == info.elements() / size, "{name:?} has {} scales of blocks", scales.len());
    ensure!(scales.iter().all(|s| s.is_finite()), "{name:?} has a bad scale");
    Ok(Blocks { size, scales })
}
