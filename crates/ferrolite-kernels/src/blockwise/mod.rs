//! Products with weights that have a scale per block of a row.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod vnni;

use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;

/// int8 weights of shape (units, blocks · block) with their scales of shape (units, blocks).
#[derive(Clone, Debug)]
pub struct BlockwiseI8 {
    blocks: usize,
    block: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Rows(Rows),
    /// Weights of four bits, sixteen units side by side.
    #[cfg(target_arch = "x86_64")]
    Nibbles(vnni::Packed),
}

/// What belongs to the rows of a product: their quantization, and how results become outputs.
#[derive(Clone, Copy, Debug)]
pub struct BlockwiseOut<'a> {
    /// A scale per row of activations.
    pub scales: &'a [f32],
    /// A zero point per row, in the range of i8.
    pub zero_points: &'a [i32],
    /// One per unit, zeros if absent.
    pub bias: Option<&'a [f32]>,
    /// The lower and the upper bound.
    pub range: (f32, f32),
}

impl BlockwiseOut<'_> {
    /// `clamp(sum · scale of the row + bias)`; NaN stays.
    #[inline(always)]
    fn finish(&self, sum: f32, row: usize, unit: usize) -> f32 {
        let y = sum * self.scales[row] + self.bias.map_or(0.0, |b| b[unit]);
        let y = if y < self.range.0 { self.range.0 } else { y };
        if y > self.range.1 { self.range.1 } else { y }
    }
}

/// Products per task at least.
const GRAIN: usize = 1 << 15;

impl BlockwiseI8 {
    /// For the best kernel of `isa`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn new(isa: Isa, weights: Vec<i8>, scales: Vec<f32>, blocks: usize, block: usize) -> BlockwiseI8 {
        assert!(blocks > 0 && block > 0 && scales.len().is_multiple_of(blocks));
        assert_eq!(scales.len() * block, weights.len());
        #[cfg(target_arch = "x86_64")]
        if vnni::suits(isa, &weights, block) {
            let packed = vnni::Packed::new(&weights, &scales, blocks, block);
            return BlockwiseI8 { blocks, block, form: Form::Nibbles(packed) };
        }
        let sums = weights.chunks_exact(block).map(|w| w.iter().map(|&w| i32::from(w)).sum()).collect();
        BlockwiseI8 { blocks, block, form: Form::Rows(Rows { isa, weights, scales, sums, blocks, block }) }
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &'static str {
        match &self.form {
            Form::Rows(rows) => pick(DOT, rows.isa).name,
            #[cfg(target_arch = "x86_64")]
            Form::Nibbles(_) => "blockwise_i4_4x16_avx512vnni",
        }
    }

    /// For every row of `x` and every unit `Σ_blocks scale · Σ (x − zero_point) · w`, blocks in rising order, times the row's
    /// scale, plus the bias, clamped.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn product(&self, pool: &ThreadPool, x: &[i8], how: &BlockwiseOut<'_>, out: &mut [f32]) {
        let (rows, depth) = (how.scales.len(), self.blocks * self.block);
        assert!(x.len() == rows * depth && how.zero_points.len() == rows, "rows of {depth}");
        if rows == 0 {
            return;
        }
        let units = out.len() / rows;
        assert!(out.len() == rows * units && how.bias.is_none_or(|b| b.len() == units));
        match &self.form {
            Form::Rows(w) => {
                assert_eq!(w.weights.len(), units * depth);
                let out = Shared::new(out);
                for (row, x) in x.chunks_exact(depth).enumerate() {
                    pool.run_chunks(units, GRAIN.div_ceil(depth), &|range| {
                        // SAFETY: units are this task's alone.
                        let out = unsafe { out.part(row * units + range.start..row * units + range.end) };
                        for (unit, y) in range.zip(out) {
                            *y = how.finish(w.dot(x, how.zero_points[row], unit), row, unit);
                        }
                    });
                }
            }
            #[cfg(target_arch = "x86_64")]
            Form::Nibbles(w) => w.product(pool, x, how, units, out),
        }
    }
}

/// Weights as they came.
#[derive(Clone, Debug)]
struct Rows {
    isa: Isa,
    weights: Vec<i8>,
    scales: Vec<f32>,
    /// Sum of each block's weights, for the input's zero point.
    sums: Vec<i32>,
    blocks: usize,
    block: usize,
}

