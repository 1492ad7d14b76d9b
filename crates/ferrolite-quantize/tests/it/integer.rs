//! The integer modes: which parameters tensors get, and where conversions go.

use crate::*;
use ferrolite_quantize::{Decision, Form, QuantizeError, decide};

#[test]
fn a_classifier_becomes_integers_between_float_borders() {
    let model = classifier(10);
    let result = in_mode(&model, Mode::Int8);
    let wanted =
        ["QUANTIZE", "CONV_2D v3", "MAX_POOL_2D v2", "RESHAPE", "FULLY_CONNECTED v4", "SOFTMAX v2", "DEQUANTIZE v2"];
    assert_eq!(operators(&result), wanted);
    // What only moves values shares its input's parameters; a ReLU's range starts at 0.
    let conv = params(&result, "conv");
    assert_eq!((conv.0, conv.2), (TensorType::Int8, -128));
    assert_eq!(params(&result, "pool"), conv);
    assert_eq!(params(&result, "flat"), conv);
    assert_eq!(params(&result, "y/computed"), (TensorType::Int8, 1.0 / 256.0, -128));
    // The bias counts in products of the scales.
    let (bias, weights) = (tensor(&result, "dense/b"), tensor(&result, "dense/w"));
    let scales = |tensor: &Tensor| tensor.quantization.as_ref().unwrap().scale.clone();
    assert_eq!((bias.ty, bias.buffer != 0), (TensorType::Int32, true));
    let expected: Vec<f32> = scales(weights).iter().map(|w| conv.1 * w).collect();
    assert_eq!(scales(bias), expected);
    assert!(fidelity(&model, &result) > 30.0);
}

#[test]
fn int8_only_has_integer_borders() {
    let model = classifier(11);
    let result = in_mode(&model, Mode::Int8Only);
    assert_eq!(operators(&result), ["CONV_2D v3", "MAX_POOL_2D v2", "RESHAPE", "FULLY_CONNECTED v4", "SOFTMAX v2"]);
    assert!(result.subgraphs[0].tensors.iter().all(|tensor| tensor.ty != TensorType::Float32));
    assert_eq!(params(&result, "y"), (TensorType::Int8, 1.0 / 256.0, -128));
    assert!(fidelity(&model, &result) > 30.0);
}

#[test]
fn one_weight_scale_per_tensor_by_choice() {
    let model = classifier(12);
    let result = quantized(&model, &Options { per_channel: false, ..Options::new(Mode::Int8) });
    assert_eq!(tensor(&result, "conv/w").quantization.as_ref().unwrap().scale.len(), 1);
    assert_eq!(tensor(&result, "conv/b").quantization.as_ref().unwrap().scale.len(), 1);
    assert!(fidelity(&model, &result) > 25.0);
}

#[test]
fn residual_additions_keep_their_own_scales() {
    let mut net = Net::new(13);
    let x = net.input("x", &[1, 8, 8, 8]);
    let a = net.conv(x, 8, "a");
    let b = net.conv(a, 8, "b");
    let sum = net.add(a, b, "sum");
    let c = net.constant("c", &[1, 8, 8, 8], 3.0);
    let y = net.add(sum, c, "y");
    let model = net.finish(&[y]);
    let result = in_mode(&model, Mode::Int8Only);
    assert_eq!(operators(&result), ["CONV_2D v3", "CONV_2D v3", "ADD v2", "ADD v2"]);
    let scales: Vec<f32> = ["a", "b", "sum", "c", "y"].iter().map(|name| params(&result, name).1).collect();
    assert!(scales.windows(2).all(|pair| pair[0] != pair[1]), "{scales:?}");
    assert!(fidelity(&model, &result) > 30.0);
    let wide = in_mode(&model, Mode::Int16x8);
    assert_eq!(operators(&wide)[3..5], ["ADD v3", "ADD v3"]);
    assert!(!wide.subgraphs[0].nodes[3].options.as_add_options().unwrap().pot_scale_int16);
    assert!(fidelity(&model, &wide) > 38.0);
}

