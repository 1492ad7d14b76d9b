//! POW: elementwise power, with broadcasting. Negative integer exponents are an error.

use crate::common::backward::Backward;
use crate::common::broadcast::{Broadcast, binary};
use crate::common::cases::{Operand, node};
use crate::common::elementwise::infer_binary;
use crate::gradient::Gradient;
use crate::op::{Case, InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// POW.
pub struct Pow;

impl OpDef for Pow {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::POW)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_binary(node, &[TensorType::Float32, TensorType::Int32])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if node.input(0)?.ty == TensorType::Float32 {
            return binary(node, f32::powf);
        }
        let walk = Broadcast::<2>::of(node)?;
        reference(move |io| {
            let (a, b) = (io.input(0)?.slice::<i32>()?, io.input(1)?.slice::<i32>()?);
            ensure!(b.iter().all(|&b| b >= 0), "an int32 exponent is negative");
            // LiteRT goes through double precision; that is exact until it overflows, where wrapping is as good.
            walk.map(a, b, io.outputs[0].slice::<i32>()?, |a, b| a.wrapping_pow(b as u32))
        })
    }

    fn cases(&self) -> Vec<Case> {
        const SHAPES: [[&[i32]; 3]; 3] =
            [[&[5, 9], &[5, 9], &[5, 9]], [&[4, 33], &[], &[4, 33]], [&[3, 1], &[1, 7], &[3, 7]]];
        let mut all = Vec::new();
        for ty in [TensorType::Float32, TensorType::Int32] {
            for [a, b, to] in SHAPES {
                // Exponents that leave room in int32.
                let small: Vec<i32> = (0..b.iter().product::<i32>()).map(|i| (i + 2) % 5).collect();
                let exponent = match ty {
                    TensorType::Int32 => Operand::Index(b, &small),
                    _ => Operand::Data((ty, b, None)),
                };
                let operands = [Operand::Data((ty, a, None)), exponent];
                let options = BuiltinOptions::PowOptions(Box::default());
                let name = format!("{ty} {a:?} {b:?}");
                all.extend(node(name, BuiltinOperator::POW, options, &operands, &[(ty, to, None)]));
            }
        }
        all
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(|ctx| {
            let mut back = Backward::new(ctx)?;
            let (a, b) = (back.input(0)?, back.input(1)?);
            // d(a^b) = da · b · a^(b − 1) + db · a^b · ln a
            back.both(
                |back| {
                    let one = back.scalar(1.0);
                    let exponent = back.emit_like(BuiltinOperator::SUB, &[b, one], b);
                    let power = back.emit(BuiltinOperator::POW, &[a, exponent]);
                    let slope = back.mul(power, b);
                    Ok(back.mul(back.grad, slope))
                },
                |back| {
                    let log = back.emit_like(BuiltinOperator::LOG, &[a], a);
                    let slope = back.mul(back.output, log);
                    Ok(back.mul(back.grad, slope))
                },
            )
        })
    }
}
