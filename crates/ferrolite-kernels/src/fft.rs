//! Fourier transforms of several rows at once, in double precision: a lane per row. Each lane does what a transform of
//! radix 2 does, in its order, so that the bits do not depend on the instruction set.
#![allow(unsafe_code)]

use crate::isa::{Isa, pick};
use crate::simd::F32v;

/// Rows that are transformed at once.
pub const FFT_LANES: usize = 8;

/// A complex number of every row: real parts, imaginary parts.
pub type FftLanes = [[f64; FFT_LANES]; 2];

#[inline(always)]
fn zip(a: [f64; FFT_LANES], b: [f64; FFT_LANES], f: impl Fn(f64, f64) -> f64) -> [f64; FFT_LANES] {
    let mut r = [0.0; FFT_LANES];
    for (r, (a, b)) in r.iter_mut().zip(a.into_iter().zip(b)) {
        *r = f(a, b);
    }
    r
}

/// a · root
#[inline(always)]
fn turn(a: FftLanes, root: [f64; 2]) -> FftLanes {
    let [re, im] = a;
    [zip(re, im, |x, y| x * root[0] - y * root[1]), zip(re, im, |x, y| x * root[1] + y * root[0])]
}

#[inline(always)]
fn complex(x: &mut [FftLanes], roots: &[[f64; 2]]) {
    let n = x.len();
    if n > 1 {
        let unused = usize::BITS - n.trailing_zeros();
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
        for block in x.chunks_exact_mut(2 * half) {
            let (even, odd) = block.split_at_mut(half);
            for (k, (a, b)) in even.iter_mut().zip(odd).enumerate() {
                let (p, q) = (*a, turn(*b, roots[k * stride]));
                *a = [zip(p[0], q[0], |x, y| x + y), zip(p[1], q[1], |x, y| x + y)];
                *b = [zip(p[0], q[0], |x, y| x - y), zip(p[1], q[1], |x, y| x - y)];
            }
        }
        half *= 2;
    }
}

/// The vector type only says which instruction set the loops are compiled for.
#[inline(always)]
unsafe fn real<V: F32v>(x: &mut [FftLanes], half_roots: &[[f64; 2]], roots: &[[f64; 2]]) {
    let m = x.len() - 1;
    complex(&mut x[..m], half_roots);
    let first = x[0];
    for k in 1..=m / 2 {
        let (a, b) = (x[k], x[m - k]);
        let even = [zip(a[0], b[0], |x, y| (x + y) / 2.0), zip(a[1], b[1], |x, y| (x - y) / 2.0)];
        let odd = [zip(a[1], b[1], |x, y| (x + y) / 2.0), zip(b[0], a[0], |x, y| (x - y) / 2.0)];
        let turned = turn(odd, roots[k]);
        x[k] = [zip(even[0], turned[0], |x, y| x + y), zip(even[1], turned[1], |x, y| x + y)];
        x[m - k] = [zip(even[0], turned[0], |x, y| x - y), zip(turned[1], even[1], |x, y| x - y)];
    }
    x[0] = [zip(first[0], first[1], |x, y| x + y), [0.0; FFT_LANES]];
    x[m] = [zip(first[0], first[1], |x, y| x - y), [0.0; FFT_LANES]];
}
crate::simd::isa_table!(
    REAL = F "rfft_f64" real(x: &mut [FftLanes], half_roots: &[[f64; 2]], roots: &[[f64; 2]])
);

/// Transforms rows of n real numbers: `x` holds them in pairs (n / 2 of them, and room for one more), and then the first
/// n / 2 + 1 coefficients. `roots[k]` is e^(−2πik/n), `half_roots[k]` e^(−4πik/n).
///
/// # Panics
/// If n / 2 is not a power of two, or there are fewer roots than n / 4 + 1 and n / 4.
pub fn rfft_lanes(isa: Isa, x: &mut [FftLanes], half_roots: &[[f64; 2]], roots: &[[f64; 2]]) {
    let m = x.len().saturating_sub(1);
    assert!(m.is_power_of_two() && roots.len() > m / 2 && half_roots.len() >= m / 2, "{m} pairs");
    // SAFETY: picked through an `Isa`; the body is safe code.
    unsafe { (pick(REAL, isa).run)(x, half_roots, roots) };
}
