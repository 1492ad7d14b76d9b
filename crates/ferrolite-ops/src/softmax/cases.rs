//! Generated cases of SOFTMAX.

use crate::common::cases::case;
use crate::op::Case;
use ferrolite_model::TensorType::{Float32, Int8, UInt8};
use ferrolite_model::schema::SoftmaxOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

pub fn cases() -> Vec<Case> {
    let shapes: [&[i32]; 6] = [&[1], &[10], &[1, 1001], &[64, 7], &[2, 3, 40, 40], &[5, 129]];
    let mut cases = Vec::new();
    for shape in shapes {
        for beta in [1.0, 0.3] {
            let options = BuiltinOptions::SoftmaxOptions(Box::new(SoftmaxOptionsT { beta }));
            let types = [
                (Float32, None, None),
                (Int8, Some((0.1, 4)), Some((1.0 / 256.0, -128))),
                (UInt8, Some((0.03, 130)), Some((1.0 / 256.0, 0))),
            ];
            for (ty, input, output) in types {
                let name = format!("{ty} {shape:?}, beta {beta}");
                let op = BuiltinOperator::SOFTMAX;
                cases.extend(case(name, op, options.clone(), &[(ty, shape, input)], (ty, shape, output)));
            }
        }
    }
    cases
}

/// Generated cases of LOG_SOFTMAX.
pub fn log_cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in [&[10][..], &[1, 1001], &[64, 7], &[5, 129]] {
        for (ty, input, output) in [
            (Float32, None, None),
            (Int8, Some((0.1, 4)), Some((16.0 / 256.0, 127))),
            (UInt8, Some((0.03, 130)), Some((16.0 / 256.0, 255))),
        ] {
            let options = BuiltinOptions::LogSoftmaxOptions(Box::default());
            let inputs = [(ty, shape, input)];
            all.extend(case(
                format!("{ty} {shape:?}"),
                BuiltinOperator::LOG_SOFTMAX,
                options,
                &inputs,
                (ty, shape, output),
            ));
        }
    }
    all
}
