//! Fixed-point requantization, as LiteRT's reference kernels do it (built with double rounding, its default).
//!
//! A real factor is kept as `multiplier · 2^(shift − 31)`, multiplier in [2^30, 2^31). An int32 accumulator is scaled
//! with two roundings: a rounding high multiplication, then a rounding shift (gemmlowp's definitions). int64
//! accumulators (int16 activations) use the multiplier's upper 16 bits and one rounding.
//!
//! Sources: `tflite/kernels/internal/{common.cc,quantization_util.cc}`, gemmlowp `fixedpoint.h`.

use crate::{OpError, ensure};

pub use ferrolite_kernels::requant::{
    multiply_by_quantized_multiplier, multiply_by_quantized_multiplier_i64, quantize_multiplier,
    rounding_divide_by_pot, saturating_rounding_doubling_high_mul,
};

/// A non-negative real factor in fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// Mantissa: 0, or in [2^30, 2^31).
    pub multiplier: i32,
    /// Exponent: positive shifts left, negative right.
    pub shift: i32,
}

impl Multiplier {
    /// The fixed-point form of `real`; an error unless it is finite and not negative.
    pub fn new(real: f64) -> Result<Multiplier, OpError> {
        ensure!(real.is_finite() && real >= 0.0, "scale factor {real} is not a finite non-negative number");
        let (multiplier, shift) = quantize_multiplier(real);
        Ok(Multiplier { multiplier, shift })
    }

    /// [`Multiplier::new`] of `input · weight / output`, the factor of matrix products, in double precision.
    pub fn of_scales(input: f32, weight: f32, output: f32) -> Result<Multiplier, OpError> {
        Multiplier::new(f64::from(input) * f64::from(weight) / f64::from(output))
    }

    /// Scales an int32 value: [`multiply_by_quantized_multiplier`].
    #[inline]
    pub fn apply(self, x: i32) -> i32 {
        multiply_by_quantized_multiplier(x, self.multiplier, self.shift)
    }

    /// Scales an int32 value with two roundings, halves up both times, as LiteRT's matrix product library (ruy) does on x86.
    #[inline]
    pub fn apply_half_up(self, x: i32) -> i32 {
        let (left, right) = (self.shift.clamp(0, 31) as u32, (-self.shift).clamp(0, 31) as u32);
        let high = saturating_rounding_doubling_high_mul(x.wrapping_shl(left), self.multiplier);
        if right == 0 { high } else { high.wrapping_add(1 << (right - 1)) >> right }
    }

    /// Scales an int64 value: [`multiply_by_quantized_multiplier_i64`].
    #[inline]
    pub fn apply_i64(self, x: i64) -> i32 {
        multiply_by_quantized_multiplier_i64(x, self.multiplier, self.shift)
    }
}

/// The int16 form of [`saturating_rounding_doubling_high_mul`].
#[inline]
pub fn saturating_rounding_doubling_high_mul_i16(a: i16, b: i16) -> i16 {
    if a == i16::MIN && b == i16::MIN {
        return i16::MAX;
    }
    let product = i32::from(a) * i32::from(b);
    let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
    ((product + nudge) / (1 << 15)) as i16
}

/// x · 2^exponent, saturated; `exponent` in −31..=31, negative ones round as [`rounding_divide_by_pot`].
#[inline]
pub fn saturating_rounding_multiply_by_pot(x: i32, exponent: i32) -> i32 {
    if exponent <= 0 {
        return rounding_divide_by_pot(x, -exponent);
    }
    (i64::from(x) << exponent).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplier_round_trips() {
        for real in [1.0, 0.5, 0.25, 0.999_999_999_9, 1e-9, 3.75, 127.3, 2f64.powi(-31)] {
            let (m, s) = quantize_multiplier(real);
            let back = f64::from(m) * 2f64.powi(s - 31);
            assert!((back - real).abs() <= real * 2f64.powi(-30), "{real}: {m} {s}");
        }
        assert_eq!(quantize_multiplier(1.0), (1 << 30, 1));
        assert_eq!(quantize_multiplier(0.0), (0, 0));
        assert_eq!(quantize_multiplier(1e-12), (0, 0));
        assert_eq!(quantize_multiplier(f64::MAX), (i32::MAX, 30));
        assert!(Multiplier::new(f64::NAN).is_err() && Multiplier::of_scales(1.0, 1.0, 0.0).is_err());
    }

    #[test]
    fn rounding_is_away_from_zero_twice() {
        assert_eq!([3, -3, 2, -2, 1, -1].map(|x| rounding_divide_by_pot(x, 1)), [2, -2, 1, -1, 1, -1]);
        assert_eq!(rounding_divide_by_pot(i32::MAX, 31), 1);
        assert_eq!(rounding_divide_by_pot(i32::MIN, 31), -1);
        assert_eq!(saturating_rounding_doubling_high_mul(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(saturating_rounding_doubling_high_mul_i16(i16::MIN, i16::MIN), i16::MAX);
        let half = Multiplier::new(0.5).unwrap();
        assert_eq!([5, -5, 4].map(|x| half.apply(x)), [3, -2, 2]);
        assert_eq!([5, -5, 4].map(|x| half.apply_i64(x)), [3, -2, 2]);
        let quarter = Multiplier::new(0.25).unwrap();
        // Rounding twice: 1 · 2^−2 becomes 1 (0.5 up), then 1 (0.5 up again).
        assert_eq!([2, -2, 6, -6, 1].map(|x| quarter.apply(x)), [1, -1, 2, -2, 1]);
    }
}
