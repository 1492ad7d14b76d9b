//! FAKE_QUANT: rounds to what a quantized tensor of this range could hold.
//!
//! Sources: LiteRT `reference_ops.h` (FakeQuant), `quantization_util.cc` (NudgeQuantizationRange). Unlike LiteRT, whose
//! runtime refuses it, `narrow_range` works: quantization-aware training wants it for weights.

use crate::common::backward::unary as backward;
use crate::common::cases;
use crate::common::elementwise::{infer_unary, unary};
use crate::common::parallel::for_items;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, FnKernel, InferResult, Io, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::schema::FakeQuantOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// FAKE_QUANT.
pub struct FakeQuant;

/// The range of an option set, moved so that 0 is one of its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Nudged {
    low: f32,
    high: f32,
    scale: f32,
}

impl Nudged {
    fn new(min: f32, max: f32, bits: i32, narrow: bool) -> Result<Nudged, OpError> {
        ensure!((2..=16).contains(&bits), "{bits} bits are not within 2..=16");
        ensure!(min.is_finite() && max.is_finite() && min < max, "the range {min} to {max} is empty");
        let (first, last) = (if narrow { 1.0 } else { 0.0 }, ((1 << bits) - 1) as f32);
        let scale = (max - min) / (last - first);
        ensure!(scale.is_finite() && scale > 0.0, "the range {min} to {max} has no usable scale");
        let zero = (first - min / scale).max(first).min(last).round();
        Ok(Nudged { low: (first - zero) * scale, high: (last - zero) * scale, scale })
    }

    fn of(node: &NodeView<'_>) -> Result<Nudged, OpError> {
        let Some(o) = node.options.as_fake_quant_options() else { return Err(OpError::invalid("has no options")) };
        Nudged::new(o.min, o.max, o.num_bits, o.narrow_range)
    }
}

impl OpDef for FakeQuant {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::FAKE_QUANT)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let inferred = infer_unary(node, &[TensorType::Float32])?;
        Nudged::of(node)?;
        Ok(inferred)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Nudged { low, high, scale } = Nudged::of(node)?;
        let inverse = 1.0 / scale;
        unary(move |x: f32| {
            let shifted = x.max(low).min(high) - low;
            (shifted * inverse).round() * scale + low
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "fake_quant_f32",
            supports: |_| true,
            prepare: |node, _| {
                let Nudged { low, high, scale } = Nudged::of(node)?;
                let inverse = 1.0 / scale;
                Ok(Box::new(FnKernel("fake_quant_f32", move |io: &mut Io<'_>| {
                    let input = io.input(0)?.slice::<f32>()?;
                    let output = io.outputs[0].slice::<f32>()?;
                    ensure!(input.len() == output.len(), "a kernel was prepared for other shapes");
                    for_items(io.pool, output, 1, 16 << 10, |range, part| {
                        for (o, &x) in part.iter_mut().zip(&input[range]) {
                            let steps = (x.max(low).min(high) - low) * inverse;
                            // Rounding of 0..=65535, halves up, that the compiler turns into vector code.
                            let whole = steps as i32 as f32;
                            let rounded = whole + if steps - whole >= 0.5 { 1.0 } else { 0.0 };
                            *o = rounded * scale + low;
                        }
                    });
                    Ok(())
                })))
            },
        }]
    }

    fn cases(&self) -> Vec<Case> {
        let options = FakeQuantOptionsT { min: -0.6, max: 0.9, num_bits: 8, narrow_range: false };
        let options = BuiltinOptions::FakeQuantOptions(Box::new(options));
        cases::unary(BuiltinOperator::FAKE_QUANT, &options, &[(TensorType::Float32, None)])
    }

    fn gradient(&self) -> Option<Gradient> {
        // Straight through within the range, its ends included.
        Some(|ctx| {
            let Some(o) = ctx.node.options.as_fake_quant_options() else {
                return Err(OpError::invalid("has no options"));
            };
            let Nudged { low, high, scale } = Nudged::new(o.min, o.max, o.num_bits, o.narrow_range)?;
            backward(ctx, |b, x| b.where_between(b.grad, x, low - scale / 1024.0, high + scale / 1024.0))
        })
    }
}
