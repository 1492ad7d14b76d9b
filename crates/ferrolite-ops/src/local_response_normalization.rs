//! LOCAL_RESPONSE_NORMALIZATION: y = x / (bias + alpha · s)^beta, where s is the sum of squares of the channels at most
//! `radius` away.

use crate::common::cases::case;
use crate::common::elementwise::infer_unary;
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::schema::LocalResponseNormalizationOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// LOCAL_RESPONSE_NORMALIZATION.
pub struct LocalResponseNormalization;

impl OpDef for LocalResponseNormalization {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LOCAL_RESPONSE_NORMALIZATION)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let inferred = infer_unary(node, &[TensorType::Float32])?;
        let rank = node.input(0)?.shape.len();
        ensure!(rank == 4, "the input has {rank} dimensions, not 4");
        let options = node.options.as_local_response_normalization_options();
        ensure!(options.is_some_and(|o| o.radius >= 0), "the radius is negative, or there are no options");
        Ok(inferred)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Some(o) = node.options.as_local_response_normalization_options() else {
            return Err(OpError::invalid("options are missing"));
        };
        let depth = node.input(0)?.shape[3].max(1);
        let radius = usize::try_from(o.radius).unwrap_or(0);
        let (bias, alpha, beta) = (o.bias, o.alpha, o.beta);
        reference(move |io| {
            let input = io.input(0)?.slice::<f32>()?;
            let output = io.outputs[0].slice::<f32>()?;
            for (x, y) in input.chunks_exact(depth).zip(output.chunks_exact_mut(depth)) {
                for (c, y) in y.iter_mut().enumerate() {
                    // LiteRT's reference kernel leaves out the last of these channels, which its optimized kernel and
                    // TensorFlow's definition do not.
                    let near = &x[c.saturating_sub(radius)..c.saturating_add(radius).saturating_add(1).min(depth)];
                    let squares = near.iter().fold(0.0, |sum, x| sum + x * x);
                    *y = x[c] * (bias + alpha * squares).powf(-beta);
                }
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (radius, bias, alpha, beta) in [(5, 1.0, 1.0, 0.5), (1, 2.0, 0.01, 0.75), (9, 0.5, 0.3, 1.0)] {
            let options = LocalResponseNormalizationOptionsT { radius, bias, alpha, beta };
            let options = BuiltinOptions::LocalResponseNormalizationOptions(Box::new(options));
            let name = format!("radius {radius}, bias {bias}, alpha {alpha}, beta {beta}");
            let tensor = (TensorType::Float32, &[2, 3, 4, 17][..], None);
            let op = BuiltinOperator::LOCAL_RESPONSE_NORMALIZATION;
            cases.extend(case(name, op, options, &[tensor], tensor));
        }
        cases
    }
}
