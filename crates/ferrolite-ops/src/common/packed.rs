//! Elements narrower than a byte, and 8-bit floats.

use ferrolite_model::TensorType;
use half::f16;

/// Element `i` of a tensor of packed integers (int4, uint4, int2), low bits first. 0 for other types.
#[inline]
pub fn get(bytes: &[u8], ty: TensorType, i: usize) -> i32 {
    match ty {
        // Shifted to the top of an int8, so that shifting back extends the sign.
        TensorType::Int4 => i32::from(((bytes[i / 2] >> (i % 2 * 4) << 4) as i8) >> 4),
        TensorType::UInt4 => i32::from(bytes[i / 2] >> (i % 2 * 4) & 15),
        TensorType::Int2 => i32::from(((bytes[i / 4] >> (i % 4 * 2) << 6) as i8) >> 6),
        _ => 0,
    }
}

/// A float with 4 exponent bits (bias 7) and 3 mantissa bits, without infinities.
pub fn f8_e4m3fn(x: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(x >> 3 & 15), f32::from(x & 7));
    let magnitude = match (exponent, x & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if x & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The upper byte of a float16.
pub fn f8_e5m2(x: u8) -> f32 {
    f16::from_bits(u16::from(x) << 8).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks() {
        let bytes = [0x9f, 0x71];
        assert_eq!([0, 1, 2, 3].map(|i| get(&bytes, TensorType::Int4, i)), [-1, -7, 1, 7]);
        assert_eq!([0, 1, 2, 3].map(|i| get(&bytes, TensorType::UInt4, i)), [15, 9, 1, 7]);
        assert_eq!([0, 1, 2, 3, 4].map(|i| get(&bytes, TensorType::Int2, i)), [-1, -1, 1, -2, 1]);
        assert_eq!([0x38, 0xb8, 0x01, 0x7e].map(f8_e4m3fn), [1.0, -1.0, 2f32.powi(-9), 448.0]);
        assert_eq!([0x3c, 0xc0, 0x7c].map(f8_e5m2), [1.0, -2.0, f32::INFINITY]);
    }
}
