//! Hash tables that are filled once.

use crate::common::strings::{Strings, write_strings};
use crate::tensor::{TensorMut, TensorRef};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use std::collections::HashMap;

/// A table from int64 to strings or from strings to int64.
#[derive(Debug)]
pub struct Table {
    entries: Entries,
    is_filled: bool,
}

#[derive(Debug)]
enum Entries {
    ToString(HashMap<i64, Box<[u8]>>),
    ToInt(HashMap<Box<[u8]>, i64>),
}

impl Table {
    /// An empty table.
    pub fn new(key: TensorType, value: TensorType) -> Result<Table, OpError> {
        let entries = match (key, value) {
            (TensorType::Int64, TensorType::String) => Entries::ToString(HashMap::new()),
            (TensorType::String, TensorType::Int64) => Entries::ToInt(HashMap::new()),
            _ => return Err(OpError::unsupported(format!("a table from {key} to {value}"))),
        };
        Ok(Table { entries, is_filled: false })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::ToString(map) => map.len(),
            Entries::ToInt(map) => map.len(),
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the entries are there.
    pub fn is_filled(&self) -> bool {
        self.is_filled
    }

    fn check(&self, keys: TensorType, values: TensorType) -> Result<(), OpError> {
        let (key, value) = match self.entries {
            Entries::ToString(_) => (TensorType::Int64, TensorType::String),
            Entries::ToInt(_) => (TensorType::String, TensorType::Int64),
        };
        ensure!((keys, values) == (key, value), "{keys} and {values} for a table from {key} to {value}");
        Ok(())
    }

    /// Takes the entries. Of several with the same key the first one holds, and a filled table stays as it is.
    pub fn fill(&mut self, keys: TensorRef<'_>, values: TensorRef<'_>) -> Result<(), OpError> {
        self.check(keys.ty, values.ty)?;
        if self.is_filled {
            return Ok(());
        }
        let same = |keys: usize, values: usize| -> Result<(), OpError> {
            ensure!(keys == values, "{keys} keys and {values} values");
            Ok(())
        };
        match &mut self.entries {
            Entries::ToString(map) => {
                let (keys, values) = (keys.slice::<i64>()?, Strings::new(values.bytes)?);
                same(keys.len(), values.len())?;
                for (i, &key) in keys.iter().enumerate() {
                    map.entry(key).or_insert_with(|| values.get(i).into());
                }
            }
            Entries::ToInt(map) => {
                let (keys, values) = (Strings::new(keys.bytes)?, values.slice::<i64>()?);
                same(keys.len(), values.len())?;
                for (i, &value) in values.iter().enumerate() {
                    map.entry(keys.get(i).into()).or_insert(value);
                }
            }
        }
        self.is_filled = true;
        Ok(())
    }

    /// Looks up every key; a key that is not there gives the first element of `default`.
    pub fn find(&self, keys: TensorRef<'_>, default: TensorRef<'_>, output: &mut TensorMut<'_>) -> Result<(), OpError> {
        self.check(keys.ty, output.ty)?;
        ensure!(default.ty == output.ty, "a default of type {} for {}", default.ty, output.ty);
        ensure!(self.is_filled, "the table is used before it is filled");
        let count: usize = keys.shape.iter().product();
        match &self.entries {
            Entries::ToString(map) => {
                let (keys, default) = (keys.slice::<i64>()?, Strings::new(default.bytes)?);
                ensure!(!default.is_empty(), "the default is empty");
                let found = keys.iter().map(|key| map.get(key).map_or(default.get(0), |value| value));
                write_strings(output, &found.collect::<Vec<_>>())
            }
            Entries::ToInt(map) => {
                let (keys, default) = (Strings::new(keys.bytes)?, default.slice::<i64>()?);
                let output = output.slice::<i64>()?;
                ensure!(!default.is_empty(), "the default is empty");
                ensure!(keys.len() == count && output.len() == count, "{} keys for {count} elements", keys.len());
                for (i, value) in output.iter_mut().enumerate() {
                    *value = map.get(keys.get(i)).copied().unwrap_or(default[0]);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::session::TensorValue;
    use crate::tensor::{AlignedBytes, OutputData, Shape, TensorMut};
    use ferrolite_model::TensorType;

    fn value(ty: TensorType, shape: &[usize], bytes: &[u8]) -> TensorValue {
        TensorValue { ty, shape: Shape::from_slice(shape), bytes: AlignedBytes::from(bytes) }
    }

    fn words(strings: &[&str]) -> TensorValue {
        let (mut shape, mut bytes) = (Shape::new(), AlignedBytes::default());
        let data = OutputData::Dynamic { shape: &mut shape, bytes: &mut bytes };
        let mut out = TensorMut { ty: TensorType::String, quantization: None, data };
        let strings: Vec<&[u8]> = strings.iter().map(|s| s.as_bytes()).collect();
        super::write_strings(&mut out, &strings).unwrap();
        TensorValue { ty: TensorType::String, shape: Shape::from_slice(&[strings.len()]), bytes }
    }

    #[test]
    fn the_first_entry_of_a_key_and_the_first_filling_hold() {
        let ints = |v: &[i64]| value(TensorType::Int64, &[v.len()], bytemuck::cast_slice(v));
        let mut table = Table::new(TensorType::String, TensorType::Int64).unwrap();
        let find = |table: &Table, keys: &TensorValue| {
            let mut out = vec![0u8; keys.shape[0] * 8];
            let data = OutputData::Planned { shape: &keys.shape, bytes: &mut out };
            let mut output = TensorMut { ty: TensorType::Int64, quantization: None, data };
            table.find(keys.view(), ints(&[-1]).view(), &mut output)?;
            Ok::<_, crate::OpError>(crate::copy_elements::<i64>(&out))
        };
        let keys = words(&["a", "", "b"]);
        assert!(find(&table, &keys).unwrap_err().to_string().contains("before it is filled"));
        assert!(table.fill(words(&["a"]).view(), ints(&[1, 2]).view()).is_err());
        table.fill(words(&["a", "b", "a"]).view(), ints(&[1, 2, 3]).view()).unwrap();
        table.fill(words(&["c"]).view(), ints(&[9]).view()).unwrap();
        assert_eq!((table.len(), find(&table, &keys).unwrap()), (2, vec![1, -1, 2]));
        assert!(Table::new(TensorType::Int64, TensorType::Int64).is_err());
    }
}
