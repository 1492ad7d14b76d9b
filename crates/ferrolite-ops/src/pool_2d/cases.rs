//! Generated cases.

use super::Mode;
use crate::common::cases::case;
use crate::common::padding::window;
use crate::op::Case;
use ferrolite_model::TensorType::{Float32, Int8};
use ferrolite_model::schema::{ActivationFunctionType, Padding, Pool2DOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (input, kernel, stride)
const GEOMETRIES: [([i32; 4], [i32; 2], [i32; 2]); 7] = [
    ([1, 8, 8, 32], [2, 2], [2, 2]),
    ([2, 7, 9, 5], [3, 3], [2, 2]),
    ([1, 6, 5, 1], [3, 2], [1, 1]),
    ([1, 7, 7, 70], [7, 7], [1, 1]),
    ([3, 5, 11, 17], [1, 4], [3, 2]),
    ([1, 28, 28, 16], [2, 2], [2, 2]),
    ([1, 4, 4, 8], [5, 5], [3, 3]),
];

pub fn cases(mode: Mode) -> Vec<Case> {
    let op = match mode {
        Mode::Average => BuiltinOperator::AVERAGE_POOL_2D,
        Mode::Max => BuiltinOperator::MAX_POOL_2D,
    };
    let mut cases = Vec::new();
    for (i, (x, kernel, stride)) in GEOMETRIES.into_iter().enumerate() {
        for padding in [Padding::SAME, Padding::VALID] {
            let place = |d: usize| {
                window(padding, x[d + 1] as usize, kernel[d] as usize, stride[d], 1).map_or(0, |w| w.out as i32)
            };
            let y = [x[0], place(0), place(1), x[3]];
            if y.contains(&0) {
                continue;
            }
            let options = BuiltinOptions::Pool2DOptions(Box::new(Pool2DOptionsT {
                padding,
                stride_h: stride[0],
                stride_w: stride[1],
                filter_height: kernel[0],
                filter_width: kernel[1],
                fused_activation_function: [ActivationFunctionType::NONE, ActivationFunctionType::RELU][i % 2],
            }));
            for (ty, quantization) in [(Float32, None), (Int8, Some((0.1, -9)))] {
                let name = format!("{ty} {x:?}, {kernel:?} by {stride:?}, {padding:?}");
                cases.extend(case(name, op, options.clone(), &[(ty, &x, quantization)], (ty, &y, quantization)));
            }
        }
    }
    cases
}
