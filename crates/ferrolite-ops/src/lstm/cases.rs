//! Generated cases.

use crate::common::recurrent_cases::{CaseBuilder, Scale};
use crate::op::Case;
use ferrolite_model::TensorType::{self, Float32, Int8, Int16, Int32, UInt8};
use ferrolite_model::schema::{
    ActivationFunctionType, BidirectionalSequenceLSTMOptionsT, LSTMKernelType, LSTMOptionsT,
    UnidirectionalSequenceLSTMOptionsT,
};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (batch, time, input, cells, outputs without a projection as many)
const SIZES: [(i32, i32, i32, i32, i32); 6] = [
    (1, 3, 3, 4, 2),
    (2, 4, 5, 7, 3),
    (1, 7, 16, 32, 16),
    (3, 2, 40, 33, 20),
    (2, 9, 28, 20, 20),
    // More than one chunk of the fast kernels.
    (64, 9, 6, 128, 10),
];

/// What a cell has.
#[derive(Clone, Copy, Debug, Default)]
struct Variant {
    coupled: bool,
    peephole: bool,
    norm: bool,
    projection: bool,
    clip: bool,
    diagonal: bool,
}

fn variants() -> [Variant; 7] {
    let plain = Variant::default();
    [
        plain,
        Variant { coupled: true, ..plain },
        Variant { peephole: true, clip: true, ..plain },
        Variant { projection: true, clip: true, ..plain },
        Variant { norm: true, ..plain },
        Variant { coupled: true, peephole: true, norm: true, projection: true, ..plain },
        Variant { diagonal: true, ..plain },
    ]
}

/// Types of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Float,
    Hybrid,
    Asymmetric,
    Unsigned,
    Integer,
}

/// Cases of one of the operators.
pub fn cases(op: BuiltinOperator) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, size) in SIZES.into_iter().enumerate() {
        for (v, variant) in variants().into_iter().enumerate() {
            for kind in [Kind::Float, Kind::Hybrid, Kind::Asymmetric, Kind::Unsigned, Kind::Integer] {
                let bidirectional = op == BuiltinOperator::BIDIRECTIONAL_SEQUENCE_LSTM;
                let integer = kind == Kind::Integer;
                // Of so many values that are quantized between steps some lie where the last bit decides.
                let large = size.0 > 8;
                let exists = !(bidirectional && (variant.norm || integer)
                    || variant.diagonal && (integer || op != BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_LSTM)
                    || kind == Kind::Unsigned && v > 0
                    || large && (v > 0 || !matches!(kind, Kind::Float | Kind::Integer)));
                if exists {
                    cases.extend(Builder { op, size, variant, kind, i: i + v }.case());
                }
            }
        }
        if op == BuiltinOperator::LSTM {
            cases.extend([Float32, UInt8].map(|ty| basic(size, ty)).into_iter().flatten());
            // Its functions are of float, and the last bit of one decides now and then.
            cases.extend(Some(size).filter(|size| size.0 <= 8).and_then(twelve_intermediates));
        }
    }
    cases
}

struct Builder {
    op: BuiltinOperator,
    size: (i32, i32, i32, i32, i32),
    variant: Variant,
    kind: Kind,
    i: usize,
}

impl Builder {
    fn outputs(&self) -> i32 {
        // Beyond the length of the output LiteRT's int8 kernel leaves peepholes out.
        let all = self.kind == Kind::Integer && self.variant.peephole;
        if self.variant.projection && !all { self.size.4 } else { self.size.3 }
    }

    /// Type of the weights.
    fn ty(&self) -> TensorType {
        match self.kind {
            Kind::Float => Float32,
            Kind::Unsigned => UInt8,
            _ => Int8,
        }
    }

    fn integer<T>(&self, real: T, integer: T) -> T {
        if self.kind == Kind::Integer { integer } else { real }
    }

    /// Weights and biases of a cell, without its state.
    fn weights(&self, b: &mut CaseBuilder) {
        let Builder { variant, size: (.., input, cells, _), .. } = *self;
        let outputs = self.outputs();
        let gates = |present: i32| if variant.coupled { present - 1 } else { present };
        let omit = |b: &mut CaseBuilder| {
            if variant.coupled {
                b.absent(1);
            }
        };
        let weight = (self.kind != Kind::Float).then_some((0.5 / 127.0, 0));
        for depth in [input, outputs] {
            omit(b);
            for _ in 0..gates(4) {
                if variant.diagonal && depth == outputs {
                    b.constant(Float32, &[cells], 0.5, None);
                } else {
                    b.constant(self.ty(), &[cells, depth], 0.5, weight);
                }
            }
        }
        if variant.peephole {
            omit(b);
            let scale = self.integer(weight, Some((1.0 / 32768.0, 0)));
            for _ in 0..gates(3) {
                b.constant(self.integer(self.ty(), Int16), &[cells], self.integer(0.5, 20_000.0), scale);
            }
        } else {
            b.absent(3);
        }
        // In units of the weights' and the input's scales; of the coefficients of normalization and 2^-10 with it.
        let bias = self.integer(None, Some((if variant.norm { 2f32.powi(-25) } else { 8e-5 }, 0)));
        omit(b);
        for _ in 0..gates(4) {
            let size = if variant.norm { 10_000_000.0 } else { 4000.0 };
            b.constant(self.integer(Float32, Int32), &[cells], self.integer(0.3, size), bias);
        }
        if variant.projection {
            b.constant(self.ty(), &[outputs, cells], 0.5, weight);
        } else {
            b.absent(1);
        }
        if variant.projection && self.i.is_multiple_of(2) {
            b.constant(
                self.integer(Float32, Int32),
                &[outputs],
                self.integer(0.2, 3000.0),
                self.integer(None, Some((3e-5, 0))),
            );
        } else {
            b.absent(1);
        }
    }

