//! Dynamic range and float16.

use crate::*;
use ferrolite_model::Quantization;
use ferrolite_quantize::{Decision, QuantizeError, decide};

/// A network whose dense weights have 2560 elements and whose convolution's have 432.
#[test]
fn dynamic_range_changes_large_weights_only() {
    let model = classifier(1);
    let result = in_mode(&model, Mode::DynamicRange);
    assert_eq!(operators(&result), ["CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED v12", "SOFTMAX"]);
    assert_eq!(tensor(&result, "conv/w").ty, TensorType::Float32);
    let w = tensor(&result, "dense/w");
    let Quantization { scale, zero_point, quantized_dimension, .. } = w.quantization.as_ref().unwrap();
    assert_eq!((w.ty, scale.len(), *quantized_dimension), (TensorType::Int8, 10, 0));
    assert!(zero_point.iter().all(|&zero| zero == 0));
    let bytes = &result.buffers[w.buffer];
    assert_eq!(bytes.iter().map(|&b| (b as i8).unsigned_abs()).max(), Some(127));
    assert_eq!(tensor(&result, "dense/b").ty, TensorType::Float32);
    let dense = &result.subgraphs[0].nodes[3].options;
    assert!(dense.as_fully_connected_options().unwrap().asymmetric_quantize_inputs);
    assert!(fidelity(&model, &result) > 30.0);

    let plan = decide(&model, &Options::new(Mode::DynamicRange), None).unwrap();
    let reasons: Vec<&str> = plan.kept_in_float().map(|kept| kept.2).collect();
    assert!(reasons[0].contains("432 elements"), "{reasons:?}");
    assert_eq!(plan.graphs[0].nodes[3].decision, Decision::Hybrid);
}

#[test]
fn dynamic_range_by_choice() {
    let model = classifier(2);
    let all = Options { min_weight_elements: 1, ..Options::new(Mode::DynamicRange) };
    let result = quantized(&model, &all);
    assert_eq!(operators(&result)[0], "CONV_2D v5");
    assert!(fidelity(&model, &result) > 30.0);
    let one_scale = quantized(&model, &Options { per_channel: false, ..all });
    assert_eq!(operators(&one_scale)[0], "CONV_2D v2");
    assert_eq!(operators(&one_scale)[3], "FULLY_CONNECTED v9");
    assert_eq!(tensor(&one_scale, "dense/w").quantization.as_ref().unwrap().scale.len(), 1);
}

#[test]
fn weights_that_several_nodes_share_are_stored_once() {
    let mut net = Net::new(3);
    let (a, b) = (net.input("a", &[1, 64]), net.input("b", &[1, 64]));
    let w = net.constant("w", &[32, 64], 0.1);
    let options = || BuiltinOptions::FullyConnectedOptions(Box::default());
    let ya = net.op(BuiltinOperator::FULLY_CONNECTED, options(), &[a, w], "ya", &[1, 32]);
    let yb = net.op(BuiltinOperator::FULLY_CONNECTED, options(), &[b, w], "yb", &[1, 32]);
    // Its float form stays for the node that needs it.
    let sum = net.op(BuiltinOperator::COS, BuiltinOptions::CosOptions(Box::default()), &[w], "cos", &[32, 64]);
    let model = net.finish(&[ya, yb, sum]);
    let result = in_mode(&model, Mode::DynamicRange);
    let nodes = &result.subgraphs[0].nodes;
    assert_eq!(nodes[0].inputs[1], nodes[1].inputs[1]);
    assert_ne!(nodes[0].inputs[1], nodes[2].inputs[0]);
    let half = in_mode(&model, Mode::Float16);
    let halves = half.subgraphs[0].tensors.iter().filter(|tensor| tensor.ty == TensorType::Float16).count();
    assert_eq!(
        (halves, operators(&half)),
        (1, ["DEQUANTIZE v3", "FULLY_CONNECTED", "FULLY_CONNECTED", "COS"].map(String::from).to_vec())
    );
}

#[test]
fn float16_stores_every_constant_as_half() {
    let model = classifier(4);
    let result = in_mode(&model, Mode::Float16);
    let dequantizes = operators(&result).iter().filter(|op| *op == "DEQUANTIZE v3").count();
    assert_eq!(dequantizes, 4, "weights and biases of two layers");
    assert!(fidelity(&model, &result) > 60.0);
    let (before, after) = (model.to_bytes().unwrap().len(), result.to_bytes().unwrap().len());
    assert!(after * 10 < before * 7, "{before} → {after} bytes");
}

