//! Products with weights that have a scale per block of a row.

#![allow(unsafe_code)]

use crate::isa::{Isa, pick};
use crate::simd::F32v;

/// int8 weights of shape (units, blocks · block) with their scales of shape (units, blocks).
#[derive(Clone, Debug)]
pub struct BlockwiseI8 {
    weights: Vec<i8>,
    scales: Vec<f32>,
    /// Sum of each block's weights, for the input's zero point.
    sums: Vec<i32>,
    blocks: usize,
    block: usize,
}

impl BlockwiseI8 {
    /// # Panics
    /// If the sizes do not fit together.
    pub fn new(weights: Vec<i8>, scales: Vec<f32>, blocks: usize, block: usize) -> BlockwiseI8 {
        assert!(blocks > 0 && block > 0 && scales.len().is_multiple_of(blocks));
        assert_eq!(scales.len() * block, weights.len());
        let sums = weights.chunks_exact(block).map(|w| w.iter().map(|&w| i32::from(w)).sum()).collect();
        BlockwiseI8 { weights, scales, sums, blocks, block }
    }

    /// `Σ_blocks scale · Σ (x − zero_point) · w` for a unit, blocks in rising order.
    ///
    /// # Panics
    /// If `x` is not a row's length, or there is no such unit.
    pub fn dot(&self, isa: Isa, x: &[i8], zero_point: i32, unit: usize) -> f32 {
        assert_eq!(x.len(), self.blocks * self.block);
        let rows = unit * self.blocks..(unit + 1) * self.blocks;
        let w = &self.weights[unit * x.len()..][..x.len()];
        let (scales, sums) = (&self.scales[rows.clone()], &self.sums[rows]);
        // SAFETY: picked through an `Isa`; the slices have the lengths that the body reads.
        unsafe {
            (pick(DOT, isa).run)(
                x.as_ptr(),
                w.as_ptr(),
                scales.as_ptr(),
                sums.as_ptr(),
                self.blocks,
                self.block,
                zero_point,
            )
        }
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

    #[test]
    fn sums_blocks_by_their_scales_on_every_isa() {
        let packed = BlockwiseI8::new(vec![1, 2, 3, 4, -1, -2, -3, -4], vec![1.0, 10.0, 0.5, 2.0], 2, 2);
        for isa in Isa::available() {
            // (2−1)·1 + (3−1)·2 = 5; 10 · ((4−1)·3 + (5−1)·4) = 250
            assert_eq!(packed.dot(isa, &[2, 3, 4, 5], 1, 0), 255.0);
            assert_eq!(packed.dot(isa, &[2, 3, 4, 5], 1, 1), -52.5);
        }
    }
}
