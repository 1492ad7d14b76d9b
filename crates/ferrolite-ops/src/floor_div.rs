//! FLOOR_DIV and FLOOR_MOD: the quotient rounded down, and what it leaves, which has the divisor's sign.
//!
//! An integer divisor of 0 is an error; for FLOOR_DIV a float one is, too. Sources: LiteRT `kernels/{floor_div,floor_mod}.cc`,
//! `reference/{floor_div,floor_mod}.h`.

use crate::common::broadcast::Broadcast;
use crate::common::elementwise::infer_binary;
use crate::common::node_case::NodeCase;
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// One of the two operators.
pub struct FloorDivision {
    op: BuiltinOperator,
    versions: RangeInclusive<i32>,
    types: &'static [TensorType],
}

/// FLOOR_DIV.
pub const FLOOR_DIV: FloorDivision = FloorDivision {
    op: BuiltinOperator::FLOOR_DIV,
    versions: 1..=3,
    types: &[TensorType::Float32, TensorType::Int8, TensorType::Int16, TensorType::Int32],
};
/// FLOOR_MOD.
pub const FLOOR_MOD: FloorDivision = FloorDivision {
    op: BuiltinOperator::FLOOR_MOD,
    versions: 1..=2,
    types: &[TensorType::Float32, TensorType::Int8, TensorType::Int16, TensorType::Int32, TensorType::Int64],
};

/// out = f(a, b), where `refused` divisors are an error.
fn divide<T: Element + PartialEq + Send + Sync>(
    node: &NodeView<'_>,
    refused: Option<T>,
    f: fn(T, T) -> T,
) -> Result<Box<dyn Kernel>, OpError> {
    let walk = Broadcast::<2>::of(node)?;
    reference(move |io| {
        let (a, b) = (io.input(0)?.slice::<T>()?, io.input(1)?.slice::<T>()?);
        ensure!(!refused.is_some_and(|zero| b.contains(&zero)), "division by zero");
        walk.map(a, b, io.outputs[0].slice::<T>()?, f)
    })
}

macro_rules! integer {
    ($node:expr, $ty:ty, $is_div:expr) => {{
        let div: fn($ty, $ty) -> $ty = |a, b| {
            let quotient = a.wrapping_div(b);
            if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
        };
        let modulo: fn($ty, $ty) -> $ty = |a, b| {
            let rest = a.wrapping_rem(b);
            if rest != 0 && (b < 0) != (rest < 0) { rest + b } else { rest }
        };
        divide::<$ty>($node, Some(0), if $is_div { div } else { modulo })
    }};
}

fn floor_div_f32(a: f32, b: f32) -> f32 {
    (f64::from(a) / f64::from(b)).floor() as f32
}

fn floor_mod_f32(a: f32, b: f32) -> f32 {
    let rest = a % b;
    if rest != 0.0 && (b < 0.0) != (rest < 0.0) { rest + b } else { rest }
}

impl OpDef for FloorDivision {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        self.versions.clone()
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_binary(node, self.types)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let is_div = self.op == BuiltinOperator::FLOOR_DIV;
        match node.input(0)?.ty {
            TensorType::Float32 if is_div => divide(node, Some(0.0), floor_div_f32),
            TensorType::Float32 => divide(node, None, floor_mod_f32),
            TensorType::Int8 => integer!(node, i8, is_div),
            TensorType::Int16 => integer!(node, i16, is_div),
            TensorType::Int32 => integer!(node, i32, is_div),
            _ => integer!(node, i64, is_div),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let shapes: [[&[i32]; 3]; 5] = [
            [&[2, 3, 6], &[2, 3, 6], &[2, 3, 6]],
            [&[4, 3, 6], &[6], &[4, 3, 6]],
            [&[5, 7], &[], &[5, 7]],
            [&[1, 4, 4, 1], &[3, 1, 1, 6], &[3, 4, 4, 6]],
            [&[3, 1, 2, 4, 1], &[3, 5, 1, 4, 6], &[3, 5, 2, 4, 6]],
        ];
        let mut cases = Vec::new();
        for &ty in self.types {
            for [a, b, y] in shapes {
                // No divisor is 0, and −128 / −1 does not occur.
                let divisors = || (0..b.iter().product::<i32>()).map(|i| [3, -7, 11, -2, 5, 1][i as usize % 6]);
                let case = NodeCase::new().drawn((ty, a, None));
                let case = match ty {
                    TensorType::Float32 => {
                        case.constant::<f32>(ty, b, &divisors().map(|x| x as f32 * 0.11).collect::<Vec<_>>())
                    }
                    TensorType::Int8 => case.constant::<i8>(ty, b, &divisors().map(|x| x as i8).collect::<Vec<_>>()),
                    TensorType::Int16 => case.constant::<i16>(ty, b, &divisors().map(|x| x as i16).collect::<Vec<_>>()),
                    TensorType::Int32 => case.constant::<i32>(ty, b, &divisors().collect::<Vec<_>>()),
                    _ => case.constant::<i64>(ty, b, &divisors().map(i64::from).collect::<Vec<_>>()),
                };
                cases.extend(case.finish(format!("{ty} {a:?} {b:?}"), self.op, BuiltinOptions::NONE, &[(ty, y, None)]));
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{Pick, TestTensor, run};

    #[test]
    fn rounds_down_and_refuses_zero() {
        let of = |op: &FloorDivision, a: i8, b: i8| {
            let inputs = [a, b].map(|x| TestTensor::new(TensorType::Int8, &[1], &[x]));
            let outputs = [(TensorType::Int8, None)];
            Some(run(op, &BuiltinOptions::NONE, &inputs, &outputs, Pick::Reference).ok()?[0].values::<i8>()[0])
        };
        assert_eq!([(7, 2), (-7, 2), (7, -2), (-7, -2)].map(|(a, b)| of(&FLOOR_DIV, a, b).unwrap()), [3, -4, -4, 3]);
        assert_eq!([(7, 2), (-7, 2), (7, -2), (-7, -2)].map(|(a, b)| of(&FLOOR_MOD, a, b).unwrap()), [1, 1, -1, -1]);
        assert_eq!((of(&FLOOR_DIV, i8::MIN, -1), of(&FLOOR_MOD, i8::MIN, -1)), (Some(i8::MIN), Some(0)));
        assert_eq!((of(&FLOOR_DIV, 1, 0), of(&FLOOR_MOD, 1, 0)), (None, None));
        assert!(floor_mod_f32(1.0, 0.0).is_nan());
    }
}
