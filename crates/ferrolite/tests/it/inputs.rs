//! Inputs from files.

use crate::{Scratch, info::network};
use ferrolite::inputs::{self, Source};
use ferrolite::quantize::{self, Mode};
use ferrolite::{
    Array, BuiltinOperator, BuiltinOptions, Interpreter, Model, ModelBuilder, TensorType, array, images, schema,
};
use std::path::Path;

/// x + y with an open batch.
fn sum() -> Model {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[-1, 2]);
    let y = b.input("y", TensorType::Float32, &[-1, 2]);
    let z = b.tensor("z", TensorType::Float32, &[-1, 2]);
    let options = BuiltinOptions::AddOptions(Box::<schema::AddOptionsT>::default());
    b.node(BuiltinOperator::ADD, 1, options, &[Some(x), Some(y)], &[z]);
    b.output(z);
    b.signature_named("serving_default", &[("left", x), ("right", y)], &[("sum", z)]);
    b.build().unwrap()
}

fn source(text: &str) -> Source {
    text.parse().unwrap()
}

#[test]
fn arrays_go_by_name_and_resize() {
    let scratch = Scratch::new("arrays");
    let path = |name: &str| scratch.0.join(name).display().to_string();
    array::write_npy(Path::new(&path("a.npy")), &Array::from_f32(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
    let halves = Array { ty: TensorType::Int32, shape: vec![3, 2], bytes: [10i32; 6].map(i32::to_le_bytes).concat() };
    array::write_npy(Path::new(&path("b.npy")), &halves).unwrap();

    let mut interpreter = Interpreter::new(sum()).unwrap();
    let sources = [source(&format!("right={}", path("a.npy"))), source(&path("b.npy"))];
    let filled = inputs::fill_from_files(&mut interpreter, &sources, None, 1).unwrap();
    assert!(filled[0].from.ends_with("b.npy") && filled[1].from.ends_with("a.npy"));
    interpreter.invoke().unwrap();
    assert_eq!(interpreter.output::<f32>(0).unwrap(), [11.0, 12.0, 13.0, 14.0, 15.0, 16.0]);

    let refused = |sources: &[Source]| {
        let mut interpreter = Interpreter::new(sum()).unwrap();
        inputs::fill_from_files(&mut interpreter, sources, None, 1).unwrap_err().to_string()
    };
    assert!(refused(&[source(&format!("middle={}", path("a.npy")))]).contains("middle"));
    let a = source(&path("a.npy"));
    assert!(refused(&[a.clone(), a.clone(), a]).contains("all 2 inputs"));
    assert!(refused(&[source("model.tflite")]).contains("extension"));
    assert!(refused(&[source(&path("missing.npy"))]).contains("missing.npy"));
}

#[test]
fn an_archive_fills_inputs_by_name() {
    use std::io::Write;
    let scratch = Scratch::new("npz");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(scratch.0.join("in.npz")).unwrap());
    for (name, values) in [("y", [1.0, 2.0]), ("left", [10.0, 20.0])] {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&array::npy(&Array::from_f32(&[1, 2], &values)).unwrap()).unwrap();
    }
    zip.finish().unwrap();
    let mut interpreter = Interpreter::new(sum()).unwrap();
    let sources = [source(&scratch.0.join("in.npz").display().to_string())];
    inputs::fill_from_files(&mut interpreter, &sources, None, 1).unwrap();
    interpreter.invoke().unwrap();
    assert_eq!(interpreter.output::<f32>(0).unwrap(), [11.0, 22.0]);
}

#[test]
fn pictures_and_quantized_inputs() {
    let scratch = Scratch::new("pictures");
    let path = scratch.0.join("grey.png");
    std::fs::write(&path, images::grey_png(&[128; 144], 12, 12).unwrap()).unwrap();
    let samples = Array::from_f32(&[2, 36], &[0.0, 1.0].repeat(36));
    let model = network();
    let samples = ferrolite::samples::Samples::from_arrays(&model, &[samples]).unwrap();
    let calibration = quantize::calibrate(&model, &samples, quantize::Method::MinMax, 1, &mut |_, _| {}).unwrap();
    let int8 = quantize::quantize(&model, &quantize::Options::new(Mode::Int8Only), Some(&calibration)).unwrap();
    let sources = [source(&path.display().to_string())];

    let mut float = Interpreter::new(model).unwrap();
    let filled = inputs::fill_from_files(&mut float, &sources, None, 1).unwrap();
    assert!(filled[0].is_picture);
    assert!(float.input_mut::<f32>(0).unwrap().iter().all(|v| (v - 128.0 / 255.0).abs() < 1e-6));

    let mut small = Interpreter::new(int8).unwrap();
    inputs::fill_from_files(&mut small, &sources, None, 1).unwrap();
    assert!(small.input_mut::<i8>(0).unwrap().iter().all(|&v| v == 0));
    // The same as real numbers.
    inputs::fill(&mut small, 0, &Array::from_f32(&[6, 6], &[128.0 / 255.0; 36])).unwrap();
    assert!(small.input_mut::<i8>(0).unwrap().iter().all(|&v| v == 0));
    assert!(inputs::fill(&mut small, 0, &Array::from_f32(&[5, 7], &[0.0; 35])).is_err());
}

#[test]
fn random_inputs_repeat() {
    let mut interpreter = Interpreter::new(network()).unwrap();
    let mut draw = |seed| {
        inputs::fill_random(&mut interpreter, seed).unwrap();
        interpreter.input_mut::<f32>(0).unwrap().to_vec()
    };
    let (first, other, again) = (draw(1), draw(2), draw(1));
    assert!(first == again && first != other);
    assert!(first.iter().all(|v| (0.0..1.0).contains(v)));
}