#[test]
fn a_concatenation_takes_the_range_of_all_its_parts() {
    let mut net = Net::new(14);
    let (a, b) = (net.input("a", &[1, 16]), net.input("b", &[1, 16]));
    let (small, large) = (net.dense(a, 4, "small"), net.dense(b, 4, "large"));
    let y = net.concat(&[small, large], "y");
    let model = net.finish(&[y]);
    let mut calibration = Calibration::empty(&model);
    for (id, limit) in [(a, 1.0), (b, 1.0), (small, 0.5), (large, 4.0), (y, 4.0)] {
        calibration.set_range(id, -limit, limit).unwrap();
    }
    let result = quantize(&model, &Options::new(Mode::Int8), Some(&calibration)).unwrap();
    let joint = params(&result, "y/computed");
    assert_eq!(joint.1, 8.0 / 255.0);
    assert_eq!((params(&result, "small"), params(&result, "large")), (joint, joint));
    assert_eq!(operators(&result).iter().filter(|op| *op == "QUANTIZE").count(), 2, "only at the inputs");
    let snr = fidelity(&model, &in_mode(&model, Mode::Int8));
    assert!(snr > 30.0, "{snr} dB");
}

/// A softmax's parameters are prescribed. Joined with what they do not cover, it is requantized; with what they cover, all
/// take them.
#[test]
fn a_prescribed_scale_is_requantized_where_it_does_not_fit() {
    for (limit, requantizes) in [(4.0, 1), (0.5, 0)] {
        let mut net = Net::new(15);
        let x = net.input("x", &[1, 16]);
        let dense = net.dense(x, 4, "dense");
        let p = net.softmax(dense, "p");
        let other = net.op(BuiltinOperator::RELU, BuiltinOptions::NONE, &[dense], "other", &[1, 4]);
        let y = net.concat(&[p, other], "y");
        let flat = net.reshape(p, &[4], "flat");
        let model = net.finish(&[y, flat]);
        let mut calibration = Calibration::empty(&model);
        for (id, min, max) in [(x, -1.0, 1.0), (dense, -4.0, 4.0), (p, 0.0, 1.0), (other, 0.0, limit)] {
            calibration.set_range(id, min, max).unwrap();
        }
        calibration.set_range(y, 0.0, limit).unwrap();
        let plan = decide(&model, &Options::new(Mode::Int8Only), Some(&calibration)).unwrap();
        let result = plan.apply(&model).unwrap();
        let count = operators(&result).iter().filter(|op| *op == "QUANTIZE").count();
        let softmax = (TensorType::Int8, 1.0 / 256.0, -128);
        assert_eq!(params(&result, "p"), softmax);
        if requantizes == 0 {
            assert_eq!(count, 0);
            assert_eq!((params(&result, "y"), params(&result, "flat")), (softmax, softmax));
        } else {
            // Concatenation and reshape read the same requantized tensor.
            assert_eq!(count, 1);
            assert_eq!(params(&result, "y"), (TensorType::Int8, 4.0 / 255.0, -128));
            assert_eq!(params(&result, "flat"), params(&result, "y"));
        }
        ferrolite_model::verify(&result).unwrap();
        run(&Arc::new(result), &[vec![0.5; 16]]);
    }
}

#[test]
fn float_islands_are_bordered_by_conversions() {
    let mut net = Net::new(16);
    let x = net.input("x", &[1, 16]);
    let a = net.dense(x, 16, "a");
    let cos = net.float_only(a, "cos");
    // Between two float nodes: a reshape gains nothing from integers.
    let back = net.reshape(cos, &[16, 1], "back");
    let cos2 = net.float_only(back, "cos2");
    let flat = net.reshape(cos2, &[1, 16], "flat");
    let y = net.dense(flat, 4, "y");
    let model = net.finish(&[y]);
    let result = in_mode(&model, Mode::Int8);
    let wanted = [
        "QUANTIZE",
        "FULLY_CONNECTED v4",
        "DEQUANTIZE v2",
        "COS",
        "RESHAPE",
        "COS",
        "QUANTIZE",
        "RESHAPE",
        "FULLY_CONNECTED v4",
        "DEQUANTIZE v2",
    ];
    assert_eq!(operators(&result), wanted);
    assert_eq!(tensor(&result, "back").ty, TensorType::Float32);
    assert!(fidelity(&model, &result) > 30.0);

    let calibration = calibrate(&model);
    let Err(QuantizeError::Unquantizable { nodes }) =
        quantize(&model, &Options::new(Mode::Int8Only), Some(&calibration))
    else {
        panic!("int8-only has to refuse COS");
    };
    let refused: Vec<_> = nodes.iter().map(|node| (node.node, node.op.as_str(), node.output.as_str())).collect();
    assert_eq!(refused, [(1, "COS", "cos"), (3, "COS", "cos2")]);
    let text = QuantizeError::Unquantizable { nodes }.to_string();
    assert!(text.contains("2 nodes") && text.contains("node 3 (COS, output \"cos2\")"), "{text}");
}

