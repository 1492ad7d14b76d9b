//! Convolutions with small filters, summed in the order of the definition.
//!
//! A matrix product with fused multiply-adds rounds differently from the scalar definition. Mostly that is of no matter;
//! where a later operator quantizes the result at run time, a last bit can flip a whole quantization step. First layers have
//! few taps and few channels, so that the exact order costs nothing there.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::{AlignedVec, Shared};
use crate::pool::ThreadPool;
use crate::simd::F32v;

/// Most products per output that [`OrderedConv`] takes.
pub const ORDERED_PRODUCTS: usize = 32;

/// Pixels computed together.
const ROWS: usize = 4;

/// A filter for [`OrderedConv::run`].
#[derive(Clone, Debug)]
pub struct OrderedConv {
    isa: Isa,
    shape: ConvShape,
    /// [product][output channel].
    weights: AlignedVec<f32>,
    bias: AlignedVec<f32>,
}

/// `out[r][j] = clamp((0 + patch[r][0] · weights[0][j] + patch[r][1] · weights[1][j] + …) + bias[j])`, every operation rounded
/// on its own, for the first `rows` of [`ROWS`] rows.
#[inline(always)]
unsafe fn block<V: F32v>(
    patch: &[f32],
    weights: &[f32],
    bias: &[f32],
    range: (f32, f32),
    out: *mut f32,
    ldc: usize,
    rows: usize,
) {
    let (n, k) = (bias.len(), patch.len() / ROWS);
    for j in (0..n).step_by(V::N) {
        let left = (n - j).min(V::N);
        // SAFETY: the slices hold `ROWS · k`, `k · n` and `n` elements; the output is the caller's contract.
        unsafe {
            let mut sums = [V::splat(0.0); ROWS];
            for i in 0..k {
                let w = V::load_n(weights.as_ptr().add(i * n + j), left);
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(V::splat(*patch.get_unchecked(r * k + i)).mul(w));
                }
            }
            let bias = V::load_n(bias.as_ptr().add(j), left);
            let (lo, hi) = (V::splat(range.0), V::splat(range.1));
            for (r, sum) in sums.iter().enumerate().take(rows) {
                sum.add(bias).clamp(lo, hi).store_n(out.add(r * ldc + j), left);
            }
        }
    }
}
crate::simd::isa_table!(
    BLOCK = F "conv_ordered_f32_4" block(
        patch: &[f32], weights: &[f32], bias: &[f32], range: (f32, f32), out: *mut f32, ldc: usize, rows: usize
    )
);

impl OrderedConv {
    /// Prepares `filters`, laid out `[out_c][k_h][k_w][in_c]`, and an optional bias.
    ///
    /// # Panics
    /// If sizes do not fit, or an output has more than [`ORDERED_PRODUCTS`] products.
    pub fn pack(isa: Isa, shape: &ConvShape, filters: &[f32], bias: Option<&[f32]>) -> OrderedConv {
        shape.check();
        let (n, k) = (shape.out_c, shape.k_h * shape.k_w * shape.in_c);
        assert!(k <= ORDERED_PRODUCTS && filters.len() == n * k && bias.is_none_or(|b| b.len() == n));
        let mut packed = AlignedVec::zeroed(n * k);
        for (at, w) in packed.as_mut_slice().iter_mut().enumerate() {
            *w = filters[at % n * k + at / n];
        }
        let mut held = AlignedVec::zeroed(n);
        held.as_mut_slice().iter_mut().zip(bias.into_iter().flatten()).for_each(|(to, b)| *to = *b);
        OrderedConv { isa, shape: *shape, weights: packed, bias: held }
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        pick(BLOCK, self.isa).name
    }