impl Rows {
    /// The sum of a unit. `x` is a row's length.
    fn dot(&self, x: &[i8], zero_point: i32, unit: usize) -> f32 {
        let rows = unit * self.blocks..(unit + 1) * self.blocks;
        let w = &self.weights[unit * x.len()..][..x.len()];
        let (scales, sums) = (&self.scales[rows.clone()], &self.sums[rows]);
        let (x, w, s, sums) = (x.as_ptr(), w.as_ptr(), scales.as_ptr(), sums.as_ptr());
        // SAFETY: picked through an `Isa`; the slices have the lengths that the body reads.
        unsafe { (pick(DOT, self.isa).run)(x, w, s, sums, self.blocks, self.block, zero_point) }
    }
}

crate::simd::isa_table!(
    DOT = F "blockwise_i8" dot(x: *const i8, w: *const i8, scales: *const f32, sums: *const i32, blocks: usize, block: usize, zero: i32) -> f32
);

/// The vector type only says for which instruction set the loop is compiled: it is plain enough to be vectorized.
///
/// # Safety
/// `x` and `w` have `blocks · block` elements, `scales` and `sums` have `blocks`; the CPU has `V`'s instruction set.
#[inline(always)]
unsafe fn dot<V: F32v>(
    x: *const i8,
    w: *const i8,
    scales: *const f32,
    sums: *const i32,
    blocks: usize,
    block: usize,
    zero: i32,
) -> f32 {
    // SAFETY: the caller's contract.
    let (x, w) =
        unsafe { (std::slice::from_raw_parts(x, blocks * block), std::slice::from_raw_parts(w, blocks * block)) };
    // SAFETY: the caller's contract.
    let (scales, sums) =
        unsafe { (std::slice::from_raw_parts(scales, blocks), std::slice::from_raw_parts(sums, blocks)) };
    let mut total = 0.0;
    let pairs = x.chunks_exact(block).zip(w.chunks_exact(block));
    for ((x, w), (scale, sum)) in pairs.zip(scales.iter().zip(sums)) {
        let products = x.iter().zip(w).map(|(&x, &w)| i32::from(i16::from(x) * i16::from(w)));
        let dot = products.fold(0i32, i32::wrapping_add);
        total += dot.wrapping_sub(zero.wrapping_mul(*sum)) as f32 * scale;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::Rng;

    #[test]
    fn every_isa_sums_blocks_by_their_scales() {
        let mut r = Rng::new(17);
        let pools = [ThreadPool::new(1), ThreadPool::new(2)];
        for (i, &(rows, units, blocks, block)) in
            [(1, 1, 1, 1), (1, 16, 2, 32), (5, 33, 3, 8), (4, 40, 2, 128), (2, 7, 4, 6), (9, 100, 2, 64)]
                .iter()
                .enumerate()
        {
            let depth = blocks * block;
            for four_bits in [true, false] {
                let narrow = |w: i8| if four_bits { w >> 4 } else { w };
                let w: Vec<i8> = r.i8s(units * depth).into_iter().map(narrow).collect();
                let (x, scales, row_scales) = (r.i8s(rows * depth), r.f32s(units * blocks), r.f32s(rows));
                let zero_points: Vec<i32> = (0..rows).map(|_| r.range(-128, 128)).collect();
                let bias = r.f32s(units);
                let how = BlockwiseOut {
                    scales: &row_scales,
                    zero_points: &zero_points,
                    bias: (i % 2 == 0).then_some(&bias),
                    range: (-50.0, 100.0),
                };
                let want: Vec<f32> = (0..rows * units)
                    .map(|at| {
                        let (row, unit) = (at / units, at % units);
                        let mut sum = 0.0f32;
                        for b in 0..blocks {
                            let at = |k: usize| {
                                let x = i32::from(x[row * depth + b * block + k]) - zero_points[row];
                                x * i32::from(w[unit * depth + b * block + k])
                            };
                            sum += (0..block).map(at).sum::<i32>() as f32 * scales[unit * blocks + b];
                        }
                        (sum * row_scales[row] + how.bias.map_or(0.0, |b| b[unit])).clamp(-50.0, 100.0)
                    })
                    .collect();
                for isa in Isa::available() {
                    let packed = BlockwiseI8::new(isa, w.clone(), scales.clone(), blocks, block);
                    let mut out = vec![0.0; rows * units];
                    packed.product(&pools[i % 2], &x, &how, &mut out);
                    assert_eq!(out, want, "{isa} {rows} {units} {blocks} {block}");
                }
            }
        }
    }
}