#[test]
fn nothing_to_quantize_is_an_error_that_says_why() {
    let model = classifier(5);
    let none = Options { min_weight_elements: 100_000, ..Options::new(Mode::DynamicRange) };
    let error = quantize(&model, &none, None).unwrap_err().to_string();
    assert!(error.contains("nothing to quantize") && error.contains("CONV_2D"), "{error}");
    for mode in [Mode::DynamicRange, Mode::Float16] {
        let once = in_mode(&model, mode);
        match (mode, quantize(&once, &Options::new(mode), None)) {
            // Biases of hybrid nodes stay, the convolution's constants do not.
            (_, Err(QuantizeError::Nothing(_))) => {}
            (mode, other) => panic!("{mode:?} twice gave {other:?}"),
        }
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let mut net = Net::new(6);
    let x = net.input("x", &[1, 64]);
    let mut values = vec![0.5; 64 * 32];
    values[70] = f32::NAN;
    let w = net.b.constant_f32("broken", &[32, 64], &values);
    let options = BuiltinOptions::FullyConnectedOptions(Box::default());
    let y = net.op(BuiltinOperator::FULLY_CONNECTED, options, &[x, w], "y", &[1, 32]);
    let error = quantize(&net.finish(&[y]), &Options::new(Mode::DynamicRange), None).unwrap_err().to_string();
    assert!(error.contains("\"broken\"") && error.contains("element 70 is NaN"), "{error}");
}

/// float16 weights behind a DEQUANTIZE are weights too; the bias of a hybrid node becomes a plain constant again.
#[test]
fn float16_models_quantize_further() {
    let model = classifier(7);
    let half = in_mode(&model, Mode::Float16);
    let hybrid = quantized(&half, &Options { min_weight_elements: 1, ..Options::new(Mode::DynamicRange) });
    assert_eq!(operators(&hybrid), ["CONV_2D v5", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED v12", "SOFTMAX"]);
    assert_eq!(tensor(&hybrid, "dense/b").ty, TensorType::Float32);
    assert!(fidelity(&model, &hybrid) > 30.0);
    let int8 = in_mode(&half, Mode::Int8Only);
    assert_eq!(operators(&int8), operators(&in_mode(&model, Mode::Int8Only)));
    assert!(fidelity(&model, &int8) > 30.0);
}

/// Wide enough for weights to be worth it.
fn wide(seed: u64) -> Arc<Model> {
    let mut net = Net::new(seed);
    let x = net.input("x", &[1, 8, 8, 16]);
    let conv = net.conv(x, 16, "conv");
    let pool = net.pool(BuiltinOperator::AVERAGE_POOL_2D, conv, "pool");
    let flat = net.reshape(pool, &[1, 256], "flat");
    let y = net.dense(flat, 10, "y");
    net.finish(&[y])
}

#[test]
fn weight_only_stores_integers_behind_a_dequantize() {
    let model = wide(60);
    let result = in_mode(&model, Mode::WeightOnly);
    let dequantizes = operators(&result).iter().filter(|op| op.starts_with("DEQUANTIZE")).count();
    assert_eq!((dequantizes, operators(&result).len()), (2, 6));
    assert!(fidelity(&model, &result) > 35.0);
    let four = quantized(&model, &Options { weight_bits: 4, ..Options::new(Mode::WeightOnly) });
    assert!(fidelity(&model, &four) > 14.0);
    let bytes = |model: &Model, name| model.buffers[tensor(model, name).buffer].len();
    let stored = |model: &Model| {
        let integers = |t: &&Tensor| t.name() == "y/w" && matches!(t.ty, TensorType::Int8 | TensorType::Int4);
        model.buffers[model.subgraphs[0].tensors.iter().find(integers).unwrap().buffer].len()
    };
    assert_eq!((bytes(&model, "y/w"), stored(&result), stored(&four)), (10_240, 2560, 1280));
}

#[test]
fn int4_weights_with_any_activations() {
    let model = wide(61);
    for (mode, versions) in [
        (Mode::DynamicRange, ["CONV_2D", "FULLY_CONNECTED"]),
        (Mode::Int8Only, ["CONV_2D v7", "FULLY_CONNECTED v10"]),
        (Mode::Int16x8, ["CONV_2D v4", "FULLY_CONNECTED v13"]),
    ] {
        let result = quantized(&model, &Options { weight_bits: 4, ..Options::new(mode) });
        assert!(fidelity(&model, &result) > 20.0, "{mode:?}");
        assert_eq!(tensor(&result, "conv/w").ty, TensorType::Int4);
        assert!(versions.iter().all(|wanted| operators(&result).iter().any(|op| op == wanted)), "{mode:?}");
    }
}
