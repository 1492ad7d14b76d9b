//! Building a [`Model`] step by step: for converters, the trainer and tests.

use crate::bytes::Bytes;
use crate::error::ModelError;
use crate::model::*;
use crate::schema::BuiltinOperator;
use crate::types::TensorType;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Builds a model: tensors and nodes are added to the current subgraph, the first one to begin with.
///
/// ```
/// use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, TensorType, schema};
///
/// let mut b = ModelBuilder::new();
/// let x = b.input("x", TensorType::Float32, &[-1, 4]);
/// let w = b.constant_f32("w", &[2, 4], &[1.0; 8]);
/// let y = b.tensor("y", TensorType::Float32, &[-1, 2]);
/// let options = BuiltinOptions::FullyConnectedOptions(Box::new(schema::FullyConnectedOptionsT::default()));
/// b.node(BuiltinOperator::FULLY_CONNECTED, 1, options, &[Some(x), Some(w), None], &[y]);
/// b.output(y);
/// b.signature("serving_default");
/// let model = b.build()?;
/// assert_eq!(model.subgraphs[0].tensors[x].shape_signature, [-1, 4]);
/// # Ok::<(), ferrolite_model::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelBuilder {
    model: Model,
    /// Index of the subgraph that is being built.
    current: usize,
    /// Buffers by the hash of their data.
    shared: HashMap<u64, Vec<usize>>,
}

impl Default for ModelBuilder {
    fn default() -> Self {
        ModelBuilder::new()
    }
}

impl ModelBuilder {
    /// A model with one empty subgraph, `main`.
    pub fn new() -> ModelBuilder {
        let main = Subgraph { name: Some("main".into()), debug_metadata_index: -1, ..Subgraph::default() };
        let model = Model {
            version: 3,
            description: Some("ferrolite".into()),
            subgraphs: vec![main],
            buffers: vec![Bytes::default()],
            ..Model::default()
        };
        ModelBuilder { model, current: 0, shared: HashMap::new() }
    }

    /// Replaces the model's description.
    pub fn description(&mut self, text: impl Into<String>) {
        self.model.description = Some(text.into());
    }

    /// Starts another subgraph, makes it the current one and returns its index.
    pub fn subgraph(&mut self, name: impl Into<String>) -> usize {
        self.model.subgraphs.push(Subgraph {
            name: Some(name.into()),
            debug_metadata_index: -1,
            ..Subgraph::default()
        });
        self.current = self.model.subgraphs.len() - 1;
        self.current
    }

    /// Goes back to a subgraph; 0 is the main one.
    ///
    /// # Panics
    /// When there is no subgraph `index`.
    pub fn select(&mut self, index: usize) {
        assert!(index < self.model.subgraphs.len(), "there is no subgraph {index}");
        self.current = index;
    }

    /// Index of the current subgraph.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The current subgraph.
    pub fn graph(&self) -> &Subgraph {
        &self.model.subgraphs[self.current]
    }

    /// The current subgraph, for what the builder has no method for.
    pub fn graph_mut(&mut self) -> &mut Subgraph {
        &mut self.model.subgraphs[self.current]
    }

