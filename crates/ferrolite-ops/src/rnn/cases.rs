//! Generated cases.

use crate::common::recurrent_cases::{CaseBuilder, Scale};
use crate::op::Case;
use ferrolite_model::TensorType::{self, Float32, Int8};
use ferrolite_model::schema::{
    ActivationFunctionType as A, BidirectionalSequenceRNNOptionsT, RNNOptionsT, SequenceRNNOptionsT,
};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (batch, time, input, units)
const SIZES: [(i32, i32, i32, i32); 6] =
    [(1, 1, 3, 4), (2, 3, 5, 4), (3, 4, 1, 7), (1, 9, 16, 8), (4, 2, 33, 17), (2, 5, 8, 64)];

/// Cases of one of the operators.
pub fn cases(op: BuiltinOperator) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, size) in SIZES.into_iter().enumerate() {
        for (ty, asymmetric) in [(Float32, false), (Int8, false), (Int8, true)] {
            let activation = [A::TANH, A::RELU, A::NONE, A::RELU6, A::RELU_N1_TO_1][i % 5];
            cases.extend(case(op, size, ty, asymmetric, activation, i));
        }
    }
    cases
}

fn case(
    op: BuiltinOperator,
    (batch, time, depth, units): (i32, i32, i32, i32),
    ty: TensorType,
    asymmetric_quantize_inputs: bool,
    fused_activation_function: A,
    i: usize,
) -> Option<Case> {
    let (time_major, merge_outputs) = (i.is_multiple_of(2), i.is_multiple_of(3));
    let mut b = CaseBuilder::new(i + 1);
    let scale: Scale = (ty == Int8).then_some((0.3 / 127.0 / (units as f32).sqrt(), 0));
    let size = 0.5 / (units as f32).sqrt();
    let sequence = |n: i32| if time_major { [time, batch, n] } else { [batch, time, n] };
    let cell = |b: &mut CaseBuilder| {
        b.constant(ty, &[units, depth], size, scale);
        b.constant(ty, &[units, units], size, scale);
        b.constant(Float32, &[units], 0.3, None);
        b.state(Float32, &[batch, units], None);
    };
    let name = format!("{ty} {batch} {time} {depth} {units} asym {asymmetric_quantize_inputs}");
    if op == BuiltinOperator::RNN {
        b.input(Float32, &[batch, depth], None);
        cell(&mut b);
        let options = RNNOptionsT { fused_activation_function, asymmetric_quantize_inputs };
        let options = BuiltinOptions::RNNOptions(Box::new(options));
        return b.finish(name, op, options, &[(Float32, &[batch, units], None)], &[]);
    }
    b.input(Float32, &sequence(depth), None);
    cell(&mut b);
    if op == BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_RNN {
        let options = SequenceRNNOptionsT { time_major, fused_activation_function, asymmetric_quantize_inputs };
        let options = BuiltinOptions::SequenceRNNOptions(Box::new(options));
        return b.finish(name, op, options, &[(Float32, &sequence(units), None)], &[]);
    }
    cell(&mut b);
    // Of the input's length: see `Pass::aux_start`.
    if i % 2 == 1 {
        b.input(Float32, &sequence(depth), None);
        b.constant(ty, &[units, depth], size, scale);
        b.constant(ty, &[units, depth], size, scale);
    } else {
        b.absent(3);
    }
    let options = BidirectionalSequenceRNNOptionsT {
        time_major,
        fused_activation_function,
        merge_outputs,
        asymmetric_quantize_inputs,
    };
    let options = BuiltinOptions::BidirectionalSequenceRNNOptions(Box::new(options));
    let (half, both) = (sequence(units), sequence(2 * units));
    if merge_outputs {
        return b.finish(name, op, options, &[(Float32, &both, None)], &[]);
    }
    b.finish(name, op, options, &[(Float32, &half, None), (Float32, &half, None)], &[])
}
