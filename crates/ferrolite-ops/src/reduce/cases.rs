//! Generated cases.

use super::Kind;
use crate::common::cases::{Operand, node, typical};
use crate::op::Case;
use ferrolite_model::TensorType::{Bool, Float32, Int8, Int16, Int32, UInt8};
use ferrolite_model::schema::ReducerOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// Shapes with the dimensions that are reduced.
const SHAPES: [(&[i32], &[i32]); 8] = [
    (&[1, 7, 7, 40], &[1, 2]),
    (&[2, 9, 70], &[1]),
    (&[3, 5, 129], &[2]),
    (&[4, 6, 5, 7], &[0, 2]),
    (&[4, 6, 5, 7], &[1, 3]),
    (&[37], &[0]),
    (&[2, 3, 4], &[0, 1, 2]),
    (&[6, 1, 33], &[1]),
];

pub fn cases(op: BuiltinOperator, kind: Kind) -> Vec<Case> {
    let types = match kind {
        Kind::Any | Kind::All => &[Bool][..],
        // A product of many numbers of one scale says little: few types, and no quantized ones.
        Kind::Prod => &[Float32, Int32, Bool],
        Kind::Mean => &[Float32, Int8, UInt8, Int16, Int32],
        _ => &[Float32, Int8, UInt8, Int16, Int32, Bool],
    };
    let mut all = Vec::new();
    for &ty in types {
        for (shape, axes) in SHAPES {
            for keep_dims in [false, true] {
                let reduced = |d: usize| axes.contains(&(d as i32));
                let to: Vec<i32> = (0..shape.len())
                    .filter(|&d| keep_dims || !reduced(d))
                    .map(|d| if reduced(d) { 1 } else { shape[d] })
                    .collect();
                let options = BuiltinOptions::ReducerOptions(Box::new(ReducerOptionsT { keep_dims }));
                let input = typical(ty);
                // A sum spreads further than its inputs.
                let output = match kind {
                    Kind::Sum => input.map(|(scale, zero)| (scale * 12.0, zero)),
                    Kind::Mean => input.map(|(scale, zero)| (scale * 0.7, zero)),
                    _ => input,
                };
                let count = [axes.len() as i32];
                let operands = [Operand::Data((ty, shape, input)), Operand::Index(&count, axes)];
                let name = format!("{ty} {shape:?} {axes:?}{}", if keep_dims { " kept" } else { "" });
                all.extend(node(name, op, options, &operands, &[(ty, &to, output)]));
            }
        }
    }
    all
}
