//! The graph: [`Model`] and its parts. Plain owned data; every index into `tensors`, `buffers`, `operator_codes` and
//! `subgraphs` is checked by [`crate::verify`], which reading and writing call.

use crate::bytes::Bytes;
use crate::schema::{BuiltinOperator, BuiltinOptions2T, BuiltinOptionsT, CustomOptionsFormat, QuantizationDetailsT};
use crate::types::TensorType;
use std::fmt;

/// Options of a builtin operator, with the field names of the format.
pub type BuiltinOptions = BuiltinOptionsT;
/// Options of the later builtin operators (StableHLO and DILATE).
pub type BuiltinOptions2 = BuiltinOptions2T;
/// Quantization parameters beyond scale and zero point.
pub type QuantizationDetails = QuantizationDetailsT;

/// Index into [`Subgraph::tensors`].
pub type TensorId = usize;

/// A whole `.tflite` file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Model {
    /// Schema version; 3 for every file in use.
    pub version: u32,
    /// Free text.
    pub description: Option<String>,
    /// The operators that nodes refer to.
    pub operator_codes: Vec<OperatorCode>,
    /// Subgraph 0 is the main one.
    pub subgraphs: Vec<Subgraph>,
    /// Constant data; buffer 0 is empty by convention.
    pub buffers: Vec<Bytes>,
    /// Deprecated list of metadata buffers.
    pub metadata_buffer: Vec<i32>,
    /// Named metadata, each in a buffer.
    pub metadata: Vec<Metadata>,
    /// Named entry points.
    pub signatures: Vec<Signature>,
    /// Names of the files that `external_buffers` refer to.
    pub external_buffer_groups: Vec<Option<String>>,
    /// Constants stored in other files.
    pub external_buffers: Vec<ExternalBuffer>,
}

/// An operator with its version.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorCode {
    /// `CUSTOM` for custom operators.
    pub builtin: BuiltinOperator,
    /// Name of a custom operator.
    pub custom: Option<String>,
    /// Version of the operator's semantics, from 1.
    pub version: i32,
}

impl OperatorCode {
    /// The operator's name: `CONV_2D`, or a custom operator's own name.
    pub fn name(&self) -> &str {
        match (&self.custom, self.builtin) {
            (Some(custom), BuiltinOperator::CUSTOM) => custom,
            (_, builtin) => builtin.variant_name().unwrap_or("UNKNOWN"),
        }
    }
}

/// One graph of nodes in execution order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Subgraph {
    /// Name, for people.
    pub name: Option<String>,
    /// Every tensor, constants included.
    pub tensors: Vec<Tensor>,
    /// Tensors that the caller sets.
    pub inputs: Vec<TensorId>,
    /// Tensors that the caller reads.
    pub outputs: Vec<TensorId>,
    /// In execution order.
    pub nodes: Vec<Node>,
    /// Index into debug metadata, -1 for none.
    pub debug_metadata_index: i32,
}

/// A tensor's description; its data, if constant, is in [`Model::buffers`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name, for people and for finding tensors again.
    pub name: Option<String>,
    /// Element type.
    pub ty: TensorType,
    /// Dimensions; where the signature leaves one open, the value to start with (1 from most converters).
    pub shape: Vec<i32>,
    /// Dimensions with -1 where they are open; empty when the file does not say.
    pub shape_signature: Vec<i32>,
    /// Distinguishes a scalar from a tensor of unknown rank, where the file says so.
    pub has_rank: bool,
    /// Index of the constant's data; 0 for computed tensors.
    pub buffer: usize,
    /// Scales and zero points.
    pub quantization: Option<Quantization>,
    /// Keeps its value between invocations.
    pub is_variable: bool,
    /// Layout of a sparse constant.
    pub sparsity: Option<Sparsity>,
    /// Element types and shapes inside a variant.
    pub variant_tensors: Vec<VariantSubType>,
    /// Index into [`Model::external_buffers`] plus one, 0 for none.
    pub external_buffer: u32,
}

impl Tensor {
    /// A computed tensor of this type and shape.
    pub fn new(name: impl Into<String>, ty: TensorType, shape: &[i32]) -> Tensor {
        Tensor {
            name: Some(name.into()),
            ty,
            shape: shape.to_vec(),
            shape_signature: Vec::new(),
            has_rank: true,
            buffer: 0,
            quantization: None,
            is_variable: false,
            sparsity: None,
            variant_tensors: Vec::new(),
            external_buffer: 0,
        }
    }

    /// The name, or an empty string.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("")
    }

    /// Number of elements, or `None` when a dimension is negative or the product overflows.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))
    }
}

