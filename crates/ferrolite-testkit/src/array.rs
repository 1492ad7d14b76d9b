//! Values of a tensor.

use ferrolite_model::TensorType;
use half::{bf16, f16};

/// A dense array of any element type.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Element type.
    pub ty: TensorType,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Data,
}

/// Elements of an [`Array`], in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Little-endian numbers.
    Bytes(Vec<u8>),
    /// Strings.
    Strings(Vec<Vec<u8>>),
}

impl Array {
    /// An array of numbers from their little-endian bytes.
    pub fn new(ty: TensorType, shape: &[usize], bytes: Vec<u8>) -> Array {
        Array { ty, shape: shape.to_vec(), data: Data::Bytes(bytes) }
    }

    /// An array of floats.
    pub fn f32(shape: &[usize], values: &[f32]) -> Array {
        Array::new(TensorType::Float32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An array of int8.
    pub fn i8(shape: &[usize], values: &[i8]) -> Array {
        Array::new(TensorType::Int8, shape, values.iter().map(|&v| v as u8).collect())
    }

    /// An array of int32.
    pub fn i32(shape: &[usize], values: &[i32]) -> Array {
        Array::new(TensorType::Int32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An array of strings.
    pub fn strings(shape: &[usize], strings: Vec<Vec<u8>>) -> Array {
        Array { ty: TensorType::String, shape: shape.to_vec(), data: Data::Strings(strings) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The little-endian bytes of numbers; strings in the form of a string tensor (their number, the offsets of each and
    /// of the end, and the text).
    pub fn bytes(&self) -> Vec<u8> {
        match &self.data {
            Data::Bytes(bytes) => bytes.clone(),
            Data::Strings(strings) => {
                let mut offset = 4 * (strings.len() + 2);
                let mut bytes = (strings.len() as i32).to_le_bytes().to_vec();
                for len in strings.iter().map(Vec::len).chain([0]) {
                    bytes.extend((offset as i32).to_le_bytes());
                    offset += len;
                }
                bytes.extend(strings.iter().flatten());
                bytes
            }
        }
    }

    /// The strings held in the bytes of a string tensor; `None` when they are malformed.
    pub fn parse_strings(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        let number = |i: usize| Some(i32::from_le_bytes(*bytes.get(4 * i..)?.first_chunk()?) as usize);
        (0..number(0)?).map(|i| Some(bytes.get(number(i + 1)?..number(i + 2)?)?.to_vec())).collect()
    }

    /// Integers and booleans, widened; `None` for other types.
    pub fn to_ints(&self) -> Option<Vec<i128>> {
        use TensorType::*;
        Some(match self.ty {
            Bool => self.map(|[b]: [u8; 1]| i128::from(b != 0)),
            Int8 => self.map(|b| i8::from_le_bytes(b).into()),
            UInt8 => self.map(|b| u8::from_le_bytes(b).into()),
            Int16 => self.map(|b| i16::from_le_bytes(b).into()),
            UInt16 => self.map(|b| u16::from_le_bytes(b).into()),
            Int32 => self.map(|b| i32::from_le_bytes(b).into()),
            UInt32 => self.map(|b| u32::from_le_bytes(b).into()),
            Int64 => self.map(|b| i64::from_le_bytes(b).into()),
            UInt64 => self.map(|b| u64::from_le_bytes(b).into()),
            _ => return None,
        })
    }

    /// Real and imaginary parts (the latter 0 for real types); `None` for other types.
    pub fn to_complex(&self) -> Option<Vec<(f64, f64)>> {
        use TensorType::*;
        let pairs = |flat: Vec<f64>| flat.chunks_exact(2).map(|c| (c[0], c[1])).collect();
        Some(match self.ty {
            Float16 => self.map(|b| (f16::from_le_bytes(b).into(), 0.0)),
            BFloat16 => self.map(|b| (bf16::from_le_bytes(b).into(), 0.0)),
            Float32 => self.map(|b| (f32::from_le_bytes(b).into(), 0.0)),
            Float64 => self.map(|b| (f64::from_le_bytes(b), 0.0)),
            Complex64 => pairs(self.map(|b| f32::from_le_bytes(b).into())),
            Complex128 => pairs(self.map(f64::from_le_bytes)),
            _ => return None,
        })
    }

    /// Any real numbers as floats; `None` for complex numbers and strings.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self.ty {
            TensorType::Complex64 | TensorType::Complex128 => None,
            _ => match self.to_ints() {
                Some(ints) => Some(ints.into_iter().map(|v| v as f32).collect()),
                None => Some(self.to_complex()?.into_iter().map(|(re, _)| re as f32).collect()),
            },
        }
    }

    fn map<const N: usize, T>(&self, f: impl Fn([u8; N]) -> T) -> Vec<T> {
        match &self.data {
            Data::Bytes(bytes) => bytes.as_chunks().0.iter().map(|&chunk| f(chunk)).collect(),
            Data::Strings(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_their_packed_form() {
        let strings = vec![b"one".to_vec(), vec![], "zwölf".into()];
        let array = Array::strings(&[3], strings.clone());
        assert_eq!(Array::parse_strings(&array.bytes()), Some(strings));
        assert_eq!(Array::parse_strings(&[9, 0, 0, 0]), None);
        assert_eq!(Array::parse_strings(&[]), None);
    }

    #[test]
    fn numbers_widen() {
        assert_eq!(Array::i8(&[2], &[-3, 4]).to_ints(), Some(vec![-3, 4]));
        assert_eq!(Array::f32(&[1], &[0.5]).to_f32(), Some(vec![0.5]));
        let bf = Array::new(TensorType::BFloat16, &[1], vec![0xc0, 0x3f]);
        assert_eq!(bf.to_f32(), Some(vec![1.5]));
    }
}
