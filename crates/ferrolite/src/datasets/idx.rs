//! The idx format of MNIST and its relatives, plain or gzipped.

use crate::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Most bytes of one file's elements: ten times the largest of the MNIST family.
const MAX_BYTES: usize = 1 << 30;

/// An array of bytes with its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<u8>,
}

/// Reads an idx file of bytes; one that starts with gzip's magic is decompressed.
///
/// # Errors
/// When it cannot be read, is damaged, or holds other elements than unsigned bytes.
pub fn read(path: &Path) -> Result<Idx, Error> {
    let fail = |source| Error::io(path, source);
    let mut file = BufReader::new(File::open(path).map_err(fail)?);
    let gzipped = std::io::BufRead::fill_buf(&mut file).map_err(fail)?.starts_with(&[0x1f, 0x8b]);
    let parsed = if gzipped { parse(flate2::bufread::MultiGzDecoder::new(file)) } else { parse(file) };
    parsed.map_err(|problem| Error::file(path, problem))
}

/// Reads the idx format from a stream that ends with it; the error says what is wrong.
pub fn parse(mut stream: impl Read) -> Result<Idx, String> {
    let mut words = [0u8; 4];
    let mut word = |stream: &mut dyn Read| {
        stream.read_exact(&mut words).map(|()| words).map_err(|e| format!("the header cannot be read: {e}"))
    };
    let dims = match word(&mut stream)? {
        [0, 0, 0x08, dims @ 1..=4] => dims,
        [0, 0, 0x08, dims] => return Err(format!("{dims} dimensions, where 1 to 4 are expected")),
        [0, 0, ty, _] => {
            return Err(format!("elements of idx type {ty:#04x}, where unsigned bytes (0x08) are expected"));
        }
        _ => return Err("this is not an idx file: its first two bytes are not zero".to_owned()),
    };
    let mut shape = Vec::new();
    for _ in 0..dims {
        shape.push(u32::from_be_bytes(word(&mut stream)?) as usize);
    }
    let total = shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim)).filter(|&n| n <= MAX_BYTES);
    let total = total.ok_or_else(|| format!("dimensions {shape:?} are too large"))?;
    // Memory grows with what is really there, not with what the header promises.
    let mut data = Vec::new();
    let end = stream.take(total as u64 + 1).read_to_end(&mut data).map_err(|e| format!("cannot be read: {e}"))?;
    match end.cmp(&total) {
        std::cmp::Ordering::Less => Err(format!("cut off: {end} of {total} bytes are there")),
        std::cmp::Ordering::Greater => Err(format!("longer than its dimensions {shape:?} say")),
        std::cmp::Ordering::Equal => Ok(Idx { shape, data }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        shape.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    #[test]
    fn reads_plain_and_gzipped_files() {
        let bytes = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let path = std::env::temp_dir().join(format!("ferrolite-idx-{}", std::process::id()));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        for form in [bytes, gzip.finish().unwrap()] {
            std::fs::write(&path, form).unwrap();
            assert_eq!(read(&path).unwrap(), Idx { shape: vec![2, 1, 3], data: vec![1, 2, 3, 4, 5, 6] });
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn damaged_files_are_errors_that_say_why() {
        let good = idx(&[2, 3], &[1, 2, 3, 4, 5, 6]);
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_err(), "prefix of {end} bytes");
        }
        let error = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(error(&[good.as_slice(), &[7]].concat()).contains("longer"));
        assert!(error(b"\x89PNG....").contains("not an idx file"));
        assert!(error(&[0, 0, 0x0d, 1, 0, 0, 0, 0]).contains("0x0d"));
        assert!(error(&[0, 0, 8, 200]).contains("200 dimensions"));
        assert!(error(&idx(&[u32::MAX; 4], &[])).contains("too large"));
        // Within the limit, but nothing is there.
        assert!(error(&idx(&[1 << 30], &[])).contains("cut off"));
    }
}