#[test]
fn weights_that_are_computed_keep_a_node_in_float() {
    let mut net = Net::new(17);
    let (x, w) = (net.input("x", &[1, 16]), net.input("w", &[4, 16]));
    let options = BuiltinOptions::FullyConnectedOptions(Box::default());
    let a = net.op(BuiltinOperator::FULLY_CONNECTED, options, &[x, w], "a", &[1, 4]);
    let y = net.dense(a, 4, "y");
    let model = net.finish(&[y]);
    let plan = decide(&model, &Options::new(Mode::Int8), Some(&calibrate(&model))).unwrap();
    assert_eq!(plan.graphs[0].nodes[1].decision, Decision::Integer);
    let kept: Vec<_> = plan.kept_in_float().collect();
    assert_eq!(kept, [(0, 0, "its weights \"w\" are not constant")]);
    assert_eq!(plan.graphs[0].nodes[0].inputs, [Form::Float, Form::Float]);
}

#[test]
fn calibration_is_asked_for_and_checked() {
    let model = classifier(18);
    let error = quantize(&model, &Options::new(Mode::Int8), None).unwrap_err().to_string();
    assert!(error.contains("Calibrator"), "{error}");
    let empty = Calibration::empty(&model);
    let error = quantize(&model, &Options::new(Mode::Int8), Some(&empty)).unwrap_err();
    assert!(matches!(&error, QuantizeError::NoRange { .. }), "{error}");
    let mut net = Net::new(18);
    let x = net.input("x", &[1, 16]);
    let y = net.dense(x, 4, "y");
    let other = calibrate(&net.finish(&[y]));
    let error = quantize(&model, &Options::new(Mode::Int8), Some(&other)).unwrap_err();
    assert!(matches!(&error, QuantizeError::OtherModel(_)), "{error}");
}

#[test]
fn calibration_sees_every_range_and_refuses_nan() {
    let model = classifier(19);
    let mut calibrator = Calibrator::new(model.clone()).unwrap();
    let (low, high) = (vec![-2.0; 192], vec![3.0; 192]);
    calibrator.feed_f32(&[&low]).unwrap();
    let bytes: Vec<u8> = high.iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
    calibrator.feed(&[bytes]).unwrap();
    assert!(calibrator.feed_f32(&[]).is_err());
    let mut broken = low.clone();
    broken[5] = f32::NAN;
    let error = calibrator.feed_f32(&[&broken]).unwrap_err().to_string();
    assert!(error.contains("\"x\"") && error.contains("NaN"), "{error}");
    let calibration = calibrator.finish();
    let graph = &model.subgraphs[0];
    let range = |name: &str| calibration.range(graph.tensors.iter().position(|t| t.name() == name).unwrap());
    assert_eq!(range("x"), Some((-2.0, 3.0)));
    // A view has its source's range.
    assert!(range("flat").is_some() && range("flat") == range("pool"));
    let (low, high) = range("y").unwrap();
    assert!(0.0 <= low && high <= 1.0);
}

#[test]
fn activations_that_are_always_zero_still_work() {
    let mut net = Net::new(20);
    let x = net.input("x", &[1, 16]);
    let w = net.b.constant_f32("w", &[4, 16], &[0.0; 64]);
    let bias = net.b.constant_f32("b", &[4], &[0.0, 0.0, 0.0, 0.0]);
    let options = BuiltinOptions::FullyConnectedOptions(Box::default());
    let zero = net.op(BuiltinOperator::FULLY_CONNECTED, options, &[x, w, bias], "zero", &[1, 4]);
    let y = net.dense(zero, 4, "y");
    let model = net.finish(&[y]);
    for mode in [Mode::Int8, Mode::Int8Only, Mode::Int16x8] {
        let result = in_mode(&model, mode);
        assert!(fidelity(&model, &result) > 25.0, "{mode:?}");
    }
}

