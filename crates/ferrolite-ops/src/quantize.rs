//! Quantization rules of operators, as data. The quantizer decides and rewrites by them alone.

/// How post-training quantization treats an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantRule {
    /// Inputs that are activations: quantized per tensor, asymmetric for int8, symmetric for int16. `None`: all inputs
    /// that are float (concatenation, pack).
    pub activations: Option<&'static [usize]>,
    /// The weights, if the operator has any.
    pub weights: Option<WeightRule>,
    /// Input that is the bias: int32 (int64 with int16 activations), scale = input scale · weight scale, zero point 0.
    pub bias: Option<usize>,
    /// What the outputs' parameters are.
    pub output: OutputRule,
    /// An int8 kernel exists.
    pub int8: bool,
    /// An int16 activation kernel exists.
    pub int16: bool,
    /// Dynamic range: the operator runs on float activations with int8 weights (hybrid kernel).
    pub hybrid: bool,
}

/// The weights of an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightRule {
    /// Which input.
    pub input: usize,
    /// Dimension of per-channel scales.
    pub axis: usize,
    /// Which activation input the bias scale is made from.
    pub activation: usize,
    /// There are kernels for int4 weights here and in LiteRT, with float and integer activations alike.
    pub int4: bool,
}

/// Parameters of quantized outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputRule {
    /// From the calibrated range.
    Free,
    /// Scale and zero point of the input, which all activations share.
    SameAsInput,
    /// Prescribed: (scale, zero point) for int8 and int16.
    Fixed {
        /// int8 parameters.
        int8: (f32, i64),
        /// int16 parameters.
        int16: (f32, i64),
    },
    /// The output is not quantized (comparisons, ARG_MAX, SHAPE).
    NotQuantized,
}

impl QuantRule {
    /// Input 0 in, free parameters out, int8 and int16.
    pub const UNARY: QuantRule = QuantRule {
        activations: Some(&[0]),
        weights: None,
        bias: None,
        output: OutputRule::Free,
        int8: true,
        int16: true,
        hybrid: false,
    };
    /// Inputs 0 and 1 in, free parameters out.
    pub const BINARY: QuantRule = QuantRule { activations: Some(&[0, 1]), ..QuantRule::UNARY };
    /// Moves data: the output shares the input's parameters.
    pub const SAME_SCALE: QuantRule = QuantRule { output: OutputRule::SameAsInput, ..QuantRule::UNARY };
}
