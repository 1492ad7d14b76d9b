//! MAXIMUM and MINIMUM: elementwise, with broadcasting. Quantized tensors share their parameters, so that stored values
//! compare directly.

use crate::common::backward::Backward;
use crate::common::broadcast::{binary, broadcast_shape};
use crate::common::cases;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::quantize::{OutputRule, QuantRule};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_kernels::Binary;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// MAXIMUM or MINIMUM.
pub struct Extremum {
    op: BuiltinOperator,
    maximum: bool,
    fast: &'static [FastKernel],
}

const UNBOUNDED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// MAXIMUM.
pub const MAXIMUM: Extremum = Extremum {
    op: BuiltinOperator::MAXIMUM,
    maximum: true,
    fast: &[FastKernel {
        name: "maximum_f32",
        supports: vector::is_f32,
        prepare: |node, isa| vector::binary("maximum_f32", node, isa, Binary::Max, UNBOUNDED),
    }],
};

/// MINIMUM.
pub const MINIMUM: Extremum = Extremum {
    op: BuiltinOperator::MINIMUM,
    maximum: false,
    fast: &[FastKernel {
        name: "minimum_f32",
        supports: vector::is_f32,
        prepare: |node, isa| vector::binary("minimum_f32", node, isa, Binary::Min, UNBOUNDED),
    }],
};

impl OpDef for Extremum {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (a, b) = (node.input(0)?, node.input(1)?);
        ensure!(a.ty == b.ty, "inputs of types {} and {} differ", a.ty, b.ty);
        Ok(smallvec![Inferred { ty: a.ty, shape: Some(broadcast_shape(&[&a.shape, &b.shape])?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Float32 => self.kernel::<f32>(node),
            TensorType::Float64 => self.kernel::<f64>(node),
            TensorType::Float16 => self.kernel::<half::f16>(node),
            TensorType::BFloat16 => self.kernel::<half::bf16>(node),
            TensorType::Int8 => self.kernel::<i8>(node),
            TensorType::UInt8 => self.kernel::<u8>(node),
            TensorType::Int16 => self.kernel::<i16>(node),
            TensorType::Int32 => self.kernel::<i32>(node),
            TensorType::Int64 => self.kernel::<i64>(node),
            ty => Err(OpError::unsupported(format!("inputs of type {ty}"))),
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        self.fast
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { output: OutputRule::SameAsInput, ..QuantRule::BINARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        let (larger, smaller): (Gradient, Gradient) = (
            |ctx| chosen(Backward::new(ctx)?, |b| Ok(b.sub(b.input(0)?, b.input(1)?))),
            |ctx| chosen(Backward::new(ctx)?, |b| Ok(b.sub(b.input(1)?, b.input(0)?))),
        );
        Some(if self.maximum { larger } else { smaller })
    }

    fn cases(&self) -> Vec<Case> {
        cases::binary(self.op, &[("", BuiltinOptions::NONE)], &[TensorType::Float32])
    }
}

impl Extremum {
    /// Where neither is larger (NaN, zeros of either sign) the second one is taken, as in LiteRT.
    fn kernel<T: Element + PartialOrd>(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if self.maximum {
            binary(node, |a: T, b: T| if a > b { a } else { b })
        } else {
            binary(node, |a: T, b: T| if a < b { a } else { b })
        }
    }
}

/// The gradient goes to input 0 where `lead` is positive, elsewhere to input 1.
fn chosen(
    mut b: Backward<'_, '_>,
    lead: impl Fn(&mut Backward<'_, '_>) -> Result<TensorId, OpError>,
) -> Result<Vec<Option<TensorId>>, OpError> {
    let lead = lead(&mut b)?;
    let first = b.where_positive(b.grad, lead);
    b.both(|_| Ok(first), |b| Ok(b.sub(b.grad, first)))
}
