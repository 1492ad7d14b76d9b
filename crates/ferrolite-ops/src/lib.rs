//! The operator catalogue: one folder (or one file, for a small operator) per operator, listed once in [`OPS`].

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod attention;
pub mod catalog;
pub mod common;
mod error;
pub mod gradient;
pub mod op;
pub mod output_type;
pub mod pointwise;
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
    add_n: [AddN],
    add_sub: [Add, Sub],
    arg_min_max: [ARG_MAX, ARG_MIN],
    atan2: [Atan2],
    audio_spectrogram: [AudioSpectrogram],
    batch_matmul: [BatchMatMul],
    bias_grad: [BiasGrad],
    bitcast: [Bitcast],
    bitwise: [BITWISE_XOR, RIGHT_SHIFT],
    branch: [IF, STABLEHLO_CASE, STABLEHLO_COMPOSITE],
    broadcast_args: [BroadcastArgs],
    broadcast_to: [BroadcastTo],
    bucketize: [Bucketize],
    call_once: [CallOnce],
    cast: [Cast],
    comparison: [EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL],
    complex: [REAL, IMAG, COMPLEX_ABS],
    concatenation: [Concatenation],
    conv_2d: [Conv2d],
    conv_3d: [Conv3d, Conv3dTranspose],
    conv_grad: [CONV_2D_INPUT_GRAD, CONV_2D_WEIGHT_GRAD, DEPTHWISE_INPUT_GRAD, DEPTHWISE_WEIGHT_GRAD],
    convolution_2d_transpose_bias: [Convolution2dTransposeBias],
    cumsum: [Cumsum],
    densify: [Densify],
    depthwise_conv_2d: [DepthwiseConv2d],
    detection_postprocess: [DetectionPostProcess],
    dilate: [Dilate],
    div: [Div],
    dynamic_update_slice: [DynamicUpdateSlice],
    elu: [Elu],
    embedding_lookup: [EmbeddingLookup],
    embedding_lookup_sparse: [EmbeddingLookupSparse],
    expand_dims: [ExpandDims],
    fake_quant: [FakeQuant],
    fill: [Fill, ZerosLike],
    floor_div: [FLOOR_DIV, FLOOR_MOD],
    fully_connected: [FullyConnected],
    gather: [Gather],
    gather_nd: [GatherNd],
    gelu: [Gelu],
    hadamard_rotation: [HadamardRotation],
    hard_swish: [HardSwish],
    hashtable: [Hashtable, HashtableFind, HashtableImport, HashtableSize],
    hashtable_lookup: [HashtableLookup],
    l2_normalization: [L2Normalization],
    l2_pool_2d: [L2Pool2d],
    landmarks: [Landmarks2TransformMatrix, TransformLandmarks, TransformTensorBilinear],
    leaky_relu: [LeakyRelu, Prelu],
    local_response_normalization: [LocalResponseNormalization],
    logical: [LOGICAL_AND, LOGICAL_OR, LogicalNot],
    logistic_tanh: [Logistic, Tanh],
    lsh_projection: [LshProjection],
    lstm: [Lstm, UnidirectionalSequenceLstm, BidirectionalSequenceLstm],
    matrix_diag: [MatrixDiag, MatrixSetDiag],
    max_pool_argmax: [MaxPoolingWithArgmax2d, MaxUnpooling2d],
    maximum_minimum: [MAXIMUM, MINIMUM],
    mfcc: [Mfcc],
    mirror_pad: [MirrorPad],
    mul: [Mul],
    non_max_suppression: [NON_MAX_SUPPRESSION_V4, NON_MAX_SUPPRESSION_V5],
    numeric_verify: [NumericVerify],
    one_hot: [OneHot],
    pack: [Pack, Unpack],
    pad: [Pad, PadV2],
    pool_2d: [AVERAGE_POOL_2D, MAX_POOL_2D],
    pool_grad: [MAX_POOL_2D_GRAD, AVERAGE_POOL_2D_GRAD],
    pow: [Pow],
    quantize_dequantize: [Quantize, Dequantize],
    random: [RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL, Multinomial],
    range: [Range],
    reduce: [MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_ANY, REDUCE_ALL],
    reduce_window: [ReduceWindow, StablehloReduceWindow],
    relu: [RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1],
    reshape: [Reshape],
    resize_bilinear: [ResizeBilinear],
    resize_nearest_neighbor: [ResizeNearestNeighbor],
    reverse_sequence: [ReverseSequence],
    reverse_v2: [ReverseV2],
    rfft2d: [Rfft2d],
    rng_bit_generator: [RngBitGenerator],
    rnn: [RNN, UNIDIRECTIONAL_SEQUENCE_RNN, BIDIRECTIONAL_SEQUENCE_RNN],
    scatter_nd: [ScatterNd],
    segment: [SegmentSum, UNSORTED_SEGMENT_SUM, UNSORTED_SEGMENT_PROD, UNSORTED_SEGMENT_MAX, UNSORTED_SEGMENT_MIN],
    select: [Select, SelectV2],
    shape: [Shape, Rank],
    sign: [Sign],
    signal: [
        WINDOW, FFT_AUTO_SCALE, SignalRfft, ENERGY, FILTER_BANK, SQUARE_ROOT, SPECTRAL_SUBTRACTION, PCAN,
        FILTER_BANK_LOG
    ],
    skip_gram: [SkipGram],
    slice: [Slice],
    softmax: [Softmax, LogSoftmax],
    space_to_batch_nd: [SpaceToBatchNd, BatchToSpaceNd],
    space_to_depth: [SpaceToDepth, DepthToSpace],
    sparse_to_dense: [SparseToDense],
    split: [Split, SplitV],
    squared_difference: [SquaredDifference],
    squeeze: [Squeeze],
    stablehlo_elementwise: [
        STABLEHLO_ADD, STABLEHLO_MULTIPLY, STABLEHLO_MAXIMUM, STABLEHLO_MINIMUM, STABLEHLO_AND, STABLEHLO_SHIFT_LEFT
    ],
    stablehlo_gather: [StablehloGather],
    stablehlo_pad: [StablehloPad],
    stablehlo_scatter: [StablehloScatter],
    strided_slice: [StridedSlice],
    svdf: [Svdf],
    tile: [Tile],
    topk_v2: [TopKV2],
    transpose: [Transpose],
    transpose_conv: [TransposeConv],
    unary_math: [ABS, CEIL, COS, EXP, FLOOR, LOG, NEG, ROUND, RSQRT, SIN, SQRT, SQUARE],
    unique: [Unique],
    variable: [VarHandle, ReadVariable, AssignVariable],
    where_true: [Where],
    while_loop: [While],
}
