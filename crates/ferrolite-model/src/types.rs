//! Element types.

use crate::schema;
use std::fmt;

/// Element type of a tensor.
///
/// It is as wide as a pointer: with padding beside it, views of tensors would be copied in pieces that the processor cannot
/// forward from store to load.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(usize)]
#[allow(missing_docs)]
pub enum TensorType {
    Float32,
    Float16,
    Int32,
    UInt8,
    Int64,
    String,
    Bool,
    Int16,
    Complex64,
    Int8,
    Float64,
    Complex128,
    UInt64,
    Resource,
    Variant,
    UInt32,
    UInt16,
    Int4,
    BFloat16,
    Int2,
    UInt4,
    Float8E4M3FN,
    Float8E5M2,
}

use TensorType::*;

/// In the order of the format's codes 0..=22.
const ALL: [(TensorType, &str, usize); 23] = [
    (Float32, "float32", 32),
    (Float16, "float16", 16),
    (Int32, "int32", 32),
    (UInt8, "uint8", 8),
    (Int64, "int64", 64),
    (String, "string", 0),
    (Bool, "bool", 8),
    (Int16, "int16", 16),
    (Complex64, "complex64", 64),
    (Int8, "int8", 8),
    (Float64, "float64", 64),
    (Complex128, "complex128", 128),
    (UInt64, "uint64", 64),
    (Resource, "resource", 32),
    (Variant, "variant", 0),
    (UInt32, "uint32", 32),
    (UInt16, "uint16", 16),
    (Int4, "int4", 4),
    (BFloat16, "bfloat16", 16),
    (Int2, "int2", 2),
    (UInt4, "uint4", 4),
    (Float8E4M3FN, "float8_e4m3fn", 8),
    (Float8E5M2, "float8_e5m2", 8),
];

impl TensorType {
    /// Every element type, in the order of the format's codes.
    pub fn all() -> impl Iterator<Item = TensorType> {
        ALL.iter().map(|row| row.0)
    }

    /// The usual lower-case name, `float32`.
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// Bits of one element; 0 for strings and variants, whose elements have no fixed size. A resource is an
    /// int32 handle.
    pub fn bits(self) -> usize {
        ALL[self as usize].2
    }

    /// Bytes that `elements` packed elements take (int4 and int2 are packed, low bits first), or `None` on overflow or
    /// for a type without fixed size.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits => elements.checked_mul(bits).map(|n| n.div_ceil(8)),
        }
    }

    /// True for the floating point types of any width.
    pub fn is_float(self) -> bool {
        matches!(self, Float32 | Float16 | BFloat16 | Float64 | Float8E4M3FN | Float8E5M2)
    }

    /// The type with this code in the format.
    pub fn from_schema(code: schema::TensorType) -> Option<TensorType> {
        usize::try_from(code.0).ok().and_then(|i| ALL.get(i)).map(|row| row.0)
    }

    /// This type's code in the format.
    pub fn to_schema(self) -> schema::TensorType {
        schema::TensorType(self as i8)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
