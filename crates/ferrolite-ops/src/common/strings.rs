//! String tensors: a count, count + 1 offsets from the start of the buffer (all int32), then the bytes.

use crate::tensor::{OutputData, Shape, TensorMut};
use crate::{OpError, ensure};

/// Most strings that a kernel makes room for: no shape tells the size of a string tensor before it is there.
pub const MAX_STRINGS: usize = 1 << 24;

/// The elements of a string tensor.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Strings<'a> {
    /// Checks the layout, every offset included. No bytes at all are no strings.
    pub fn new(bytes: &'a [u8]) -> Result<Strings<'a>, OpError> {
        if bytes.is_empty() {
            return Ok(Strings { bytes, len: 0 });
        }
        let len = read(bytes, 0).and_then(|n| usize::try_from(n).ok());
        let header = len.and_then(|n| n.checked_add(2)?.checked_mul(4));
        let (Some(len), Some(header)) = (len, header.filter(|&h| h <= bytes.len())) else {
            return Err(OpError::invalid("a string tensor's header is cut off"));
        };
        let strings = Strings { bytes, len };
        let mut last = header;
        for i in 0..=len {
            let offset = strings.offset(i);
            ensure!(last <= offset && offset <= bytes.len(), "a string tensor's offsets are wrong");
            last = offset;
        }
        Ok(strings)
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// String `i`, which must be below [`Strings::len`].
    pub fn get(&self, i: usize) -> &'a [u8] {
        &self.bytes[self.offset(i)..self.offset(i + 1)]
    }

    fn offset(&self, i: usize) -> usize {
        read(self.bytes, i + 1).map_or(0, |offset| offset as usize)
    }
}

fn read(bytes: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Serializes strings into an output of that many elements.
pub fn write_strings(output: &mut TensorMut<'_>, strings: &[&[u8]]) -> Result<(), OpError> {
    let header = (strings.len() + 2) * 4;
    let total = header + strings.iter().map(|s| s.len()).sum::<usize>();
    ensure!(i32::try_from(total).is_ok(), "a string tensor of {total} bytes is too large");
    let bytes = resize_strings(output, total)?;
    let mut offset = header;
    bytes[..4].copy_from_slice(&(strings.len() as i32).to_le_bytes());
    for (i, s) in strings.iter().enumerate() {
        bytes[(i + 1) * 4..][..4].copy_from_slice(&(offset as i32).to_le_bytes());
        bytes[offset..][..s.len()].copy_from_slice(s);
        offset += s.len();
    }
    bytes[header - 4..header].copy_from_slice(&(offset as i32).to_le_bytes());
    Ok(())
}

/// Serializes strings into an output whose shape inference left open: a vector.
pub fn write_string_vector(output: &mut TensorMut<'_>, strings: &[&[u8]]) -> Result<(), OpError> {
    if let OutputData::Dynamic { shape, .. } = &mut output.data {
        **shape = Shape::from_slice(&[strings.len()]);
    }
    write_strings(output, strings)
}

/// Memory for a serialized string tensor, whose size no shape tells.
pub fn resize_strings<'t>(output: &'t mut TensorMut<'_>, len: usize) -> Result<&'t mut [u8], OpError> {
    match &mut output.data {
        OutputData::Dynamic { bytes, .. } => {
            bytes.resize_zeroed(len);
            Ok(bytes)
        }
        OutputData::Planned { bytes, .. } => {
            ensure!(bytes.len() == len, "a string tensor of {len} bytes does not fit {} planned", bytes.len());
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Strings;

    #[test]
    fn reads_and_refuses() {
        let words = |words: &[u32], tail: &[u8]| -> Vec<u8> {
            words.iter().flat_map(|w| w.to_le_bytes()).chain(tail.iter().copied()).collect()
        };
        let good = words(&[2, 16, 18, 19], b"abc");
        let strings = Strings::new(&good).unwrap();
        assert_eq!((strings.len(), strings.get(0), strings.get(1)), (2, &b"ab"[..], &b"c"[..]));
        assert!(Strings::new(&[]).unwrap().is_empty());
        for bad in
            [words(&[2, 16, 18], b""), words(&[1, 12, 99], b""), words(&[1, 13, 12], b"a"), words(&[u32::MAX], b"")]
        {
            assert!(Strings::new(&bad).is_err(), "{bad:?}");
        }
    }
}
