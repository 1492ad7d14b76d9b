//! The discrete Fourier transform of power-of-two lengths, in double precision.

use crate::{OpError, ensure};

/// A complex number: real and imaginary part.
pub type Complex = [f64; 2];

/// Longest transform: its tables stay small.
const LIMIT: usize = 1 << 24;

#[inline]
fn multiply(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// e^(−2πik/n) for k below `count`.
fn roots(n: usize, count: usize) -> Vec<Complex> {
    let step = -2.0 * std::f64::consts::PI / n as f64;
    (0..count).map(|k| (step * k as f64).sin_cos()).map(|(sin, cos)| [cos, sin]).collect()
}

/// A transform of complex numbers.
pub struct Fft {
    n: usize,
    /// Of the n-th order, half a circle.
    roots: Vec<Complex>,
}

impl Fft {
    /// Of length `n`, a power of two.
    pub fn new(n: usize) -> Result<Fft, OpError> {
        ensure!(n.is_power_of_two() && n <= LIMIT, "a Fourier transform of length {n}: not a power of two to {LIMIT}");
        Ok(Fft { n, roots: roots(n, n / 2) })
    }

    /// `X[k] = Σ x[j] e^(−2πijk/n)`, in place (decimation in time, radix 2).
    pub fn forward(&self, x: &mut [Complex]) {
        let n = self.n;
        let unused = usize::BITS - n.trailing_zeros();
        if n > 1 {
            for i in 0..n {
                let j = i.reverse_bits() >> unused;
                if i < j {
                    x.swap(i, j);
                }
            }
        }
        let mut half = 1;
        while half < n {
            let stride = n / (2 * half);
            for block in x[..n].chunks_exact_mut(2 * half) {
                let (even, odd) = block.split_at_mut(half);
                for ((a, b), &root) in even.iter_mut().zip(odd).zip(self.roots.iter().step_by(stride)) {
                    let (p, q) = (*a, multiply(*b, root));
                    *a = [p[0] + q[0], p[1] + q[1]];
                    *b = [p[0] - q[0], p[1] - q[1]];
                }
            }
            half *= 2;
        }
    }
}

/// A transform of real numbers.
pub struct RealFft {
    n: usize,
    half: Fft,
    /// Of the n-th order, a quarter of a circle.
    roots: Vec<Complex>,
}

impl RealFft {
    /// Of `n` real numbers, a power of two.
    pub fn new(n: usize) -> Result<RealFft, OpError> {
        ensure!(n.is_power_of_two() && n <= LIMIT, "a Fourier transform of length {n}: not a power of two to {LIMIT}");
        Ok(RealFft { n, half: Fft::new((n / 2).max(1))?, roots: roots(n, n / 4 + 1) })
    }

    /// Roots of unity: of the transform of the pairs, and of the whole.
    pub fn roots(&self) -> (&[Complex], &[Complex]) {
        (&self.half.roots, &self.roots)
    }

    /// Length of the result, and of what [`RealFft::forward`] works on.
    pub fn bins(&self) -> usize {
        self.n / 2 + 1
    }

    /// In place: `x` holds the real numbers in pairs, and then the first n / 2 + 1 coefficients.
    pub fn forward(&self, x: &mut [Complex]) {
        let m = self.n / 2;
        if m == 0 {
            x[0][1] = 0.0;
            return;
        }
        // The transform Z of z[j] = x[2j] + i x[2j + 1] holds those of the even and odd elements: E[k] = (Z[k] + Z*[m − k]) / 2
        // and O[k] = (Z[k] − Z*[m − k]) / 2i. X[k] = E[k] + root[k] · O[k].
        self.half.forward(&mut x[..m]);
        let first = x[0];
        for k in 1..=m / 2 {
            let (a, b) = (x[k], x[m - k]);
            let even = [(a[0] + b[0]) / 2.0, (a[1] - b[1]) / 2.0];
            let odd = [(a[1] + b[1]) / 2.0, (b[0] - a[0]) / 2.0];
            let turned = multiply(self.roots[k], odd);
            x[k] = [even[0] + turned[0], even[1] + turned[1]];
            x[m - k] = [even[0] - turned[0], turned[1] - even[1]];
        }
        x[0] = [first[0] + first[1], 0.0];
        x[m] = [first[0] - first[1], 0.0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::noise;

    fn slow(x: &[Complex]) -> Vec<Complex> {
        let n = x.len();
        let term = |k: usize, j: usize| {
            let (sin, cos) = (-2.0 * std::f64::consts::PI * (k * j % n) as f64 / n as f64).sin_cos();
            multiply(x[j], [cos, sin])
        };
        let add = |a: Complex, b: Complex| [a[0] + b[0], a[1] + b[1]];
        (0..n).map(|k| (0..n).map(|j| term(k, j)).fold([0.0; 2], add)).collect()
    }

    fn assert_close(got: &[Complex], want: &[Complex]) {
        for (g, w) in got.iter().zip(want) {
            assert!((g[0] - w[0]).abs() < 1e-12 && (g[1] - w[1]).abs() < 1e-12, "{got:?}, not {want:?}");
        }
    }

    #[test]
    fn equals_the_definition() {
        for n in [1, 2, 4, 8, 64] {
            let values: Vec<f64> = noise(n as u64, 2 * n).into_iter().map(f64::from).collect();
            let x: Vec<Complex> = values.chunks(2).map(|c| [c[0], c[1]]).collect();
            let mut got = x.clone();
            Fft::new(n).unwrap().forward(&mut got);
            assert_close(&got, &slow(&x));
            let real: Vec<Complex> = values[..n].iter().map(|&v| [v, 0.0]).collect();
            let fft = RealFft::new(n).unwrap();
            let mut got = vec![[f64::NAN; 2]; fft.bins()];
            values[..n].iter().enumerate().for_each(|(i, &v)| got[i / 2][i % 2] = v);
            fft.forward(&mut got);
            assert_close(&got, &slow(&real)[..fft.bins()]);
        }
        assert!(Fft::new(12).is_err() && RealFft::new(0).is_err() && RealFft::new(1 << 25).is_err());
    }
}
