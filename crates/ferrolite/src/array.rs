//! Arrays and NumPy's files of them.

use crate::encoding::{pack_strings, unpack_strings};
use crate::{Error, files};
use ferrolite_model::TensorType;
use half::{bf16, f16};
use std::io::{Cursor, Read};
use std::path::Path;

/// Most bytes of one array in a file.
const MAX_BYTES: usize = 1 << 31;

/// A dense array: little-endian elements in row-major order, or strings as a tensor holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Element type.
    pub ty: TensorType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The elements' bytes.
    pub bytes: Vec<u8>,
}

impl Array {
    /// An array of float32.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Array {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { ty: TensorType::Float32, shape: shape.to_vec(), bytes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as real numbers; `None` for complex and packed types.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        to_f64(self.ty, &self.bytes)
    }

    /// The same in single precision.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.to_f64().map(|values| values.into_iter().map(|v| v as f32).collect())
    }
}

/// Elements of a tensor as real numbers, without regard to quantization; `None` for types without one.
pub fn to_f64(ty: TensorType, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks().0.iter().map(|&chunk| f(chunk)).collect()
    }
    use TensorType::*;
    Some(match ty {
        Bool => each(bytes, |[b]| f64::from(u8::from(b != 0))),
        Int8 => each(bytes, |b| i8::from_le_bytes(b).into()),
        UInt8 => each(bytes, |b| u8::from_le_bytes(b).into()),
        Int16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        UInt16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        Int32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        UInt32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        Int64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        UInt64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        Float16 => each(bytes, |b| f16::from_le_bytes(b).into()),
        BFloat16 => each(bytes, |b| bf16::from_le_bytes(b).into()),
        Float32 => each(bytes, |b| f32::from_le_bytes(b).into()),
        Float64 => each(bytes, f64::from_le_bytes),
        _ => return None,
    })
}

/// Bytes of real numbers in a tensor's type, rounded and saturated for integers; `None` for types without real numbers.
pub fn from_f64(ty: TensorType, values: &[f64]) -> Option<Vec<u8>> {
    fn each<const N: usize>(values: &[f64], f: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|&v| f(v)).collect()
    }
    use TensorType::*;
    // `as` saturates, and turns NaN into 0.
    Some(match ty {
        Bool => each(values, |v| [u8::from(v != 0.0)]),
        Int8 => each(values, |v| (v.round() as i8).to_le_bytes()),
        UInt8 => each(values, |v| (v.round() as u8).to_le_bytes()),
        Int16 => each(values, |v| (v.round() as i16).to_le_bytes()),
        UInt16 => each(values, |v| (v.round() as u16).to_le_bytes()),
        Int32 => each(values, |v| (v.round() as i32).to_le_bytes()),
        UInt32 => each(values, |v| (v.round() as u32).to_le_bytes()),
        Int64 => each(values, |v| (v.round() as i64).to_le_bytes()),
        UInt64 => each(values, |v| (v.round() as u64).to_le_bytes()),
        Float16 => each(values, |v| f16::from_f64(v).to_le_bytes()),
        BFloat16 => each(values, |v| bf16::from_f64(v).to_le_bytes()),
        Float32 => each(values, |v| (v as f32).to_le_bytes()),
        Float64 => each(values, f64::to_le_bytes),
        _ => return None,
    })
}

/// Reads a `.npy` file.
///
/// # Errors
/// When it cannot be read, is damaged, or holds other elements than numbers and byte strings.
pub fn read_npy(path: &Path) -> Result<Array, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    parse_npy(&bytes).map_err(|problem| Error::file(path, problem))
}

/// Reads the arrays of a `.npz` file with their names, in the file's order.
///
/// # Errors
/// When it cannot be read, is damaged, or holds other elements than numbers and byte strings.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Array)>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    parse_npz(&bytes).map_err(|problem| Error::file(path, problem))
}

/// The arrays of a `.npz` file; the error says what is wrong.
pub fn parse_npz(bytes: &[u8]) -> Result<Vec<(String, Array)>, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut arrays = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index(index).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.trim_end_matches(".npy").to_owned();
        let mut data = Vec::new();
        // A bomb must not fill memory: the limit is that of one array and its header.
        entry.take(MAX_BYTES as u64 + 65536).read_to_end(&mut data).map_err(|e| format!("{name}: {e}"))?;
        arrays.push((name.clone(), parse_npy(&data).map_err(|problem| format!("{name}: {problem}"))?));
    }
    Ok(arrays)
}

