//! Generated cases.

use super::{ConvGrad, DEPTHWISE_INPUT_GRAD, DEPTHWISE_WEIGHT_GRAD};
use crate::common::node_case::NodeCase;
use crate::op::Case;
use ferrolite_model::BuiltinOptions;
use ferrolite_model::TensorType::Float32;
use ferrolite_model::schema::{Conv2DOptionsT, DepthwiseConv2DOptionsT, Padding};

/// Input, filters (channels first for both kinds), output, stride, dilation.
type Conv = ([i32; 4], [i32; 4], [i32; 4], i32, i32);

const CONVS: [Conv; 7] = [
    ([2, 5, 6, 3], [4, 3, 3, 3], [2, 5, 6, 4], 1, 1),
    ([1, 9, 8, 16], [33, 3, 3, 16], [1, 5, 4, 33], 2, 1),
    ([3, 7, 7, 2], [5, 3, 2, 2], [3, 7, 7, 5], 1, 2),
    ([1, 1, 1, 40], [24, 1, 1, 40], [1, 1, 1, 24], 1, 1),
    ([4, 28, 28, 1], [8, 5, 5, 1], [4, 28, 28, 8], 1, 1),
    // Groups.
    ([1, 5, 5, 4], [6, 3, 3, 2], [1, 5, 5, 6], 1, 1),
    // A stride greater than the filter.
    ([2, 6, 7, 2], [4, 1, 1, 2], [2, 3, 4, 4], 2, 1),
];

/// Depth multiplier, with the filters' channels last.
const DEPTHWISE: [(Conv, i32); 5] = [
    (([2, 5, 6, 3], [1, 3, 3, 3], [2, 5, 6, 3], 1, 1), 1),
    (([1, 9, 8, 40], [1, 3, 3, 40], [1, 5, 4, 40], 2, 1), 1),
    (([1, 7, 6, 2], [1, 3, 3, 4], [1, 7, 6, 4], 1, 2), 2),
    (([3, 14, 14, 32], [1, 5, 5, 32], [3, 14, 14, 32], 1, 1), 1),
    (([1, 1, 9, 1], [1, 1, 4, 8], [1, 1, 3, 8], 3, 1), 8),
];

pub fn cases(op: &ConvGrad) -> Vec<Case> {
    let case = |(x, w, y, stride, dilation): Conv, options: BuiltinOptions| {
        let node = [&x, &w, &y].into_iter().fold(NodeCase::new(), |node, shape| node.drawn((Float32, shape, None)));
        let to = if op.side == super::Side::Input { x } else { w };
        let name = format!("{x:?} {w:?} {stride} {dilation}");
        node.finish_custom_builtin(name, (op.name, 1), Vec::new(), options, &[(Float32, &to, None)])
    };
    if [DEPTHWISE_INPUT_GRAD.name, DEPTHWISE_WEIGHT_GRAD.name].contains(&op.name) {
        let cases = DEPTHWISE.into_iter().filter_map(|(conv, depth_multiplier)| {
            let options = DepthwiseConv2DOptionsT {
                padding: Padding::SAME,
                stride_h: conv.3,
                stride_w: conv.3,
                dilation_h_factor: conv.4,
                dilation_w_factor: conv.4,
                depth_multiplier,
                ..Default::default()
            };
            case(conv, BuiltinOptions::DepthwiseConv2DOptions(Box::new(options)))
        });
        return cases.collect();
    }
    let cases = CONVS.into_iter().filter_map(|conv| {
        let options = Conv2DOptionsT {
            padding: Padding::SAME,
            stride_h: conv.3,
            stride_w: conv.3,
            dilation_h_factor: conv.4,
            dilation_w_factor: conv.4,
            ..Default::default()
        };
        case(conv, BuiltinOptions::Conv2DOptions(Box::new(options)))
    });
    cases.collect()
}
