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

/// A fixed-point multiplication as two single-precision ones, exact for whole ranges of accumulators.
///
/// For a multiplier of at least 0 and a shift of `-e`, e in 1..=14, both roundings of [`multiply_by_quantized_multiplier`] are
/// one: with s = multiplier · 2^(-31 - e) and d = 2^(-1 - e) the result is ⌊s·x + 1/2 + d⌋ for x >= 0 and ⌊s·x + 1/2 - d⌋ for
/// x < 0. That is (⌊y⌋ + 1) >> 1 for y = 2·s·x ± 2·d, and y rounded down to single precision has the same ⌊y⌋. Of 2·s the upper
/// 24 bits are `high` and the others `low`, so that y = x · high + (x · low ± 2·d), where only the sum in brackets is rounded
/// before the end; [`Pair::new`] shows that no accumulator is so near to a step that this error counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    /// The upper bits of 2·s. Their power of two is 2·d.
    pub(crate) high: f32,
    /// The lower bits of 2·s.
    pub(crate) low: f32,
}

/// Bits of the multiplier that `high` does not hold.
const LOW_BITS: i32 = 7;

impl Pair {
    /// The pair that is exact for accumulators of magnitude up to `bound`, as far as clamping to bytes (with a zero point in
    /// their range) can tell; `None` where there is none.
    pub(crate) fn new(multiplier: i32, shift: i32, bound: i64) -> Option<Pair> {
        if multiplier == 0 {
            return Some(Pair { high: 0.0, low: 0.0 });
        }
        if !(1 << 30..=i32::MAX).contains(&multiplier) || !(-14..=-1).contains(&shift) {
            return None;
        }
        let (m, e) = (multiplier as u64, -shift as u32);
        let period = 1u64 << (31 + e);
        // Beyond this one the result is out of reach of the bytes, and everything is monotone.
        let last = (257 * period / m + 1).min(bound.unsigned_abs());
        let low = m & ((1 << LOW_BITS) - 1);
        if last >= 1 << 24 || bound >= 1 << 30 {
            return None;
        }
        // Steps are where m·x (for x < 0: m·|x|) is `center` modulo `period`; `error` is a bound of the rounding in brackets.
        let (center, error) = ((1u64 << (30 + e)) - (1 << 30), (1 << 6) + ((last * low) >> 24) + 1);
        if low != 0 && first_in(m, period, (center - error.min(center), center + error), last).is_some() {
            return None;
        }
        let unit = f32::from_bits((127 - 30 - e) << 23);
        Some(Pair { high: (m - low) as f32 * unit, low: low as f32 * unit })
    }

    /// The pair for `round(x · factor)` in double precision, halves away from zero, under the same conditions; with it 2·d is 0.
    pub(crate) fn of_real(factor: f64, bound: i64) -> Option<Pair> {
        if factor == 0.0 {
            return Some(Pair { high: 0.0, low: 0.0 });
        }
        let (fraction, exponent) = if factor.is_finite() { frexp(factor) } else { (0.0, 0) };
        if fraction <= 0.0 || !(-14..=-1).contains(&exponent) {
            return None;
        }
        // 38 bits, as many as keep everything below 2^64.
        let (m, e) = ((fraction * (1u64 << 38) as f64) as u64, -exponent as u32);
        let period = 1u64 << (38 + e);
        let last = (257 * period / m + 1).min(bound.unsigned_abs());
        if last >= 1 << 24 || bound >= 1 << 30 {
            return None;
        }
        // Rounded down, for `low` not to be negative and everything to be monotone.
        let mut high = (2.0 * factor) as f32;
        if f64::from(high) > 2.0 * factor {
            high = f32::from_bits(high.to_bits() - 1);
        }
        let low = (2.0 * factor - f64::from(high)) as f32;
        // What is in brackets is below 2^-13, so that its roundings count for less than 2^e units of m; what `m` leaves out, for
        // less than one with each x.
        let error = last + (1 << e) + 1;
        let center = period / 2;
        if error >= center || first_in(m, period, (center - error, center + error), last).is_some() {
            return None;
        }
        Some(Pair { high, low })
    }
}

