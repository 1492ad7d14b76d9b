//! Generated cases.

use crate::common::linear_cases::Geometry;
use crate::op::Case;
use ferrolite_model::schema::{ActivationFunctionType, FullyConnectedOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (rows, depth, units)
const SIZES: [(i32, i32, i32); 10] = [
    (1, 1, 1),
    (1, 64, 10),
    (1, 1001, 37),
    (4, 32, 64),
    (5, 67, 33),
    (13, 15, 16),
    (17, 128, 130),
    (32, 784, 100),
    (64, 3, 5),
    (100, 256, 257),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (rows, depth, units)) in SIZES.into_iter().enumerate() {
        let geometry = Geometry {
            name: format!("{rows} x {depth} x {units}"),
            op: BuiltinOperator::FULLY_CONNECTED,
            options: BuiltinOptions::FullyConnectedOptions(Box::new(FullyConnectedOptionsT {
                fused_activation_function: [ActivationFunctionType::NONE, ActivationFunctionType::RELU][i % 2],
                asymmetric_quantize_inputs: i % 3 == 1,
                ..FullyConnectedOptionsT::default()
            })),
            x: &[rows, depth],
            w: &[units, depth],
            axis: 0,
            y: &[rows, units],
            depth: depth as usize,
            bias: i % 3 != 2,
            transposed: false,
        };
        cases.extend(geometry.cases());
    }
    cases
}
