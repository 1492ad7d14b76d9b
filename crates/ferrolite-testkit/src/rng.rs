//! Random numbers that are the same on every machine.

/// A xorshift generator: deterministic, fast and good enough for test data.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Rng {
        // Spread small seeds over all bits; the state must not be 0.
        let mut rng = Rng((seed ^ 0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = rng.u64());
        rng
    }

    /// Any 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.u64()) * bound as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        let span = high.wrapping_sub(low) as u64;
        let offset = (u128::from(self.u64()) * (u128::from(span) + 1)) >> 64;
        low.wrapping_add(offset as i64)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn unit(&mut self) -> f32 {
        (self.u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A number from `low` up to, but not including, `high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A number of mean 0 and deviation 1, bell-shaped within ±6.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// `len` numbers of mean 0 and deviation `scale`.
    pub fn normals(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.normal() * scale).collect()
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.u64() as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn numbers_stay_in_their_ranges_and_repeat() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert_ne!(Rng::new(1).u64(), Rng::new(2).u64());
        for _ in 0..1000 {
            assert_eq!(a.u64(), b.u64());
            assert!(a.below(3) < 3);
            assert!((-2..=2).contains(&a.range(-2, 2)));
            assert!((0.0..1.0).contains(&a.unit()));
            b = a.clone();
        }
        assert_eq!(a.below(0), 0);
        a.range(i64::MIN, i64::MAX);
        let mean = a.normals(4000, 1.0).iter().sum::<f32>() / 4000.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }
}
