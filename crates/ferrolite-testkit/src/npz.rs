//! NumPy's `.npz`: a zip of `.npy` arrays.

use crate::array::Array;
use ferrolite_model::TensorType;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The arrays of an `.npz` file, by name.
#[derive(Clone, Debug, Default)]
pub struct Npz {
    arrays: BTreeMap<String, Array>,
}

impl Npz {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or an array is of a form that the conformance suite does not use.
    pub fn open(path: &Path) -> Result<Npz, String> {
        let explain = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|e| explain(&e))?;
        let mut zip = zip::ZipArchive::new(file).map_err(|e| explain(&e))?;
        let mut arrays = BTreeMap::new();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(|e| explain(&e))?;
            let name = entry.name().map_err(|e| explain(&e))?.trim_end_matches(".npy").to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| explain(&e))?;
            let array = parse_npy(&bytes).ok_or_else(|| explain(&format!("{name} is of an unknown form")))?;
            arrays.insert(name, array);
        }
        Ok(Npz { arrays })
    }

    /// Names of the stored arrays.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// The array `name`: stored plainly, as bfloat16 bits in `name.bf16`, or as strings in `name.bytes`, `.offsets` and
    /// `.shape`.
    pub fn get(&self, name: &str) -> Option<Array> {
        if let Some(array) = self.arrays.get(name) {
            return Some(array.clone());
        }
        if let Some(bits) = self.arrays.get(&format!("{name}.bf16")) {
            return Some(Array { ty: TensorType::BFloat16, ..bits.clone() });
        }
        let ints = |part: &str| {
            let ints = self.arrays.get(&format!("{name}.{part}"))?.to_ints()?;
            ints.into_iter().map(|v| usize::try_from(v).ok()).collect::<Option<Vec<_>>>()
        };
        let text = self.arrays.get(&format!("{name}.bytes"))?.bytes();
        let (offsets, shape) = (ints("offsets")?, ints("shape")?);
        let strings = offsets.windows(2).map(|w| Some(text.get(w[0]..w[1])?.to_vec())).collect::<Option<Vec<_>>>()?;
        Some(Array::strings(&shape, strings))
    }
}

/// An array in C order of little-endian numbers.
fn parse_npy(bytes: &[u8]) -> Option<Array> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (len, rest) = match rest.split_first_chunk::<2>()? {
        ([1, _], rest) => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        }
        (_, rest) => {
            let (len, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*len) as usize, rest)
        }
    };
    let (header, data) = rest.split_at_checked(len)?;
    let header = std::str::from_utf8(header).ok()?;
    let after = |key: &str| Some(header.split_once(key)?.1.trim_start());
    if !after("'fortran_order':")?.starts_with("False") {
        return None;
    }
    let ty = element_type(after("'descr':")?.split('\'').nth(1)?)?;
    let shape = after("'shape':")?.strip_prefix('(')?.split_once(')')?.0;
    let shape = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape = shape.map(|dim| dim.parse().ok()).collect::<Option<Vec<usize>>>()?;
    let elements = shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))?;
    let data = data.get(..ty.byte_len(elements)?)?;
    Some(Array::new(ty, &shape, data.to_vec()))
}

fn element_type(descr: &str) -> Option<TensorType> {
    use TensorType::*;
    Some(match descr {
        "|b1" => Bool,
        "|i1" => Int8,
        "|u1" => UInt8,
        "<i2" => Int16,
        "<u2" => UInt16,
        "<i4" => Int32,
        "<u4" => UInt32,
        "<i8" => Int64,
        "<u8" => UInt64,
        "<f2" => Float16,
        "<f4" => Float32,
        "<f8" => Float64,
        "<c8" => Complex64,
        "<c16" => Complex128,
        _ => return None,
    })
}
