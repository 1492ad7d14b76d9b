//! Variables, tables and initializers.

use super::{Table, TensorValue};
use crate::tensor::TensorRef;
use crate::{OpError, ensure};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a variable is found by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VariableName {
    /// Name space.
    pub container: String,
    /// Name.
    pub shared_name: String,
}

/// Whether an initializer subgraph has run. Locked while it runs, so that another interpreter waits for it.
pub type Initializer = Arc<Mutex<bool>>;

/// Resources of one model: variables and tables, and which initializers have run. Interpreters of several signatures of one
/// model share them. A handle, the value of a tensor of type `resource`, is an int32; variables and tables have a numbering
/// each.
#[derive(Default)]
pub struct Resources {
    inner: Mutex<Inner>,
    max_bytes: Option<usize>,
}

#[derive(Default)]
struct Inner {
    handles: HashMap<VariableName, i32>,
    variables: BTreeMap<i32, TensorValue>,
    tables: BTreeMap<i32, Table>,
    /// Bytes of variables and tables.
    bytes: usize,
    initializers: HashMap<usize, Initializer>,
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

    /// The state of an initializer subgraph.
    pub fn initializer(&self, subgraph: usize) -> Initializer {
        Arc::clone(self.lock().initializers.entry(subgraph).or_default())
    }

    /// Handle of the variable with this name.
    pub fn variable(&self, name: &VariableName) -> i32 {
        let mut inner = self.lock();
        match inner.handles.get(name) {
            Some(&handle) => handle,
            None => {
                let handle = inner.handles.len() as i32;
                inner.handles.insert(name.clone(), handle);
                handle
            }
        }
    }

    /// Sets a variable's value, whatever type and shape it had.
    pub fn assign(&self, handle: i32, value: TensorRef<'_>) -> Result<(), OpError> {
        let mut inner = self.lock();
        let before = inner.variables.get(&handle).map_or(0, |v| v.bytes.len());
        inner.bytes = self.room(inner.bytes - before, value.bytes.len())?;
        match inner.variables.get_mut(&handle) {
            Some(variable) => variable.assign(value),
            None => {
                inner.variables.insert(handle, TensorValue::copy_of(value));
            }
        }
        Ok(())
    }

    /// Shows a variable's value to `read`.
    ///
    /// # Errors
    /// When nothing has been assigned yet.
    pub fn read<T>(&self, handle: i32, read: impl FnOnce(TensorRef<'_>) -> Result<T, OpError>) -> Result<T, OpError> {
        let inner = self.lock();
        let Some(variable) = inner.variables.get(&handle) else {
            let names = inner.handles.iter().filter(|(_, h)| **h == handle).map(|(name, _)| name.shared_name.as_str());
            let name = names.collect::<String>();
            return Err(OpError::invalid(format!(
                "variable {handle} ({name:?}) is read before anything is assigned to it"
            )));
        };
        read(variable.view())
    }

    /// Puts a table where there is none of this handle yet.
    pub fn add_table(&self, handle: i32, table: impl FnOnce() -> Result<Table, OpError>) -> Result<(), OpError> {
        let mut inner = self.lock();
        if let Entry::Vacant(place) = inner.tables.entry(handle) {
            place.insert(table()?);
        }
        Ok(())
    }

    /// Fills a table, unless it has been filled before.
    pub fn fill_table(&self, handle: i32, keys: TensorRef<'_>, values: TensorRef<'_>) -> Result<(), OpError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let table = inner.tables.get_mut(&handle).ok_or_else(|| no_table(handle))?;
        if !table.is_filled() {
            // What the tensors take is a fair measure of what the entries take.
            inner.bytes = self.room(inner.bytes, keys.bytes.len().saturating_add(values.bytes.len()))?;
        }
        table.fill(keys, values)
    }

    /// Shows a table to `read`.
    pub fn table<T>(&self, handle: i32, read: impl FnOnce(&Table) -> Result<T, OpError>) -> Result<T, OpError> {
        read(self.lock().tables.get(&handle).ok_or_else(|| no_table(handle))?)
    }

    /// The sum, if the limit allows it.
    fn room(&self, used: usize, more: usize) -> Result<usize, OpError> {
        let (bytes, limit) = (used.saturating_add(more), self.max_bytes.unwrap_or(usize::MAX));
        ensure!(bytes <= limit, "variables and tables would take {bytes} bytes, the limit is {limit}; see Limits");
        Ok(bytes)
    }
}

fn no_table(handle: i32) -> OpError {
    OpError::invalid(format!("there is no table {handle}"))
}