#[test]
fn biases_larger_than_the_accumulator_survive() {
    let mut net = Net::new(21);
    let x = net.input("x", &[1, 16]);
    let w = net.constant("w", &[4, 16], 1e-9);
    let bias = net.b.constant_f32("b", &[4], &[100.0, -50.0, 25.0, 0.0]);
    let options = BuiltinOptions::FullyConnectedOptions(Box::default());
    let y = net.op(BuiltinOperator::FULLY_CONNECTED, options, &[x, w, bias], "y", &[1, 4]);
    let model = net.finish(&[y]);
    assert!(fidelity(&model, &in_mode(&model, Mode::Int8)) > 40.0);
    assert!(fidelity(&model, &in_mode(&model, Mode::Int16x8)) > 60.0);
}

#[test]
fn int16_activations_are_closer_to_float() {
    let model = classifier(22);
    let result = in_mode(&model, Mode::Int16x8);
    let wanted =
        ["QUANTIZE v2", "CONV_2D v4", "MAX_POOL_2D v3", "RESHAPE", "FULLY_CONNECTED v7", "SOFTMAX v3", "DEQUANTIZE v3"];
    assert_eq!(operators(&result), wanted);
    let conv = params(&result, "conv");
    assert_eq!((conv.0, conv.2), (TensorType::Int16, 0));
    assert_eq!(tensor(&result, "conv/b").ty, TensorType::Int64);
    assert_eq!(params(&result, "y/computed"), (TensorType::Int16, 1.0 / 32768.0, 0));
    let (wide, narrow) = (fidelity(&model, &result), fidelity(&model, &in_mode(&model, Mode::Int8)));
    assert!(wide > narrow + 3.0, "int16x8 {wide} dB, int8 {narrow} dB");
}

#[test]
fn random_networks_stay_close_to_float() {
    for seed in 0..6 {
        let mut net = Net::new(100 + seed);
        let x = net.input("x", &[1, 8, 8, 3]);
        let mut t = net.conv(x, 8, "c0");
        for i in 1..4 {
            let c = net.conv(t, 8, &format!("c{i}"));
            t = match (seed + i) % 3 {
                0 => net.add(t, c, &format!("add{i}")),
                1 => {
                    let joined = net.concat(&[t, c], &format!("cat{i}"));
                    net.conv(joined, 8, &format!("squeeze{i}"))
                }
                _ => c,
            };
        }
        let t = net.pool(BuiltinOperator::AVERAGE_POOL_2D, t, "pool");
        let flat = net.reshape(t, &[1, 128], "flat");
        let y = net.dense(flat, 10, "y");
        let model = net.finish(&[y]);
        for (mode, least) in [(Mode::Int8, 25.0), (Mode::Int8Only, 25.0), (Mode::Int16x8, 30.0)] {
            let result = in_mode(&model, mode);
            let snr = fidelity(&model, &result);
            assert!(snr > least, "network {seed}, {mode:?}: {snr} dB");
        }
    }
}

/// An attention mask: logits plus -3.4e38 where nothing is to be seen.
#[test]
fn values_that_stand_for_infinity_stay_in_float() {
    let mut net = Net::new(23);
    let x = net.input("x", &[1, 16]);
    let logits = net.dense(x, 8, "logits");
    let hidden: Vec<f32> = (0..8).map(|i| if i % 2 == 0 { 0.0 } else { f32::MIN }).collect();
    let mask = net.b.constant_f32("mask", &[1, 8], &hidden);
    let masked = net.add(logits, mask, "masked");
    let p = net.softmax(masked, "p");
    let y = net.dense(p, 4, "y");
    let model = net.finish(&[y]);
    let result = in_mode(&model, Mode::Int8);
    let wanted = [
        "QUANTIZE",
        "FULLY_CONNECTED v4",
        "DEQUANTIZE v2",
        "ADD",
        "SOFTMAX",
        "QUANTIZE",
        "FULLY_CONNECTED v4",
        "DEQUANTIZE v2",
    ];
    assert_eq!(operators(&result), wanted);
    let snr = fidelity(&model, &result);
    assert!(snr > 30.0, "{snr} dB");
    let error = quantize(&model, &Options::new(Mode::Int8Only), Some(&calibrate(&model))).unwrap_err().to_string();
    assert!(error.contains("\"mask\" reaches -3.4028235e38"), "{error}");
}
