//! The Fourier transform of fixed-point numbers as TensorFlow Lite Micro computes it: decimation in time, radix 4 and 2,
//! divided by the radix at every stage, every product rounded.
//!
//! Source: KISS FFT (`kiss_fft.c`, `kiss_fftr.c`) with `FIXED_POINT` 16 and 32.

use crate::{OpError, ensure};

/// A complex number; both parts fit the scalar type.
pub type Point = [i64; 2];

/// A transform of `n` real numbers, for scalars with `fraction` bits after the point: 15 in int16, 31 in int32.
pub struct FixedFft {
    half: usize,
    fraction: u32,
    /// Radix, and length of a part, stage by stage.
    stages: Vec<(usize, usize)>,
    /// Roots of unity of the transform of pairs, and those that take the halves apart.
    roots: Vec<Point>,
    split: Vec<Point>,
}

impl FixedFft {
    /// Of `n` numbers, a power of two from 4 on.
    pub fn new(n: usize, fraction: u32) -> Result<FixedFft, OpError> {
        let fits = n.is_power_of_two() && (4..=1 << 16).contains(&n);
        ensure!(fits, "a fixed-point Fourier transform of {n} numbers: not a power of two in 4..=65536");
        let half = n / 2;
        let mut stages = Vec::new();
        let mut rest = half;
        while rest > 1 {
            let radix = if rest.is_multiple_of(4) { 4 } else { 2 };
            rest /= radix;
            stages.push((radix, rest));
        }
        let largest = ((1i64 << fraction) - 1) as f64;
        let root = |phase: f64| [phase.cos(), phase.sin()].map(|x| (0.5 + largest * x).floor() as i64);
        let pi = std::f64::consts::PI;
        let roots = (0..half).map(|i| root(-2.0 * pi * i as f64 / half as f64)).collect();
        let split = (0..half / 2).map(|i| root(-pi * ((i + 1) as f64 / half as f64 + 0.5))).collect();
        Ok(FixedFft { half, fraction, stages, roots, split })
    }

    /// Complex numbers of input and scratch together.
    pub fn scratch_len(&self) -> usize {
        2 * self.half
    }

    /// What a scalar holds of a number.
    fn wrap(&self, x: i64) -> i64 {
        if self.fraction == 15 { (x as i16).into() } else { (x as i32).into() }
    }

    fn round(&self, x: i64) -> i64 {
        self.wrap(x.wrapping_add(1 << (self.fraction - 1)) >> self.fraction)
    }

    fn divide(&self, x: Point, by: i64) -> Point {
        x.map(|x| self.round(x * (((1 << self.fraction) - 1) / by)))
    }

    fn multiply(&self, a: Point, b: Point) -> Point {
        let (re, im) = (a[0].wrapping_mul(b[0]), a[0].wrapping_mul(b[1]));
        let (re, im) = (re.wrapping_sub(a[1].wrapping_mul(b[1])), im.wrapping_add(a[1].wrapping_mul(b[0])));
        [self.round(re), self.round(im)]
    }

    fn add(&self, a: Point, b: Point) -> Point {
        [self.wrap(a[0] + b[0]), self.wrap(a[1] + b[1])]
    }

    fn subtract(&self, a: Point, b: Point) -> Point {
        [self.wrap(a[0] - b[0]), self.wrap(a[1] - b[1])]
    }

    /// The transform of every `step`-th number from `first` on. Recursion is as deep as there are stages, at most 8.
    fn stage(&self, out: &mut [Point], input: &[Point], first: usize, step: usize, stages: &[(usize, usize)]) {
        let Some((&(radix, m), rest)) = stages.split_first() else {
            out[0] = input[first];
            return;
        };
        for (i, part) in out.chunks_exact_mut(m).enumerate() {
            self.stage(part, input, first + i * step, step * radix, rest);
        }
        for k in 0..m {
            if radix == 2 {
                let (a, b) = (self.divide(out[k], 2), self.divide(out[k + m], 2));
                let b = self.multiply(b, self.roots[k * step]);
                (out[k], out[k + m]) = (self.add(a, b), self.subtract(a, b));
                continue;
            }
            let part = |i: usize| self.divide(out[k + i * m], 4);
            let turned = |i: usize| self.multiply(part(i), self.roots[i * k * step]);
            let (a, b, c, d) = (part(0), turned(1), turned(2), turned(3));
            let (even, odd) = (self.add(a, c), self.subtract(a, c));
            let (sum, difference) = (self.add(b, d), self.subtract(b, d));
            // −i · difference
            let quarter = [difference[1], self.wrap(-difference[0])];
            out[k] = self.add(even, sum);
            out[k + m] = [self.wrap(odd[0] + difference[1]), self.wrap(odd[1] - difference[0])];
            out[k + 2 * m] = self.subtract(even, sum);
            out[k + 3 * m] = self.subtract(odd, quarter);
        }
    }

    /// The first n / 2 + 1 coefficients of the real numbers that `work` starts with, in pairs; the rest of it is scratch.
    pub fn forward(&self, work: &mut [Point], mut put: impl FnMut(usize, Point)) {
        let half = self.half;
        let (input, spectrum) = work.split_at_mut(half);
        self.stage(spectrum, input, 0, 1, &self.stages);
        let first = self.divide(spectrum[0], 2);
        put(0, [self.wrap(first[0] + first[1]), 0]);
        put(half, [self.wrap(first[0] - first[1]), 0]);
        for k in 1..=half / 2 {
            let mirrored = spectrum[half - k];
            let a = self.divide(spectrum[k], 2);
            let b = self.divide([mirrored[0], self.wrap(-mirrored[1])], 2);
            let (sum, difference) = (self.add(a, b), self.subtract(a, b));
            let turned = self.multiply(difference, self.split[k - 1]);
            put(k, [self.wrap((sum[0] + turned[0]) >> 1), self.wrap((sum[1] + turned[1]) >> 1)]);
            put(half - k, [self.wrap((sum[0] - turned[0]) >> 1), self.wrap((turned[1] - sum[1]) >> 1)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FixedFft;

    #[test]
    fn is_near_the_transform() {
        let n = 64;
        for fraction in [15, 31] {
            let fft = FixedFft::new(n, fraction).unwrap();
            let unit = (1i64 << fraction) as f64;
            let x: Vec<i64> = (0..n).map(|i| ((i as f64 * 0.7).sin() * 0.9 * unit) as i64).collect();
            let mut work = vec![[0; 2]; fft.scratch_len()];
            x.iter().enumerate().for_each(|(i, &x)| work[i / 2][i % 2] = x);
            fft.forward(&mut work, |k, got| {
                for (part, got) in got.into_iter().enumerate() {
                    let term = |j: usize| {
                        let phase = -2.0 * std::f64::consts::PI * (j * k) as f64 / n as f64;
                        x[j] as f64 * if part == 0 { phase.cos() } else { phase.sin() }
                    };
                    let want = (0..n).map(term).sum::<f64>() / n as f64;
                    assert!((got as f64 - want).abs() < 8.0, "{fraction}: {k}: {got}, not {want}");
                }
            });
        }
    }
}
