//! FlexBuffers, the schemaless format in which custom operators keep their options: reading a value, and writing a map.
//!
//! A buffer is read from its end: the last byte is the width of the root, the one before its packed type (type · 4 + log2 of
//! the width of what it refers to). Offsets count backwards from where they are stored.

/// A value in a FlexBuffer. Reading one never panics, whatever the bytes: what does not lie in the buffer is `None`.
#[derive(Clone, Copy, Debug)]
pub struct FlexValue<'a> {
    bytes: &'a [u8],
    /// Where the value, or the offset to it, is stored, and in how many bytes.
    at: usize,
    stored: usize,
    ty: u8,
    /// Bytes of an element of what the offset refers to.
    width: usize,
}

const NULL: u8 = 0;
const INT: u8 = 1;
const UINT: u8 = 2;
const FLOAT: u8 = 3;
const KEY: u8 = 4;
const STRING: u8 = 5;
const INDIRECT_INT: u8 = 6;
const INDIRECT_UINT: u8 = 7;
const INDIRECT_FLOAT: u8 = 8;
const MAP: u8 = 9;
const VECTOR: u8 = 10;
const VECTOR_INT: u8 = 11;
const VECTOR_KEY: u8 = 14;
/// Pairs, triples and quadruples of int, uint and float, which do not store their length.
const VECTOR_INT2: u8 = 16;
const VECTOR_FLOAT4: u8 = 24;
const BOOL: u8 = 26;
const VECTOR_BOOL: u8 = 36;

