//! Gradients by finite differences.

use crate::common::testing::check_gradient;
use crate::op::OpDef;
use crate::{batch_matmul, conv_2d, depthwise_conv_2d, fully_connected, pool_2d, softmax};
use ferrolite_model::BuiltinOptions;
use ferrolite_model::schema::*;

fn conv(
    padding: Padding,
    stride: (i32, i32),
    dilation: (i32, i32),
    activation: ActivationFunctionType,
) -> BuiltinOptions {
    BuiltinOptions::Conv2DOptions(Box::new(Conv2DOptionsT {
        padding,
        stride_h: stride.0,
        stride_w: stride.1,
        dilation_h_factor: dilation.0,
        dilation_w_factor: dilation.1,
        fused_activation_function: activation,
        ..Default::default()
    }))
}

const NONE: ActivationFunctionType = ActivationFunctionType::NONE;
const RELU: ActivationFunctionType = ActivationFunctionType::RELU;

#[test]
fn convolutions() {
    let op = conv_2d::Conv2d;
    let bias: &[i32] = &[4];
    check_gradient(&op, conv(Padding::SAME, (1, 1), (1, 1), RELU), &[&[2, 5, 6, 3], &[4, 3, 3, 3], bias], 21);
    check_gradient(&op, conv(Padding::VALID, (1, 1), (1, 1), NONE), &[&[3, 6, 5, 1], &[4, 3, 2, 1], bias], 2);
    check_gradient(&op, conv(Padding::SAME, (2, 3), (1, 1), NONE), &[&[2, 7, 8, 2], &[4, 3, 5, 2], bias], 3);
    check_gradient(&op, conv(Padding::SAME, (1, 1), (2, 2), NONE), &[&[2, 6, 7, 2], &[4, 3, 3, 2], bias], 4);
    // Groups.
    check_gradient(&op, conv(Padding::VALID, (2, 1), (1, 1), NONE), &[&[1, 5, 5, 4], &[4, 3, 3, 2], bias], 5);
    // A stride greater than the filter, and more than one block of patches.
    check_gradient(&op, conv(Padding::VALID, (2, 2), (1, 1), NONE), &[&[1, 5, 6, 2], &[4, 1, 1, 2], bias], 6);
    check_gradient(&op, conv(Padding::SAME, (1, 1), (1, 1), NONE), &[&[2, 40, 30, 1], &[4, 3, 3, 1], bias], 7);
}

#[test]
fn depthwise_convolutions() {
    let options = |stride, dilation| {
        BuiltinOptions::DepthwiseConv2DOptions(Box::new(DepthwiseConv2DOptionsT {
            padding: Padding::SAME,
            stride_h: stride,
            stride_w: stride,
            dilation_h_factor: dilation,
            dilation_w_factor: dilation,
            depth_multiplier: 2,
            ..Default::default()
        }))
    };
    let op = depthwise_conv_2d::DepthwiseConv2d;
    check_gradient(&op, options(2, 1), &[&[2, 5, 6, 3], &[1, 3, 3, 6], &[6]], 1);
    check_gradient(&op, options(1, 2), &[&[1, 5, 6, 2], &[1, 3, 3, 4], &[4]], 2);
    check_gradient(&op, options(1, 1), &[&[2, 5, 6, 3], &[1, 3, 3, 3], &[3]], 3);
    check_gradient(&op, options(2, 2), &[&[3, 7, 8, 5], &[1, 3, 3, 5], &[5]], 4);
    check_gradient(&op, options(3, 1), &[&[3, 7, 8, 5], &[1, 2, 2, 5], &[5]], 5);
}

#[test]
fn matrix_products() {
    let dense = |keep_num_dims| {
        BuiltinOptions::FullyConnectedOptions(Box::new(FullyConnectedOptionsT {
            keep_num_dims,
            fused_activation_function: RELU,
            ..Default::default()
        }))
    };
    let op = fully_connected::FullyConnected;
    check_gradient(&op, dense(false), &[&[3, 5], &[4, 5], &[4]], 1);
    check_gradient(&op, dense(true), &[&[2, 3, 5], &[4, 5], &[4]], 2);
    for (seed, (adj_x, adj_y)) in (3..).zip([(false, false), (false, true), (true, false), (true, true)]) {
        let options = BatchMatMulOptionsT { adj_x, adj_y, asymmetric_quantize_inputs: false };
        let options = BuiltinOptions::BatchMatMulOptions(Box::new(options));
        let flip = |rows, columns, adj| if adj { [columns, rows] } else { [rows, columns] };
        let (x, y) = (flip(3, 4, adj_x), flip(4, 5, adj_y));
        let op: &dyn OpDef = &batch_matmul::BatchMatMul;
        check_gradient(op, options.clone(), &[&[2, x[0], x[1]], &[2, y[0], y[1]]], seed);
        check_gradient(op, options, &[&[2, 1, x[0], x[1]], &[3, y[0], y[1]]], seed + 10);
    }
}

#[test]
fn pools_and_softmax() {
    let pool = |padding| {
        BuiltinOptions::Pool2DOptions(Box::new(Pool2DOptionsT {
            padding,
            stride_h: 2,
            stride_w: 2,
            filter_height: 3,
            filter_width: 2,
            fused_activation_function: NONE,
        }))
    };
    for padding in [Padding::SAME, Padding::VALID] {
        check_gradient(&pool_2d::MAX_POOL_2D, pool(padding), &[&[2, 5, 6, 3]], 1);
        check_gradient(&pool_2d::AVERAGE_POOL_2D, pool(padding), &[&[2, 5, 6, 3]], 2);
    }
    let options = BuiltinOptions::SoftmaxOptions(Box::new(SoftmaxOptionsT { beta: 0.7 }));
    check_gradient(&softmax::Softmax, options, &[&[3, 5]], 3);
    let options = BuiltinOptions::LogSoftmaxOptions(Box::default());
    check_gradient(&softmax::LogSoftmax, options, &[&[3, 5]], 4);
}
