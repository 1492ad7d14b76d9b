//! The debugger.

use crate::*;
use ferrolite_quantize::{Comparer, Scheme};

fn bytes(inputs: &[Vec<f32>]) -> Vec<Vec<u8>> {
    inputs.iter().map(|values| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect()
}

fn compared(a: &Arc<Model>, b: &Arc<Model>) -> Comparer {
    let mut comparer = Comparer::new(a.clone(), b.clone()).unwrap().keep(4);
    let mut random = Random::new(7);
    for _ in 0..8 {
        comparer.feed(&bytes(&sample(a, &mut random))).unwrap();
    }
    comparer
}

#[test]
fn a_model_does_not_differ_from_itself() {
    let model = classifier(80);
    let comparer = compared(&model, &model);
    let tensors = comparer.tensors();
    assert!(tensors.len() >= 4);
    for tensor in &tensors {
        assert_eq!((tensor.error.mse(), tensor.error.max, tensor.clipped), (0.0, 0.0, 0.0));
        assert!(tensor.error.snr() == f64::INFINITY && (tensor.error.cosine() - 1.0).abs() < 1e-9);
        assert_eq!(tensor.histograms.1[0], tensor.histograms.1[1]);
    }
    assert!(comparer.layers(&mut |_, _| {}).unwrap().is_empty());
}

#[test]
fn outputs_are_off_by_what_the_fidelity_says() {
    let model = classifier(81);
    for (mode, io) in [(Mode::Int8, None), (Mode::Int8Only, Some(TensorType::UInt8)), (Mode::Int16x8, None)] {
        let options = Options { input_type: io, output_type: io, ..Options::new(mode) };
        let result = quantized(&model, &options);
        let tensors = compared(&model, &result).tensors();
        let output = tensors.iter().find(|tensor| tensor.is_output).unwrap();
        assert_eq!((output.name.as_str(), output.operator.as_str()), ("y", "SOFTMAX"));
        assert!((output.error.snr() - fidelity(&model, &result)).abs() < 0.1, "{mode:?}");
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert!(names.starts_with(&["x", "conv"]), "{names:?}");
    }
}

#[test]
fn the_layer_that_costs_most_is_found() {
    let mut net = Net::new(82);
    let x = net.input("x", &[1, 8, 8, 8]);
    let a = net.conv(x, 16, "a");
    let b = net.conv(a, 16, "b");
    let c = net.conv(b, 16, "c");
    let model = net.finish(&[c]);
    let mut calibration = calibrate(&model);
    // A range far too wide for the values.
    calibration.set_range(b, -400.0, 400.0).unwrap();
    let int8 = Arc::new(quantize(&model, &Options::new(Mode::Int8), Some(&calibration)).unwrap());
    let comparer = compared(&model, &int8);
    let layers = comparer.layers(&mut |_, _| {}).unwrap();
    // It is computed by one layer and read by the next; the first has nothing to do with it.
    let mut worst = [layers[0].name.as_str(), layers[1].name.as_str()];
    worst.sort_unstable();
    assert_eq!((worst, layers[2].name.as_str(), layers[2].scheme), (["b", "c"], "a", Scheme::Int8));
    assert!(layers[1].error.mse() > 10.0 * layers[2].error.mse());
    let clipping = compared(&model, &{
        calibration.set_range(b, -0.1, 0.1).unwrap();
        Arc::new(quantize(&model, &Options::new(Mode::Int8), Some(&calibration)).unwrap())
    });
    let tensors = clipping.tensors();
    assert!(tensors.iter().find(|tensor| tensor.name == "b").unwrap().clipped > 0.1);
}

#[test]
fn schemes_of_layers_are_recognized() {
    let model = classifier(83);
    for (mode, scheme) in [
        (Mode::DynamicRange, Scheme::DynamicRange),
        (Mode::WeightOnly, Scheme::WeightOnly),
        (Mode::Float16, Scheme::Float16),
        (Mode::Int16x8, Scheme::Int16x8),
    ] {
        let options = Options { min_weight_elements: 0, ..Options::new(mode) };
        let layers = compared(&model, &quantized(&model, &options)).layers(&mut |_, _| {}).unwrap();
        assert!(layers.len() >= 2 && layers.iter().all(|layer| layer.scheme == scheme), "{mode:?}: {layers:?}");
    }
}
