//! Methods of calibration.

use crate::*;
use ferrolite_quantize::QuantizeError;

const METHODS: [Method; 5] = [Method::MinMax, Method::MovingAverage, Method::PERCENTILE, Method::Entropy, Method::Mse];

#[test]
fn every_method_quantizes_well() {
    let model = classifier(50);
    let seen = calibrate(&model);
    for method in METHODS {
        let calibration = calibrate_by(&model, method);
        assert_eq!((calibration.method(), calibration.samples()), (method, 200));
        for id in 0..model.subgraphs[0].tensors.len() {
            let (Some(all), Some(range)) = (seen.range(id), calibration.range(id)) else { continue };
            assert!(all.0 <= range.0 && range.0 <= range.1 && range.1 <= all.1, "{method}: {range:?} in {all:?}");
        }
        let result = Arc::new(quantize(&model, &Options::new(Mode::Int8), Some(&calibration)).unwrap());
        let snr = fidelity(&model, &result);
        assert!(snr > 25.0, "{method}: {snr} dB");
    }
}

#[test]
fn methods_for_8_bits_are_refused_for_16() {
    let model = classifier(51);
    for method in METHODS {
        let result = quantize(&model, &Options::new(Mode::Int16x8), Some(&calibrate_by(&model, method)));
        match method {
            Method::Entropy | Method::Mse => assert!(matches!(result, Err(QuantizeError::Method { .. })), "{method}"),
            _ => assert!(result.is_ok(), "{method}"),
        }
    }
}

#[test]
fn odd_samples_are_found() {
    let mut net = Net::new(52);
    let x = net.input("x", &[1, 4]);
    let y = net.dense(x, 4, "y");
    let model = net.finish(&[y]);
    let mut calibrator = Calibrator::new(model.clone()).unwrap().method(Method::Percentile(90.0));
    for i in 0..100 {
        let reach = if i == 40 { 50.0 } else { 1.0 };
        calibrator.feed_f32(&[&[reach, -reach, 0.5, 0.0]]).unwrap();
    }
    let calibration = calibrator.finish();
    let findings = calibration.findings();
    assert_eq!(findings.settled_after, 41);
    assert!(findings.stretched.iter().all(|stretch| stretch.sample == 40));
    assert!(findings.stretched.iter().any(|stretch| stretch.tensor == "x" && stretch.factor > 20.0));
    assert!(findings.clipped.iter().any(|(name, part)| name == "x" && *part > 0.0 && *part < 0.01), "{findings:?}");
}

#[test]
fn what_cannot_be_measured_is_named() {
    let mut net = Net::new(53);
    let x = net.input("x", &[1, 4]);
    let y = net.dense(x, 4, "y");
    let model = net.finish(&[y]);
    for method in METHODS {
        let mut calibrator = Calibrator::new(model.clone()).unwrap().method(method);
        let error = calibrator.feed_f32(&[&[0.0, f32::NAN, 0.0, 0.0]]).unwrap_err().to_string();
        assert!(error.contains("\"x\"") && error.contains("NaN at element 1"), "{error}");
    }
    let int8 = in_mode(&model, Mode::Int8Only);
    let error = Calibrator::new(int8).err().unwrap().to_string();
    assert!(error.contains("quantized already"), "{error}");
    let mut b = ModelBuilder::new();
    let n = b.input("n", TensorType::Int32, &[1]);
    let out = b.tensor("out", TensorType::Int32, &[1]);
    b.node(BuiltinOperator::ABS, 1, BuiltinOptions::NONE, &[Some(n)], &[out]);
    b.output(out);
    let error = Calibrator::new(b.build().unwrap()).err().unwrap().to_string();
    assert!(error.contains("no float32 tensors"), "{error}");
}
