//! Gradients as ordinary nodes: what an operator's `gradient` gets and gives.

use crate::OpError;
use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, Bytes, Model, Node, OperatorCode, Subgraph, Tensor, TensorId, TensorType,
};

/// Emits the gradient of one node. Returns, per input, the tensor that holds its gradient, or `None` where the input
/// has none (constants that are not trained, integer inputs).
pub type Gradient = fn(&mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError>;

/// A node to differentiate, and the graph to emit into.
pub struct GradientCtx<'a> {
    /// The model being extended.
    pub model: &'a mut Model,
    /// Which subgraph.
    pub subgraph: usize,
    /// The node (a copy).
    pub node: &'a Node,
    /// Gradient of the loss with respect to each output; `None` where it does not reach the loss.
    pub grad_outputs: &'a [Option<TensorId>],
    /// Which inputs need a gradient.
    pub needs: &'a [bool],
}

impl GradientCtx<'_> {
    fn graph(&mut self) -> &mut Subgraph {
        &mut self.model.subgraphs[self.subgraph]
    }

    /// Shape of a tensor.
    pub fn shape(&self, tensor: TensorId) -> Vec<i32> {
        self.model.subgraphs[self.subgraph].tensors[tensor].shape.clone()
    }

    /// A float constant.
    pub fn constant_f32(&mut self, shape: &[i32], values: &[f32]) -> TensorId {
        self.constant(TensorType::Float32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An int32 constant of one dimension.
    pub fn constant_i32(&mut self, values: &[i32]) -> TensorId {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(TensorType::Int32, &[values.len() as i32], bytes)
    }

    fn constant(&mut self, ty: TensorType, shape: &[i32], bytes: Vec<u8>) -> TensorId {
        let buffer = self.model.add_buffer(Bytes::from(bytes));
        let id = self.graph().tensors.len();
        self.graph().tensors.push(Tensor { buffer, ..Tensor::new(format!("gradient/constant_{id}"), ty, shape) });
        id
    }

    /// Appends a builtin node with one float output of this shape, and returns the output.
    pub fn emit(
        &mut self,
        op: BuiltinOperator,
        options: BuiltinOptions,
        inputs: &[TensorId],
        shape: &[i32],
    ) -> TensorId {
        let opcode = self.model.operator_index(op, 1);
        self.push(opcode, Some(options), inputs, shape)
    }

    /// Appends a custom node with one float output of this shape, and returns the output. Its options are those of
    /// the node being differentiated.
    pub fn emit_custom(&mut self, name: &str, inputs: &[TensorId], shape: &[i32]) -> TensorId {
        let codes = &mut self.model.operator_codes;
        let found =
            codes.iter().position(|c| c.builtin == BuiltinOperator::CUSTOM && c.custom.as_deref() == Some(name));
        let opcode = found.unwrap_or_else(|| {
            codes.push(OperatorCode { builtin: BuiltinOperator::CUSTOM, custom: Some(name.into()), version: 1 });
            codes.len() - 1
        });
        self.push(opcode, None, inputs, shape)
    }

    fn push(&mut self, opcode: usize, options: Option<BuiltinOptions>, inputs: &[TensorId], shape: &[i32]) -> TensorId {
        let options = options.unwrap_or_else(|| self.node.options.clone());
        let graph = self.graph();
        let id = graph.tensors.len();
        graph.tensors.push(Tensor::new(format!("gradient/tensor_{id}"), TensorType::Float32, shape));
        graph.nodes.push(Node::new(opcode, inputs.iter().copied().map(Some).collect(), vec![id], options));
        id
    }
}
