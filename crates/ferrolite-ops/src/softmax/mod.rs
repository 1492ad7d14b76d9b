//! SOFTMAX and LOG_SOFTMAX along the last dimension.

mod cases;
mod fast;
mod gradient;
mod log;
mod reference;

use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::{OutputRule, QuantRule};
use crate::{OpError, ensure};
use ferrolite_model::BuiltinOperator;
use ferrolite_model::TensorType::{self, Int8, Int16, UInt8};
use smallvec::smallvec;
use std::ops::RangeInclusive;

pub(crate) use reference::beta;

/// SOFTMAX.
pub struct Softmax;
/// LOG_SOFTMAX.
pub struct LogSoftmax;

/// Rows and their length.
fn rows(node: &NodeView<'_>) -> Result<(usize, usize), OpError> {
    match node.input(0)?.shape.split_last() {
        Some((&depth, outer)) => Ok((outer.iter().product(), depth)),
        None => Err(OpError::invalid("the input is a scalar")),
    }
}

/// The shape is the input's; quantized outputs have prescribed parameters.
fn infer(node: &NodeView<'_>, ty: TensorType, prescribed: Option<(f32, i32)>) -> InferResult {
    node.expect(1..=1, 1)?;
    rows(node)?;
    if let Some((scale, zero_point)) = prescribed {
        let (s, z) = node.output(0)?.scale_zero_point()?;
        ensure!(
            (s - scale).abs() <= 0.001 * scale && z == zero_point,
            "the output has scale {s} and zero point {z}, not {scale} and {zero_point}"
        );
    }
    Ok(smallvec![Inferred::new(ty, node.input(0)?.shape.iter().copied())])
}

impl OpDef for Softmax {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SOFTMAX)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let (input, output) = (node.input(0)?.ty, node.output(0)?.ty);
        let wide = matches!((input, output), (Int8 | UInt8, Int16));
        let prescribed = match (input, output) {
            (Int8, Int8) => Some((1.0 / 256.0, -128)),
            (Int16, Int16) => Some((1.0 / 32768.0, 0)),
            _ => None,
        };
        infer(node, if wide { output } else { input }, prescribed)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference::reference(node)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::FAST
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases()
    }

    fn quantize(&self) -> Option<QuantRule> {
        let output = OutputRule::Fixed { int8: (1.0 / 256.0, -128), int16: (1.0 / 32768.0, 0) };
        Some(QuantRule { output, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(gradient::softmax)
    }
}

impl OpDef for LogSoftmax {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LOG_SOFTMAX)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let ty = node.input(0)?.ty;
        let prescribed = match ty {
            Int8 => Some((16.0 / 256.0, 127)),
            UInt8 => Some((16.0 / 256.0, 255)),
            _ => None,
        };
        infer(node, ty, prescribed)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        log::reference(node)
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::LOG_FAST
    }

    fn cases(&self) -> Vec<Case> {
        cases::log_cases()
    }

    fn quantize(&self) -> Option<QuantRule> {
        let output = OutputRule::Fixed { int8: (16.0 / 256.0, 127), int16: (16.0 / 65536.0, 0) };
        Some(QuantRule { output, int16: false, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(gradient::log_softmax)
    }
}
