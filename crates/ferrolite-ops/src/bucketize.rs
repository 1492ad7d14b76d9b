//! BUCKETIZE: how many of the sorted boundaries are not above each element.

use crate::common::cases::case;
use crate::common::elementwise::{check_type, unary};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::schema::BucketizeOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// BUCKETIZE.
pub struct Bucketize;

const TYPES: [TensorType; 4] = [Float32, Float64, Int32, Int64];

fn boundaries<'a>(node: &NodeView<'a>) -> &'a [f32] {
    node.options.as_bucketize_options().and_then(|o| o.boundaries.as_deref()).unwrap_or_default()
}

impl OpDef for Bucketize {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::BUCKETIZE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        check_type(input.ty, &TYPES)?;
        ensure!(boundaries(node).windows(2).all(|w| w[0] <= w[1]), "the boundaries are not sorted");
        Ok(smallvec![Inferred { ty: Int32, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let boundaries = boundaries(node).to_vec();
        // NaN is below nothing.
        let count = move |is_below: &dyn Fn(f32) -> bool| boundaries.partition_point(|&b| !is_below(b)) as i32;
        match node.input(0)?.ty {
            Float32 => unary(move |x: f32| count(&|b| x < b)),
            Float64 => unary(move |x: f64| count(&|b| x < f64::from(b))),
            // Integers are compared as float32.
            Int32 => unary(move |x: i32| count(&|b| (x as f32) < b)),
            _ => unary(move |x: i64| count(&|b| (x as f32) < b)),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in TYPES {
            for boundaries in [&[][..], &[0.5], &[-0.7, -0.1, 0.0, 0.4, 1.0, 40.0]] {
                let boundaries = Some(boundaries.to_vec());
                let name = format!("{ty} {:?}", boundaries.as_deref().unwrap_or_default());
                let options = BuiltinOptions::BucketizeOptions(Box::new(BucketizeOptionsT { boundaries }));
                let (input, output) = ((ty, &[3, 17][..], None), (Int32, &[3, 17][..], None));
                cases.extend(case(name, BuiltinOperator::BUCKETIZE, options, &[input], output));
            }
        }
        cases
    }
}