impl<'a> FlexValue<'a> {
    /// The root of a buffer.
    pub fn root(bytes: &'a [u8]) -> Option<FlexValue<'a>> {
        let (&stored, rest) = bytes.split_last()?;
        let (&packed, rest) = rest.split_last()?;
        let stored = usize::from(stored);
        let at = rest.len().checked_sub(stored)?;
        matches!(stored, 1 | 2 | 4 | 8).then(|| FlexValue::new(bytes, at, stored, packed))
    }

    fn new(bytes: &'a [u8], at: usize, stored: usize, packed: u8) -> FlexValue<'a> {
        FlexValue { bytes, at, stored, ty: packed >> 2, width: 1 << (packed & 3) }
    }

    fn raw(&self, at: usize, width: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..at.checked_add(width)?)
    }

    fn uint(&self, at: usize, width: usize) -> Option<u64> {
        let raw = self.raw(at, width)?;
        Some(raw.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn int(&self, at: usize, width: usize) -> Option<i64> {
        let unused = 64 - 8 * width as u32;
        // Sign bit to the top and back.
        self.uint(at, width).map(|n| ((n << unused) as i64) >> unused)
    }

    fn float(&self, at: usize, width: usize) -> Option<f64> {
        match width {
            4 => Some(f64::from(f32::from_bits(self.uint(at, 4)? as u32))),
            8 => Some(f64::from_bits(self.uint(at, 8)?)),
            _ => None,
        }
    }

    /// Where the offset that is stored at `at` leads.
    fn follow(&self, at: usize, width: usize) -> Option<usize> {
        at.checked_sub(usize::try_from(self.uint(at, width)?).ok()?)
    }

    fn target(&self) -> Option<usize> {
        self.follow(self.at, self.stored)
    }

    /// Whether it is the null value.
    pub fn is_null(&self) -> bool {
        self.ty == NULL
    }

    /// A number as an integer; fractions are dropped.
    pub fn as_i64(&self) -> Option<i64> {
        match self.ty {
            INT => self.int(self.at, self.stored),
            UINT | BOOL => self.uint(self.at, self.stored).map(|n| n as i64),
            FLOAT => self.float(self.at, self.stored).map(|x| x as i64),
            INDIRECT_INT => self.int(self.target()?, self.width),
            INDIRECT_UINT => self.uint(self.target()?, self.width).map(|n| n as i64),
            INDIRECT_FLOAT => self.float(self.target()?, self.width).map(|x| x as i64),
            _ => None,
        }
    }

    /// A number.
    pub fn as_f64(&self) -> Option<f64> {
        match self.ty {
            FLOAT => self.float(self.at, self.stored),
            INDIRECT_FLOAT => self.float(self.target()?, self.width),
            UINT => self.uint(self.at, self.stored).map(|n| n as f64),
            INDIRECT_UINT => self.uint(self.target()?, self.width).map(|n| n as f64),
            _ => self.as_i64().map(|n| n as f64),
        }
    }

    /// A truth value, or whether a number is not 0.
    pub fn as_bool(&self) -> Option<bool> {
        self.as_f64().map(|x| x != 0.0)
    }

    /// Text.
    pub fn as_str(&self) -> Option<&'a str> {
        let from = self.target()?;
        let len = match self.ty {
            STRING => usize::try_from(self.uint(from.checked_sub(self.width)?, self.width)?).ok()?,
            KEY => self.bytes.get(from..)?.iter().position(|&b| b == 0)?,
            _ => return None,
        };
        std::str::from_utf8(self.raw(from, len)?).ok()
    }

    /// Number of elements of a vector or entries of a map; `None` for other values.
    pub fn len(&self) -> Option<usize> {
        match self.ty {
            VECTOR_INT2..=VECTOR_FLOAT4 => Some(2 + usize::from(self.ty - VECTOR_INT2) / 3),
            MAP | VECTOR | VECTOR_INT..=VECTOR_KEY | VECTOR_BOOL => {
                usize::try_from(self.uint(self.target()?.checked_sub(self.width)?, self.width)?).ok()
            }
            _ => None,
        }
    }

    /// Whether it is a vector or map without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Element `i` of a vector, or value `i` of a map in the order of its keys.
    pub fn index(&self, i: usize) -> Option<FlexValue<'a>> {
        let len = self.len().filter(|&len| i < len)?;
        let from = self.target()?;
        let ty = match self.ty {
            // The packed types lie behind the elements.
            MAP | VECTOR => {
                let types = from.checked_add(len.checked_mul(self.width)?)?;
                *self.bytes.get(types.checked_add(i)?)?
            }
            VECTOR_BOOL => BOOL << 2,
            VECTOR_INT2..=VECTOR_FLOAT4 => (INT + (self.ty - VECTOR_INT2) % 3) << 2,
            typed => (typed - VECTOR_INT + INT) << 2,
        };
        let at = from.checked_add(i.checked_mul(self.width)?)?;
        Some(FlexValue::new(self.bytes, at, self.width, ty))
    }

    /// A map's value; `None` where there is no such key.
    pub fn get(&self, key: &str) -> Option<FlexValue<'a>> {
        if self.ty != MAP {
            return None;
        }
        // Before the length: where the keys are, and their width.
        let from = self.target()?;
        let width = usize::try_from(self.uint(from.checked_sub(2 * self.width)?, self.width)?).ok()?;
        let keys = self.follow(from.checked_sub(3 * self.width)?, self.width)?;
        if !matches!(width, 1 | 2 | 4 | 8) {
            return None;
        }
        for i in 0..self.len()? {
            let at = self.follow(keys.checked_add(i.checked_mul(width)?)?, width)?;
            let stored = self.raw(at, key.len() + 1);
            if stored.is_some_and(|s| s.split_last() == Some((&0, key.as_bytes()))) {
                return self.index(i);
            }
        }
        None
    }
}

/// A value to write with [`flex_map`].
#[derive(Clone, Debug, PartialEq)]
pub enum FlexItem {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A vector of integers.
    Ints(Vec<i64>),
}

