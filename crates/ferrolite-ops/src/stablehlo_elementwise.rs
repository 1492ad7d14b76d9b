//! Elementwise StableHLO operators of two tensors of one shape.

use crate::common::cases;
use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::common::number::Number;
use crate::for_number;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// An elementwise operator of two tensors.
pub struct Elementwise {
    op: BuiltinOperator,
    function: Function,
}

#[derive(Clone, Copy, PartialEq)]
enum Function {
    Add,
    Multiply,
    Maximum,
    Minimum,
    And,
    ShiftLeft,
}

const fn define(op: BuiltinOperator, function: Function) -> Elementwise {
    Elementwise { op, function }
}

/// STABLEHLO_ADD: integers wrap; bools add by "or".
pub const STABLEHLO_ADD: Elementwise = define(BuiltinOperator::STABLEHLO_ADD, Function::Add);
/// STABLEHLO_MULTIPLY: integers wrap; bools multiply by "and".
pub const STABLEHLO_MULTIPLY: Elementwise = define(BuiltinOperator::STABLEHLO_MULTIPLY, Function::Multiply);
/// STABLEHLO_MAXIMUM.
pub const STABLEHLO_MAXIMUM: Elementwise = define(BuiltinOperator::STABLEHLO_MAXIMUM, Function::Maximum);
/// STABLEHLO_MINIMUM.
pub const STABLEHLO_MINIMUM: Elementwise = define(BuiltinOperator::STABLEHLO_MINIMUM, Function::Minimum);
/// STABLEHLO_AND: bitwise.
pub const STABLEHLO_AND: Elementwise = define(BuiltinOperator::STABLEHLO_AND, Function::And);
/// STABLEHLO_SHIFT_LEFT.
pub const STABLEHLO_SHIFT_LEFT: Elementwise = define(BuiltinOperator::STABLEHLO_SHIFT_LEFT, Function::ShiftLeft);

impl OpDef for Elementwise {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (a, b) = (node.input(0)?, node.input(1)?);
        ensure!(a.ty == b.ty, "inputs of types {} and {} differ", a.ty, b.ty);
        ensure!(a.shape == b.shape, "inputs of shapes {:?} and {:?} differ", a.shape, b.shape);
        use TensorType::*;
        match self.function {
            Function::And => check_type(a.ty, &[Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64])?,
            Function::ShiftLeft => check_type(a.ty, &[Int8, Int16, Int32])?,
            _ => for_number!(a.ty, T => Ok(size_of::<T>())).map(|_| ())?,
        }
        Ok(smallvec![Inferred { ty: a.ty, shape: Some(a.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let ty = node.input(0)?.ty;
        match self.function {
            // As std::max and std::min do: where neither is larger, the first one.
            Function::Add => for_number!(ty, T => apply::<T>(T::plus)),
            Function::Multiply => for_number!(ty, T => apply::<T>(T::times)),
            Function::Maximum => for_number!(ty, T => apply::<T>(|a, b| if a < b { b } else { a })),
            Function::Minimum => for_number!(ty, T => apply::<T>(|a, b| if b < a { b } else { a })),
            Function::And => reference(|io| {
                let (a, b) = (io.input(0)?.bytes, io.input(1)?.bytes);
                io.outputs[0].bytes().iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = a & b);
                Ok(())
            }),
            // By StableHLO, bits shifted by the width or more are gone; C++ leaves that open.
            Function::ShiftLeft => match ty {
                TensorType::Int8 => apply::<i8>(|a, b| shift(b, 8).map_or(0, |n| a << n)),
                TensorType::Int16 => apply::<i16>(|a, b| shift(b, 16).map_or(0, |n| a << n)),
                _ => apply::<i32>(|a, b| shift(b, 32).map_or(0, |n| a << n)),
            },
        }
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let types: &[TensorType] = match self.function {
            Function::And => &[Bool, Int8, Int64],
            Function::ShiftLeft => &[Int8, Int16, Int32],
            _ => &[Float32, Float16, Int8, UInt16, Int32, Int64],
        };
        let shapes: [&[i32]; 3] = [&[], &[7], &[2, 3, 1, 5]];
        let all = types.iter().flat_map(|&ty| shapes.map(|shape| (ty, shape)));
        let case = |(ty, shape): (TensorType, &[i32])| {
            let (name, spec) = (format!("{ty} {shape:?}"), (ty, shape, None));
            if self.function == Function::ShiftLeft {
                // Every number of bits below the width.
                let count = shape.iter().product::<i32>() as usize;
                let bits = |i: usize| [(i % ty.bits()) as u8, 0, 0, 0].into_iter().take(ty.bits() / 8);
                let bytes: Vec<u8> = (0..count).flat_map(bits).collect();
                let node = NodeCase::new().drawn(spec).constant(ty, shape, &bytes);
                let node = node.options2(BuiltinOptions2::StablehloShiftLeftOptions(Default::default()));
                return node.finish(name, self.op, BuiltinOptions::NONE, &[spec]);
            }
            cases::case2(name, self.op, &[spec, spec], &[spec], |_| BuiltinOptions2::NONE)
        };
        all.filter_map(case).collect()
    }
}

/// A shift by fewer bits than the width.
fn shift(by: impl TryInto<u32>, width: u32) -> Option<u32> {
    by.try_into().ok().filter(|&n| n < width)
}

fn apply<T: Number>(f: fn(T, T) -> T) -> Result<Box<dyn Kernel>, OpError> {
    reference(move |io| {
        let (a, b) = (io.input(0)?.slice::<T>()?, io.input(1)?.slice::<T>()?);
        let out = io.outputs[0].slice::<T>()?;
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (&a, &b))| *out = f(a, b));
        Ok(())
    })
}
