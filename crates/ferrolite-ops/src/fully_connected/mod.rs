//! FULLY_CONNECTED: y = activation(x · wᵀ + bias), w of shape (units, depth).

mod blockwise;
mod cases;
mod fast;
mod gradient;
mod infer;
mod reference;
mod swapped;

use crate::OpError;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::{OutputRule, QuantRule, WeightRule};
use ferrolite_model::BuiltinOperator;
use std::ops::RangeInclusive;

/// FULLY_CONNECTED.
pub struct FullyConnected;

impl OpDef for FullyConnected {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::FULLY_CONNECTED)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=14
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer::infer(node)
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
        Some(QuantRule {
            activations: Some(&[0]),
            weights: Some(WeightRule { input: 1, axis: 0, activation: 0, int4: true }),
            bias: Some(2),
            output: OutputRule::Free,
            int8: true,
            int16: true,
            hybrid: true,
        })
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(gradient::gradient)
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        infer::problem(node)
            .map_or(0, |p| (p.rows as u64).saturating_mul((p.depth as u64).saturating_mul(p.units as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::FullyConnected;
    use crate::common::testing::{Pick, TestTensor, run};
    use ferrolite_model::TensorType::{Float32, Int8, Int32};
    use ferrolite_model::{BuiltinOptions, Quantization};

    fn options() -> BuiltinOptions {
        BuiltinOptions::FullyConnectedOptions(Box::default())
    }

    #[test]
    fn float_and_int8_by_hand() {
        let x = TestTensor::f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let w = TestTensor::f32(&[1, 2], &[10.0, 1.0]);
        let b = TestTensor::f32(&[1], &[0.5]);
        let y = run(&FullyConnected, &options(), &[x, w, b], &[(Float32, None)], Pick::Reference).unwrap();
        assert_eq!((y[0].values::<f32>(), &y[0].shape[..]), (vec![12.5, 34.5], &[2, 1][..]));

        let x = TestTensor::new::<i8>(Int8, &[1, 2], &[3, -1]).scaled(0.5, 1);
        let w = TestTensor::new::<i8>(Int8, &[1, 2], &[4, 2]).scaled(0.25, 0);
        let b = TestTensor::new::<i32>(Int32, &[1], &[3]).scaled(0.125, 0);
        // ((3 − 1) · 4 + (−1 − 1) · 2 + 3) · 0.125 / 0.5 + 7
        let out = Some(Quantization::per_tensor(0.5, 7));
        let y = run(&FullyConnected, &options(), &[x, w, b], &[(Int8, out)], Pick::Reference).unwrap();
        assert_eq!(y[0].values::<i8>(), [9]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let bad = |x: TestTensor, w: TestTensor| {
            run(&FullyConnected, &options(), &[x, w], &[(Float32, None)], Pick::Reference).is_err()
        };
        assert!(bad(TestTensor::f32(&[3], &[0.0; 3]), TestTensor::f32(&[1, 2], &[0.0; 2])));
        assert!(bad(TestTensor::f32(&[2], &[0.0; 2]), TestTensor::f32(&[2], &[0.0; 2])));
        assert!(bad(TestTensor::f32(&[2], &[0.0; 2]), TestTensor::f32(&[3, 0], &[])));
        assert!(bad(TestTensor::f32(&[2], &[0.0; 2]), TestTensor::new::<i8>(Int8, &[1, 2], &[1, 1])));
    }
}
