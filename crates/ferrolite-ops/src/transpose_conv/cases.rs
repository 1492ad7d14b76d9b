//! Generated cases.

use crate::common::linear_cases::Geometry;
use crate::op::Case;
use ferrolite_model::schema::{ActivationFunctionType, Padding, TransposeConvOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (output, input channels, kernel, stride)
const GEOMETRIES: [([i32; 4], i32, [i32; 2], [i32; 2]); 9] = [
    ([1, 8, 8, 16], 8, [3, 3], [2, 2]),
    ([2, 7, 9, 5], 3, [3, 3], [1, 1]),
    ([1, 9, 9, 6], 17, [2, 2], [2, 2]),
    ([2, 10, 8, 4], 5, [5, 4], [3, 2]),
    ([1, 11, 12, 3], 4, [1, 1], [2, 3]),
    ([1, 12, 12, 2], 6, [3, 3], [3, 3]),
    ([1, 9, 7, 33], 16, [4, 3], [1, 2]),
    ([1, 40, 40, 8], 16, [4, 4], [2, 2]),
    ([3, 6, 6, 1], 1, [2, 3], [4, 4]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (y, in_c, kernel, stride)) in GEOMETRIES.into_iter().enumerate() {
        for padding in [Padding::SAME, Padding::VALID] {
            let place = |d: usize| match padding {
                Padding::SAME => (y[d + 1] + stride[d] - 1) / stride[d],
                _ => (y[d + 1] - kernel[d] + stride[d]) / stride[d],
            };
            let geometry = Geometry {
                name: format!("{y:?} from {in_c}, {kernel:?} by {stride:?}, {padding:?}"),
                op: BuiltinOperator::TRANSPOSE_CONV,
                options: BuiltinOptions::TransposeConvOptions(Box::new(TransposeConvOptionsT {
                    padding,
                    stride_h: stride[0],
                    stride_w: stride[1],
                    fused_activation_function: [ActivationFunctionType::NONE, ActivationFunctionType::RELU][i % 2],
                    ..TransposeConvOptionsT::default()
                })),
                x: &[y[0], place(0), place(1), in_c],
                w: &[y[3], kernel[0], kernel[1], in_c],
                axis: 0,
                y: &y,
                depth: (kernel[0] * kernel[1] * in_c / stride[0] / stride[1]) as usize,
                bias: i % 3 != 2,
                transposed: true,
            };
            cases.extend(geometry.cases());
        }
    }
    cases
}