    fn output_scale(&self) -> Scale {
        self.integer(None, Some(if self.variant.projection { (0.02, 7) } else { (1.0 / 128.0, -3) }))
    }

    fn state(&self, b: &mut CaseBuilder) {
        let Builder { size: (batch, .., cells, _), .. } = *self;
        b.state(self.integer(Float32, Int8), &[batch, self.outputs()], self.output_scale());
        b.state(self.integer(Float32, Int16), &[batch, cells], self.integer(None, Some((2f32.powi(-12), 0))));
    }

    fn case(&self) -> Option<Case> {
        let Builder { op, variant, kind, i, size: (batch, time, input, cells, _) } = *self;
        let outputs = self.outputs();
        let time_major = i.is_multiple_of(2);
        let sequence = |n: i32| if time_major { [time, batch, n] } else { [batch, time, n] };
        let mut b = CaseBuilder::new(i + 1);
        let (x, y) = (sequence(input), sequence(outputs));
        let (x, y): (&[i32], &[i32]) =
            if op == BuiltinOperator::LSTM { (&[batch, input], &[batch, outputs]) } else { (&x, &y) };
        b.input(self.integer(Float32, Int8), x, self.integer(None, Some((0.02, -5))));
        self.weights(&mut b);
        let name = format!("{kind:?} {batch} {time} {input} {cells} {outputs} {}", name(variant));
        let fused_activation_function = ActivationFunctionType::TANH;
        let (cell_clip, proj_clip) = if variant.clip { (0.7, 0.4) } else { (0.0, 0.0) };
        let asymmetric_quantize_inputs = kind == Kind::Asymmetric;
        if op == BuiltinOperator::BIDIRECTIONAL_SEQUENCE_LSTM {
            return self.bidirectional(b, name);
        }
        self.state(&mut b);
        if variant.norm {
            let scale = self.integer(None, Some((1.0 / 32768.0, 0)));
            for gate in 0..4 {
                if variant.coupled && gate == 0 {
                    b.absent(1);
                } else {
                    b.constant(self.integer(Float32, Int16), &[cells], self.integer(1.0, 30_000.0), scale);
                }
            }
        } else {
            b.absent(4);
        }
        let options = if op == BuiltinOperator::LSTM {
            BuiltinOptions::LSTMOptions(Box::new(LSTMOptionsT {
                fused_activation_function,
                cell_clip,
                proj_clip,
                kernel_type: LSTMKernelType::FULL,
                asymmetric_quantize_inputs,
            }))
        } else {
            BuiltinOptions::UnidirectionalSequenceLSTMOptions(Box::new(UnidirectionalSequenceLSTMOptionsT {
                fused_activation_function,
                cell_clip,
                proj_clip,
                time_major,
                asymmetric_quantize_inputs,
                diagonal_recurrent_tensors: variant.diagonal,
            }))
        };
        let mut internal = vec![(Int16, Some((2f32.powi(-12), 0))); 4];
        internal.push((Int8, Some((1.0 / 128.0, -3))));
        internal.truncate(self.integer(0, 5));
        b.finish(name, op, options, &[(self.integer(Float32, Int8), y, self.output_scale())], &internal)
    }

    fn bidirectional(&self, mut b: CaseBuilder, name: String) -> Option<Case> {
        let Builder { op, variant, kind, i, size: (batch, time, input, cells, _) } = *self;
        let (time_major, outputs) = (i.is_multiple_of(2), self.outputs());
        // LiteRT takes the wrong states for all batch-major sequences but the first if outputs are merged.
        let merge_outputs = i.is_multiple_of(3) && (time_major || batch == 1);
        let sequence = |n: i32| if time_major { [time, batch, n] } else { [batch, time, n] };
        self.weights(&mut b);
        self.state(&mut b);
        self.state(&mut b);
        if i % 4 == 1 {
            b.input(Float32, &sequence(input + 1), None);
            let weight = (kind != Kind::Float).then_some((0.5 / 127.0, 0));
            for gate in 0..8 {
                if variant.coupled && gate % 4 == 0 {
                    b.absent(1);
                } else {
                    b.constant(self.ty(), &[cells, input + 1], 0.5, weight);
                }
            }
        } else {
            b.absent(9);
        }
        let (cell_clip, proj_clip) = if variant.clip { (0.7, 0.4) } else { (0.0, 0.0) };
        let options = BuiltinOptions::BidirectionalSequenceLSTMOptions(Box::new(BidirectionalSequenceLSTMOptionsT {
            fused_activation_function: ActivationFunctionType::TANH,
            cell_clip,
            proj_clip,
            merge_outputs,
            time_major,
            asymmetric_quantize_inputs: kind == Kind::Asymmetric,
        }));
        let (half, both) = (sequence(outputs), sequence(2 * outputs));
        if merge_outputs {
            return b.finish(name, op, options, &[(Float32, &both, None)], &[]);
        }
        b.finish(name, op, options, &[(Float32, &half, None), (Float32, &half, None)], &[])
    }
}

