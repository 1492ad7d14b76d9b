//! A mapped file without its large constants, for the verifier and the reader to work on: it is memory of one's own, which
//! nobody can change between check and use, and the pages of the constants are never touched.

use std::ops::Range;

/// Constants from this size on stay in the file.
pub(crate) const LARGE: usize = 16 << 10;

/// A copy of the file with zeros in place of large constants; `None` where it is not laid out as a model, which the verifier
/// puts into words.
pub(crate) fn skeleton(file: &[u8]) -> Option<Vec<u8>> {
    let mut large = large_constants(file)?;
    large.sort_unstable_by_key(|part| part.start);
    // Zeros of the system, which take memory only where they are written to.
    let mut copy = vec![0; file.len()];
    let mut from = 0;
    for part in large {
        if from < part.start {
            copy[from..part.start].copy_from_slice(&file[from..part.start]);
        }
        from = from.max(part.end);
    }
    copy[from..].copy_from_slice(&file[from..]);
    Some(copy)
}

/// Where the data of large buffers is, in the flatbuffer and behind it.
fn large_constants(file: &[u8]) -> Option<Vec<Range<usize>>> {
    let buffers = follow(file, field(file, follow(file, 0)?, 4)?)?;
    let count = number(file, buffers)?;
    let mut large = Vec::new();
    let mut add = |start: usize, len: usize| {
        let end = start.checked_add(len).filter(|&end| end <= file.len());
        large.extend(end.filter(|_| len >= LARGE).map(|end| start..end));
    };
    for i in 0..count {
        let buffer = follow(file, buffers.checked_add(4)?.checked_add(i.checked_mul(4)?)?)?;
        if let Some(data) = field(file, buffer, 0) {
            let data = follow(file, data)?;
            add(data.checked_add(4)?, number(file, data)?);
        } else if let (Some(offset), Some(size)) = (field(file, buffer, 1), field(file, buffer, 2)) {
            add(long(file, offset)?, long(file, size)?);
        }
    }
    Some(large)
}

fn number(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

fn long(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

/// What the offset at `at` points to.
fn follow(file: &[u8], at: usize) -> Option<usize> {
    at.checked_add(number(file, at)?)
}

/// Where a table's field is, if it is there.
fn field(file: &[u8], table: usize, index: usize) -> Option<usize> {
    let back = i32::from_le_bytes(*file.get(table..)?.first_chunk()?);
    let layout = table.checked_add_signed(isize::try_from(back).ok()?.checked_neg()?)?;
    let entry = |at: usize| Some(usize::from(u16::from_le_bytes(*file.get(at..)?.first_chunk()?)));
    let slot = 4 + 2 * index;
    if slot + 2 > entry(layout)? {
        return None;
    }
    let offset = entry(layout.checked_add(slot)?)?;
    (offset != 0).then(|| table.checked_add(offset)).flatten()
}

#[cfg(test)]
mod tests {
    use super::{LARGE, skeleton};
    use crate::{ModelBuilder, TensorType};

    fn file() -> Vec<u8> {
        let mut b = ModelBuilder::new();
        for (name, len) in [("large", LARGE), ("small", 8), ("larger", LARGE + 64)] {
            b.constant(name, TensorType::Int8, &[len as i32], vec![7u8; len]);
        }
        b.build().unwrap().to_bytes().unwrap()
    }

    #[test]
    fn only_large_constants_are_left_out() {
        let file = file();
        let skeleton = skeleton(&file).unwrap();
        let left_out: Vec<usize> = (0..file.len()).filter(|&i| file[i] != skeleton[i]).collect();
        assert_eq!(left_out.len(), 2 * LARGE + 64);
        assert!(left_out.iter().all(|&i| (file[i], skeleton[i]) == (7, 0)));
        let root = crate::schema::root_as_model(&skeleton).unwrap();
        assert_eq!(root.buffers().map(|buffers| buffers.len()), Some(4));
    }

    #[test]
    fn damaged_files_do_not_panic() {
        let file = file();
        for len in (0..file.len()).step_by(7) {
            let _ = skeleton(&file[..len]);
        }
        for at in (0..file.len().min(2000)).chain(file.len() - 2000..file.len() - 4) {
            for word in [0u32, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, file.len() as u32] {
                let mut bytes = file.clone();
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
                assert!(skeleton(&bytes).is_none_or(|copy| copy.len() == bytes.len()));
            }
        }
    }
}