    /// Convolves NHWC `input` into `out`, clamped to `range`.
    ///
    /// # Panics
    /// If the input or the output is shorter than the shape says.
    pub fn run(&self, pool: &ThreadPool, input: &[f32], out: &mut [f32], range: (f32, f32)) {
        let s = &self.shape;
        assert!(input.len() >= s.input_len() && out.len() >= s.output_len(), "sizes of the convolution");
        let k = s.k_h * s.k_w * s.in_c;
        let run = pick(BLOCK, self.isa).run;
        let (weights, bias) = (self.weights.as_slice(), self.bias.as_slice());
        let shared = Shared::new(out);
        let pixels = s.rows();
        pool.run_chunks(pixels.div_ceil(ROWS), 4096 / (k * s.out_c + 1) + 1, &|blocks| {
            let mut patch = [0.0f32; ROWS * ORDERED_PRODUCTS];
            let patch = &mut patch[..ROWS * k];
            for b in blocks {
                let first = b * ROWS;
                let rows = (pixels - first).min(ROWS);
                for r in 0..rows {
                    gather(s, input, first + r, &mut patch[r * k..][..k]);
                }
                // SAFETY: picked through an `Isa`; the block's pixels are inside the output, whose length is checked above,
                // and belong to this task alone.
                unsafe { run(patch, weights, bias, range, shared.at(first * s.out_stride), s.out_stride, rows) };
            }
        });
    }
}

/// Copies what the window of a pixel sees; outside of the image it sees 0.
fn gather(s: &ConvShape, input: &[f32], pixel: usize, patch: &mut [f32]) {
    let (x, row) = (pixel % s.out_w, pixel / s.out_w);
    let (y, image) = (row % s.out_h, row / s.out_h);
    for (ky, line) in patch.chunks_exact_mut(s.k_w * s.in_c).enumerate() {
        let iy = (y * s.stride.0 + ky * s.dilation.0).wrapping_sub(s.pad_top);
        if iy >= s.in_h {
            line.fill(0.0);
            continue;
        }
        let start = (image * s.in_h + iy) * s.in_w;
        let left = (x * s.stride.1).wrapping_sub(s.pad_left);
        let inside = left < s.in_w && left + s.k_w <= s.in_w;
        if inside && s.dilation.1 == 1 && s.in_stride == s.in_c {
            line.copy_from_slice(&input[(start + left) * s.in_c..][..line.len()]);
            continue;
        }
        for (kx, to) in line.chunks_exact_mut(s.in_c).enumerate() {
            let ix = (x * s.stride.1 + kx * s.dilation.1).wrapping_sub(s.pad_left);
            match ix < s.in_w {
                true => to.copy_from_slice(&input[(start + ix) * s.in_stride..][..s.in_c]),
                false => to.fill(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::Rng;

    #[test]
    fn every_kernel_equals_the_definition_bit_for_bit() {
        let mut r = Rng::new(5);
        for round in 0..60 {
            let (in_c, k_h, k_w) = (r.usize(1, 4), r.usize(1, 4), r.usize(1, 4));
            if in_c * k_h * k_w > ORDERED_PRODUCTS {
                continue;
            }
            let mut s =
                ConvShape::new(r.usize(1, 3), [r.usize(6, 12), r.usize(6, 12), in_c], [k_h, k_w], r.usize(1, 40));
            if round % 2 == 0 {
                (s.pad_top, s.pad_left, s.stride) = (k_h / 2, k_w / 2, (2, 2));
                (s.out_h, s.out_w) = (s.in_h.div_ceil(2), s.in_w.div_ceil(2));
            }
            let k = in_c * k_h * k_w;
            let (input, filters, bias) = (r.f32s(s.input_len()), r.f32s(s.out_c * k), r.f32s(s.out_c));
            let mut want = vec![0.0; s.output_len()];
            for (p, out) in want.chunks_exact_mut(s.out_c).enumerate() {
                let mut patch = vec![0.0; k];
                gather(&s, &input, p, &mut patch);
                for (j, y) in out.iter_mut().enumerate() {
                    let sum = patch.iter().zip(&filters[j * k..][..k]).fold(0.0f32, |sum, (x, w)| sum + x * w);
                    *y = (sum + bias[j]).clamp(-0.75, 6.0);
                }
            }
            for isa in Isa::available() {
                for threads in [1, 2] {
                    let mut out = vec![9.0; want.len()];
                    let packed = OrderedConv::pack(isa, &s, &filters, Some(&bias));
                    packed.run(&ThreadPool::new(threads), &input, &mut out, (-0.75, 6.0));
                    assert_eq!(out, want, "{s:?} {}", packed.kernel());
                }
            }
        }
    }
}