/// The least x in 0..=`last` with `a·x mod m` in `lo..=hi`, for `a < m` and `lo <= hi < m`: Euclid's algorithm.
fn first_in(a: u64, m: u64, (lo, hi): (u64, u64), last: u64) -> Option<u64> {
    if lo == 0 {
        return Some(0);
    }
    if a == 0 {
        return None;
    }
    if 2 * a > m {
        return first_in(m - a, m, (m - hi, m - lo), last);
    }
    // The first multiple of a that is not below the range; all x before it are below.
    let below = lo / a;
    let rest = lo - below * a;
    let x = below + u64::from(rest > 0);
    if x > last || a * x <= hi {
        return (x <= last).then_some(x);
    }
    // No multiple of a is in the range: it is y times round the circle, where a multiple of a is in m·y + (lo..=hi).
    let (round, left) = (m / a, m % a);
    let y = first_in(if left > 0 { a - left } else { 0 }, a, (rest, hi - below * a), last / round + 1)?;
    let x = (lo + m * y).div_ceil(a);
    (x <= last).then_some(x)
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

    #[test]
    fn first_in_by_counting() {
        let mut r = crate::testutil::Rng::new(8);
        for _ in 0..3000 {
            let m = r.usize(2, 400) as u64;
            let (a, lo, last) = (u64::from(r.next()) % m, u64::from(r.next()) % m, u64::from(r.next()) % 600);
            let hi = lo + u64::from(r.next()) % (m - lo);
            let want = (0..=last).find(|x| (lo..=hi).contains(&(a * x % m)));
            assert_eq!(first_in(a, m, (lo, hi), last), want, "{a} {m} {lo} {hi} {last}");
        }
    }

    #[test]
    fn pairs_of_reals_are_exact() {
        let mut r = crate::testutil::Rng::new(10);
        let mut made = 0;
        for i in 0..400 {
            let fraction = if i % 8 == 0 {
                0.75
            } else {
                0.5 + f64::from(r.next()) / 2f64.powi(33) + f64::from(r.next()) / 2f64.powi(65)
            };
            let (factor, bound) = (fraction * f64::from(r.range(-14, 0)).exp2(), 1i64 << r.range(8, 26));
            let Some(p) = Pair::of_real(factor, bound) else { continue };
            made += 1;
            assert!(p.low >= 0.0);
            for i in 0..800 {
                let near = ((f64::from(r.range(-256, 257)) - 0.5) / factor) as i32 + r.range(-2, 3);
                let x = if i % 2 == 0 { near } else { r.next() as i32 }.clamp(-bound as i32, bound as i32);
                let want = (f64::from(x) * factor).round();
                let t = (f64::from(x) * f64::from(p.low)) as f32;
                let y = f64::from(x) * f64::from(p.high) + f64::from(t);
                if want.abs() < 256.0 {
                    assert_eq!((y.floor() as i32 + 1) >> 1, want as i32, "{x} {factor}");
                }
            }
        }
        assert!(made > 200, "{made} of 400");
    }

    #[test]
    fn pairs_are_exact() {
        let mut r = crate::testutil::Rng::new(9);
        let mut made = 0;
        for i in 0..400 {
            let multiplier = if i % 8 == 0 { 1 << 30 } else { r.range(1 << 30, i32::MAX) };
            let (shift, bound) = (r.range(-14, 0), 1i64 << r.range(8, 26));
            let Some(p) = Pair::new(multiplier, shift, bound) else { continue };
            made += 1;
            let step = (p.high.to_bits() & 0xFF80_0000) as i32;
            let one = |x: i32| {
                // In double precision: exact up to the rounding to single precision, which is done by hand.
                let t = (f64::from(x) * f64::from(p.low)
                    + f64::from(f32::from_bits(step as u32)).copysign(f64::from(x))) as f32;
                let y = f64::from(x) * f64::from(p.high) + f64::from(t);
                (y.floor() as i32 + 1) >> 1
            };
            let near = |x: i32, r: &mut crate::testutil::Rng| {
                let x = (x + r.range(-2, 3)).clamp(-bound as i32, bound as i32);
                let want = multiply_by_quantized_multiplier(x, multiplier, shift);
                if want.abs() < 256 {
                    assert_eq!(one(x), want, "{x} {multiplier} {shift}");
                }
            };
            let period = f64::from(multiplier) / (31.0 - f64::from(shift)).exp2();
            for q in -256..=256 {
                near(((f64::from(q) - 0.5) / period) as i32, &mut r);
            }
            for _ in 0..200 {
                let x = r.range(-bound as i32, bound as i32);
                near(x, &mut r);
            }
        }
        assert!(made > 300, "{made} of 400");
    }
}
