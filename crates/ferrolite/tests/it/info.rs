//! Facts about built models.

use ferrolite::bench::{self, BenchOptions};
use ferrolite::info::ModelInfo;
use ferrolite::quantize::{self, Mode};
use ferrolite::train::{Activation, Sequential};
use ferrolite::{Array, Catalog, Model, ModelBuilder, Options, TensorType};
use std::time::Duration;

/// 4·4·1·3·3·8 + 128·16 multiply-accumulates.
pub fn network() -> Model {
    let network = Sequential::new(&[6, 6, 1]).names("image", "scores").conv_2d(8, 3, Activation::Relu);
    network.flatten().dense(16, Activation::None).build(1).unwrap()
}

#[test]
fn counts_of_a_float_network() {
    let info = ModelInfo::new(&network(), &Catalog::builtin());
    assert_eq!(info.parameters, 8 * 9 + 8 + 128 * 16 + 16);
    assert_eq!(info.macs, 4 * 4 * 9 * 8 + 128 * 16);
    assert_eq!(info.quantization, "float32 weights and activations");
    assert!(info.operators.iter().any(|op| op.name == "CONV_2D" && op.count == 1 && op.is_known && op.macs == 1152));
    let graph = &info.subgraphs[0];
    let input = &graph.tensors[graph.inputs[0]];
    assert_eq!((input.role, input.ty.as_str(), &input.shape[1..]), ("input", "float32", &[6, 6, 1][..]));
    assert_eq!(info.largest_constants()[0].1.constant_bytes, 4 * 128 * 16);
}

#[test]
fn quantization_is_put_into_words() {
    let model = network();
    let samples = Array::from_f32(&[4, 36], &(0..144).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>());
    let samples = ferrolite::samples::Samples::from_arrays(&model, &[samples]).unwrap();
    let calibration = quantize::calibrate(&model, &samples, quantize::Method::MinMax, 1, &mut |_, _| {}).unwrap();
    for (mode, words) in [
        (Mode::DynamicRange, "int8 weights, float32 activations (dynamic range)"),
        (Mode::Float16, "float16 weights, float32 activations"),
        (Mode::Int8, "int8 weights and activations"),
        (Mode::Int8Only, "int8 weights and activations"),
        (Mode::Int16x8, "int8 weights, int16 activations"),
    ] {
        let small = quantize::quantize(&model, &quantize::Options::new(mode), Some(&calibration)).unwrap();
        let info = ModelInfo::new(&small, &Catalog::builtin());
        assert_eq!(info.quantization, words, "{mode:?}");
        assert!(info.parameters >= 2048, "{mode:?}");
    }
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let refused = |arrays: &[Array]| ferrolite::samples::Samples::from_arrays(&network(), arrays).err().unwrap();
    assert!(refused(&[]).to_string().contains("0 arrays"));
    let error = refused(&[Array::from_f32(&[4, 35], &[0.0; 140])]);
    assert!(error.help().unwrap().contains("[samples, 6, 6, 1]"));
    assert!(refused(&[Array::from_f32(&[0, 36], &[])]).to_string().contains("no samples"));
}

#[test]
fn unknown_operators_are_told() {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[-1, 2]);
    let y = b.tensor("y", TensorType::Float32, &[-1, 2]);
    b.custom("Mystery", Vec::new(), &[Some(x)], &[y]);
    b.output(y);
    b.metadata("note", b"hello\0".to_vec());
    b.signature("serving_default");
    let info = ModelInfo::new(&b.build().unwrap(), &Catalog::builtin());
    assert!(!info.operators[0].is_known && info.operators[0].name == "Mystery");
    assert_eq!(info.subgraphs[0].tensors[0].shape, [-1, 2]);
    assert_eq!(info.metadata[0].text.as_deref(), Some("hello"));
    assert_eq!(info.signatures[0].inputs, [("x".to_owned(), 0)]);
    assert_eq!(info.quantization, "float32 activations, no weights");
}

#[test]
fn a_bench_counts_what_it_was_asked_to() {
    let profile = BenchOptions { profile: true, roofline: true, ..BenchOptions::default() };
    let options = BenchOptions { warm_up: Duration::ZERO, runs: Some(5), ..profile };
    let report = bench::bench(network(), Options { threads: 2, ..Options::default() }, &options).unwrap();
    assert_eq!((report.runs, report.threads, report.macs), (5, 2, 1152 + 2048));
    assert!(report.latency_us.min <= report.latency_us.median && report.latency_us.median <= report.latency_us.max);
    assert!(report.steps.len() >= 2 && (report.steps.iter().map(|s| s.share).sum::<f64>() - 1.0).abs() < 1e-6);
    let of = |name: &str| report.operators.iter().find(|kind| kind.operator.contains(name)).unwrap();
    assert_eq!((of("CONV_2D").macs, of("FULLY_CONNECTED").macs), (1152, 2048));
    let dense = report.steps.iter().find(|step| step.macs == 2048).unwrap();
    assert_eq!((dense.bytes, dense.is_integer), (4 * (128 + 128 * 16 + 16 + 16), false));
    assert!(dense.roofline.unwrap().share > 0.0 && report.roofline.unwrap().gops_per_second > 0.0);
    assert!(report.arena_bytes > 0);
}
