//! Fixed-point requantization as TensorFlow Lite's reference kernels do it: two roundings in Q31, and the 16-bit multiplier of
//! int16 activations. Scalar here; the vector forms in the kernels give the same bits.

/// The fixed-point form of a real multiplier: `value ≈ multiplier · 2^(shift - 31)`.
///
/// `frexp` into a fraction of [0.5, 1), times 2^31, rounded half away from zero; a fraction that rounds up to 1 is halved; a
/// shift below -31 flushes to (0, 0). Zero gives (0, 0). Values that are not finite or too great for a shift of 30 have no
/// meaning in the format: they give (`i32::MAX`, 30) with the sign of the value (NaN: (0, 0)), so that nothing overflows.
pub fn quantize_multiplier(value: f64) -> (i32, i32) {
    if value == 0.0 || value.is_nan() {
        return (0, 0);
    }
    if !value.is_finite() {
        return (if value > 0.0 { i32::MAX } else { -i32::MAX }, 30);
    }
    let (fraction, mut shift) = frexp(value);
    let mut q = (fraction * (1i64 << 31) as f64).round() as i64;
    if q == 1 << 31 {
        q /= 2;
        shift += 1;
    }
    if shift < -31 {
        return (0, 0);
    }
    if shift > 30 {
        return (if value > 0.0 { i32::MAX } else { -i32::MAX }, 30);
    }
    (q as i32, shift)
}

/// `value = fraction · 2^exponent` with a fraction in ±[0.5, 1), for finite values but zero.
fn frexp(value: f64) -> (f64, i32) {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7FF) as i32;
    if exponent == 0 {
        // Denormal: scale into the normal range first.
        let (f, e) = frexp(value * (1u64 << 54) as f64);
        return (f, e - 54);
    }
    (f64::from_bits(bits & !(0x7FF << 52) | 1022 << 52), exponent - 1022)
}

/// (a · b · 2 + 2^31) / 2^32 rounded half up, saturated (only `i32::MIN` squared saturates).
#[inline(always)]
pub fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// x / 2^exponent rounded half away from zero; `exponent` is taken modulo 32.
#[inline(always)]
pub fn rounding_divide_by_pot(x: i32, exponent: i32) -> i32 {
    let mask = (1u32.wrapping_shl(exponent as u32)).wrapping_sub(1) as i32;
    let threshold = (mask >> 1) + i32::from(x < 0);
    x.wrapping_shr(exponent as u32) + i32::from(x & mask > threshold)
}

/// x · multiplier · 2^(shift - 31) with TensorFlow Lite's double rounding:
/// `RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(x << max(shift, 0), multiplier), max(-shift, 0))`.
///
/// The left shift wraps like a multiplication of 32-bit integers. `shift` is in -31..=31; outside, it counts as the nearest
/// of these.
#[inline(always)]
pub fn multiply_by_quantized_multiplier(x: i32, multiplier: i32, shift: i32) -> i32 {
    let (left, right) = (shift.clamp(0, 31), (-shift).clamp(0, 31));
    rounding_divide_by_pot(saturating_rounding_doubling_high_mul(x.wrapping_shl(left as u32), multiplier), right)
}

/// The requantization of the int16 kernels: the multiplier is reduced to 16 bits, then
/// `(x · reduced + 2^(14 - shift)) >> (15 - shift)`. Valid for |x| < 2^47 and -31 <= shift < 8; `shift` is clamped to that
/// range, the product wraps outside, and the low 32 bits are the result.
#[inline(always)]
pub fn multiply_by_quantized_multiplier_i64(x: i64, multiplier: i32, shift: i32) -> i32 {
    let reduced = if multiplier < 0x7FFF_0000 { (multiplier + (1 << 15)) >> 16 } else { 0x7FFF };
    let total = 15 - shift.clamp(-31, 7);
    let round = 1i64 << (total - 1);
    (x.wrapping_mul(i64::from(reduced)).wrapping_add(round) >> total) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplier_of_known_values() {
        assert_eq!(quantize_multiplier(0.0), (0, 0));
        assert_eq!(quantize_multiplier(0.5), (1 << 30, 0));
        assert_eq!(quantize_multiplier(1.0), (1 << 30, 1));
        assert_eq!(quantize_multiplier(0.25), (1 << 30, -1));
        assert_eq!(quantize_multiplier(3.0), (3 << 29, 2));
        assert_eq!(quantize_multiplier(1.0 - 1e-12), (1 << 30, 1));
        assert_eq!(quantize_multiplier(1e-12), (0, 0));
        assert_eq!(quantize_multiplier(-0.5), (-(1 << 30), 0));
        assert_eq!(quantize_multiplier(f64::MIN_POSITIVE / 4.0), (0, 0));
        assert_eq!(quantize_multiplier(1e300), (i32::MAX, 30));
    }

    #[test]
    fn double_rounding_against_the_definition() {
        // The definition with a nudge and a division that truncates.
        let slow = |a: i32, b: i32| -> i32 {
            if a == i32::MIN && b == i32::MIN {
                return i32::MAX;
            }
            let ab = i64::from(a) * i64::from(b);
            let nudge = if ab >= 0 { 1 << 30 } else { 1 - (1 << 30) };
            ((ab + nudge) / (1i64 << 31)) as i32
        };
        let mut r = crate::testutil::Rng::new(1);
        let edge = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX, 1 << 30, -(1 << 30)];
        for i in 0..20_000 {
            let (mut a, mut b) = (r.next() as i32, r.next() as i32);
            if i < 81 {
                (a, b) = (edge[i / 9], edge[i % 9]);
            }
            assert_eq!(saturating_rounding_doubling_high_mul(a, b), slow(a, b), "{a} {b}");
            let e = (r.next() % 32) as i32;
            let exact = f64::from(a) / f64::from(e).exp2();
            assert_eq!(f64::from(rounding_divide_by_pot(a, e)), exact.round(), "{a} >> {e}");
        }
        assert_eq!(multiply_by_quantized_multiplier(100, 1 << 30, 1), 100);
        assert_eq!(multiply_by_quantized_multiplier(-3, 1 << 30, 0), -1);
        assert_eq!(multiply_by_quantized_multiplier(3, 1 << 30, 0), 2);
        assert_eq!(multiply_by_quantized_multiplier_i64(1000, 1 << 30, 0), 500);
        assert_eq!(multiply_by_quantized_multiplier_i64(-1001, 1 << 30, 1), -1001);
    }
}
