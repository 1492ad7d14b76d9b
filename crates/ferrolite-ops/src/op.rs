//! What an operator is: [`OpDef`], one definition per operator from which planning, execution, quantization,
//! differentiation, tests and documentation are derived.

use crate::gradient::Gradient;
use crate::quantize::QuantRule;
use crate::session::Session;
use crate::tensor::{Shape, TensorInfo, TensorMut, TensorRef};
use crate::{OpError, ensure};
use ferrolite_kernels::{Binary, ConvShape, Isa, ThreadPool};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, Bytes, Model, Node, OperatorCode, TensorType};
use smallvec::SmallVec;
use std::fmt;
use std::ops::{Range, RangeInclusive};

/// Names an operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpId {
    /// One of the format's own operators.
    Builtin(BuiltinOperator),
    /// A custom operator, by name.
    Custom(&'static str),
}

impl OpId {
    /// Whether a model's operator code means this operator.
    pub fn matches(&self, code: &OperatorCode) -> bool {
        match self {
            OpId::Builtin(op) => *op == code.builtin,
            OpId::Custom(name) => code.builtin == BuiltinOperator::CUSTOM && code.custom.as_deref() == Some(name),
        }
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpId::Builtin(op) => f.write_str(op.variant_name().unwrap_or("UNKNOWN")),
            OpId::Custom(name) => f.write_str(name),
        }
    }
}

/// A node as it is being prepared: options, and what is known about its tensors.
#[derive(Clone, Debug)]
pub struct NodeView<'a> {
    /// Version of the operator in the model.
    pub version: i32,
    /// Builtin options.
    pub options: &'a BuiltinOptions,
    /// Builtin options of later operators.
    pub options2: &'a BuiltinOptions2,
    /// Options of a custom operator.
    pub custom_options: Option<&'a Bytes>,
    /// The model around the node, for operators that refer to other subgraphs.
    pub model: &'a Model,
    /// Index of the node's own subgraph.
    pub subgraph: usize,
    /// Shapes of other subgraphs, if they can be asked for.
    pub callees: Option<&'a dyn Callees>,
    /// Inputs; `None` where an optional one is left out.
    pub inputs: SmallVec<[Option<TensorInfo<'a>>; 4]>,
    /// Outputs: types and quantization from the model. Their shapes are the inferred ones when a kernel is prepared.
    pub outputs: SmallVec<[TensorInfo<'a>; 2]>,
    /// Tensors internal to the node: types and quantization from the model (integer LSTM).
    pub intermediates: SmallVec<[TensorInfo<'a>; 0]>,
}

/// What inference may ask about subgraphs that a node calls.
pub trait Callees: fmt::Debug {
    /// Shapes of a subgraph's outputs for these shapes of its inputs, if they can be told without data.
    fn output_shapes(&self, subgraph: usize, inputs: &[Shape]) -> Option<Vec<Shape>>;
}

impl<'a> NodeView<'a> {
    /// Input `i`, which must be there.
    pub fn input(&self, i: usize) -> Result<&TensorInfo<'a>, OpError> {
        match self.inputs.get(i) {
            Some(Some(tensor)) => Ok(tensor),
            _ => Err(OpError::invalid(format!("input {i} is missing"))),
        }
    }

    /// Input `i`, if it is there.
    pub fn optional_input(&self, i: usize) -> Option<&TensorInfo<'a>> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Output `i`, which must be there.
    pub fn output(&self, i: usize) -> Result<&TensorInfo<'a>, OpError> {
        self.outputs.get(i).ok_or_else(|| OpError::invalid(format!("output {i} is missing")))
    }

    /// Checks the number of inputs (left out optional ones count) and outputs.
    pub fn expect(&self, inputs: RangeInclusive<usize>, outputs: usize) -> Result<(), OpError> {
        ensure!(inputs.contains(&self.inputs.len()), "has {} inputs, takes {inputs:?}", self.inputs.len());
        ensure!(self.outputs.len() == outputs, "has {} outputs, gives {outputs}", self.outputs.len());
        Ok(())
    }
}

/// Type and shape of an output. The runtime refuses a node whose model declares another type, unless the operator settles it
/// ([`crate::output_type`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// Element type.
    pub ty: TensorType,
    /// Dimensions, `None` when they depend on values that are not known yet.
    pub shape: Option<Shape>,
}

impl Inferred {
    /// An output whose shape is known.
    pub fn new(ty: TensorType, shape: impl IntoIterator<Item = usize>) -> Inferred {
        Inferred { ty, shape: Some(shape.into_iter().collect()) }
    }

