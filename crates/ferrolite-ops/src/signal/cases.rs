//! Generated cases.

use crate::common::node_case::NodeCase;
use crate::op::Case;
use ferrolite_model::FlexItem::{Bool, Int};
use ferrolite_model::TensorType::{Float32, Int16, Int32, UInt32, UInt64};

/// Cases of the operator of this name.
pub fn cases(name: &str) -> Vec<Case> {
    match name {
        "SignalWindow" => window(),
        "SignalFftAutoScale" => [1, 32, 480].into_iter().filter_map(auto_scale).collect(),
        "SignalRfft" => rfft(),
        "SignalEnergy" => [(16, 0, 16), (16, 3, 11), (257, 5, 5)].into_iter().filter_map(energy).collect(),
        "SignalFilterBank" => filter_bank().into_iter().collect(),
        "SignalFilterBankSquareRoot" => [0, 3, 31].into_iter().filter_map(square_root).collect(),
        "SignalFilterBankSpectralSubtraction" => [(40, false), (7, true)].into_iter().filter_map(subtraction).collect(),
        "SignalPCAN" => [1, 40].into_iter().filter_map(pcan).collect(),
        "SignalFilterBankLog" => [(1, 3, 1600), (40, 0, 64)].into_iter().filter_map(log).collect(),
        _ => Vec::new(),
    }
}

fn window() -> Vec<Case> {
    let case = |(shape, shift): (&[i32], i64)| {
        let len = shape[shape.len() - 1];
        let weights: Vec<i16> = (0..len).map(|i| (i * 4096 / len) as i16).collect();
        let node = NodeCase::new().drawn((Int16, shape, None)).constant(Int16, &[len], &weights);
        let name = format!("{shape:?} {shift}");
        node.finish_custom(name, "SignalWindow", &[("shift", Int(shift))], &[(Int16, shape, None)])
    };
    [(&[32][..], 12), (&[2, 480], 0), (&[1, 7], 31)].into_iter().filter_map(case).collect()
}

fn auto_scale(len: i32) -> Option<Case> {
    let node = NodeCase::new().drawn((Int16, &[len], None));
    let outputs = [(Int16, &[len][..], None), (Int32, &[], None)];
    node.finish_custom(len.to_string(), "SignalFftAutoScale", &[], &outputs)
}

fn rfft() -> Vec<Case> {
    let mut cases = Vec::new();
    for ty in [Int16, Int32, Float32] {
        for (rows, samples, length) in [(1, 512, 512), (2, 100, 128), (3, 16, 16)] {
            let to = [rows, length + 2];
            let node = NodeCase::new().drawn((ty, &[rows, samples], None));
            let name = format!("{ty} {rows} {samples} {length}");
            let options = [("fft_length", Int(length.into()))];
            cases.extend(node.finish_custom(name, "SignalRfft", &options, &[(ty, &to, None)]));
        }
    }
    cases
}

fn energy((bins, start, end): (i32, i64, i64)) -> Option<Case> {
    let node = NodeCase::new().drawn((Int16, &[2 * bins], None));
    let options = [("start_index", Int(start)), ("end_index", Int(end))];
    node.finish_custom(format!("{bins} {start} {end}"), "SignalEnergy", &options, &[(UInt32, &[bins], None)])
}

/// Three channels, whose triangles cover energies 1 to 9.
fn filter_bank() -> Option<Case> {
    let weights = [4000, 3000, 1000, 4096, 2500, 500, 3500, 2000, 100].map(|w: i16| w);
    let table = |node: NodeCase, values: &[i16]| node.constant(Int16, &[values.len() as i32], values);
    let node = NodeCase::new().drawn((UInt32, &[12], None));
    let node = table(node, &weights);
    let node = table(node, &weights.map(|w| 4096 - w));
    let node = [[1, 3, 4, 7], [0, 2, 3, 6], [2, 1, 3, 3]].iter().fold(node, |node, values| table(node, values));
    node.finish_custom("3".into(), "SignalFilterBank", &[("num_channels", Int(3))], &[(UInt64, &[3], None)])
}

fn square_root(bits: i32) -> Option<Case> {
    let node = NodeCase::new().drawn((UInt64, &[40], None)).i32(&[], &[bits]);
    node.finish_custom(bits.to_string(), "SignalFilterBankSquareRoot", &[], &[(UInt32, &[40], None)])
}

fn subtraction((channels, clamping): (i32, bool)) -> Option<Case> {
    let node = NodeCase::new().drawn((UInt32, &[channels], None));
    let options = [
        ("num_channels", Int(channels.into())),
        ("smoothing", Int(410)),
        ("alternate_smoothing", Int(983)),
        ("one_minus_smoothing", Int(16384 - 410)),
        ("alternate_one_minus_smoothing", Int(16384 - 983)),
        ("min_signal_remaining", Int(819)),
        ("smoothing_bits", Int(10)),
        ("spectral_subtraction_bits", Int(14)),
        ("clamping", Bool(clamping)),
    ];
    let shape = [channels];
    let outputs = [(UInt32, &shape[..], None); 2];
    node.finish_custom(format!("{channels} {clamping}"), "SignalFilterBankSpectralSubtraction", &options, &outputs)
}

fn pcan(channels: i32) -> Option<Case> {
    let gains: Vec<i16> = (0..125).map(|i| 32767 - 250 * i).collect();
    let node = NodeCase::new().drawn((UInt32, &[channels], None)).drawn((UInt32, &[channels], None));
    let node = node.constant(Int16, &[125], &gains);
    node.finish_custom(channels.to_string(), "SignalPCAN", &[("snr_shift", Int(6))], &[(UInt32, &[channels], None)])
}

fn log((channels, bits, scale): (i32, i64, i64)) -> Option<Case> {
    let node = NodeCase::new().drawn((UInt32, &[channels], None));
    let options = [("input_correction_bits", Int(bits)), ("output_scale", Int(scale))];
    let name = format!("{channels} {bits} {scale}");
    node.finish_custom(name, "SignalFilterBankLog", &options, &[(Int16, &[channels], None)])
}
