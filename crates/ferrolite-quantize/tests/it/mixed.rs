//! Mixed precision.

use crate::*;
use ferrolite_quantize::{QuantizeError, Regex, Rule, Scheme};

fn rule(tensors: Option<&str>, operators: &[&str], scheme: Scheme) -> Rule {
    let tensors = tensors.map(|pattern| Regex::new(pattern).unwrap());
    Rule { tensors, operators: operators.iter().map(|&name| name.to_owned()).collect(), scheme, weight_bits: None }
}

fn chain(seed: u64) -> Arc<Model> {
    let mut net = Net::new(seed);
    let x = net.input("x", &[1, 8, 8, 8]);
    let a = net.conv(x, 16, "a");
    let b = net.conv(a, 16, "b");
    let pool = net.pool(BuiltinOperator::MAX_POOL_2D, b, "pool");
    let flat = net.reshape(pool, &[1, 256], "flat");
    let c = net.dense(flat, 32, "c");
    let y = net.dense(c, 10, "y");
    net.finish(&[y])
}

#[test]
fn neighbours_of_all_schemes_work_together() {
    let schemes =
        [Scheme::Float, Scheme::Float16, Scheme::WeightOnly, Scheme::DynamicRange, Scheme::Int8, Scheme::Int16x8];
    let model = chain(70);
    for first in schemes {
        for second in schemes.into_iter().filter(|&second| second != first) {
            let rules = vec![rule(Some("^(b|flat|y)$"), &[], first), rule(Some("^(a|pool|c)$"), &[], second)];
            let options = Options { rules, ..Options::new(Mode::Float) };
            let calibration = options.needs_calibration().then(|| calibrate(&model));
            let result = quantize(&model, &options, calibration.as_ref()).unwrap();
            let snr = fidelity(&model, &Arc::new(result));
            assert!(snr > 28.0, "{first:?} and {second:?}: {snr} dB");
        }
    }
}

#[test]
fn the_last_rule_holds() {
    let model = chain(71);
    let rules = vec![
        rule(None, &["FULLY_CONNECTED"], Scheme::Int16x8),
        rule(Some("^c$"), &[], Scheme::Float),
        rule(None, &["COS"], Scheme::Float),
    ];
    let options = Options { rules, ..Options::new(Mode::Int8) };
    let result = quantize(&model, &options, Some(&calibrate(&model))).unwrap();
    assert_eq!(
        operators(&result),
        [
            "QUANTIZE",
            "CONV_2D v3",
            "CONV_2D v3",
            "MAX_POOL_2D v2",
            "RESHAPE",
            "DEQUANTIZE v2",
            "FULLY_CONNECTED",
            "QUANTIZE v2",
            "FULLY_CONNECTED v7",
            "DEQUANTIZE v3"
        ]
        .map(String::from)
    );
    assert_eq!(params(&result, "b").0, TensorType::Int8);
    let one = Options { rules: vec![Rule::of_tensor("a", Scheme::Int8)], ..Options::new(Mode::Float) };
    let result = quantize(&model, &one, Some(&calibrate(&model))).unwrap();
    assert_eq!(operators(&result)[..4], ["QUANTIZE", "CONV_2D v3", "DEQUANTIZE v2", "CONV_2D"].map(String::from));
    assert!(matches!(quantize(&model, &one, None), Err(QuantizeError::NeedsCalibration { .. })));
    let strict = Options { rules: vec![rule(Some("^c$"), &[], Scheme::Float)], ..Options::new(Mode::Int8Only) };
    let error = quantize(&model, &strict, Some(&calibrate(&model))).unwrap_err().to_string();
    assert!(error.contains("as asked"), "{error}");
}
