//! Deterministic numbers for tests.

/// A small generator (xorshift64*).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// In `lo..hi`.
    pub(crate) fn range(&mut self, lo: i32, hi: i32) -> i32 {
        lo + (self.next() % (hi - lo) as u32) as i32
    }

    pub(crate) fn usize(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.next() as usize % (hi - lo)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.next().is_multiple_of(n)
    }

    /// In -1..1.
    pub(crate) fn f32(&mut self) -> f32 {
        self.next() as f32 / 2_147_483_648.0 - 1.0
    }

    pub(crate) fn f32s(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.f32()).collect()
    }

    /// All of i8, the extremes often.
    pub(crate) fn i8s(&mut self, n: usize) -> Vec<i8> {
        (0..n)
            .map(|_| match self.next() % 8 {
                0 => -128,
                1 => 127,
                _ => self.next() as i8,
            })
            .collect()
    }
}

/// The greatest |a - b| / (1 + |b|).
pub(crate) fn max_error(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| if x.to_bits() == y.to_bits() { 0.0 } else { (x - y).abs() / (1.0 + y.abs()) })
        .fold(0.0, |m, e| if e.is_nan() { f32::INFINITY } else { f32::max(m, e) })
}