/// The array of a `.npy` file; the error says what is wrong.
pub fn parse_npy(bytes: &[u8]) -> Result<Array, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("this is not a .npy file")?;
    let cut = || "the header is cut off".to_owned();
    let (&[major, _minor], rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (len, rest) = match major {
        1 => rest.split_first_chunk().map(|(len, rest)| (usize::from(u16::from_le_bytes(*len)), rest)),
        2 | 3 => rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest)),
        _ => return Err(format!("version {major} of the format is not known")),
    }
    .ok_or_else(cut)?;
    let (header, data) = rest.split_at_checked(len).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let after = |key: &str| {
        let found = header.split_once(&format!("'{key}':")).or_else(|| header.split_once(&format!("\"{key}\":")));
        found.map(|(_, value)| value.trim_start()).ok_or_else(|| format!("the header has no {key}"))
    };
    let descr = after("descr")?.split(['\'', '"']).nth(1).ok_or("the element type cannot be read")?;
    let other = || format!("elements of type {descr:?} are neither numbers nor byte strings");
    let (ty, width, big_endian) = element_type(descr).ok_or_else(other)?;
    let column_major = after("fortran_order")?.starts_with("True");
    let dims = after("shape")?.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or("the shape cannot be read")?.0;
    let dims = dims.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape = dims.map(|dim| dim.trim_end_matches('L').parse::<usize>().map_err(|e| format!("dimension {dim}: {e}")));
    let shape = shape.collect::<Result<Vec<_>, _>>()?;
    let elements = shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
    let size = elements.and_then(|n| n.checked_mul(width)).filter(|&n| n <= MAX_BYTES);
    let size = size.ok_or_else(|| format!("shape {shape:?} is too large"))?;
    if data.len() != size {
        return Err(format!("shape {shape:?} of {ty} takes {size} bytes, {} are there", data.len()));
    }
    let mut bytes = data.to_vec();
    if column_major && size > 0 {
        bytes = to_row_major(&bytes, &shape, width);
    }
    if big_endian {
        // The parts of a complex number are swapped each for itself.
        let parts = if matches!(ty, TensorType::Complex64 | TensorType::Complex128) { 2 } else { 1 };
        bytes.chunks_exact_mut(width / parts).for_each(<[u8]>::reverse);
    }
    if ty == TensorType::String {
        // Zeros at the end of a string pad it.
        let end = |s: &[u8]| s.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        let padded = (0..elements.unwrap_or(0)).map(|i| &bytes[i * width..][..width]);
        bytes = pack_strings(padded.map(|s| &s[..end(s)])).ok_or("the strings are too long")?;
    }
    Ok(Array { ty, shape, bytes })
}

/// The element type that NumPy calls so, bytes of an element, and whether they are swapped.
fn element_type(descr: &str) -> Option<(TensorType, usize, bool)> {
    use TensorType::*;
    let (order, name) = descr.split_at_checked(1)?;
    if let Some(width) = name.strip_prefix('S') {
        return width.parse().ok().map(|width| (String, width, false));
    }
    let ty = match name {
        "b1" => Bool,
        "i1" => Int8,
        "u1" => UInt8,
        "i2" => Int16,
        "u2" => UInt16,
        "i4" => Int32,
        "u4" => UInt32,
        "i8" => Int64,
        "u8" => UInt64,
        "f2" => Float16,
        "f4" => Float32,
        "f8" => Float64,
        "c8" => Complex64,
        "c16" => Complex128,
        _ => return None,
    };
    matches!(order, "<" | ">" | "|" | "=").then_some((ty, ty.bits() / 8, order == ">"))
}