/// A FlexBuffer that holds a map, all numbers in 8 bytes.
pub fn flex_map(entries: &[(&str, FlexItem)]) -> Vec<u8> {
    const WIDTH: usize = 8;
    /// log2 of the width.
    const PACKED: u8 = 3;
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    let mut out = Vec::new();
    let push = |out: &mut Vec<u8>, n: u64| out.extend(n.to_le_bytes());
    let push_offset = |out: &mut Vec<u8>, to: usize| out.extend(((out.len() - to) as u64).to_le_bytes());
    let mut keys = Vec::new();
    for (key, _) in &entries {
        keys.push(out.len());
        out.extend(key.bytes().filter(|&b| b != 0));
        out.push(0);
    }
    out.resize(out.len().next_multiple_of(WIDTH), 0);
    let mut vectors = Vec::new();
    for (_, item) in &entries {
        if let FlexItem::Ints(values) = item {
            push(&mut out, values.len() as u64);
            vectors.push(out.len());
            values.iter().for_each(|&v| push(&mut out, v as u64));
        }
    }
    push(&mut out, keys.len() as u64);
    let key_vector = out.len();
    keys.iter().for_each(|&key| push_offset(&mut out, key));
    push_offset(&mut out, key_vector);
    push(&mut out, WIDTH as u64);
    push(&mut out, entries.len() as u64);
    let map = out.len();
    let mut types = Vec::new();
    let mut vectors = vectors.into_iter();
    for (_, item) in &entries {
        let ty = match item {
            FlexItem::Int(n) => {
                push(&mut out, *n as u64);
                INT
            }
            FlexItem::Float(x) => {
                push(&mut out, x.to_bits());
                FLOAT
            }
            FlexItem::Bool(b) => {
                push(&mut out, u64::from(*b));
                BOOL
            }
            FlexItem::Ints(_) => {
                // One was written for each.
                push_offset(&mut out, vectors.next().unwrap_or(map));
                VECTOR_INT
            }
        };
        types.push(ty << 2 | PACKED);
    }
    out.extend(types);
    out.resize(out.len().next_multiple_of(WIDTH), 0);
    push_offset(&mut out, map);
    out.extend([MAP << 2 | PACKED, WIDTH as u8]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// {"end_index": 241, "start_index": 5} in 2 bytes each, as another writer made it.
    const COMPACT: &[u8] = b"end_index\0start_index\0\x02\x17\x0e\0\x03\0\x01\0\x02\0\xf1\0\x05\0\x05\x05\x06%\x01";
    const TYPED: &[u8] = b"a\0\x05\x00\x03\x01\x02\xff\x01\x07\x01\x01\x01\x06\x2c\x02\x24\x01";

    #[test]
    fn reads_compact_maps() {
        let map = FlexValue::root(COMPACT).unwrap();
        assert_eq!(map.len(), Some(2));
        assert_eq!(map.get("end_index").and_then(|v| v.as_i64()), Some(241));
        assert_eq!(map.get("start_index").and_then(|v| v.as_f64()), Some(5.0));
        assert!(map.get("start").is_none() && map.get("").is_none());
    }

    #[test]
    fn reads_what_is_written() {
        let items = [
            ("vector", FlexItem::Ints(vec![1, -2, i64::MIN])),
            ("float", FlexItem::Float(0.25)),
            ("int", FlexItem::Int(-7)),
            ("yes", FlexItem::Bool(true)),
        ];
        let bytes = flex_map(&items);
        let map = FlexValue::root(&bytes).unwrap();
        assert_eq!(map.get("float").and_then(|v| v.as_f64()), Some(0.25));
        assert_eq!(map.get("float").and_then(|v| v.as_i64()), Some(0));
        assert_eq!(map.get("int").and_then(|v| v.as_i64()), Some(-7));
        assert_eq!(map.get("yes").and_then(|v| v.as_bool()), Some(true));
        let vector = map.get("vector").unwrap();
        let values: Vec<_> = (0..4).map(|i| vector.index(i).and_then(|v| v.as_i64())).collect();
        assert_eq!(values, [Some(1), Some(-2), Some(i64::MIN), None]);
        assert!(FlexValue::root(&flex_map(&[])).unwrap().is_empty());
    }

    #[test]
    fn damaged_buffers_have_no_values() {
        let look = |bytes: &[u8]| {
            let Some(root) = FlexValue::root(bytes) else { return };
            for key in ["end_index", "start_index", "vector", "a", ""] {
                let Some(value) = root.get(key) else { continue };
                _ = (value.as_i64(), value.as_f64(), value.as_str(), value.len());
                (0..4).for_each(|i| _ = value.index(i).map(|v| (v.as_i64(), v.as_str(), v.len())));
            }
        };
        let written = flex_map(&[("vector", FlexItem::Ints(vec![1, 2])), ("a", FlexItem::Float(1.0))]);
        for bytes in [COMPACT, TYPED, &written] {
            (0..=bytes.len()).for_each(|n| look(&bytes[n..]));
            let mut damaged = bytes.to_vec();
            for at in 0..bytes.len() {
                for byte in [0, 1, 4, 0x24, 0x2c, 0x7f, 0xff] {
                    damaged[at] = byte;
                    look(&damaged);
                }
                damaged[at] = bytes[at];
            }
        }
    }
}