    /// An output whose shape depends on values not known yet. When even the kernel's inputs do not determine it, the
    /// kernel sets it by [`TensorMut::set_shape`].
    pub fn dynamic(ty: TensorType) -> Inferred {
        Inferred { ty, shape: None }
    }
}

/// Result of [`OpDef::infer`]: one entry per output.
pub type InferResult = Result<SmallVec<[Inferred; 2]>, OpError>;

/// Result of [`OpDef::state_inputs`]: positions among the inputs.
pub type StateInputs = SmallVec<[usize; 4]>;

/// A prepared node, or several fused ones: arithmetic only.
pub trait Kernel: Send + Sync {
    /// Computes the outputs. Sizes of `io` are those that the kernel was prepared for.
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError>;

    /// Bytes of scratch memory that `run` wants in [`Io::scratch`].
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Whether `run` reads the data of input `i`, a constant. Where it does not, having packed it, the runtime may leave the
    /// data out.
    fn reads(&self, _i: usize) -> bool {
        true
    }

    /// Name for the profiler: the kernel's own, such as `gemm_f32_14x32_avx512`.
    fn name(&self) -> &str {
        "reference"
    }

    /// The kernel by rows of an image, if it can compute some of them alone.
    fn bands(&self) -> Option<&dyn Bands> {
        None
    }
}

/// A kernel whose inputs and only output are single images (NHWC, batch 1), and which can compute a band of output rows
/// from a band of input rows. A result does not depend on how the rows are cut into bands.
pub trait Bands: Kernel {
    /// Which input rows an output row depends on.
    fn window(&self) -> RowWindow;

    /// Whether input `i` is cut into bands; the others (filters, biases) are handed over whole.
    fn is_image(&self, i: usize) -> bool {
        i == 0
    }

    /// Computes the output rows `rows`. Image inputs hold exactly the rows [`RowWindow::needs`] of `rows`, the output
    /// holds exactly `rows`.
    fn run_rows(&self, io: &mut Io<'_>, rows: Range<usize>) -> Result<(), OpError>;
}

/// Along the height of an image: output row `y` sees the input rows from `y · stride - pad` on, `reach` of them, as far as
/// they are inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowWindow {
    /// Rows of the input image.
    pub in_h: usize,
    /// Rows of the output image.
    pub out_h: usize,
    /// Input rows from an output row to the next.
    pub stride: usize,
    /// Input rows from a window's first to its last.
    pub reach: usize,
    /// Padding rows above.
    pub pad: usize,
}

impl From<&ConvShape> for RowWindow {
    fn from(shape: &ConvShape) -> RowWindow {
        let (in_h, out_h) = (shape.in_h, shape.out_h);
        let reach = (shape.k_h.max(1) - 1) * shape.dilation.0 + 1;
        RowWindow { in_h, out_h, stride: shape.stride.0, reach, pad: shape.pad_top }
    }
}

impl RowWindow {
    /// Output row `y` is made of input row `y`.
    pub fn pointwise(height: usize) -> RowWindow {
        RowWindow { in_h: height, out_h: height, stride: 1, reach: 1, pad: 0 }
    }

    /// Input rows that the output rows `rows` depend on.
    pub fn needs(&self, rows: Range<usize>) -> Range<usize> {
        let end = (rows.end.max(1) - 1) * self.stride + self.reach;
        let end = end.saturating_sub(self.pad).min(self.in_h);
        (rows.start * self.stride).saturating_sub(self.pad).min(end)..end
    }
}

/// What a kernel runs on.
pub struct Io<'a> {
    /// Inputs in the node's order; `None` where an optional one is left out.
    pub inputs: SmallVec<[Option<TensorRef<'a>>; 4]>,
    /// Outputs in the node's order.
    pub outputs: SmallVec<[TensorMut<'a>; 2]>,
    /// Variables that the run updates, in the order of [`OpDef::state_inputs`], then those of
    /// [`OpDef::optional_state_inputs`] that are variables; their places in `inputs` are `None`.
    /// They hold what the last run left, at first zero (the zero point, where there is one).
    pub state: SmallVec<[TensorMut<'a>; 2]>,
    /// At least [`Kernel::scratch_bytes`] bytes, aligned to 64, contents unspecified.
    pub scratch: &'a mut [u8],
    /// Threads to share work with.
    pub pool: &'a ThreadPool,
    /// Other subgraphs and resources; the same at every run of a kernel.
    pub session: &'a mut dyn Session,
}

impl<'a> Io<'a> {
    /// Input `i`, which must be there.
    pub fn input(&self, i: usize) -> Result<TensorRef<'a>, OpError> {
        match self.inputs.get(i) {
            Some(Some(tensor)) => Ok(*tensor),
            _ => Err(OpError::invalid(format!("input {i} is missing"))),
        }
    }

    /// Input `i`, if it is there.
    pub fn optional_input(&self, i: usize) -> Option<TensorRef<'a>> {
        self.inputs.get(i).copied().flatten()
    }
}

