//! Options of custom operators.

use crate::OpError;
use crate::op::NodeView;
use ferrolite_model::FlexValue;

/// A custom operator's options: a FlexBuffer with a map.
pub struct FlexOptions<'a>(Option<FlexValue<'a>>);

impl<'a> FlexOptions<'a> {
    /// Of a node. One without options has none of the entries.
    pub fn of(node: &NodeView<'a>) -> Result<FlexOptions<'a>, OpError> {
        let bytes = node.custom_options.map_or(&[][..], |bytes| bytes);
        if bytes.is_empty() {
            return Ok(FlexOptions(None));
        }
        match FlexValue::root(bytes) {
            Some(map) => Ok(FlexOptions(Some(map))),
            None => Err(OpError::invalid("the options are not a FlexBuffer")),
        }
    }

    /// An entry, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<FlexValue<'a>> {
        self.0.and_then(|map| map.get(key)).filter(|value| !value.is_null())
    }

    fn read<T>(&self, key: &str, read: impl Fn(&FlexValue<'a>) -> Option<T>) -> Result<Option<T>, OpError> {
        let wrong = || OpError::invalid(format!("option {key:?} is not a number"));
        self.get(key).map(|value| read(&value).ok_or_else(wrong)).transpose()
    }

    /// An integer that fits 32 bits.
    pub fn int(&self, key: &str) -> Result<Option<i32>, OpError> {
        let Some(value) = self.read(key, FlexValue::as_i64)? else { return Ok(None) };
        match i32::try_from(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(OpError::invalid(format!("option {key:?} is {value}"))),
        }
    }

    /// An integer that has to be there.
    pub fn required(&self, key: &str) -> Result<i32, OpError> {
        self.int(key)?.ok_or_else(|| OpError::invalid(format!("option {key:?} is missing")))
    }

    /// A size: an integer from 0 to `limit` that has to be there.
    pub fn size(&self, key: &str, limit: usize) -> Result<usize, OpError> {
        let value = self.required(key)?;
        match usize::try_from(value).ok().filter(|&value| value <= limit) {
            Some(value) => Ok(value),
            None => Err(OpError::invalid(format!("option {key:?} is {value}, not in 0..={limit}"))),
        }
    }

    /// A float.
    pub fn float(&self, key: &str) -> Result<Option<f32>, OpError> {
        Ok(self.read(key, FlexValue::as_f64)?.map(|x| x as f32))
    }

    /// A truth value; false where there is none.
    pub fn flag(&self, key: &str) -> Result<bool, OpError> {
        Ok(self.read(key, FlexValue::as_bool)?.unwrap_or(false))
    }
}
