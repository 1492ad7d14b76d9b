//! CONCATENATION: tensors one after another along a dimension.

use crate::common::activation::quantized_range;
use crate::common::moves_grad;
use crate::common::strided::{Step, StridedCopy, axis, elements, fixed_size, strides};
use crate::gradient::Gradient;
use crate::op::{InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::{Shape, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// CONCATENATION.
pub struct Concatenation;

/// The dimension along which tensors of this rank are joined. Scalars join into a vector.
fn join_axis(node: &NodeView<'_>, rank: usize) -> Result<usize, OpError> {
    let options = node.options.as_concatenation_options();
    let Some(options) = options else { return Err(OpError::invalid("options are missing")) };
    ensure!(options.fused_activation_function == ActivationFunctionType::NONE, "an activation cannot be fused");
    axis(options.axis.into(), rank.max(1))
}

impl OpDef for Concatenation {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CONCATENATION)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=7
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=usize::MAX, 1)?;
        let first = node.input(0)?;
        let ty = fixed_size(first.ty, "CONCATENATION")?;
        let at = join_axis(node, first.shape.len())?;
        let mut shape: Shape = if first.shape.is_empty() { smallvec![0] } else { first.shape.clone() };
        shape[at] = 0;
        for i in 0..node.inputs.len() {
            let input = node.input(i)?;
            let rest = |s: &[usize]| s.iter().enumerate().filter(|&(d, _)| d != at).all(|(d, &n)| n == shape[d]);
            ensure!(input.ty == ty, "inputs of type {ty} and {}", input.ty);
            ensure!(
                input.shape.len() == first.shape.len() && rest(&input.shape),
                "shapes {:?} and {:?} do not join along {at}",
                first.shape,
                input.shape
            );
            let size = input.shape.get(at).copied().unwrap_or(1);
            let Some(total) = shape[at].checked_add(size) else { return Err(OpError::invalid("too large")) };
            shape[at] = total;
        }
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let output = node.output(0)?;
        let at = join_axis(node, node.input(0)?.shape.len())?;
        let (to, total) = (strides(&output.shape), elements(&output.shape)?);
        let mut parts = Vec::with_capacity(node.inputs.len());
        let mut offset = 0;
        for i in 0..node.inputs.len() {
            let input = node.input(i)?;
            let mut shape: Shape = if input.shape.is_empty() { smallvec![1] } else { input.shape.clone() };
            let steps: Vec<Step> =
                shape.iter().zip(strides(&shape)).zip(&to).map(|((&len, src), &dst)| Step { len, src, dst }).collect();
            let count = elements(&shape)?;
            let start = if count == 0 { 0 } else { offset * to[at] as usize };
            let copy = StridedCopy::new(input.ty, steps, (0, count), (start, total))?;
            parts.push(Part { copy, rescale: Rescale::between(input, output)? });
            offset += std::mem::take(&mut shape[at]);
        }
        Ok(Box::new(Concatenate { parts, ty: output.ty }))
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::concatenation)
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: None, ..QuantRule::SAME_SCALE })
    }
}

/// One input's place in the output.
struct Part {
    copy: StridedCopy,
    rescale: Option<Rescale>,
}

/// Moves 8-bit values to the output's scale: round(x · scale + bias) + zero_point.
///
/// In float, as LiteRT does for uint8; for int8, where LiteRT refuses, the same.
#[derive(Clone, Copy)]
struct Rescale {
    scale: f32,
    bias: f32,
    zero_point: i32,
    low: i32,
    high: i32,
}

impl Rescale {
    fn between(input: &TensorInfo<'_>, output: &TensorInfo<'_>) -> Result<Option<Rescale>, OpError> {
        if !matches!(input.ty, TensorType::UInt8 | TensorType::Int8) {
            return Ok(None);
        }
        let (Ok((from, from_zero)), Ok((to, zero_point))) = (input.scale_zero_point(), output.scale_zero_point())
        else {
            return Ok(None);
        };
        if from == to && from_zero == zero_point {
            return Ok(None);
        }
        let (low, high) = quantized_range(ActivationFunctionType::NONE, output.ty, to, zero_point)?;
        let scale = from * (1.0 / to);
        ensure!(scale.is_finite() && to != 0.0, "scales {from} and {to}");
        Ok(Some(Rescale { scale, bias: -(from_zero as f32) * scale, zero_point, low, high }))
    }

    fn apply(self, x: i32) -> i32 {
        let value = (x as f32 * self.scale + self.bias).round() as i32;
        value.saturating_add(self.zero_point).clamp(self.low, self.high)
    }
}

struct Concatenate {
    parts: Vec<Part>,
    ty: TensorType,
}

impl Kernel for Concatenate {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let output = io.outputs[0].bytes();
        if self.ty.bits() < 8 {
            // Packed elements are written one by one into bytes that they share.
            output.fill(0);
        }
        for (part, input) in self.parts.iter().zip(&io.inputs) {
            let Some(input) = input else { return Err(OpError::invalid("an input is missing")) };
            match (part.rescale, self.ty) {
                (None, _) => part.copy.run_bytes(input.bytes, output)?,
                (Some(r), TensorType::Int8) => {
                    part.copy.map_bytes(input.bytes, output, |x| r.apply((x as i8).into()) as u8)?;
                }
                (Some(r), _) => part.copy.map_bytes(input.bytes, output, |x| r.apply(x.into()) as u8)?,
            }
        }
        Ok(())
    }
}
