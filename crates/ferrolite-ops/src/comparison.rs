//! EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER and GREATER_EQUAL, with broadcasting.
//!
//! Quantized 8-bit values (and int16 ones for equality) are compared at a common scale with 8 extra bits.
//! Source: LiteRT `kernels/comparisons.cc`, `reference/comparisons.h`.

use crate::common::broadcast::{Broadcast, binary, broadcast_shape};
use crate::common::cases::case;
use crate::common::elementwise::{Quantized, is_quantized};
use crate::common::requant::Multiplier;
use crate::common::strings::Strings;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// One comparison.
pub struct Comparison {
    op: BuiltinOperator,
    relation: Relation,
    version: i32,
}

/// EQUAL.
pub const EQUAL: Comparison = Comparison { op: BuiltinOperator::EQUAL, relation: Relation::Equal, version: 5 };
/// NOT_EQUAL.
pub const NOT_EQUAL: Comparison =
    Comparison { op: BuiltinOperator::NOT_EQUAL, relation: Relation::NotEqual, version: 4 };
/// LESS.
pub const LESS: Comparison = Comparison { op: BuiltinOperator::LESS, relation: Relation::Less, version: 3 };
/// LESS_EQUAL.
pub const LESS_EQUAL: Comparison =
    Comparison { op: BuiltinOperator::LESS_EQUAL, relation: Relation::LessEqual, version: 2 };
/// GREATER.
pub const GREATER: Comparison = Comparison { op: BuiltinOperator::GREATER, relation: Relation::Greater, version: 2 };
/// GREATER_EQUAL.
pub const GREATER_EQUAL: Comparison =
    Comparison { op: BuiltinOperator::GREATER_EQUAL, relation: Relation::GreaterEqual, version: 3 };

impl Relation {
    fn is_equality(self) -> bool {
        matches!(self, Relation::Equal | Relation::NotEqual)
    }

