//! Logistic and tanh on int16 fixed-point numbers, as gemmlowp defines them and LiteRT's integer LSTM uses them. `Fk` is a
//! value with k integer bits: raw · 2^(k − 15). The int32 forms are in [`crate::common::fixed_exp`].

use crate::common::requant::{rounding_divide_by_pot, saturating_rounding_doubling_high_mul_i16 as mul};

/// A constant of 31 fractional bits, rounded to 15.
fn constant(raw: i32) -> i16 {
    rounding_divide_by_pot(raw, 16) as i16
}

/// x · 2^exponent for a positive exponent, saturated.
fn shift_left(x: i16, exponent: u32) -> i16 {
    (i32::from(x) << exponent).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// x / 2^exponent, rounded, halves away from zero.
fn shift_right(x: i16, exponent: i32) -> i16 {
    rounding_divide_by_pot(x.into(), exponent) as i16
}

/// exp(a) for a in [−1/4, 0), both F0: a Taylor polynomial around −1/8.
fn exp_on_last_quarter(a: i16) -> i16 {
    let (exp_minus_eighth, third) = (constant(1_895_147_668), constant(715_827_883));
    let x = a.wrapping_add(1 << 12);
    let x2 = mul(x, x);
    let x3 = mul(x2, x);
    let x4_over_4 = shift_right(mul(x2, x2), 2);
    let tail = shift_right(mul(x4_over_4.wrapping_add(x3), third).wrapping_add(x2), 1);
    exp_minus_eighth.saturating_add(mul(exp_minus_eighth, x.wrapping_add(tail)))
}

/// exp(a) in F0 for a ≤ 0 with `bits` integer bits, 1 to 7.
fn exp_on_negative(a: i16, bits: u32) -> i16 {
    // exp(−2^e) for e from −2, in F0: one factor per bit of what is left above a quarter.
    const FACTORS: [i32; 7] = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    if a == 0 {
        return i16::MAX;
    }
    let fraction = 15 - bits;
    if bits > 5 && i32::from(a) < -(32 << fraction) {
        return 0;
    }
    let quarter = 1i16 << (fraction - 2);
    let modulo = (a & (quarter - 1)).wrapping_sub(quarter);
    let remainder = modulo.wrapping_sub(a);
    let mut result = exp_on_last_quarter(shift_left(modulo, bits));
    for (bit, factor) in FACTORS.into_iter().enumerate().take(bits as usize + 2) {
        if i32::from(remainder) & (i32::from(quarter) << bit) != 0 {
            result = mul(result, constant(factor));
        }
    }
    result
}

/// 1 / d in F2 by three Newton steps from 48/17 − 32/17 · d, where d = (1 + a) / 2 and a is in F0.
fn reciprocal_of_half_sum(a: i16) -> i16 {
    const ONE_F2: i16 = 1 << 13;
    let sum = i32::from(a) + i32::from(i16::MAX);
    let half_denominator = ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i16;
    let mut x = constant(1_515_870_810).wrapping_add(mul(half_denominator, constant(-1_010_580_540)));
    for _ in 0..3 {
        let error = ONE_F2.wrapping_sub(mul(half_denominator, x));
        x = x.wrapping_add(shift_left(mul(x, error), 2));
    }
    x
}

/// 1 / (1 + e^−x) in F0, for x in F3.
pub fn logistic(x: i16) -> i16 {
    if x == 0 {
        return 1 << 14;
    }
    let negative_magnitude = if x > 0 { x.wrapping_neg() } else { x };
    let positive = shift_left(reciprocal_of_half_sum(exp_on_negative(negative_magnitude, 3)), 1);
    if x > 0 { positive } else { i16::MAX - positive }
}

/// tanh(x) in F0, for x with `bits` integer bits, 0 to 6.
pub fn tanh(x: i16, bits: u32) -> i16 {
    if x == 0 {
        return 0;
    }
    let negative_magnitude = if x > 0 { x.wrapping_neg() } else { x };
    // (1 − e) / (1 + e) = 2 / (1 + e) − 1 for e = exp(−2 |x|): doubling is one more integer bit.
    let e = exp_on_negative(negative_magnitude, bits + 1);
    let t = shift_left(reciprocal_of_half_sum(e).wrapping_sub(1 << 13), 2);
    if x > 0 { t } else { t.wrapping_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_real_functions() {
        for raw in (i16::MIN..=i16::MAX).step_by(37) {
            let x = f64::from(raw) / 4096.0;
            let got = f64::from(logistic(raw)) / 32768.0;
            assert!((got - 1.0 / (1.0 + (-x).exp())).abs() < 5e-4, "logistic {x}: {got}");
            for bits in 0..=6 {
                let x = f64::from(raw) * 2f64.powi(bits - 15);
                let got = f64::from(tanh(raw, bits as u32)) / 32768.0;
                // e^−2x has 15 fractional bits, of which the steps above lose some.
                assert!((got - x.tanh()).abs() < 2e-3, "tanh {x}: {got}");
            }
        }
    }
}