/// real = scale · (quantized − zero_point), with one pair for the tensor or one per index of `quantized_dimension`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Quantization {
    /// Scales: one, or one per channel.
    pub scale: Vec<f32>,
    /// Zero points, as many as scales.
    pub zero_point: Vec<i64>,
    /// Recorded minima (informative).
    pub min: Vec<f32>,
    /// Recorded maxima (informative).
    pub max: Vec<f32>,
    /// Dimension that several scales run along; see [`Quantization::axis`].
    pub quantized_dimension: i32,
    /// Blockwise and other schemes; `NONE` for the plain one.
    pub details: Option<QuantizationDetails>,
}

impl Quantization {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(scale: f32, zero_point: i64) -> Quantization {
        Quantization { scale: vec![scale], zero_point: vec![zero_point], ..Default::default() }
    }

    /// One scale per index of dimension `axis`, all zero points 0.
    pub fn per_channel(scale: Vec<f32>, axis: i32) -> Quantization {
        Quantization { zero_point: vec![0; scale.len()], scale, quantized_dimension: axis, ..Default::default() }
    }

    /// The dimension that several scales run along in a tensor of this rank. With one dimension there is no choice, and
    /// some converters left the weights' dimension in the bias.
    pub fn axis(&self, rank: usize) -> Option<usize> {
        match rank {
            1 => Some(0),
            _ => usize::try_from(self.quantized_dimension).ok().filter(|&axis| axis < rank),
        }
    }

    /// The single scale and zero point, or `None` for per-channel and unquantized tensors.
    pub fn as_per_tensor(&self) -> Option<(f32, i64)> {
        match (self.scale.as_slice(), self.zero_point.as_slice()) {
            ([scale], [zero_point]) => Some((*scale, *zero_point)),
            ([scale], []) => Some((*scale, 0)),
            _ => None,
        }
    }
}

/// Layout of a sparse tensor (TACO format).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sparsity {
    /// Order in which dimensions (and block dimensions) are traversed.
    pub traversal_order: Vec<i32>,
    /// Original dimension of each block dimension.
    pub block_map: Vec<i32>,
    /// One entry per traversed dimension.
    pub dim_metadata: Vec<DimensionMetadata>,
}

/// One traversed dimension of a sparse tensor.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum DimensionMetadata {
    Dense { size: i32 },
    SparseCsr { segments: IndexVector, indices: IndexVector },
}

/// Sparse indices in their stored width.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum IndexVector {
    None,
    I32(Vec<i32>),
    U16(Vec<u16>),
    U8(Vec<u8>),
}

/// Element type and shape held by a variant tensor.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct VariantSubType {
    pub ty: TensorType,
    pub shape: Vec<i32>,
    pub has_rank: bool,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Index into [`Model::operator_codes`].
    pub opcode: usize,
    /// `None` for an optional input left out.
    pub inputs: Vec<Option<TensorId>>,
    /// Results.
    pub outputs: Vec<TensorId>,
    /// Builtin options.
    pub options: BuiltinOptions,
    /// Builtin options of later operators.
    pub options2: BuiltinOptions2,
    /// Options of a custom operator, usually a FlexBuffer.
    pub custom_options: Option<Bytes>,
    /// Encoding of `custom_options`.
    pub custom_options_format: CustomOptionsFormat,
    /// Which inputs the node writes; empty, or as long as `inputs`.
    pub mutating_variable_inputs: Vec<bool>,
    /// Tensors internal to the node, which carry quantization parameters.
    pub intermediates: Vec<TensorId>,
    /// Index into debug metadata, -1 for none.
    pub debug_metadata_index: i32,
}

impl Node {
    /// A node of operator `opcode` with builtin options.
    pub fn new(opcode: usize, inputs: Vec<Option<TensorId>>, outputs: Vec<TensorId>, options: BuiltinOptions) -> Node {
        Node {
            opcode,
            inputs,
            outputs,
            options,
            options2: BuiltinOptions2::NONE,
            custom_options: None,
            custom_options_format: CustomOptionsFormat::FLEXBUFFERS,
            mutating_variable_inputs: Vec::new(),
            intermediates: Vec::new(),
            debug_metadata_index: -1,
        }
    }

