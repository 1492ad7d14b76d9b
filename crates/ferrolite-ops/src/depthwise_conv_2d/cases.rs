//! Generated cases.

use crate::common::linear_cases::Geometry;
use crate::common::padding::window;
use crate::op::Case;
use ferrolite_model::schema::{ActivationFunctionType, DepthwiseConv2DOptionsT, Padding};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (input, multiplier, kernel, stride, dilation)
const GEOMETRIES: [([i32; 4], i32, [i32; 2], [i32; 2], [i32; 2]); 9] = [
    ([1, 8, 8, 32], 1, [3, 3], [1, 1], [1, 1]),
    ([2, 9, 7, 19], 1, [3, 3], [2, 2], [1, 1]),
    ([1, 12, 12, 64], 1, [5, 5], [1, 1], [1, 1]),
    ([1, 6, 6, 5], 2, [3, 3], [1, 1], [1, 1]),
    ([2, 7, 7, 1], 8, [3, 3], [2, 2], [1, 1]),
    ([1, 11, 11, 16], 1, [3, 3], [1, 1], [2, 2]),
    ([1, 4, 50, 8], 1, [1, 9], [1, 2], [1, 1]),
    ([1, 2, 2, 40], 1, [3, 3], [1, 1], [1, 1]),
    ([1, 30, 30, 48], 1, [3, 3], [1, 1], [1, 1]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (x, multiplier, kernel, stride, dilation)) in GEOMETRIES.into_iter().enumerate() {
        for padding in [Padding::SAME, Padding::VALID] {
            let place = |d: usize| {
                window(padding, x[d + 1] as usize, kernel[d] as usize, stride[d], dilation[d])
                    .map_or(0, |w| w.out as i32)
            };
            let (rows, columns, out_c) = (place(0), place(1), x[3] * multiplier);
            if rows * columns == 0 {
                continue;
            }
            let activation = [ActivationFunctionType::RELU, ActivationFunctionType::NONE][i % 2];
            let geometry = Geometry {
                name: format!("{x:?} times {multiplier}, {kernel:?} by {stride:?}, {dilation:?}, {padding:?}"),
                op: BuiltinOperator::DEPTHWISE_CONV_2D,
                options: BuiltinOptions::DepthwiseConv2DOptions(Box::new(DepthwiseConv2DOptionsT {
                    padding,
                    stride_h: stride[0],
                    stride_w: stride[1],
                    dilation_h_factor: dilation[0],
                    dilation_w_factor: dilation[1],
                    depth_multiplier: multiplier,
                    fused_activation_function: activation,
                })),
                x: &x,
                w: &[1, kernel[0], kernel[1], out_c],
                axis: 3,
                y: &[x[0], rows, columns, out_c],
                depth: (kernel[0] * kernel[1]) as usize,
                bias: i % 3 != 2,
                transposed: false,
            };
            cases.extend(geometry.cases());
        }
    }
    cases
}