fn to_row_major(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..bytes.len() / width {
        let at = index.iter().zip(shape).rev().fold(0, |at, (&i, &dim)| at * dim + i);
        out.extend(&bytes[at * width..][..width]);
        for (i, &dim) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < dim {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// Writes a `.npy` file.
///
/// # Errors
/// When the type has no name in NumPy (bfloat16 is written as float32), strings are damaged, or the file system refuses.
pub fn write_npy(path: &Path, array: &Array) -> Result<(), Error> {
    let bytes = npy(array).ok_or_else(|| Error::usage(format!("NumPy has no element type for {}", array.ty)))?;
    files::write(path, &bytes)
}

/// The bytes of a `.npy` file; `None` for a type that NumPy has no name for. Strings are padded to the longest.
pub fn npy(array: &Array) -> Option<Vec<u8>> {
    use TensorType::*;
    let descr = match array.ty {
        Bool => "|b1",
        Int8 => "|i1",
        UInt8 => "|u1",
        Int16 => "<i2",
        UInt16 => "<u2",
        Int32 => "<i4",
        UInt32 => "<u4",
        Int64 => "<i8",
        UInt64 => "<u8",
        Float16 => "<f2",
        Float32 => "<f4",
        Float64 => "<f8",
        Complex64 => "<c8",
        Complex128 => "<c16",
        BFloat16 => return npy(&Array::from_f32(&array.shape, &array.to_f32()?)),
        String => {
            let strings = unpack_strings(&array.bytes)?;
            let width = strings.iter().map(|s| s.len()).max().unwrap_or(0).max(1);
            let mut padded = Vec::with_capacity(strings.len().checked_mul(width)?);
            strings.iter().for_each(|s| padded.extend(s.iter().copied().chain(std::iter::repeat(0)).take(width)));
            return npy_of(&format!("|S{width}"), &array.shape, &padded);
        }
        _ => return None,
    };
    npy_of(descr, &array.shape, &array.bytes)
}

fn npy_of(descr: &str, shape: &[usize], data: &[u8]) -> Option<Vec<u8>> {
    let dims: Vec<_> = shape.iter().map(|dim| format!("{dim},")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.join(" "));
    // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
    header.push_str(&" ".repeat(63 - (header.len() + 10) % 64));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(u16::try_from(header.len()).ok()?.to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn npy_survives_writing_and_reading() {
        for shape in [vec![], vec![6], vec![2, 3], vec![0, 3]] {
            let count: usize = shape.iter().product();
            let array = Array::from_f32(&shape, &[0.5, -1.0, 2.0, 3.0, 4.0, 5.0][..count]);
            let bytes = npy(&array).unwrap();
            assert_eq!((bytes.len() - array.bytes.len()) % 64, 0);
            assert_eq!(parse_npy(&bytes), Ok(array));
        }
        let bytes = pack_strings([&b"one"[..], b"", b"fifteen"]).unwrap();
        let strings = Array { ty: TensorType::String, shape: vec![3], bytes };
        assert_eq!(parse_npy(&npy(&strings).unwrap()), Ok(strings));
    }

    #[test]
    fn other_orders_become_little_endian_rows() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let array = parse_npy(&with_header(header, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6])).unwrap();
        assert_eq!(array.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let header = "{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }\n";
        let array = parse_npy(&with_header(header, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        assert_eq!((array.ty, &array.bytes[..]), (TensorType::Complex64, &[4, 3, 2, 1, 8, 7, 6, 5][..]));
    }

    #[test]
    fn hostile_npy_is_an_error() {
        let good = npy(&Array::from_f32(&[2], &[1.0, 2.0])).unwrap();
        for end in 0..good.len() {
            assert!(parse_npy(&good[..end]).is_err(), "prefix of {end} bytes");
        }
        let error = |descr: &str, shape: &str| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
            parse_npy(&with_header(&header, &[])).unwrap_err()
        };
        assert!(error("<U4", "(2,)").contains("neither numbers"));
        assert!(error("<f4", "(99999999999, 99999999999)").contains("too large"));
        assert!(error("<f4", "(-1,)").contains("dimension"));
        assert!(error("<f4", "2").contains("shape"));
        assert!(error("", "(2,)").contains("neither numbers"));
    }

    #[test]
    fn integers_saturate_and_round() {
        assert_eq!(from_f64(TensorType::Int8, &[1.5, -300.0, f64::NAN]).unwrap(), [2, 0x80, 0]);
        assert_eq!(from_f64(TensorType::UInt8, &[-1.0, 254.6]).unwrap(), [0, 255]);
        assert_eq!(from_f64(TensorType::String, &[1.0]), None);
    }
}
