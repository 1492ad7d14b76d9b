//! The operator catalogue: one folder (or one file, for a small operator) per operator, listed once in [`OPS`].

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod catalog;
pub mod common;
mod error;
pub mod gradient;
pub mod op;
pub mod quantize;
pub mod session;
pub mod tensor;

pub use catalog::Catalog;
pub use error::OpError;
pub use op::{FastKernel, Inferred, Io, Kernel, NodeView, OpDef, OpId};
pub use session::{Argument, NoSession, Resources, Session, TensorValue};
pub use tensor::{AlignedBytes, Element, Known, Shape, TensorInfo, TensorMut, TensorRef, copy_elements};

/// Declares each operator's module and lists its definitions in [`OPS`].
macro_rules! operators {
    ($($module:ident: [$($op:ident),+],)+) => {
        $(mod $module;)+

        /// Every builtin operator that ferrolite runs.
        pub const OPS: &[&dyn OpDef] = &[$($(&$module::$op),+),+];
    };
}

// One line per folder or file, in alphabetical order.
operators! {
    activation_grad: [ReluGrad],
    add_sub: [Add, Sub],
    arg_min_max: [ARG_MAX, ARG_MIN],
    batch_matmul: [BatchMatMul],
    bias_grad: [BiasGrad],
    branch: [IF, STABLEHLO_CASE, STABLEHLO_COMPOSITE],
    broadcast_to: [BroadcastTo],
    call_once: [CallOnce],
    cast: [Cast],
    comparison: [EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL],
    concatenation: [Concatenation],
    conv_2d: [Conv2d],
    conv_grad: [CONV_2D_INPUT_GRAD, CONV_2D_WEIGHT_GRAD, DEPTHWISE_INPUT_GRAD, DEPTHWISE_WEIGHT_GRAD],
    cumsum: [Cumsum],
    depthwise_conv_2d: [DepthwiseConv2d],
    div: [Div],
    elu: [Elu],
    expand_dims: [ExpandDims],
    fake_quant: [FakeQuant],
    fill: [Fill, ZerosLike],
    fully_connected: [FullyConnected],
    gather: [Gather],
    gelu: [Gelu],
    hard_swish: [HardSwish],
    hashtable: [Hashtable, HashtableFind, HashtableImport, HashtableSize],
    l2_normalization: [L2Normalization],
    leaky_relu: [LeakyRelu, Prelu],
    logical: [LOGICAL_AND, LOGICAL_OR, LogicalNot],
    logistic_tanh: [Logistic, Tanh],
    maximum_minimum: [MAXIMUM, MINIMUM],
    mirror_pad: [MirrorPad],
    mul: [Mul],
    one_hot: [OneHot],
    pack: [Pack, Unpack],
    pad: [Pad, PadV2],
    pool_2d: [AVERAGE_POOL_2D, MAX_POOL_2D],
    pool_grad: [MAX_POOL_2D_GRAD, AVERAGE_POOL_2D_GRAD],
    pow: [Pow],
    quantize_dequantize: [Quantize, Dequantize],
    range: [Range],
    reduce: [MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_ANY, REDUCE_ALL],
    reduce_window: [ReduceWindow, StablehloReduceWindow],
    relu: [RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1],
    reshape: [Reshape],
    resize_bilinear: [ResizeBilinear],
    resize_nearest_neighbor: [ResizeNearestNeighbor],
    reverse_v2: [ReverseV2],
    rng_bit_generator: [RngBitGenerator],
    select: [Select, SelectV2],
    shape: [Shape, Rank],
    slice: [Slice],
    softmax: [Softmax, LogSoftmax],
    space_to_batch_nd: [SpaceToBatchNd, BatchToSpaceNd],
    space_to_depth: [SpaceToDepth, DepthToSpace],
    split: [Split, SplitV],
    squared_difference: [SquaredDifference],
    squeeze: [Squeeze],
    stablehlo_elementwise: [
        STABLEHLO_ADD,
        STABLEHLO_MULTIPLY,
        STABLEHLO_MAXIMUM,
        STABLEHLO_MINIMUM,
        STABLEHLO_AND,
        STABLEHLO_SHIFT_LEFT
    ],
    stablehlo_gather: [StablehloGather],
    stablehlo_pad: [StablehloPad],
    stablehlo_scatter: [StablehloScatter],
    strided_slice: [StridedSlice],
    tile: [Tile],
    topk_v2: [TopKV2],
    transpose: [Transpose],
    transpose_conv: [TransposeConv],
    unary_math: [ABS, CEIL, COS, EXP, FLOOR, LOG, NEG, ROUND, RSQRT, SIN, SQRT, SQUARE],
    variable: [VarHandle, ReadVariable, AssignVariable],
    while_loop: [While],
}
