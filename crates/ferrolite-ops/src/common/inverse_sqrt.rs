//! The inverse square root in fixed point, as LiteRT computes it for int8. Source: `kernels/internal/common.h`.

use crate::common::requant::{
    Multiplier, rounding_divide_by_pot, saturating_rounding_doubling_high_mul as mul,
    saturating_rounding_multiply_by_pot as mul_by_pot,
};

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
    fn close_to_the_real_function() {
        for x in [1i32, 2, 3, 7, 100, 255, 12_345, 65_535, i32::MAX] {
            let m = inverse_sqrt(x);
            let got = f64::from(m.multiplier) * 2f64.powi(m.shift - 31);
            assert!((got * f64::from(x).sqrt() - 1.0).abs() < 1e-5, "1/sqrt {x}: {got}");
        }
    }
}
