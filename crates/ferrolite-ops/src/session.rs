//! What lies outside of a node: other subgraphs, and what outlives an invocation.

use crate::tensor::{AlignedBytes, Shape, TensorRef};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a running node may ask of the runtime.
pub trait Session {
    /// Runs a subgraph on `inputs`, whose shapes may differ from call to call, and puts its results into `outputs`,
    /// reusing their memory.
    ///
    /// # Errors
    /// When the number or types of inputs are not the subgraph's, or one of its nodes fails.
    fn call(
        &mut self,
        subgraph: usize,
        inputs: &[TensorRef<'_>],
        outputs: &mut Vec<TensorValue>,
    ) -> Result<(), OpError>;

    /// Variables and tables that the model's subgraphs share.
    fn resources(&self) -> &Resources;

    /// How often a loop may run its body.
    fn max_iterations(&self) -> u64;
}

/// A session without subgraphs: for nodes that are computed alone, such as constants that are folded.
#[derive(Default)]
pub struct NoSession {
    resources: Resources,
}

impl Session for NoSession {
    fn call(&mut self, subgraph: usize, _: &[TensorRef<'_>], _: &mut Vec<TensorValue>) -> Result<(), OpError> {
        Err(OpError::invalid(format!("subgraph {subgraph} cannot be called here")))
    }

    fn resources(&self) -> &Resources {
        &self.resources
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
}

/// Resources of one model: variables by name, and which initializers have run. Interpreters of several signatures of one
/// model share them. A handle, the value of a tensor of type `resource`, is an int32.
#[derive(Default)]
pub struct Resources {
    inner: Mutex<Inner>,
    max_bytes: Option<usize>,
}

#[derive(Default)]
struct Inner {
    handles: HashMap<(String, String), usize>,
    variables: Vec<Option<TensorValue>>,
    variable_bytes: usize,
    initialized: HashSet<usize>,
}

impl Resources {
    /// No resources yet, and at most `max_bytes` of data.
    pub fn with_limit(max_bytes: usize) -> Resources {
        Resources { max_bytes: Some(max_bytes), ..Resources::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The data is whole after a panic as well: every change is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first time that an initializer subgraph is asked for.
    pub fn first_run(&self, subgraph: usize) -> bool {
        self.lock().initialized.insert(subgraph)
    }

    /// Handle of the variable with this name, which is made when it is not there yet.
    pub fn variable(&self, container: &str, shared_name: &str) -> i32 {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let next = inner.handles.len();
        let handle = *inner.handles.entry((container.to_owned(), shared_name.to_owned())).or_insert(next);
        if handle == inner.variables.len() {
            inner.variables.push(None);
        }
        handle as i32
    }

    /// Sets a variable's value.
    pub fn assign(&self, handle: i32, value: TensorRef<'_>) -> Result<(), OpError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let slot = usize::try_from(handle).ok().and_then(|i| inner.variables.get_mut(i));
        let Some(slot) = slot else { return Err(OpError::invalid(format!("{handle} is no variable's handle"))) };
        let before = slot.as_ref().map_or(0, |v| v.bytes.len());
        let bytes = inner.variable_bytes - before + value.bytes.len();
        let limit = self.max_bytes.unwrap_or(usize::MAX);
        ensure!(bytes <= limit, "variables would take {bytes} bytes, the limit is {limit}; see Limits");
        inner.variable_bytes = bytes;
        match slot {
            Some(variable) => variable.assign(value),
            None => *slot = Some(TensorValue::copy_of(value)),
        }
        Ok(())
    }

    /// Shows a variable's value to `read`.
    ///
    /// # Errors
    /// When nothing has been assigned yet.
    pub fn read<T>(&self, handle: i32, read: impl FnOnce(TensorRef<'_>) -> Result<T, OpError>) -> Result<T, OpError> {
        let inner = self.lock();
        let slot = usize::try_from(handle).ok().and_then(|i| inner.variables.get(i));
        match slot {
            Some(Some(variable)) => read(variable.view()),
            Some(None) => Err(OpError::invalid("the variable is read before anything is assigned to it")),
            None => Err(OpError::invalid(format!("{handle} is no variable's handle"))),
        }
    }
}
