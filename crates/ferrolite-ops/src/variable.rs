//! VAR_HANDLE, READ_VARIABLE and ASSIGN_VARIABLE: variables that live as long as the interpreter.

use crate::common::calls::check_single;
use crate::common::resource_cases;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::session::VariableName;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// VAR_HANDLE: the handle of a variable by its name.
pub struct VarHandle;
/// READ_VARIABLE. Input: a handle.
pub struct ReadVariable;
/// ASSIGN_VARIABLE. Inputs: a handle, a value.
pub struct AssignVariable;

/// Old converters wrote handles as int32.
const HANDLE: &[TensorType] = &[TensorType::Resource, TensorType::Int32];

/// The handle that a single-valued tensor holds.
pub fn handle(io: &Io<'_>) -> Result<i32, OpError> {
    match io.input(0)?.slice::<i32>()? {
        &[handle] => Ok(handle),
        values => Err(OpError::invalid(format!("{} handles", values.len()))),
    }
}

impl OpDef for VarHandle {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::VAR_HANDLE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(0..=0, 1)?;
        check_type(node.output(0)?.ty)?;
        Ok(smallvec![Inferred::new(node.output(0)?.ty, [])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Some(options) = node.options.as_var_handle_options() else {
            return Err(OpError::invalid("options are missing"));
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let name = VariableName { container: text(&options.container), shared_name: text(&options.shared_name) };
        reference(move |io| {
            let handle = io.session.resources().variable(&name);
            io.outputs[0].slice::<i32>()?.fill(handle);
            Ok(())
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn is_fixed(&self) -> bool {
        true
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::var_handle()
    }
}

fn check_type(ty: TensorType) -> Result<(), OpError> {
    ensure!(HANDLE.contains(&ty), "a handle of type {ty}");
    Ok(())
}

impl OpDef for ReadVariable {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::READ_VARIABLE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    /// A shape that the file gives is the variable's; a scalar may also be of unknown rank.
    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        check_single(node.input(0)?, HANDLE)?;
        let output = node.output(0)?;
        let is_open = output.is_open || output.shape.is_empty();
        Ok(smallvec![Inferred { ty: output.ty, shape: (!is_open).then(|| output.shape.clone()) }])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let handle = handle(io)?;
            let Io { outputs, session, .. } = io;
            let output = &mut outputs[0];
            session.resources().read(handle, |value| output.assign(value))
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::variables(false)
    }
}

impl OpDef for AssignVariable {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ASSIGN_VARIABLE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 0)?;
        check_single(node.input(0)?, HANDLE)?;
        node.input(1)?;
        Ok(smallvec![])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| io.session.resources().assign(handle(io)?, io.input(1)?))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::variables(true)
    }
}
