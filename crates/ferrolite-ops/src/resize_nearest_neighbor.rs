//! RESIZE_NEAREST_NEIGHBOR: images scaled by repeating or leaving out pixels.

use crate::common::strided::fixed_size;
use crate::op::{InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::resize_bilinear::{images, infer_resize};
use crate::{OpError, ensure};
use ferrolite_model::BuiltinOperator;
use std::ops::RangeInclusive;

/// RESIZE_NEAREST_NEIGHBOR. Inputs: NHWC images, (height, width).
pub struct ResizeNearestNeighbor;

/// The input coordinate of each output coordinate.
fn nearest(input: usize, output: usize, align_corners: bool, half_pixel_centers: bool) -> Vec<usize> {
    let scale = if align_corners && output > 1 {
        (input - 1) as f32 / (output - 1) as f32
    } else {
        input as f32 / output as f32
    };
    let offset = if half_pixel_centers { 0.5 } else { 0.0 };
    let place = |i: usize| {
        let x = (i as f32 + offset) * scale;
        let x = if align_corners { x.round() } else { x.floor() };
        (x as usize).min(input - 1)
    };
    (0..output).map(place).collect()
}

impl OpDef for ResizeNearestNeighbor {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RESIZE_NEAREST_NEIGHBOR)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let ty = fixed_size(node.input(0)?.ty, "RESIZE_NEAREST_NEIGHBOR")?;
        if ty.bits() < 8 {
            return Err(OpError::unsupported(format!("RESIZE_NEAREST_NEIGHBOR of {ty}")));
        }
        infer_resize(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Some(([n, h, w, c], [_, oh, ow, _])) = images(node)? else { return reference(|_| Ok(())) };
        let Some(o) = node.options.as_resize_nearest_neighbor_options() else {
            return Err(OpError::invalid("options are missing"));
        };
        let rows = nearest(h, oh, o.align_corners, o.half_pixel_centers);
        let columns = nearest(w, ow, o.align_corners, o.half_pixel_centers);
        let pixel = c * node.input(0)?.ty.bits() / 8;
        reference(move |io| {
            let input = io.input(0)?.bytes;
            let output = io.outputs[0].bytes();
            ensure!(input.len() == n * h * w * pixel && output.len() == n * oh * ow * pixel, "sizes changed");
            if pixel == 0 {
                return Ok(());
            }
            let mut pixels = output.chunks_exact_mut(pixel);
            for image in input.chunks_exact(h * w * pixel) {
                for &y in &rows {
                    let row = &image[y * w * pixel..][..w * pixel];
                    for (&x, out) in columns.iter().zip(&mut pixels) {
                        out.copy_from_slice(&row[x * pixel..][..pixel]);
                    }
                }
            }
            Ok(())
        })
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}
