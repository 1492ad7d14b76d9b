//! ATAN2: the angle of the point (x, y), in −π to π.

use crate::common::broadcast::binary;
use crate::common::cases::case;
use crate::common::elementwise::check_type;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{BFloat16, Float16, Float32, Float64};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use half::{bf16, f16};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// ATAN2. Inputs: y, x, of one shape.
pub struct Atan2;

impl OpDef for Atan2 {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ATAN2)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (y, x) = (node.input(0)?, node.input(1)?);
        ensure!(y.ty == x.ty, "inputs of types {} and {} differ", y.ty, x.ty);
        check_type(y.ty, &[Float32, Float64, Float16, BFloat16])?;
        ensure!(y.shape == x.shape, "shapes {:?} and {:?} differ", y.shape, x.shape);
        Ok(smallvec![Inferred { ty: y.ty, shape: Some(y.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            Float32 => binary(node, f32::atan2),
            Float16 => binary(node, |y: f16, x: f16| f16::from_f32(y.to_f32().atan2(x.to_f32()))),
            BFloat16 => binary(node, |y: bf16, x: bf16| bf16::from_f32(y.to_f32().atan2(x.to_f32()))),
            _ => binary(node, f64::atan2),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in [Float32, Float64, Float16] {
            for shape in [&[][..], &[37], &[2, 3, 4, 5]] {
                let (op, spec) = (BuiltinOperator::ATAN2, (ty, shape, None));
                cases.extend(case(format!("{ty} {shape:?}"), op, BuiltinOptions::NONE, &[spec, spec], spec));
            }
        }
        cases
    }
}
