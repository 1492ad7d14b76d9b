//! The gradients of operators, by finite differences through small networks.

use crate::assert_gradients;
use ferrolite_model::{Model, TensorType};
use ferrolite_ops::Catalog;
use ferrolite_runtime::Interpreter;
use ferrolite_train::{Activation::*, Padding, Sequential, Window};

/// The network for a batch of 2, its parameters being inputs.
fn open(network: Sequential) -> Model {
    let mut model = network.build(5).unwrap();
    let mut planned = Interpreter::new(model.clone()).unwrap();
    let mut shape = planned.input_tensor(0).unwrap().shape.to_vec();
    shape[0] = 2;
    planned.resize_input(0, &shape).unwrap();
    let graph = &mut model.subgraphs[0];
    for (id, tensor) in graph.tensors.iter_mut().enumerate() {
        tensor.shape = planned.tensor(id).unwrap().shape.iter().map(|&d| d as i32).collect();
        tensor.shape_signature.clear();
        if tensor.buffer != 0 && tensor.ty == TensorType::Float32 && !tensor.shape.is_empty() {
            tensor.buffer = 0;
            graph.inputs.push(id);
        }
    }
    model.signatures.clear();
    model
}

fn check(network: Sequential) {
    assert_gradients(&open(network), &Catalog::builtin());
}

#[test]
fn dense() {
    check(Sequential::new(&[3]).dense(4, None));
    check(Sequential::new(&[5]).dense(6, Relu).dense(2, None));
}

#[test]
fn convolutions() {
    check(Sequential::new(&[5, 6, 2]).conv_2d(3, 3, None));
    check(Sequential::new(&[5, 4, 1]).conv_2d(2, 2, Relu));
    let same = Window { size: (3, 2), strides: (2, 1), padding: Padding::Same };
    check(Sequential::new(&[6, 5, 2]).conv_2d_window(3, same, Relu));
    check(Sequential::new(&[5, 5, 3]).depthwise_conv_2d_window(same, None));
    check(Sequential::new(&[5, 5, 2]).depthwise_conv_2d(3, Relu));
}

#[test]
fn pools_and_shapes() {
    check(Sequential::new(&[5, 6, 2]).max_pool_2d(2));
    let overlapping = Window { size: (3, 3), strides: (1, 2), padding: Padding::Same };
    check(Sequential::new(&[5, 6, 1]).max_pool_2d_window(overlapping));
    check(Sequential::new(&[5, 6, 2]).average_pool_2d(2));
    check(Sequential::new(&[5, 6, 1]).average_pool_2d_window(overlapping));
    check(Sequential::new(&[4, 3, 2]).global_average_pool_2d());
    check(Sequential::new(&[2, 3, 2]).flatten().dense(3, None));
}

#[test]
fn softmax_and_rescaling() {
    check(Sequential::new(&[4]).rescaling(0.5, 0.25).dense(3, None).softmax());
}

#[test]
fn whole_networks() {
    let images = Sequential::new(&[10, 10, 1]).conv_2d(3, 3, Relu).max_pool_2d(2).conv_2d(2, 3, Relu);
    check(images.flatten().dense(4, Relu).dense(3, None));
}
