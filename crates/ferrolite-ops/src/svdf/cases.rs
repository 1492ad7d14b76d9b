//! Generated cases.

use crate::common::recurrent_cases::CaseBuilder;
use crate::op::Case;
use ferrolite_model::TensorType::{Float32, Int8, Int16, Int32, UInt8};
use ferrolite_model::schema::{ActivationFunctionType as A, SVDFOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (batch, input, units, rank, memory)
const SIZES: [(i32, i32, i32, i32, i32); 6] =
    [(1, 3, 2, 1, 4), (2, 5, 4, 2, 10), (3, 1, 7, 1, 1), (1, 40, 64, 1, 8), (4, 33, 17, 3, 5), (2, 96, 32, 2, 32)];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, size) in SIZES.into_iter().enumerate() {
        for (ty, asymmetric) in [(Float32, false), (Int8, false), (Int8, true), (UInt8, false)] {
            let (batch, input, units, rank, memory) = size;
            let filters = units * rank;
            let mut b = CaseBuilder::new(i + 1);
            let scale = (ty != Float32).then_some((0.004, 0));
            b.input(Float32, &[batch, input], None);
            b.constant(ty, &[filters, input], 0.5, scale);
            b.constant(ty, &[filters, memory], 0.5, scale);
            if i.is_multiple_of(2) {
                b.constant(Float32, &[units], 0.3, None)
            } else {
                b.absent(1)
            }
            b.state(Float32, &[batch, filters * memory], None);
            let activation = [A::NONE, A::RELU, A::TANH, A::RELU6][i % 4];
            let output = (Float32, &[batch, units][..], None);
            let name = format!("{ty} {batch} {input} {units} {rank} {memory} asym {asymmetric}");
            cases.extend(b.finish(name, BuiltinOperator::SVDF, options(rank, activation, asymmetric), &[output], &[]));
        }
        cases.extend(integer(size, i));
    }
    cases
}

fn options(rank: i32, fused_activation_function: A, asymmetric_quantize_inputs: bool) -> BuiltinOptions {
    BuiltinOptions::SVDFOptions(Box::new(SVDFOptionsT { rank, fused_activation_function, asymmetric_quantize_inputs }))
}

/// int8 with a state of int16.
fn integer((batch, input, units, rank, memory): (i32, i32, i32, i32, i32), i: usize) -> Option<Case> {
    let filters = units * rank;
    let (x, w, t) = (0.05, 0.01, 0.001);
    // Bytes have a standard deviation of some 74 steps.
    let state = (input as f32).sqrt() * x * w * 74.0 * 74.0 / 8000.0;
    let y = state * 8000.0 * t * 200.0 * ((memory * rank) as f32).sqrt() / 50.0;
    let mut b = CaseBuilder::new(i + 1);
    b.input(Int8, &[batch, input], Some((x, -7)));
    b.constant(Int8, &[filters, input], 1.0, Some((w, 0)));
    b.constant(Int16, &[filters, memory], 400.0, Some((t, 0)));
    if i.is_multiple_of(2) {
        b.constant(Int32, &[units], 90_000.0, Some((state * t, 0)))
    } else {
        b.absent(1)
    }
    b.state(Int16, &[batch, filters * memory], Some((state, 0)));
    let name = format!("int16 state {batch} {input} {units} {rank} {memory}");
    let output = (Int8, &[batch, units][..], Some((y, -128)));
    b.finish(name, BuiltinOperator::SVDF, options(rank, A::RELU, false), &[output], &[])
}
