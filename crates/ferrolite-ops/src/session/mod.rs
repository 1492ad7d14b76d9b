//! What lies outside of a node: other subgraphs, and what outlives an invocation.

mod resources;
mod tables;

pub use resources::{Initializer, Resources, VariableName};
pub use tables::Table;

use crate::OpError;
use crate::tensor::{AlignedBytes, OutputData, Shape, TensorMut, TensorRef};
use ferrolite_model::TensorType;
use std::sync::Arc;

/// What a running node may ask of the runtime.
pub trait Session {
    /// Runs a subgraph on `inputs`, whose shapes may differ from call to call, and puts its results into `outputs`, which
    /// are spare memory before.
    ///
    /// # Errors
    /// When the number or types of inputs are not the subgraph's, or one of its nodes fails.
    fn call(
        &mut self,
        subgraph: usize,
        inputs: &mut [Argument<'_>],
        outputs: &mut Vec<TensorValue>,
    ) -> Result<(), OpError>;

    /// Variables and tables that the model's subgraphs share.
    fn resources(&self) -> &Resources;

    /// How often a loop may run its body.
    fn max_iterations(&self) -> u64;
}

/// An input of a called subgraph.
#[derive(Debug)]
pub enum Argument<'a> {
    /// The subgraph gets a copy.
    Copied(TensorRef<'a>),
    /// The subgraph works on this memory, which comes back unchanged: except that an output of the subgraph that is this
    /// input takes the memory over, and leaves any other.
    Lent(&'a mut TensorValue),
}

impl Argument<'_> {
    /// Element type.
    pub fn ty(&self) -> TensorType {
        match self {
            Argument::Copied(tensor) => tensor.ty,
            Argument::Lent(value) => value.ty,
        }
    }

    /// Dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Argument::Copied(tensor) => tensor.shape,
            Argument::Lent(value) => &value.shape,
        }
    }
}

/// A session without subgraphs: for nodes that are computed alone, such as constants that are folded.
#[derive(Default)]
pub struct NoSession {
    own: Resources,
    given: Option<Arc<Resources>>,
}

impl NoSession {
    /// With resources of a session to come.
    pub fn new(resources: Arc<Resources>) -> NoSession {
        NoSession { own: Resources::default(), given: Some(resources) }
    }
}

impl Session for NoSession {
    fn call(&mut self, subgraph: usize, _: &mut [Argument<'_>], _: &mut Vec<TensorValue>) -> Result<(), OpError> {
        Err(OpError::invalid(format!("subgraph {subgraph} cannot be called here")))
    }

    fn resources(&self) -> &Resources {
        self.given.as_deref().unwrap_or(&self.own)
    }

    fn max_iterations(&self) -> u64 {
        0
    }
}

/// A tensor that owns its data.
#[derive(Clone, Debug)]
pub struct TensorValue {
    /// Element type.
    pub ty: TensorType,
    /// Dimensions.
    pub shape: Shape,
    /// Raw data; strings in the format's own serialization.
    pub bytes: AlignedBytes,
}

impl Default for TensorValue {
    fn default() -> TensorValue {
        TensorValue { ty: TensorType::Int8, shape: Shape::from_slice(&[0]), bytes: AlignedBytes::default() }
    }
}

impl TensorValue {
    /// A copy of a tensor.
    pub fn copy_of(tensor: TensorRef<'_>) -> TensorValue {
        TensorValue { ty: tensor.ty, shape: Shape::from_slice(tensor.shape), bytes: AlignedBytes::from(tensor.bytes) }
    }

    /// Becomes a copy of a tensor, keeping its memory where it is large enough.
    pub fn assign(&mut self, tensor: TensorRef<'_>) {
        self.ty = tensor.ty;
        self.shape.clear();
        self.shape.extend_from_slice(tensor.shape);
        self.bytes.assign(tensor.bytes);
    }

    /// The tensor to read, without quantization.
    pub fn view(&self) -> TensorRef<'_> {
        TensorRef { ty: self.ty, shape: &self.shape, quantization: None, bytes: &self.bytes }
    }

    /// Moves the data into an output: memory changes hands where the output has its own, else it is copied.
    pub fn move_into(&mut self, output: &mut TensorMut<'_>) -> Result<(), OpError> {
        match &mut output.data {
            OutputData::Dynamic { shape, bytes } if self.ty == output.ty => {
                std::mem::swap(*shape, &mut self.shape);
                std::mem::swap(*bytes, &mut self.bytes);
                Ok(())
            }
            _ => output.assign(self.view()),
        }
    }
}
