//! Types of inputs and outputs, and models that are quantized already.

use crate::*;
use ferrolite_quantize::QuantizeError;

fn with_io(mode: Mode, input: TensorType, output: TensorType) -> Options {
    Options { input_type: Some(input), output_type: Some(output), ..Options::new(mode) }
}

#[test]
fn every_border_type_works() {
    use TensorType::{Float32, Int8, Int16, UInt8};
    let model = classifier(30);
    let pairs = [Float32, Int8, UInt8, Int16];
    for (mode, input, output) in pairs
        .iter()
        .flat_map(|&ty| [(Mode::Int8, ty, ty), (Mode::Int8Only, ty, Float32), (Mode::Int8Only, Int8, ty)])
        .chain([(Mode::Int16x8, Int16, Int16), (Mode::Int16x8, Int8, Int8), (Mode::Int16x8, UInt8, Float32)])
    {
        let result = quantized(&model, &with_io(mode, input, output));
        assert_eq!((tensor(&result, "x").ty, tensor(&result, "y").ty), (input, output));
        let snr = fidelity(&model, &result);
        assert!(snr > 25.0, "{mode:?} {input} → {output}: {snr} dB");
    }
}

#[test]
fn unsigned_borders_are_the_signed_ones_shifted() {
    let model = classifier(31);
    let result = quantized(&model, &with_io(Mode::Int8, TensorType::UInt8, TensorType::UInt8));
    assert_eq!(operators(&result)[0], "QUANTIZE");
    let (signed, unsigned) = (params(&result, "x/quantized"), params(&result, "x"));
    assert_eq!((signed.0, signed.1, signed.2 + 128), (TensorType::Int8, unsigned.1, unsigned.2));
    assert_eq!(params(&result, "y"), (TensorType::UInt8, 1.0 / 256.0, 0));
}

#[test]
fn impossible_border_types_are_refused() {
    let model = classifier(32);
    for (mode, input, output) in [
        (Mode::DynamicRange, TensorType::Int8, TensorType::Float32),
        (Mode::Float16, TensorType::Float32, TensorType::Float16),
        (Mode::Int8, TensorType::Int32, TensorType::Float32),
        (Mode::Int16x8, TensorType::Float32, TensorType::UInt8),
    ] {
        let error = quantize(&model, &with_io(mode, input, output), None).unwrap_err();
        assert!(matches!(&error, QuantizeError::IoType { .. }), "{error}");
    }
}

#[test]
fn a_quantized_model_has_nothing_left_to_quantize() {
    let once = in_mode(&classifier(33), Mode::Int8);
    for mode in [Mode::DynamicRange, Mode::Float16, Mode::Int8, Mode::Int8Only] {
        let calibration = Calibration::empty(&once);
        let error = quantize(&once, &Options::new(mode), Some(&calibration)).unwrap_err();
        assert!(matches!(&error, QuantizeError::Nothing(_)), "{mode:?}: {error}");
    }
}

/// An integer layer between QUANTIZE and DEQUANTIZE, then a float one: the conversions between them go.
#[test]
fn a_half_quantized_model_becomes_whole() {
    let mut net = Net::new(34);
    let x = net.input("x", &[1, 16]);
    let a = net.dense(x, 16, "a");
    let cos = net.float_only(a, "cos");
    let y = net.dense(cos, 4, "y");
    let model = net.finish(&[y]);
    let half = in_mode(&model, Mode::Int8);
    // In place of COS, now an operator that can be quantized.
    let mut half = Model::clone(&half);
    let relu = half.operator_index(BuiltinOperator::RELU, 1);
    let cos = half.subgraphs[0].nodes.iter().position(|node| half.operator(node).name() == "COS").unwrap();
    half.subgraphs[0].nodes[cos].opcode = relu;
    half.subgraphs[0].nodes[cos].options = BuiltinOptions::NONE;
    let half = Arc::new(half);
    let whole = in_mode(&half, Mode::Int8Only);
    let wanted = ["FULLY_CONNECTED v4", "RELU v2", "FULLY_CONNECTED v4"];
    assert_eq!(operators(&whole), wanted);
    // What was integers before has the parameters that it had.
    let (first, second) = (&half.subgraphs[0].nodes[0], &whole.subgraphs[0]);
    let before = &half.subgraphs[0].tensors[first.outputs[0]].quantization;
    assert_eq!(&second.tensors[second.inputs[0]].quantization, before);
    assert!(fidelity(&half, &whole) > 25.0);
}

#[test]
fn integer_inputs_and_an_input_that_is_an_output_are_left_alone() {
    let mut net = Net::new(35);
    let x = net.input("x", &[1, 16]);
    let shape = net.b.input("n", TensorType::Int32, &[1]);
    let y = net.dense(x, 4, "y");
    let out = net.b.tensor("n2", TensorType::Int32, &[1]);
    net.b.node(
        BuiltinOperator::ADD,
        1,
        BuiltinOptions::AddOptions(Box::default()),
        &[Some(shape), Some(shape)],
        &[out],
    );
    let model = net.finish(&[y, x, out]);
    let mut calibration = Calibration::empty(&model);
    calibration.set_range(x, -1.0, 1.0).unwrap();
    calibration.set_range(y, -3.0, 3.0).unwrap();
    let int8 = quantize(&model, &Options::new(Mode::Int8Only), Some(&calibration)).unwrap();
    let graph = &int8.subgraphs[0];
    let types = |ids: &[TensorId]| ids.iter().map(|&id| graph.tensors[id].ty).collect::<Vec<_>>();
    assert_eq!(types(&graph.inputs), [TensorType::Int8, TensorType::Int32]);
    assert_eq!(types(&graph.outputs), [TensorType::Int8, TensorType::Int8, TensorType::Int32]);
    assert_eq!(graph.outputs[1], graph.inputs[0]);
    let float_out = with_io(Mode::Int8Only, TensorType::Int8, TensorType::Float32);
    let result = quantize(&model, &float_out, Some(&calibration)).unwrap();
    let graph = &result.subgraphs[0];
    assert_eq!(graph.tensors[graph.inputs[0]].name(), "x");
    assert_eq!(graph.tensors[graph.outputs[1]].ty, TensorType::Float32);
}