    /// The kernel that compares `key` of both inputs.
    fn kernel<T, K>(self, node: &NodeView<'_>, key: [impl Key<T, K>; 2]) -> Result<Box<dyn Kernel>, OpError>
    where
        T: Element,
        K: PartialOrd,
    {
        let [a, b] = key;
        match self {
            Relation::Equal => binary(node, move |x: T, y: T| u8::from(a(x) == b(y))),
            Relation::NotEqual => binary(node, move |x: T, y: T| u8::from(a(x) != b(y))),
            Relation::Less => binary(node, move |x: T, y: T| u8::from(a(x) < b(y))),
            Relation::LessEqual => binary(node, move |x: T, y: T| u8::from(a(x) <= b(y))),
            Relation::Greater => binary(node, move |x: T, y: T| u8::from(a(x) > b(y))),
            Relation::GreaterEqual => binary(node, move |x: T, y: T| u8::from(a(x) >= b(y))),
        }
    }

    fn plain<T: Element + PartialOrd>(self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        self.kernel(node, [|x: T| x; 2])
    }

    fn quantized<T: Quantized>(self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if !is_quantized(node.input(0)?) && !is_quantized(node.input(1)?) {
            return self.plain::<T>(node);
        }
        let key = |i: usize| {
            let (scale, zero) = node.input(i)?.scale_zero_point()?;
            let factor = Multiplier::new(scale.into())?;
            Ok(move |x: T| factor.apply(x.widen().wrapping_sub(zero).wrapping_mul(1 << 8)))
        };
        self.kernel(node, [key(0)?, key(1)?])
    }
}

/// What is compared in place of an element.
trait Key<T, K>: Fn(T) -> K + Send + Sync + 'static {}

impl<T, K, F: Fn(T) -> K + Send + Sync + 'static> Key<T, K> for F {}

impl OpDef for Comparison {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=self.version
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (a, b) = (node.input(0)?, node.input(1)?);
        ensure!(a.ty == b.ty, "inputs of types {} and {} differ", a.ty, b.ty);
        Ok(smallvec![Inferred { ty: TensorType::Bool, shape: Some(broadcast_shape(&[&a.shape, &b.shape])?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let relation = self.relation;
        match node.input(0)?.ty {
            TensorType::Float32 => relation.plain::<f32>(node),
            TensorType::Float64 => relation.plain::<f64>(node),
            TensorType::Float16 => relation.plain::<half::f16>(node),
            TensorType::BFloat16 => relation.plain::<half::bf16>(node),
            TensorType::Int32 => relation.plain::<i32>(node),
            TensorType::Int64 => relation.plain::<i64>(node),
            TensorType::UInt32 => relation.plain::<u32>(node),
            TensorType::Bool => relation.kernel(node, [|x: u8| x != 0; 2]),
            TensorType::Int8 => relation.quantized::<i8>(node),
            TensorType::UInt8 => relation.quantized::<u8>(node),
            TensorType::Int16 if relation.is_equality() => relation.quantized::<i16>(node),
            TensorType::Int16 => relation.plain::<i16>(node),
            TensorType::String if relation.is_equality() => strings(node, relation == Relation::Equal),
            ty => Err(OpError::unsupported(format!("inputs of type {ty}"))),
        }
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::{Bool, Float32, Int8, Int32, Int64, UInt8};
        let options = match self.relation {
            Relation::Equal => BuiltinOptions::EqualOptions(Box::default()),
            Relation::NotEqual => BuiltinOptions::NotEqualOptions(Box::default()),
            Relation::Less => BuiltinOptions::LessOptions(Box::default()),
            Relation::LessEqual => BuiltinOptions::LessEqualOptions(Box::default()),
            Relation::Greater => BuiltinOptions::GreaterOptions(Box::default()),
            Relation::GreaterEqual => BuiltinOptions::GreaterEqualOptions(Box::default()),
        };
        let mut all = Vec::new();
        for ty in [Float32, Int8, UInt8, Int32, Int64, Bool] {
            if ty == Bool && !self.relation.is_equality() {
                continue;
            }
            let scales = match ty {
                Int8 => [Some((0.04, -7)), Some((0.03, 11))],
                UInt8 => [Some((0.04, 120)), Some((0.03, 140))],
                _ => [None; 2],
            };
            for (a, b, to) in SHAPES {
                let inputs = [(ty, a, scales[0]), (ty, b, scales[1])];
                all.extend(case(format!("{ty} {a:?} {b:?}"), self.op, options.clone(), &inputs, (Bool, to, None)));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { output: OutputRule::NotQuantized, int16: false, ..QuantRule::BINARY })
    }
}

fn strings(node: &NodeView<'_>, equal: bool) -> Result<Box<dyn Kernel>, OpError> {
    let walk = Broadcast::<2>::of(node)?;
    reference(move |io| {
        let (a, b) = (Strings::new(io.input(0)?.bytes)?, Strings::new(io.input(1)?.bytes)?);
        let output = io.outputs[0].bytes();
        walk.check([a.len(), b.len()], output.len())?;
        let (_, [step_a, step_b]) = walk.inner();
        walk.for_each(0..walk.output_len(), |start, [at_a, at_b], len| {
            for (i, o) in output[start..start + len].iter_mut().enumerate() {
                let (a, b) = (a.get(at_a + i * usize::from(step_a)), b.get(at_b + i * usize::from(step_b)));
                *o = u8::from((a == b) == equal);
            }
        });
        Ok(())
    })
}

/// Shapes that are compared, and what they broadcast to.
const SHAPES: [(&[i32], &[i32], &[i32]); 5] = [
    (&[4, 33], &[4, 33], &[4, 33]),
    (&[5, 70], &[], &[5, 70]),
    (&[33], &[3, 4, 33], &[3, 4, 33]),
    (&[8, 1, 40], &[1, 6, 40], &[8, 6, 40]),
    (&[1], &[1], &[1]),
];