    /// The model so far.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model so far, for what the builder has no method for.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Adds a tensor as it is.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        let graph = self.graph_mut();
        graph.tensors.push(tensor);
        graph.tensors.len() - 1
    }

    /// Adds a computed tensor. A dimension of -1 is open: it starts as 1.
    pub fn tensor(&mut self, name: impl Into<String>, ty: TensorType, shape: &[i32]) -> TensorId {
        let mut tensor = Tensor::new(name, ty, shape);
        if shape.contains(&-1) {
            tensor.shape_signature = shape.to_vec();
            tensor.shape = shape.iter().map(|&dim| if dim == -1 { 1 } else { dim }).collect();
        }
        self.add_tensor(tensor)
    }

    /// Adds a computed, quantized tensor.
    pub fn quantized(
        &mut self,
        name: impl Into<String>,
        ty: TensorType,
        shape: &[i32],
        quantization: Quantization,
    ) -> TensorId {
        let id = self.tensor(name, ty, shape);
        self.quantize(id, quantization);
        id
    }

    /// Gives a tensor of the current subgraph quantization parameters.
    pub fn quantize(&mut self, tensor: TensorId, quantization: Quantization) {
        self.graph_mut().tensors[tensor].quantization = Some(quantization);
    }

    /// Adds a tensor that keeps its value between invocations.
    pub fn variable(&mut self, name: impl Into<String>, ty: TensorType, shape: &[i32]) -> TensorId {
        let id = self.tensor(name, ty, shape);
        self.graph_mut().tensors[id].is_variable = true;
        id
    }

    /// Adds a tensor that the caller sets.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType, shape: &[i32]) -> TensorId {
        let id = self.tensor(name, ty, shape);
        self.graph_mut().inputs.push(id);
        id
    }

    /// Makes a tensor one of those that the caller reads.
    pub fn output(&mut self, tensor: TensorId) {
        self.graph_mut().outputs.push(tensor);
    }

    /// Adds a constant from the bytes of its packed, little-endian elements.
    pub fn constant(
        &mut self,
        name: impl Into<String>,
        ty: TensorType,
        shape: &[i32],
        data: impl Into<Bytes>,
    ) -> TensorId {
        let buffer = self.buffer(data);
        self.add_tensor(Tensor { buffer, ..Tensor::new(name, ty, shape) })
    }

    /// Adds a quantized constant.
    pub fn constant_quantized(
        &mut self,
        name: impl Into<String>,
        ty: TensorType,
        shape: &[i32],
        data: impl Into<Bytes>,
        quantization: Quantization,
    ) -> TensorId {
        let id = self.constant(name, ty, shape, data);
        self.quantize(id, quantization);
        id
    }

    /// Adds a float constant.
    pub fn constant_f32(&mut self, name: impl Into<String>, shape: &[i32], data: &[f32]) -> TensorId {
        self.constant(name, TensorType::Float32, shape, le_bytes(data, f32::to_le_bytes))
    }

    /// Adds an int8 constant.
    pub fn constant_i8(&mut self, name: impl Into<String>, shape: &[i32], data: &[i8]) -> TensorId {
        self.constant(name, TensorType::Int8, shape, le_bytes(data, i8::to_le_bytes))
    }

    /// Adds an int32 constant.
    pub fn constant_i32(&mut self, name: impl Into<String>, shape: &[i32], data: &[i32]) -> TensorId {
        self.constant(name, TensorType::Int32, shape, le_bytes(data, i32::to_le_bytes))
    }

    /// Adds an int64 constant.
    pub fn constant_i64(&mut self, name: impl Into<String>, shape: &[i32], data: &[i64]) -> TensorId {
        self.constant(name, TensorType::Int64, shape, le_bytes(data, i64::to_le_bytes))
    }

    /// Index of a buffer with this data; an identical one is used again.
    pub fn buffer(&mut self, data: impl Into<Bytes>) -> usize {
        let data = data.into();
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        let same = self.shared.entry(hasher.finish()).or_default();
        if let Some(&index) = same.iter().find(|&&index| self.model.buffers.get(index) == Some(&data)) {
            return index;
        }
        let index = self.model.add_buffer(data);
        same.push(index);
        index
    }

    /// Appends a node with builtin options and returns its index.
    pub fn node(
        &mut self,
        operator: BuiltinOperator,
        version: i32,
        options: BuiltinOptions,
        inputs: &[Option<TensorId>],
        outputs: &[TensorId],
    ) -> usize {
        let opcode = self.model.operator_index(operator, version);
        self.add_node(Node::new(opcode, inputs.to_vec(), outputs.to_vec(), options))
    }

    /// Appends a node of a later builtin operator (StableHLO, DILATE), which has the second kind of options.
    pub fn node2(
        &mut self,
        operator: BuiltinOperator,
        version: i32,
        options2: BuiltinOptions2,
        inputs: &[Option<TensorId>],
        outputs: &[TensorId],
    ) -> usize {
        let opcode = self.model.operator_index(operator, version);
        let node = Node::new(opcode, inputs.to_vec(), outputs.to_vec(), BuiltinOptions::NONE);
        self.add_node(Node { options2, ..node })
    }

    /// Appends a node of a custom operator; its options are usually a FlexBuffer.
    pub fn custom(
        &mut self,
        operator: &str,
        options: impl Into<Bytes>,
        inputs: &[Option<TensorId>],
        outputs: &[TensorId],
    ) -> usize {
        let opcode = self.model.custom_operator_index(operator, 1);
        let node = Node::new(opcode, inputs.to_vec(), outputs.to_vec(), BuiltinOptions::NONE);
        self.add_node(Node { custom_options: Some(options.into()), ..node })
    }

    /// Appends a node as it is.
    pub fn add_node(&mut self, node: Node) -> usize {
        let graph = self.graph_mut();
        graph.nodes.push(node);
        graph.nodes.len() - 1
    }

    /// Names the current subgraph's inputs and outputs, by the names of their tensors, as an entry point.
    pub fn signature(&mut self, key: impl Into<String>) {
        let named = |ids: &[TensorId]| {
            let tensors = &self.graph().tensors;
            ids.iter().map(|&id| (tensors.get(id).map_or("", Tensor::name).to_owned(), id)).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (named(&self.graph().inputs), named(&self.graph().outputs));
        self.model.signatures.push(Signature { key: Some(key.into()), inputs, outputs, subgraph: self.current });
    }

    /// Adds an entry point of the current subgraph with names of its own.
    pub fn signature_named(
        &mut self,
        key: impl Into<String>,
        inputs: &[(&str, TensorId)],
        outputs: &[(&str, TensorId)],
    ) {
        let owned = |names: &[(&str, TensorId)]| names.iter().map(|&(name, id)| (name.to_owned(), id)).collect();
        let (inputs, outputs) = (owned(inputs), owned(outputs));
        self.model.signatures.push(Signature { key: Some(key.into()), inputs, outputs, subgraph: self.current });
    }

    /// Adds a named metadata entry.
    pub fn metadata(&mut self, name: impl Into<String>, data: impl Into<Bytes>) {
        let buffer = self.buffer(data);
        self.model.metadata.push(Metadata { name: Some(name.into()), buffer });
    }

    /// The finished model.
    ///
    /// # Errors
    /// When the model breaks a rule of [`crate::verify`].
    pub fn build(self) -> Result<Model, ModelError> {
        crate::verify(&self.model)?;
        Ok(self.model)
    }
}

/// The little-endian bytes of numbers.
fn le_bytes<T: Copy, const N: usize>(data: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    data.iter().flat_map(|&value| to_bytes(value)).collect()
}
