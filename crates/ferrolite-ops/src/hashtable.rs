//! HASHTABLE, HASHTABLE_FIND, HASHTABLE_IMPORT and HASHTABLE_SIZE: tables from strings to int64 or back.

use crate::common::calls::check_single;
use crate::common::resource_cases;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::session::Table;
use crate::variable::handle;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// HASHTABLE: the handle of a table, which is made when it is not there yet.
pub struct Hashtable;
/// HASHTABLE_FIND. Inputs: a handle, keys, a value for keys that are not there.
pub struct HashtableFind;
/// HASHTABLE_IMPORT. Inputs: a handle, keys, values.
pub struct HashtableImport;
/// HASHTABLE_SIZE. Input: a handle.
pub struct HashtableSize;

const HANDLE: &[TensorType] = &[TensorType::Resource];

/// Key and value types of a HASHTABLE and its handle.
fn described(node: &NodeView<'_>) -> Result<(TensorType, TensorType, i32), OpError> {
    let Some(options) = node.options.as_hashtable_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let ty = |ty| TensorType::from_schema(ty).ok_or_else(|| OpError::invalid("an unknown element type"));
    Ok((ty(options.key_dtype)?, ty(options.value_dtype)?, options.table_id))
}

impl OpDef for Hashtable {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::HASHTABLE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(0..=0, 1)?;
        let (key, value, _) = described(node)?;
        Table::new(key, value)?;
        Ok(smallvec![Inferred::new(TensorType::Resource, [1])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (key, value, handle) = described(node)?;
        Table::new(key, value)?;
        reference(move |io| {
            let resources = io.session.resources();
            resources.add_table(handle, || Table::new(key, value))?;
            io.outputs[0].slice::<i32>()?.fill(handle);
            Ok(())
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::tables()
    }
}

/// Checks that keys and values are of types that some table has.
fn check_pair(keys: TensorType, values: TensorType) -> Result<(), OpError> {
    Table::new(keys, values).map(|_| ())
}

impl OpDef for HashtableFind {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::HASHTABLE_FIND)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        check_single(node.input(0)?, HANDLE)?;
        let (keys, default) = (node.input(1)?, node.input(2)?);
        check_pair(keys.ty, default.ty)?;
        Ok(smallvec![Inferred { ty: default.ty, shape: Some(keys.shape.clone()) }])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let (handle, keys, default) = (handle(io)?, io.input(1)?, io.input(2)?);
            let Io { outputs, session, .. } = io;
            session.resources().table(handle, |table| table.find(keys, default, &mut outputs[0]))
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::tables()
    }
}

impl OpDef for HashtableImport {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::HASHTABLE_IMPORT)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 0)?;
        check_single(node.input(0)?, HANDLE)?;
        let (keys, values) = (node.input(1)?, node.input(2)?);
        check_pair(keys.ty, values.ty)?;
        ensure!(keys.shape == values.shape, "keys of shape {:?}, values of shape {:?}", keys.shape, values.shape);
        Ok(smallvec![])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| io.session.resources().fill_table(handle(io)?, io.input(1)?, io.input(2)?))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::tables()
    }
}

impl OpDef for HashtableSize {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::HASHTABLE_SIZE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        check_single(node.input(0)?, HANDLE)?;
        Ok(smallvec![Inferred::new(TensorType::Int64, [1])])
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let size = io.session.resources().table(handle(io)?, |table| Ok(table.len() as i64))?;
            io.outputs[0].slice::<i64>()?.fill(size);
            Ok(())
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        resource_cases::tables()
    }
}