/// A kernel from a closure.
pub struct FnKernel<F>(pub &'static str, pub F);

impl<F> Kernel for FnKernel<F>
where
    F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync,
{
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        (self.1)(io)
    }

    fn name(&self) -> &str {
        self.0
    }
}

/// Boxes a closure as the reference kernel.
pub fn reference<F>(run: F) -> Result<Box<dyn Kernel>, OpError>
where
    F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync + 'static,
{
    Ok(Box::new(FnKernel("reference", run)))
}

/// A fast kernel: chosen when `supports` says yes, before the reference.
///
/// It must equal the reference: bit for bit for integers, within [`FLOAT_BOUND`] for floats.
pub struct FastKernel {
    /// Name in documentation and tests.
    pub name: &'static str,
    /// Whether it can run this node.
    pub supports: fn(&NodeView<'_>) -> bool,
    /// Packs weights and picks the variant for an instruction set.
    pub prepare: fn(&NodeView<'_>, Isa) -> Result<Box<dyn Kernel>, OpError>,
}

/// Largest difference of a fast float kernel from its reference, relative to the largest absolute output.
pub const FLOAT_BOUND: f32 = 1e-5;

/// A generated single-operator model that fast kernels are compared with the reference on. Inputs are drawn by the
/// test from each input's type.
pub struct Case {
    /// What distinguishes the case.
    pub name: String,
    /// A model whose only node is the operator.
    pub model: Model,
}

/// The definition of an operator. See `docs/adding-an-op.md`.
pub trait OpDef: Send + Sync {
    /// Which operator this is.
    fn id(&self) -> OpId;

    /// Versions that the kernels understand.
    fn versions(&self) -> RangeInclusive<i32>;

    /// Types and shapes of the outputs; also the place for every check that does not need data.
    fn infer(&self, node: &NodeView<'_>) -> InferResult;

    /// The scalar kernel that specifies the operator: for integers bit-exact with LiteRT's reference kernels.
    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError>;

    /// Fast kernels, best first.
    fn fast(&self) -> &'static [FastKernel] {
        &[]
    }

    /// What a float32 node with two inputs computes element by element, and the bounds of its result: fused kernels ask.
    fn binary_f32(&self, _node: &NodeView<'_>) -> Option<(Binary, (f32, f32))> {
        None
    }

    /// How post-training quantization treats the operator; `None` keeps it in float.
    fn quantize(&self) -> Option<QuantRule> {
        None
    }

    /// Emits the nodes that compute the inputs' gradients; `None` where the operator cannot be differentiated.
    fn gradient(&self) -> Option<Gradient> {
        None
    }

    /// Whether the output is the input's data under another shape (RESHAPE, SQUEEZE …), so that no copy is needed.
    fn is_view(&self) -> bool {
        false
    }

    /// Whether each element of the output is a function of the inputs' elements at its place (after broadcasting).
    fn is_pointwise(&self) -> bool {
        false
    }

    /// Whether a node whose inputs are all constants may be computed once, when it is planned: true unless it has state,
    /// draws random numbers or runs other subgraphs.
    fn is_foldable(&self) -> bool {
        true
    }

    /// Whether every run in a session has the same result, although it is not of the inputs alone, so that the node is
    /// computed once, when it is planned: the handle of a variable.
    fn is_fixed(&self) -> bool {
        false
    }

    /// Whether the outputs follow from the shapes of the inputs alone (SHAPE, RANK): then they are constants wherever the
    /// shapes are known, and the reference kernel reads no input.
    fn reads_shapes_only(&self) -> bool {
        false
    }

    /// Whether the operator runs the subgraphs that a node's options name, rather than reading what they compute.
    fn runs_subgraphs(&self) -> bool {
        true
    }

    /// Positions of the inputs that a run updates in place, in rising order: the state of recurrent operators. The
    /// runtime refuses a node where one of them is not a variable.
    fn state_inputs(&self, _node: &Node) -> StateInputs {
        StateInputs::new()
    }

    /// Positions of inputs that a run updates in place where they are variables, and only reads where they are not, in
    /// rising order: the state of operators that also give their new state as outputs.
    fn optional_state_inputs(&self, _node: &Node) -> StateInputs {
        StateInputs::new()
    }

    /// Multiply-accumulates of one run, for reports.
    fn macs(&self, _node: &NodeView<'_>) -> u64 {
        0
    }

    /// Generated cases for cross-checks.
    fn cases(&self) -> Vec<Case> {
        Vec::new()
    }
}
