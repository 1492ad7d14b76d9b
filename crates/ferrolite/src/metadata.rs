//! TensorFlow Lite's model metadata: what the author says about inputs. Read here as far as it is of use, from the
//! FlatBuffer in the model's `TFLITE_METADATA` entry.

use crate::Model;
use crate::images::Normalization;

/// How pictures become input `i` of the main subgraph, where the model's metadata say so.
pub fn normalization(model: &Model, i: usize) -> Option<Normalization> {
    let entry = model.metadata.iter().find(|entry| entry.name.as_deref() == Some("TFLITE_METADATA"))?;
    normalization_in(model.buffers.get(entry.buffer)?, i)
}

/// Field numbers are those of `metadata_schema.fbs`.
fn normalization_in(bytes: &[u8], i: usize) -> Option<Normalization> {
    let subgraph = Table::root(bytes)?.vector(3)?.table(0)?;
    let units = subgraph.vector(2)?.table(i)?.vector(4)?;
    for unit in (0..units.len.min(16)).filter_map(|at| units.table(at)) {
        // 1 is NormalizationOptions.
        if unit.byte(0) == Some(1) {
            let options = unit.table(1)?;
            let (mean, std) = (options.vector(0)?.floats()?, options.vector(1)?.floats()?);
            let is_sound = |v: &[f32]| !v.is_empty() && v.iter().all(|v| v.is_finite());
            return (is_sound(&mean) && is_sound(&std) && !std.contains(&0.0)).then_some(Normalization { mean, std });
        }
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A table of a FlatBuffer. Nothing is trusted: a place outside of the buffer is no value.
#[derive(Clone, Copy)]
struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn root(bytes: &'a [u8]) -> Option<Table<'a>> {
        Some(Table { bytes, at: word(bytes, 0)? as usize })
    }

    /// Where a field is, if the table has it.
    fn field(&self, number: usize) -> Option<usize> {
        let back = word(self.bytes, self.at)? as i32;
        let vtable = usize::try_from(i64::try_from(self.at).ok()? - i64::from(back)).ok()?;
        let half = |at: usize| Some(u16::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?) as usize);
        let slot = 4 + 2 * number;
        if slot + 2 > half(vtable)? {
            return None;
        }
        let offset = half(vtable.checked_add(slot)?)?;
        (offset > 0).then_some(self.at.checked_add(offset)?)
    }

    fn byte(&self, number: usize) -> Option<u8> {
        self.bytes.get(self.field(number)?).copied()
    }

    fn pointer(&self, number: usize) -> Option<usize> {
        let field = self.field(number)?;
        field.checked_add(word(self.bytes, field)? as usize)
    }

    fn table(&self, number: usize) -> Option<Table<'a>> {
        Some(Table { bytes: self.bytes, at: self.pointer(number)? })
    }

    fn vector(&self, number: usize) -> Option<Vector<'a>> {
        let at = self.pointer(number)?;
        Some(Vector { bytes: self.bytes, at: at.checked_add(4)?, len: word(self.bytes, at)? as usize })
    }
}

/// A vector of a FlatBuffer.
struct Vector<'a> {
    bytes: &'a [u8],
    at: usize,
    len: usize,
}

impl<'a> Vector<'a> {
    fn table(&self, i: usize) -> Option<Table<'a>> {
        if i >= self.len {
            return None;
        }
        let at = self.at.checked_add(i.checked_mul(4)?)?;
        Some(Table { bytes: self.bytes, at: at.checked_add(word(self.bytes, at)? as usize)? })
    }

    /// The elements, of which there is one for each channel of a picture at most.
    fn floats(&self) -> Option<Vec<f32>> {
        (0..self.len.min(4)).map(|i| Some(f32::from_bits(word(self.bytes, self.at + 4 * i)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One table after another: each with a vtable of its own before it, all fields four bytes.
    fn metadata() -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        let put = |out: &mut Vec<u8>, words: &[u32]| {
            let at = out.len();
            out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
            at
        };
        // A table with `last` as its highest field, which is at +4, and perhaps the one before it at +8.
        let table = |out: &mut Vec<u8>, last: usize, with_previous: bool| {
            let mut vtable = vec![0u16; 3 + last];
            vtable[0] = 2 * vtable.len() as u16;
            vtable[1] = 12;
            vtable[2 + last] = 4;
            if with_previous {
                vtable[1 + last] = 8;
            }
            vtable.resize(vtable.len().next_multiple_of(2), 0);
            let size = 2 * vtable.len() as u32;
            out.extend(vtable.iter().flat_map(|h| h.to_le_bytes()));
            put(out, &[size, 0, 0])
        };
        let point = |out: &mut Vec<u8>, from: usize| {
            let offset = (out.len() - from) as u32;
            out[from..from + 4].copy_from_slice(&offset.to_le_bytes());
        };
        let point_to = |out: &mut Vec<u8>, from: usize, to: usize| {
            out[from..from + 4].copy_from_slice(&((to - from) as u32).to_le_bytes());
        };
        put(&mut out, &[0]);
        let root = table(&mut out, 3, false);
        point_to(&mut out, 0, root);
        let mut parent = root;
        for last in [2usize, 4] {
            point(&mut out, parent + 4);
            let vector = put(&mut out, &[1, 0]);
            let child = table(&mut out, last, false);
            point_to(&mut out, vector + 4, child);
            parent = child;
        }
        point(&mut out, parent + 4);
        let vector = put(&mut out, &[1, 0]);
        let unit = table(&mut out, 1, true);
        point_to(&mut out, vector + 4, unit);
        out[unit + 8] = 1;
        let options = table(&mut out, 1, true);
        point_to(&mut out, unit + 4, options);
        point(&mut out, options + 4);
        put(&mut out, &[1, 127.5f32.to_bits()]);
        point(&mut out, options + 8);
        put(&mut out, &[3, 1f32.to_bits(), 2f32.to_bits(), 3f32.to_bits()]);
        out
    }

    #[test]
    fn normalization_is_found_and_hostile_bytes_are_none() {
        let bytes = metadata();
        let expected = Normalization { mean: vec![1.0, 2.0, 3.0], std: vec![127.5] };
        assert_eq!(normalization_in(&bytes, 0), Some(expected));
        assert_eq!(normalization_in(&bytes, 1), None);
        for end in 0..bytes.len() {
            let _ = normalization_in(&bytes[..end], 0);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let _ = normalization_in(&bytes, 0);
            }
        }
    }
}
