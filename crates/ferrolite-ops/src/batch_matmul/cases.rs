//! Generated cases.

use crate::common::cases::case;
use crate::common::linear_cases::{Geometry, Kind};
use crate::op::Case;
use ferrolite_model::TensorType::{Float32, Int8};
use ferrolite_model::schema::BatchMatMulOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (leading dimensions of the left operand, of the right, of the output, m, k, n)
const SIZES: [(&[i32], &[i32], &[i32], i32, i32, i32); 7] = [
    (&[], &[], &[], 5, 7, 9),
    (&[3], &[3], &[3], 16, 8, 33),
    (&[2, 4], &[2, 4], &[2, 4], 17, 32, 17),
    (&[4], &[1], &[4], 6, 20, 12),
    (&[2, 1], &[1, 3], &[2, 3], 4, 5, 6),
    (&[], &[3], &[3], 1, 64, 2),
    (&[2, 3], &[], &[2, 3], 30, 16, 20),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (left, right, leading, m, k, n) in SIZES {
        for (adj_x, adj_y) in [(false, false), (false, true), (true, false), (true, true)] {
            let matrix = |outer: &[i32], rows, columns, adj| -> Vec<i32> {
                let last = if adj { [columns, rows] } else { [rows, columns] };
                outer.iter().copied().chain(last).collect()
            };
            let (x, y) = (matrix(left, m, k, adj_x), matrix(right, k, n, adj_y));
            let out = matrix(leading, m, n, false);
            for asymmetric_quantize_inputs in [false, true] {
                let options = BatchMatMulOptionsT { adj_x, adj_y, asymmetric_quantize_inputs };
                let options = BuiltinOptions::BatchMatMulOptions(Box::new(options));
                let geometry = Geometry {
                    name: format!("{x:?} by {y:?}, {adj_x} {adj_y} {asymmetric_quantize_inputs}"),
                    op: BuiltinOperator::BATCH_MATMUL,
                    options: options.clone(),
                    x: &x,
                    w: &y,
                    axis: y.len() - if adj_y { 2 } else { 1 },
                    y: &out,
                    depth: k as usize,
                    bias: false,
                    transposed: false,
                };
                cases.extend(geometry.case(Kind::HybridPerTensor));
                if asymmetric_quantize_inputs {
                    continue;
                }
                cases.extend(
                    [Kind::Float, Kind::Trained, Kind::Int8PerTensor, Kind::Int16PerTensor]
                        .iter()
                        .filter_map(|&k| geometry.case(k)),
                );
                // Both operands with zero points, neither constant.
                let name = format!("Int8 {x:?} by {y:?}, {adj_x} {adj_y}");
                let inputs = [(Int8, &x[..], Some((0.05, -7))), (Int8, &y[..], Some((0.02, 11)))];
                let op = BuiltinOperator::BATCH_MATMUL;
                cases.extend(case(name.clone(), op, options.clone(), &inputs, (Int8, &out, Some((0.2, 3)))));
                let inputs = [(Float32, &x[..], None), (Float32, &y[..], None)];
                cases.extend(case(name, op, options, &inputs, (Float32, &out, None)));
            }
        }
    }
    cases
}