    /// The subgraphs that this node's options name (the branches of IF, the body of WHILE, ...).
    pub fn called_subgraphs(&self) -> Vec<i32> {
        use {BuiltinOptions as O, BuiltinOptions2 as O2};
        let mut called = match &self.options {
            O::IfOptions(o) => vec![o.then_subgraph_index, o.else_subgraph_index],
            O::WhileOptions(o) => vec![o.cond_subgraph_index, o.body_subgraph_index],
            O::CallOnceOptions(o) => vec![o.init_subgraph_index],
            O::CallOptions(o) => vec![i32::try_from(o.subgraph).unwrap_or(i32::MAX)],
            _ => Vec::new(),
        };
        match &self.options2 {
            O2::StablehloWhileOptions(o) => called.extend([o.cond_subgraph_index, o.body_subgraph_index]),
            O2::StablehloReduceOptions(o) => called.push(o.body_subgraph_index),
            O2::StablehloReduceWindowOptions(o) => called.push(o.body_subgraph_index),
            O2::StablehloScatterOptions(o) => called.push(o.update_computation_subgraph_index),
            O2::StablehloSortOptions(o) => called.push(o.comparator_subgraph_index),
            O2::StableHLOCompositeOptions(o) => called.push(o.decomposition_subgraph_index),
            O2::StablehloCaseOptions(o) => called.extend(o.branch_subgraph_indices.iter().flatten()),
            O2::StablehloCustomCallOptions(o) => called.extend(o.called_computations.iter().flatten()),
            _ => {}
        }
        called
    }
}

/// A named metadata entry.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Metadata {
    /// Name.
    pub name: Option<String>,
    /// Index into [`Model::buffers`].
    pub buffer: usize,
}

/// A named entry point with named inputs and outputs.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Signature {
    /// Key, `serving_default` from most converters.
    pub key: Option<String>,
    /// Input names and tensors.
    pub inputs: Vec<(String, TensorId)>,
    /// Output names and tensors.
    pub outputs: Vec<(String, TensorId)>,
    /// Index into [`Model::subgraphs`].
    pub subgraph: usize,
}

/// A constant stored in another file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ExternalBuffer {
    /// Unique id.
    pub id: u32,
    /// Index into [`Model::external_buffer_groups`].
    pub group: u32,
    /// First byte in that file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Packing of the data.
    pub packing: Option<String>,
}

impl Model {
    /// Data of a constant tensor, `None` for a computed one.
    pub fn constant(&self, tensor: &Tensor) -> Option<&Bytes> {
        if tensor.buffer == 0 || tensor.is_variable {
            return None;
        }
        self.buffers.get(tensor.buffer).filter(|data| !data.is_empty())
    }

    /// Data of a constant tensor, also of one without elements (the shape of a scalar, say), which has no bytes in the
    /// file; `None` for a tensor that is computed, set by the caller or kept.
    pub fn constant_of(&self, subgraph: &Subgraph, tensor: TensorId) -> Option<&Bytes> {
        let described = subgraph.tensors.get(tensor)?;
        self.constant(described).or_else(|| {
            let is_computed = || subgraph.nodes.iter().any(|node| node.outputs.contains(&tensor));
            let is_constant = described.buffer != 0
                && !described.is_variable
                && described.elements() == Some(0)
                && !subgraph.inputs.contains(&tensor)
                && !is_computed();
            self.buffers.get(described.buffer).filter(|_| is_constant)
        })
    }

    /// The operator of a node.
    pub fn operator(&self, node: &Node) -> &OperatorCode {
        &self.operator_codes[node.opcode]
    }

    /// Index of this operator, added if the model does not have it yet (with the higher of the versions if it has).
    pub fn operator_index(&mut self, builtin: BuiltinOperator, version: i32) -> usize {
        let found = self.operator_codes.iter().position(|c| c.builtin == builtin && c.custom.is_none());
        match found {
            Some(i) => {
                let code = &mut self.operator_codes[i];
                code.version = code.version.max(version);
                i
            }
            None => {
                self.operator_codes.push(OperatorCode { builtin, custom: None, version });
                self.operator_codes.len() - 1
            }
        }
    }

    /// Index of this custom operator, added if the model does not have it yet.
    pub fn custom_operator_index(&mut self, name: &str, version: i32) -> usize {
        let is_it = |c: &OperatorCode| c.builtin == BuiltinOperator::CUSTOM && c.custom.as_deref() == Some(name);
        match self.operator_codes.iter().position(is_it) {
            Some(i) => i,
            None => {
                let custom = Some(name.to_owned());
                self.operator_codes.push(OperatorCode { builtin: BuiltinOperator::CUSTOM, custom, version });
                self.operator_codes.len() - 1
            }
        }
    }

    /// Stores constant data and returns its buffer index.
    pub fn add_buffer(&mut self, data: impl Into<Bytes>) -> usize {
        if self.buffers.is_empty() {
            self.buffers.push(Bytes::default());
        }
        self.buffers.push(data.into());
        self.buffers.len() - 1
    }
}

impl fmt::Display for OperatorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        if self.version != 1 { write!(f, " v{}", self.version) } else { Ok(()) }
    }
}
