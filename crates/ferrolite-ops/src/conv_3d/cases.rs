//! Generated cases.

use crate::common::linear_cases::{Geometry, Kind};
use crate::common::window3d::Window3d;
use crate::op::Case;
use ferrolite_model::schema::{ActivationFunctionType, Conv3DOptionsT, Padding};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};

/// (input of the convolution, its output channels, kernel, stride, dilation)
const GEOMETRIES: [([i32; 5], i32, [i32; 3], [i32; 3], [i32; 3]); 8] = [
    ([1, 4, 5, 6, 3], 4, [2, 3, 3], [1, 1, 1], [1, 1, 1]),
    ([2, 5, 6, 5, 2], 3, [3, 3, 3], [2, 2, 2], [1, 1, 1]),
    ([1, 3, 4, 4, 5], 7, [1, 1, 1], [1, 1, 1], [1, 1, 1]),
    ([1, 4, 6, 6, 2], 5, [2, 2, 2], [1, 1, 1], [2, 1, 2]),
    ([2, 6, 5, 7, 1], 2, [4, 2, 3], [1, 2, 1], [1, 1, 1]),
    ([1, 1, 5, 5, 4], 3, [2, 3, 2], [1, 1, 1], [3, 1, 1]),
    ([1, 8, 12, 12, 16], 24, [3, 3, 3], [1, 1, 1], [1, 1, 1]),
    ([1, 7, 8, 9, 4], 6, [3, 1, 2], [3, 1, 2], [1, 1, 1]),
];

fn cases(transposed: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (x, out_c, kernel, stride, dilation)) in GEOMETRIES.into_iter().enumerate() {
        for padding in [Padding::SAME, Padding::VALID] {
            let options = Conv3DOptionsT {
                padding,
                stride_d: stride[0],
                stride_h: stride[1],
                stride_w: stride[2],
                dilation_d_factor: dilation[0],
                dilation_h_factor: dilation[1],
                dilation_w_factor: dilation[2],
                fused_activation_function: [ActivationFunctionType::NONE, ActivationFunctionType::RELU][i % 2],
            };
            let Ok(w) = Window3d::new(&x.map(|d| d as usize), kernel.map(|d| d as usize), &options) else { continue };
            if w.positions() == 0 {
                continue;
            }
            let [d, h, width] = w.output.map(|d| d as i32);
            let y = [x[0], d, h, width, out_c];
            // A transposed convolution leads from the positions of a window back to what it stands over.
            let (from, to) = if transposed { (y, x) } else { (x, y) };
            let filters = [kernel[0], kernel[1], kernel[2], x[4], out_c];
            let geometry = Geometry {
                name: format!("{from:?} to {to:?}, {kernel:?} by {stride:?}, {dilation:?}, {padding:?}"),
                op: if transposed { BuiltinOperator::CONV_3D_TRANSPOSE } else { BuiltinOperator::CONV_3D },
                options: BuiltinOptions::Conv3DOptions(Box::new(options)),
                x: &from,
                w: &filters,
                axis: if transposed { 3 } else { 4 },
                y: &to,
                depth: (kernel.iter().product::<i32>() * from[4]) as usize,
                bias: i % 3 != 2,
                transposed,
            };
            cases.extend([Kind::Float, Kind::Trained].into_iter().filter_map(|kind| geometry.case(kind)));
        }
    }
    cases
}

pub fn forward() -> Vec<Case> {
    cases(false)
}

pub fn transposed() -> Vec<Case> {
    cases(true)
}