fn name(v: Variant) -> String {
    let parts = [
        (v.coupled, "coupled"),
        (v.peephole, "peephole"),
        (v.norm, "norm"),
        (v.projection, "projection"),
        (v.clip, "clip"),
        (v.diagonal, "diagonal"),
    ];
    parts.iter().filter(|(has, _)| *has).map(|(_, part)| *part).collect::<Vec<_>>().join(" ")
}

/// The basic kernel of LSTM.
fn basic((batch, _, input, cells, _): (i32, i32, i32, i32, i32), ty: TensorType) -> Option<Case> {
    let mut b = CaseBuilder::new(cells as usize);
    let quantized = ty == UInt8;
    let of = |scale: f32, zero: i64| quantized.then_some((scale, zero));
    let (fine, bias) = if quantized { (Int16, Int32) } else { (Float32, Float32) };
    let (unit, state, depth) = (of(1.0 / 128.0, 128), of(2f32.powi(-11), 0), input + cells);
    b.input(ty, &[batch, input], unit);
    b.input(ty, &[batch, cells], unit);
    b.constant(ty, &[4 * cells, depth], 0.5, of(0.004, 125));
    b.constant(bias, &[4 * cells], if quantized { 9000.0 } else { 0.3 }, of(0.004 / 128.0, 0));
    b.input(fine, &[batch, cells], state);
    let options = BuiltinOptions::LSTMOptions(Box::new(LSTMOptionsT {
        fused_activation_function: ActivationFunctionType::TANH,
        kernel_type: LSTMKernelType::BASIC,
        ..LSTMOptionsT::default()
    }));
    let (own, all, gates) = ([batch, cells], [batch, depth], [batch, 4 * cells]);
    let outputs = [
        (ty, &own[..], unit),
        (fine, &own[..], state),
        (ty, &all[..], unit),
        (fine, &gates[..], of(2f32.powi(-12), 0)),
    ];
    b.finish(format!("basic {ty} {batch} {input} {cells}"), BuiltinOperator::LSTM, options, &outputs, &[])
}

/// The int8 cell of LSTM with twelve intermediates. The output gate does not see the output state: LiteRT's factor for it is
/// what lies behind a table.
fn twelve_intermediates((batch, _, input, cells, outputs): (i32, i32, i32, i32, i32)) -> Option<Case> {
    let mut b = CaseBuilder::new(cells as usize);
    let (weight, output): (Scale, Scale) = (Some((0.5 / 127.0, 0)), Some((0.01, 7)));
    b.input(Int8, &[batch, input], Some((0.02, -5)));
    b.absent(1);
    (0..3).for_each(|_| b.constant(Int8, &[cells, input], 1.0, weight));
    b.absent(1);
    (0..3).for_each(|gate| b.constant(Int8, &[cells, outputs], if gate == 2 { 0.0 } else { 1.0 }, weight));
    b.absent(4);
    (0..3).for_each(|_| b.constant(Int32, &[cells], 10_000_000.0, Some((2f32.powi(-25), 0))));
    b.constant(Int8, &[outputs, cells], 1.0, weight);
    b.constant(Int32, &[outputs], 3_000_000.0, Some((0.5 / 127.0 / 32768.0, 0)));
    b.state(Int8, &[batch, outputs], output);
    b.state(Int16, &[batch, cells], Some((1.0 / 32768.0, 0)));
    b.absent(1);
    (0..3).for_each(|_| b.constant(Int16, &[cells], 30_000.0, Some((1.0 / 32768.0, 0))));
    let bound = if cells % 2 == 0 { 0.5 } else { 0.0 };
    let options = BuiltinOptions::LSTMOptions(Box::new(LSTMOptionsT {
        fused_activation_function: ActivationFunctionType::TANH,
        cell_clip: bound,
        proj_clip: bound,
        ..LSTMOptionsT::default()
    }));
    let gate: [(TensorType, Scale); 3] =
        [(Int16, Some((2f32.powi(-12), 0))), (Int8, Some((0.03, 3))), (Int8, Some((0.02, -4)))];
    let name = format!("twelve intermediates {batch} {input} {cells} {outputs}");
    let outputs = [(Int8, &[batch, outputs][..], output)];
    b.finish(name, BuiltinOperator::LSTM, options, &outputs, &gate.repeat(4))
}
