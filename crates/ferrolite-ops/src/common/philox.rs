//! Philox4x32-10, the counter-based random number generator of TensorFlow's and LiteRT's random operators.
//!
//! Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). Numbers from bits as in TensorFlow's
//! `random_distributions_utils.h`.

/// A generator: a key, and a counter of blocks of four numbers.
#[derive(Clone, Debug)]
pub struct Philox {
    key: [u32; 2],
    counter: u128,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Golden ratio and √3 − 1.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

impl Philox {
    /// The generator that two seeds of an operator name: the first is the key, the second the upper half of the counter.
    pub fn new(seed: u64, seed2: u64) -> Philox {
        Philox { key: [seed as u32, (seed >> 32) as u32], counter: u128::from(seed2) << 64 }
    }

    /// The next four numbers.
    pub fn block(&mut self) -> [u32; 4] {
        let [mut a, mut b, mut c, mut d] = [0, 32, 64, 96].map(|shift| (self.counter >> shift) as u32);
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let (p, q) = (u64::from(MULTIPLIERS[0]) * u64::from(a), u64::from(MULTIPLIERS[1]) * u64::from(c));
            [a, b, c, d] = [(q >> 32) as u32 ^ b ^ key[0], q as u32, (p >> 32) as u32 ^ d ^ key[1], p as u32];
            key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
        }
        self.counter = self.counter.wrapping_add(1);
        [a, b, c, d]
    }

    /// Passes over some blocks.
    pub fn skip(&mut self, blocks: u64) {
        self.counter = self.counter.wrapping_add(blocks.into());
    }
}

/// A number in 0..1 from 23 bits.
pub fn uniform_f32(bits: u32) -> f32 {
    f32::from_bits(127 << 23 | bits & 0x7F_FFFF) - 1.0
}

/// A number in 0..1 from 52 bits.
pub fn uniform_f64(high: u32, low: u32) -> f64 {
    f64::from_bits(1023 << 52 | u64::from(high & 0xF_FFFF) << 32 | u64::from(low)) - 1.0
}

/// Two independent numbers of the standard normal distribution, by Box and Muller's method.
pub fn normal_pair(bits: [u32; 2]) -> [f32; 2] {
    let radius = (-2.0 * uniform_f32(bits[0]).max(1e-7).ln()).sqrt();
    let angle = (2.0 * std::f64::consts::PI * f64::from(uniform_f32(bits[1]))) as f32;
    let (sin, cos) = angle.sin_cos();
    [sin * radius, cos * radius]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the authors' known-answer tests.
    #[test]
    fn gives_the_known_answers() {
        assert_eq!(Philox::new(0, 0).block(), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let mut last = Philox::new(u64::MAX, u64::MAX);
        last.skip(u64::MAX);
        assert_eq!(last.block(), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(last.counter, 0);
    }
}
