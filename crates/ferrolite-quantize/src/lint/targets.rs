//! What runs models: which operators, in which types.

use ferrolite_model::BuiltinOperator as Op;
use ferrolite_model::TensorType;
use std::fmt;
use std::str::FromStr;

/// What a model is to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// LiteRT, or ferrolite, on a CPU.
    #[default]
    Cpu,
    /// A Coral Edge TPU.
    EdgeTpu,
    /// TensorFlow Lite Micro.
    Microcontroller,
}

/// What a [`Target`] can run, where that is not all.
pub(super) struct Ability {
    /// Builtin operators.
    pub(super) operators: &'static [Op],
    /// Custom operators.
    pub(super) custom: &'static [&'static str],
    /// Types of activations, those of floats among them.
    pub(super) types: &'static [TensorType],
    /// Whether no dimension may be left open.
    pub(super) fixed_shapes: bool,
}

impl Target {
    const ALL: [(&str, Target); 3] =
        [("cpu", Target::Cpu), ("edgetpu", Target::EdgeTpu), ("microcontroller", Target::Microcontroller)];

    pub(super) fn ability(self) -> Option<&'static Ability> {
        match self {
            Target::Cpu => None,
            Target::EdgeTpu => Some(&EDGE_TPU),
            Target::Microcontroller => Some(&MICRO),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let found = Target::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, target)| target).ok_or_else(|| "it is one of cpu, edgetpu, microcontroller".into())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Target::ALL.into_iter().find(|(_, target)| target == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// What the Edge TPU's compiler maps to it, as its documentation lists it.
const EDGE_TPU: Ability = Ability {
    operators: &[
        Op::ADD,
        Op::AVERAGE_POOL_2D,
        Op::CONCATENATION,
        Op::CONV_2D,
        Op::DEPTHWISE_CONV_2D,
        Op::EXPAND_DIMS,
        Op::FULLY_CONNECTED,
        Op::L2_NORMALIZATION,
        Op::LOGISTIC,
        Op::LSTM,
        Op::MAXIMUM,
        Op::MAX_POOL_2D,
        Op::MEAN,
        Op::MINIMUM,
        Op::MUL,
        Op::PACK,
        Op::PAD,
        Op::PRELU,
        Op::QUANTIZE,
        Op::REDUCE_MAX,
        Op::REDUCE_MIN,
        Op::RELU,
        Op::RELU6,
        Op::RELU_N1_TO_1,
        Op::RESHAPE,
        Op::RESIZE_BILINEAR,
        Op::RESIZE_NEAREST_NEIGHBOR,
        Op::RSQRT,
        Op::SLICE,
        Op::SOFTMAX,
        Op::SPACE_TO_DEPTH,
        Op::SPLIT,
        Op::SQUARED_DIFFERENCE,
        Op::SQUEEZE,
        Op::STRIDED_SLICE,
        Op::SUB,
        Op::SUM,
        Op::TANH,
        Op::TRANSPOSE,
        Op::TRANSPOSE_CONV,
        Op::UNIDIRECTIONAL_SEQUENCE_LSTM,
    ],
    custom: &["edgetpu-custom-op"],
    types: &[TensorType::Int8, TensorType::UInt8],
    fixed_shapes: true,
};

/// What TensorFlow Lite Micro's resolver can be given.
const MICRO: Ability = Ability {
    operators: &[
        Op::ABS,
        Op::ADD,
        Op::ADD_N,
        Op::ARG_MAX,
        Op::ARG_MIN,
        Op::ASSIGN_VARIABLE,
        Op::AVERAGE_POOL_2D,
        Op::BATCH_MATMUL,
        Op::BATCH_TO_SPACE_ND,
        Op::BROADCAST_ARGS,
        Op::BROADCAST_TO,
        Op::CALL_ONCE,
        Op::CAST,
        Op::CEIL,
        Op::CONCATENATION,
        Op::CONV_2D,
        Op::COS,
        Op::CUMSUM,
        Op::DEPTHWISE_CONV_2D,
        Op::DEPTH_TO_SPACE,
        Op::DEQUANTIZE,
        Op::DIV,
        Op::ELU,
        Op::EMBEDDING_LOOKUP,
        Op::EQUAL,
        Op::EXP,
        Op::EXPAND_DIMS,
        Op::FILL,
        Op::FLOOR,
        Op::FLOOR_DIV,
        Op::FLOOR_MOD,
        Op::FULLY_CONNECTED,
        Op::GATHER,
        Op::GATHER_ND,
        Op::GREATER,
        Op::GREATER_EQUAL,
        Op::HARD_SWISH,
        Op::IF,
        Op::L2_NORMALIZATION,
        Op::L2_POOL_2D,
        Op::LEAKY_RELU,
        Op::LESS,
        Op::LESS_EQUAL,
        Op::LOG,
        Op::LOGICAL_AND,
        Op::LOGICAL_NOT,
        Op::LOGICAL_OR,
        Op::LOGISTIC,
        Op::LOG_SOFTMAX,
        Op::MAXIMUM,
        Op::MAX_POOL_2D,
        Op::MEAN,
        Op::MINIMUM,
        Op::MIRROR_PAD,
        Op::MUL,
        Op::NEG,
        Op::NOT_EQUAL,
        Op::PACK,
        Op::PAD,
        Op::PADV2,
        Op::PRELU,
        Op::QUANTIZE,
        Op::READ_VARIABLE,
        Op::REDUCE_MAX,
        Op::REDUCE_MIN,
        Op::RELU,
        Op::RELU6,
        Op::RESHAPE,
        Op::RESIZE_BILINEAR,
        Op::RESIZE_NEAREST_NEIGHBOR,
        Op::REVERSE_V2,
        Op::ROUND,
        Op::RSQRT,
        Op::SELECT_V2,
        Op::SHAPE,
        Op::SIN,
        Op::SLICE,
        Op::SOFTMAX,
        Op::SPACE_TO_BATCH_ND,
        Op::SPACE_TO_DEPTH,
        Op::SPLIT,
        Op::SPLIT_V,
        Op::SQRT,
        Op::SQUARE,
        Op::SQUARED_DIFFERENCE,
        Op::SQUEEZE,
        Op::STRIDED_SLICE,
        Op::SUB,
        Op::SUM,
        Op::SVDF,
        Op::TANH,
        Op::TRANSPOSE,
        Op::TRANSPOSE_CONV,
        Op::UNIDIRECTIONAL_SEQUENCE_LSTM,
        Op::UNPACK,
        Op::VAR_HANDLE,
        Op::WHILE,
        Op::ZEROS_LIKE,
    ],
    custom: &["TFLite_Detection_PostProcess", "CIRCULAR_BUFFER", "ethos-u"],
    types: &[TensorType::Float32, TensorType::Int8, TensorType::Int16],
    fixed_shapes: false,
};
