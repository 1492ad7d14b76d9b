//! The builder's models.

use ferrolite_model::Model;
use ferrolite_train::{Activation::*, Padding, Sequential, TrainError, Window};

fn fashion() -> Sequential {
    let images = Sequential::new(&[28, 28, 1]).conv_2d(16, 3, Relu).max_pool_2d(2).conv_2d(32, 3, Relu);
    images.flatten().dense(64, Relu).dense(10, None)
}

#[test]
fn course_network_has_its_parameters_and_survives_a_file() {
    let model = fashion().build(1).unwrap();
    let constants: usize = model.subgraphs[0]
        .tensors
        .iter()
        .filter(|t| t.buffer != 0 && t.ty == ferrolite_model::TensorType::Float32)
        .map(|t| t.elements().unwrap())
        .sum();
    assert_eq!(constants, 16 * 10 + 32 * (9 * 16 + 1) + 64 * 3873 + 10 * 65);
    let signature = &model.signatures[0];
    assert_eq!(signature.key.as_deref(), Some("serving_default"));
    assert_eq!((signature.inputs[0].0.as_str(), signature.outputs[0].0.as_str()), ("image", "output"));
    let read = Model::from_bytes(model.to_bytes().unwrap()).unwrap();
    assert_eq!(read, model);
}

#[test]
fn weights_follow_the_seed_and_glorots_bound() {
    let weights = |seed| {
        let model = Sequential::new(&[100]).dense(50, None).build(seed).unwrap();
        let data = model.constant(&model.subgraphs[0].tensors[1]).unwrap().to_vec();
        let numbers = data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        numbers.collect::<Vec<f32>>()
    };
    let (first, again, other) = (weights(1), weights(1), weights(2));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let limit = (6.0f32 / 150.0).sqrt();
    assert!(first.iter().all(|w| w.abs() <= limit));
    let variance = first.iter().map(|w| w * w).sum::<f32>() / first.len() as f32;
    assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.05, "{variance}");
}

#[test]
fn every_layer_gives_the_shape_that_the_runtime_infers() {
    let same = Window { size: (3, 3), strides: (2, 2), padding: Padding::Same };
    let model = Sequential::new(&[15, 17, 3])
        .rescaling(1.0 / 127.5, -1.0)
        .conv_2d_window(8, same, Relu6)
        .depthwise_conv_2d(3, Relu)
        .average_pool_2d(2)
        .conv_2d(4, 1, None)
        .global_average_pool_2d()
        .dense(5, None)
        .softmax()
        .build(3)
        .unwrap();
    let mut interpreter = ferrolite_runtime::Interpreter::new(model.clone()).unwrap();
    interpreter.resize_input(0, &[4, 15, 17, 3]).unwrap();
    for (id, tensor) in model.subgraphs[0].tensors.iter().enumerate().filter(|(_, t)| !t.shape_signature.is_empty()) {
        let expected: Vec<usize> =
            tensor.shape_signature.iter().map(|&d| if d == -1 { 4 } else { d as usize }).collect();
        assert_eq!(interpreter.tensor(id).unwrap().shape, expected, "{}", tensor.name());
    }
    interpreter.invoke().unwrap();
    let sums = interpreter.output::<f32>(0).unwrap().chunks_exact(5).map(|row| row.iter().sum::<f32>());
    assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let error = Sequential::new(&[28, 28, 1]).conv_2d(4, 3, Relu).dense(10, None).build(0).unwrap_err();
    assert!(matches!(error, TrainError::Layer { layer: 1, kind: "dense", .. }), "{error}");
    assert!(Sequential::new(&[4, 4, 1]).conv_2d(4, 5, Relu).build(0).is_err());
    assert!(Sequential::new(&[4, 4, 1]).max_pool_2d(0).build(0).is_err());
    assert!(Sequential::new(&[4]).dense(0, None).build(0).is_err());
    assert!(Sequential::new(&[usize::MAX, 2]).flatten().build(0).is_err());
    assert!(Sequential::new(&[4]).conv_2d(1, 1, None).build(0).is_err());
    assert!(Sequential::new(&[]).dense(1, None).build(0).is_err());
    assert!(Sequential::new(&[3]).build(0).is_err());
}
