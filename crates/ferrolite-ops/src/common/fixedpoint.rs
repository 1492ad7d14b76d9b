//! Fixed-point functions on int32, as gemmlowp defines them. `Fk` is a value with k integer bits: raw · 2^(k − 31).

use crate::common::requant::{
    Multiplier, rounding_divide_by_pot, saturating_rounding_doubling_high_mul as mul,
    saturating_rounding_multiply_by_pot as mul_by_pot,
};

/// 1 / (1 + a) for a in [0, 1], both F0: three Newton steps from 48/17 − 32/17 · d, d = (1 + a) / 2.
pub fn one_over_one_plus_x(a: i32) -> i32 {
    const ONE_F2: i32 = 1 << 29;
    const C48_OVER_17: i32 = 1_515_870_810;
    const C_MINUS_32_OVER_17: i32 = -1_010_580_540;
    let sum = i64::from(a) + i64::from(i32::MAX);
    let half_denominator = ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32;
    let mut x = C48_OVER_17.wrapping_add(mul(half_denominator, C_MINUS_32_OVER_17));
    for _ in 0..3 {
        let error = ONE_F2.wrapping_sub(mul(half_denominator, x));
        x = x.wrapping_add(mul_by_pot(mul(x, error), 2));
    }
    mul_by_pot(x, 1)
}

/// 1 / x as (raw F0, bits over unit): 1/x = raw · 2^(−31 − bits), where x > 0 has `integer_digits` integer bits.
pub fn reciprocal(x: i32, integer_digits: i32) -> (i32, i32) {
    let headroom_plus_one = (x as u32).leading_zeros();
    let shifted = (x as u32).wrapping_shl(headroom_plus_one).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus_x(shifted), integer_digits - headroom_plus_one as i32)
}

/// 1 / √x for an integer x as a multiplier: five Newton steps in F3 from 1. Zero counts as one.
pub fn inverse_sqrt(x: i32) -> Multiplier {
    if x <= 1 {
        return Multiplier { multiplier: i32::MAX, shift: 0 };
    }
    const HALF_THREE_F3: i32 = (1 << 28) + (1 << 27);
    const HALF_SQRT_2_F0: i32 = 1_518_500_250;
    let (mut x, mut right) = (x, 11);
    while x >= 1 << 29 {
        x /= 4;
        right += 1;
    }
    // x goes to [2^27, 2^29).
    let pairs = (x.leading_zeros() as i32 - 1) / 2 - 1;
    right -= pairs;
    x <<= 2 * pairs;
    let half = rounding_divide_by_pot(x >> 1, 1);
    let mut y = 1 << 28;
    for _ in 0..5 {
        let cube = mul_by_pot(mul(mul(y, y), y), 6);
        y = mul_by_pot(mul(HALF_THREE_F3, y).wrapping_sub(mul(half, cube)), 3);
    }
    y = mul(y, HALF_SQRT_2_F0);
    if right < 0 {
        return Multiplier { multiplier: y.wrapping_shl(-right as u32), shift: 0 };
    }
    Multiplier { multiplier: y, shift: -right }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_real_functions() {
        for x in [1i32, 2, 3, 7, 100, 255, 12_345, 65_535, i32::MAX] {
            let (raw, bits) = reciprocal(x, 31);
            let got = f64::from(raw) * 2f64.powi(-31 - bits);
            assert!((got * f64::from(x) - 1.0).abs() < 1e-7, "1/{x}: {got}");
            let m = inverse_sqrt(x);
            let got = f64::from(m.multiplier) * 2f64.powi(m.shift - 31);
            assert!((got * f64::from(x).sqrt() - 1.0).abs() < 1e-6, "1/sqrt {x}: {got}");
        }
    }
}
