//! How tensors whose elements are not whole numbers of bytes are stored: strings, and integers narrower than a byte.

use ferrolite_model::TensorType;

/// Strings in the format's serialization: their number, where each begins and the last ends, and their bytes; the
/// numbers are little-endian int32. `None` when they are too many or too long for it.
pub fn pack_strings<'a>(strings: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let strings: Vec<&[u8]> = strings.into_iter().collect();
    let mut end = strings.len().checked_add(2)?.checked_mul(4)?;
    let total = strings.iter().try_fold(end, |sum, s| sum.checked_add(s.len()))?;
    i32::try_from(total).ok()?;
    let mut packed = Vec::with_capacity(total);
    packed.extend((strings.len() as i32).to_le_bytes());
    packed.extend((end as i32).to_le_bytes());
    for string in &strings {
        end += string.len();
        packed.extend((end as i32).to_le_bytes());
    }
    strings.iter().for_each(|string| packed.extend_from_slice(string));
    Some(packed)
}

/// The strings in a serialization; `None` when it is damaged. No bytes at all are no strings.
pub fn unpack_strings(packed: &[u8]) -> Option<Vec<&[u8]>> {
    if packed.is_empty() {
        return Some(Vec::new());
    }
    let number = |i: usize| {
        let bytes = packed.get(i.checked_mul(4)?..)?.first_chunk()?;
        usize::try_from(i32::from_le_bytes(*bytes)).ok()
    };
    let count = number(0)?;
    if count > packed.len() / 4 {
        return None;
    }
    (0..count).map(|i| packed.get(number(i + 1)?..number(i + 2)?)).collect()
}

/// Elements of a packed integer type as one byte each: int8 for int4 and int2, uint8 for uint4. Other types as they are.
pub fn unpack_narrow(ty: TensorType, packed: &[u8]) -> Vec<u8> {
    match ty {
        TensorType::Int4 => packed.iter().flat_map(|b| [((b << 4) as i8 >> 4) as u8, (*b as i8 >> 4) as u8]).collect(),
        TensorType::UInt4 => packed.iter().flat_map(|b| [b & 15, b >> 4]).collect(),
        TensorType::Int2 => {
            packed.iter().flat_map(|b| [6, 4, 2, 0].map(|shift| ((b << shift) as i8 >> 6) as u8)).collect()
        }
        _ => packed.to_vec(),
    }
}

/// The reverse of [`unpack_narrow`]; upper bits are dropped, the last byte is filled with zeros.
pub fn pack_narrow(ty: TensorType, elements: &[u8]) -> Vec<u8> {
    let pack = |bits: usize| {
        let mask = (1u8 << bits) - 1;
        let byte = move |part: &[u8]| part.iter().rev().fold(0u8, |byte, e| byte << bits | e & mask);
        elements.chunks(8 / bits).map(byte).collect()
    };
    match ty.bits() {
        bits @ (2 | 4) => pack(bits),
        _ => elements.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip() {
        for strings in [&[][..], &[&b"a"[..], b"", "h\u{e9}".as_bytes()]] {
            let packed = pack_strings(strings.iter().copied()).unwrap();
            assert_eq!(unpack_strings(&packed).unwrap(), strings);
        }
        assert_eq!(unpack_strings(&[]), Some(Vec::new()));
    }

    #[test]
    fn damaged_strings_are_refused() {
        let packed = pack_strings([&b"one"[..], b"two"]).unwrap();
        for len in 1..packed.len() {
            assert_eq!(unpack_strings(&packed[..len]), None, "{len} bytes");
        }
        assert_eq!(unpack_strings(&[255; 12]), None);
        assert_eq!(unpack_strings(&[0, 0, 0, 127, 0, 0, 0, 0]), None);
    }

    #[test]
    fn narrow_integers_round_trip() {
        for (ty, low, high) in [(TensorType::Int4, -8i8, 7i8), (TensorType::UInt4, 0, 15), (TensorType::Int2, -2, 1)] {
            let elements: Vec<u8> = (low..=high).chain([high]).map(|v| v as u8).collect();
            let packed = pack_narrow(ty, &elements);
            assert_eq!(packed.len(), ty.byte_len(elements.len()).unwrap());
            assert_eq!(unpack_narrow(ty, &packed)[..elements.len()], elements, "{ty}");
        }
    }
}
