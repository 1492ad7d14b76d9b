//! Exponential, logarithm and reciprocal on int32 fixed-point numbers, as gemmlowp and LiteRT define them for softmax.
//! `Fk` is a value with k integer bits: raw · 2^(k − 31).

use crate::common::requant::{
    rounding_divide_by_pot, saturating_rounding_doubling_high_mul as mul,
    saturating_rounding_multiply_by_pot as mul_by_pot,
};

/// 1 / (1 + a) for a in [0, 1], both F0: three Newton steps from 48/17 − 32/17 · d, d = (1 + a) / 2.
pub fn one_over_one_plus_x(a: i32) -> i32 {
    const ONE_F2: i32 = 1 << 29;
    const C48_OVER_17: i32 = 1_515_870_810;
    const C_MINUS_32_OVER_17: i32 = -1_010_580_540;
    let half_denominator = half_sum(a, i32::MAX);
    let mut x = C48_OVER_17.wrapping_add(mul(half_denominator, C_MINUS_32_OVER_17));
    for _ in 0..3 {
        let error = ONE_F2.wrapping_sub(mul(half_denominator, x));
        x = x.wrapping_add(mul_by_pot(mul(x, error), 2));
    }
    mul_by_pot(x, 1)
}

/// (a + b) / 2, halves away from zero.
fn half_sum(a: i32, b: i32) -> i32 {
    let sum = i64::from(a) + i64::from(b);
    ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32
}

/// 1 / x as (raw F0, bits over unit): 1/x = raw · 2^(−31 − bits), where x > 0 has `integer_digits` integer bits.
pub fn reciprocal(x: i32, integer_digits: i32) -> (i32, i32) {
    let headroom_plus_one = (x as u32).leading_zeros();
    let shifted = (x as u32).wrapping_shl(headroom_plus_one).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus_x(shifted), integer_digits - headroom_plus_one as i32)
}

/// exp(a) in F0 for a ≤ 0 in F5.
pub fn exp_on_negative(a: i32) -> i32 {
    const QUARTER: i32 = 1 << 24;
    // exp(−2^e) for e from −2, in F0: one factor per bit of what is left above a quarter.
    const FACTORS: [i32; 7] = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    if a == 0 {
        return i32::MAX;
    }
    let modulo = (a & (QUARTER - 1)).wrapping_sub(QUARTER);
    let remainder = modulo.wrapping_sub(a);
    let mut result = exp_on_last_quarter(mul_by_pot(modulo, 5));
    for (bit, factor) in FACTORS.into_iter().enumerate() {
        if remainder & (QUARTER << bit) != 0 {
            result = mul(result, factor);
        }
    }
    result
}

/// exp(a) for a in [−1/4, 0), both F0: a Taylor polynomial around −1/8.
fn exp_on_last_quarter(a: i32) -> i32 {
    const EXP_MINUS_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = a.wrapping_add(1 << 28);
    let x2 = mul(x, x);
    let x3 = mul(x2, x);
    let x4_over_4 = rounding_divide_by_pot(mul(x2, x2), 2);
    let tail = rounding_divide_by_pot(mul(x4_over_4.wrapping_add(x3), THIRD).wrapping_add(x2), 1);
    EXP_MINUS_EIGHTH.wrapping_add(mul(EXP_MINUS_EIGHTH, x.wrapping_add(tail)))
}

/// ln(x) in F5 for x ≥ 1 in F12.
pub fn log_at_least_1(x: i32) -> i32 {
    const LOG_2: i32 = 1_488_522_236;
    const SQRT_SQRT_HALF: i32 = 1_805_811_301;
    const SQRT_HALF: i32 = 1_518_500_250;
    const ALPHA_N: i32 = 117_049_297;
    const ALPHA_D: i32 = 127_690_142;
    const ALPHA_I: i32 = 1_057_819_769;
    const ALPHA_F: i32 = 638_450_708;
    const INPUT_BITS: i32 = 12;
    // One more integer bit than the result.
    const SUM_BITS: i32 = 6;
    const QUARTER: i32 = 1 << (31 - SUM_BITS - 2);

    // x = r · 2^power with r near √½, found from two ends: x itself and x · √½.
    let a_headroom = (x as u32).leading_zeros() as i32;
    let r_a = mul_by_pot(mul(mul_by_pot(x, a_headroom - 1), SQRT_HALF), 1);
    let power_a = mul_by_pot(INPUT_BITS - a_headroom, 31 - SUM_BITS).saturating_add(QUARTER);
    let b_headroom = (mul(x, SQRT_HALF) as u32).leading_zeros() as i32 - 1;
    let r_b = mul_by_pot(x, b_headroom);
    let power_b = mul_by_pot(INPUT_BITS - b_headroom, 31 - SUM_BITS).saturating_sub(QUARTER);
    let (r, power) = (r_a.min(r_b), power_a.max(power_b));

    // ln r as a rational function of q = 2 · (r − √√½).
    let p = half_sum(r, SQRT_SQRT_HALF);
    let q = r.wrapping_sub(SQRT_SQRT_HALF);
    let q = q.wrapping_add(q);
    let q2 = mul(q, q);
    let numerator = mul(q, r).wrapping_add(mul(mul(q, q2), ALPHA_N));
    let inner = ALPHA_I.wrapping_add(q).wrapping_add(mul(ALPHA_D, q2));
    let denominator_minus_1 = mul(p, inner).wrapping_add(mul(ALPHA_F, q));
    let fraction = mul(rounding_divide_by_pot(numerator, SUM_BITS), one_over_one_plus_x(denominator_minus_1));
    mul_by_pot(mul(power, LOG_2).wrapping_add(fraction), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_real_functions() {
        for real in [0.0f64, -0.001, -0.24, -0.25, -1.0, -3.7, -15.9, -31.0] {
            let got = f64::from(exp_on_negative((real * 2f64.powi(26)) as i32)) * 2f64.powi(-31);
            assert!((got - real.exp()).abs() < 1e-6, "exp {real}: {got}");
        }
        for real in [1.0f64, 1.5, 2.0, 3.3, 100.0, 4000.0] {
            let got = f64::from(log_at_least_1((real * 2f64.powi(19)) as i32)) * 2f64.powi(-26);
            assert!((got - real.ln()).abs() < 1e-6, "ln {real}: {got}");
            let (raw, bits) = reciprocal((real * 2f64.powi(19)) as i32, 12);
            let got = f64::from(raw) * 2f64.powi(-31 - bits);
            assert!((got * real - 1.0).abs() < 1e-6, "1/{real}: {got}");
        }
    }
}
