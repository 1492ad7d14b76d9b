//! Generated cases.

use crate::common::linear_cases::Geometry;
use crate::common::padding::window;
use crate::op::Case;
use ferrolite_model::schema::{ActivationFunctionType, Conv2DOptionsT, Padding};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (input, output channels, kernel, stride, dilation, groups)
const GEOMETRIES: [([i32; 4], i32, [i32; 2], [i32; 2], [i32; 2], i32); 12] = [
    ([1, 8, 8, 3], 16, [3, 3], [2, 2], [1, 1], 1),
    ([2, 7, 9, 5], 7, [3, 3], [1, 1], [1, 1], 1),
    ([1, 14, 14, 32], 64, [1, 1], [1, 1], [1, 1], 1),
    ([2, 9, 9, 16], 33, [1, 1], [2, 2], [1, 1], 1),
    ([1, 12, 10, 4], 17, [5, 4], [1, 2], [1, 1], 1),
    ([1, 11, 11, 6], 8, [3, 3], [1, 1], [2, 3], 1),
    ([2, 6, 6, 8], 12, [3, 3], [1, 1], [1, 1], 4),
    ([1, 5, 5, 6], 6, [3, 3], [1, 1], [1, 1], 6),
    ([1, 3, 3, 2], 1, [3, 3], [1, 1], [1, 1], 1),
    ([1, 1, 40, 1], 4, [1, 7], [1, 3], [1, 1], 1),
    ([3, 20, 20, 24], 40, [3, 3], [1, 1], [1, 1], 1),
    ([1, 2, 2, 3], 5, [5, 5], [1, 1], [1, 1], 1),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (x, out_c, kernel, stride, dilation, groups)) in GEOMETRIES.into_iter().enumerate() {
        for padding in [Padding::SAME, Padding::VALID] {
            let place = |d: usize| {
                window(padding, x[d + 1] as usize, kernel[d] as usize, stride[d], dilation[d])
                    .map_or(0, |w| w.out as i32)
            };
            let (rows, columns) = (place(0), place(1));
            if rows * columns == 0 {
                continue;
            }
            let depth = x[3] / groups;
            let activation = [ActivationFunctionType::NONE, ActivationFunctionType::RELU6][i % 2];
            let geometry = Geometry {
                name: format!("{x:?} to {out_c}, {kernel:?} by {stride:?}, {dilation:?}, {groups} groups, {padding:?}"),
                op: BuiltinOperator::CONV_2D,
                options: BuiltinOptions::Conv2DOptions(Box::new(Conv2DOptionsT {
                    padding,
                    stride_h: stride[0],
                    stride_w: stride[1],
                    dilation_h_factor: dilation[0],
                    dilation_w_factor: dilation[1],
                    fused_activation_function: activation,
                    ..Conv2DOptionsT::default()
                })),
                x: &x,
                w: &[out_c, kernel[0], kernel[1], depth],
                axis: 0,
                y: &[x[0], rows, columns, out_c],
                depth: (kernel[0] * kernel[1] * depth) as usize,
                bias: i % 3 != 2,
                transposed: false,
            };
            cases.extend(geometry.cases());
        }
    }
    cases
}
