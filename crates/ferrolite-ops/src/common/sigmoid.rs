//! Logistic and tanh of int16 by one interpolated table. Sources: LiteRT `reference/integer_ops/{logistic,tanh}.h`,
//! `kernels/activations.cc`.

use crate::common::elementwise::checked_log2;
use crate::{OpError, ensure};

/// sigmoid(i / 24) in 0.16 fixed point. LiteRT's own values: they are not all nearest ones.
const SIGMOID: [u16; 256] = [
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794, 41432, 42064, 42688,
    43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443, 48964, 49475, 49975, 50464, 50942, 51409,
    51865, 52311, 52745, 53169, 53581, 53983, 54374, 54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433,
    57724, 58007, 58280, 58544, 58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110,
    61279, 61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990, 63090, 63186,
    63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030, 64090, 64148, 64204, 64257, 64308,
    64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652, 64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900,
    64926, 64950, 64974, 64997, 65019, 65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208,
    65221, 65234, 65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360, 65367,
    65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433, 65438, 65442, 65445, 65449,
    65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476, 65479, 65481, 65483, 65485, 65488, 65489, 65491,
    65493, 65495, 65497, 65498, 65500, 65501, 65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513,
    65514, 65515, 65516, 65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529, 65529, 65530, 65530,
    65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532, 65532, 65532, 65532, 65533, 65533, 65533,
    65533, 65533, 65533, 65533, 65533, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
];

/// How an int16 input is brought to the table's scale of 1 / (3 · 4096).
#[derive(Clone, Copy, Debug)]
pub struct TableScale {
    multiplier: i32,
    shift: i32,
}

impl TableScale {
    /// For an input scale. A power of two 2^−12 (for `allow_double` also 2^−11) needs no rounding.
    pub fn new(scale: f32, allow_double: bool) -> Result<TableScale, OpError> {
        ensure!(scale > 0.0 && scale.is_finite(), "scale {scale} must be positive");
        let exponent = checked_log2(scale).map(|log| log.saturating_add(12));
        match exponent {
            Some(0) => return Ok(TableScale { multiplier: 3, shift: 0 }),
            Some(1) if allow_double => return Ok(TableScale { multiplier: 3 << 1, shift: 0 }),
            _ => {}
        }
        let (mut multiplier, mut shift) = (f64::from(scale) * 4096.0 * 3.0, 0);
        while multiplier <= 32767.0 / 2.0 && shift <= 30 {
            multiplier *= 2.0;
            shift += 1;
        }
        Ok(TableScale { multiplier: multiplier as i32, shift })
    }

    #[inline]
    fn apply(self, x: i16) -> i32 {
        let round = if self.shift > 0 { 1i32.wrapping_shl(self.shift as u32 - 1) } else { 0 };
        i32::from(x).wrapping_mul(self.multiplier).wrapping_add(round).wrapping_shr(self.shift as u32)
    }

    /// 1 / (1 + e^−x) in Q15.
    #[inline]
    pub fn logistic(self, x: i16) -> i16 {
        let x = self.apply(x);
        let y = interpolate(x.unsigned_abs(), 9).unwrap_or(0x7fff << 10);
        let y = if x >= 0 { y + (1 << 9) } else { (1 << 25) - y + (1 << 9) - 1 };
        (y >> 10) as i16
    }

    /// tanh(x) = 2 · sigmoid(2 x) − 1 in Q15.
    #[inline]
    pub fn tanh(self, x: i16) -> i16 {
        let x = self.apply(x);
        let y = interpolate(x.unsigned_abs(), 8).unwrap_or(0xffff << 8) as i32;
        let y = if x >= 0 { y - (1 << 23) + (1 << 7) } else { -y + (1 << 23) + (1 << 7) - 1 };
        (y >> 8) as i16
    }
}

/// The table at `x` with `bits` fractional bits; `None` beyond its end.
#[inline]
fn interpolate(x: u32, bits: u32) -> Option<u32> {
    let high = (x >> bits) as usize;
    if high >= 255 {
        return None;
    }
    let (a, b) = (u32::from(SIGMOID[high]), u32::from(SIGMOID[high + 1]));
    Some((a << bits) + (x & ((1 << bits) - 1)) * (b - a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_real_functions() {
        for scale in [1.0 / 4096.0, 1.0 / 2048.0, 0.000_3, 0.001] {
            let table = TableScale::new(scale, true).unwrap();
            for q in (i16::MIN..=i16::MAX).step_by(97) {
                let x = f64::from(scale) * f64::from(q);
                let logistic = f64::from(table.logistic(q)) / 32768.0;
                let tanh = f64::from(table.tanh(q)) / 32768.0;
                assert!((logistic - 1.0 / (1.0 + (-x).exp())).abs() < 2e-4, "logistic({x}) = {logistic}");
                assert!((tanh - x.tanh()).abs() < 3e-4, "tanh({x}) = {tanh}");
            }
        }
    }
}
