//! Which operator versions quantized nodes need, so that LiteRT accepts them.

use crate::plan::Decision;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Node, TensorType};

/// The version of `op` that computes in int8 or int16, by activation type.
fn integer(op: BuiltinOperator, node: &Node, ty: TensorType) -> i32 {
    type Op = BuiltinOperator;
    let (int8, int16) = match op {
        Op::CONV_2D => (3, 4),
        Op::DEPTHWISE_CONV_2D => (3, 5),
        Op::FULLY_CONNECTED => {
            let keeps = node.options.as_fully_connected_options().is_some_and(|o| o.keep_num_dims);
            let least = if node.inputs.len() == 2 { 6 } else { 4 + i32::from(keeps) };
            (least, 7)
        }
        Op::TRANSPOSE_CONV => (if node.inputs.len() > 3 { 3 } else { 2 }, 3),
        Op::ADD => (2, 3),
        Op::SUB => (2, 5),
        // Version 3 also allows a product scale of 1 and more.
        Op::MUL => (3, 4),
        Op::TRANSPOSE => (2, 5),
        Op::SPLIT | Op::SLICE | Op::UNPACK | Op::GATHER | Op::MAXIMUM | Op::MINIMUM => (2, 4),
        Op::SPACE_TO_BATCH_ND | Op::BATCH_TO_SPACE_ND | Op::RESIZE_BILINEAR | Op::RESIZE_NEAREST_NEIGHBOR => (2, 4),
        Op::TILE | Op::REVERSE_V2 | Op::FILL | Op::BROADCAST_TO => (3, 3),
        Op::GATHER_ND => (1, 3),
        Op::LEAKY_RELU => (1, 2),
        Op::EXP | Op::LOG | Op::SQRT | Op::REDUCE_PROD => (2, 2),
        Op::QUANTIZE => (1, 2),
        Op::MAX_POOL_2D | Op::AVERAGE_POOL_2D | Op::PACK | Op::PAD | Op::PADV2 | Op::MIRROR_PAD => (2, 3),
        Op::CONCATENATION | Op::SOFTMAX | Op::LOGISTIC | Op::TANH | Op::RELU | Op::RELU6 | Op::ABS => (2, 3),
        Op::MEAN | Op::REDUCE_MAX | Op::REDUCE_MIN | Op::RSQRT | Op::BATCH_MATMUL | Op::DEQUANTIZE => (2, 3),
        Op::SUM | Op::LOG_SOFTMAX | Op::L2_NORMALIZATION | Op::SQUARED_DIFFERENCE | Op::GELU => (2, 2),
        Op::SPACE_TO_DEPTH | Op::DEPTH_TO_SPACE | Op::SPLIT_V | Op::STRIDED_SLICE | Op::SELECT => (2, 2),
        Op::EQUAL | Op::NOT_EQUAL | Op::LESS | Op::LESS_EQUAL | Op::GREATER | Op::GREATER_EQUAL => (2, 2),
        Op::ARG_MAX | Op::ARG_MIN => (2, 2),
        Op::TOPK_V2 => (2, 3),
        _ => (1, 1),
    };
    if ty == TensorType::Int16 { int16 } else { int8 }
}

/// The version of `op` that computes with float activations and int8 weights.
fn hybrid(op: BuiltinOperator, per_channel: bool) -> i32 {
    type Op = BuiltinOperator;
    match (op, per_channel) {
        (Op::CONV_2D, true) => 5,
        (Op::CONV_2D, false) => 2,
        (Op::DEPTHWISE_CONV_2D, true) => 6,
        (Op::DEPTHWISE_CONV_2D, false) => 4,
        (Op::FULLY_CONNECTED, true) => 12,
        (Op::FULLY_CONNECTED, false) => 9,
        (Op::BATCH_MATMUL | Op::SVDF, _) => 4,
        _ => 1,
    }
}

/// The least version for a node of activation type `ty` (the type read, for DEQUANTIZE; the type given, for QUANTIZE).
pub(crate) fn needed(op: BuiltinOperator, node: &Node, decision: &Decision, ty: TensorType, per_channel: bool) -> i32 {
    match decision {
        Decision::Integer => integer(op, node, ty),
        Decision::Hybrid => hybrid(op, per_channel),
        _ => 1,
    }
}

/// Options as the quantized kernels want them.
pub(crate) fn adapt_options(options: &mut BuiltinOptions, decision: &Decision, ty: TensorType) {
    match (decision, options) {
        // Activations are quantized with a zero point: twice the resolution behind a ReLU.
        (Decision::Hybrid, BuiltinOptions::FullyConnectedOptions(o)) => o.asymmetric_quantize_inputs = true,
        (Decision::Hybrid, BuiltinOptions::BatchMatMulOptions(o)) => o.asymmetric_quantize_inputs = true,
        (Decision::Hybrid, BuiltinOptions::SVDFOptions(o)) => o.asymmetric_quantize_inputs = true,
        // Scales are any, not powers of two.
        (Decision::Integer, BuiltinOptions::AddOptions(o)) if ty == TensorType::Int16 => o.pot_scale_int16 = false,
        (Decision::Integer, BuiltinOptions::SubOptions(o)) if ty == TensorType::Int16 => o.pot_scale_int16 = false,
        _ => {}
    }
}
