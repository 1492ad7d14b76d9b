//! Weights of four bits on AVX-512 VNNI: sixteen units side by side, two weights in a byte.
//!
//! A panel is for every block of its units: their scales, their pairs (the sum of the block's weights, and 8), and for eight
//! elements of depth a line of bytes w + 8 of the first four in the lower and of the second four in the upper half. With the
//! pair of a row (−zero point, −sum of the block's activations) one `vpdpwssd` takes off what w + 8 and the zero point put on.
#![allow(unsafe_code)]
// The kernel is unsafe under one contract: AVX-512 with VNNI, addresses good for whole panels, rows and lines of results.
#![allow(unsafe_op_in_unsafe_fn)]

use super::{BlockwiseOut, GRAIN};
use crate::isa::{Isa, Level};
use crate::mem::{AlignedVec, Shared, with_scratch};
use crate::pool::ThreadPool;
use std::arch::x86_64::*;

/// Units of a panel.
const LANES: usize = 16;
/// Rows that share the unpacking of a panel.
const ROWS: usize = 4;
/// The greatest block whose sums fit 16 bits.
const MAX_BLOCK: usize = 128;

/// Whether weights fit this kernel.
pub(super) fn suits(isa: Isa, weights: &[i8], block: usize) -> bool {
    let sizes = block.is_multiple_of(8) && block <= MAX_BLOCK;
    isa.level() >= Level::Avx512Vnni && sizes && weights.iter().all(|w| (-8..8).contains(w))
}

#[derive(Clone, Debug)]
pub(super) struct Packed {
    data: AlignedVec<i32>,
    units: usize,
    blocks: usize,
    block: usize,
}

impl Packed {
    pub(super) fn new(weights: &[i8], scales: &[f32], blocks: usize, block: usize) -> Packed {
        let (units, lines) = (scales.len() / blocks, 2 + block / 8);
        let mut data = AlignedVec::zeroed(units.div_ceil(LANES) * blocks * lines * LANES);
        let parts = data.as_mut_slice().chunks_exact_mut(lines * LANES);
        for (at, part) in parts.enumerate() {
            let (panel, b) = (at / blocks, at % blocks);
            for lane in 0..LANES.min(units - panel * LANES) {
                let row = (panel * LANES + lane) * blocks + b;
                let w = &weights[row * block..][..block];
                let sum: i32 = w.iter().map(|&w| i32::from(w)).sum();
                part[lane] = scales[row].to_bits() as i32;
                part[LANES + lane] = sum & 0xFFFF | 8 << 16;
                for (eight, line) in w.chunks_exact(8).zip(part[2 * LANES..].chunks_exact_mut(LANES)) {
                    let byte = |i: usize| (eight[i] + 8) as u8 | ((eight[i + 4] + 8) as u8) << 4;
                    line[lane] = i32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]);
                }
            }
        }
        Packed { data, units, blocks, block }
    }

    fn panel_len(&self) -> usize {
        self.blocks * (2 + self.block / 8) * LANES
    }

    /// See [`super::BlockwiseI8::product`], which has checked the sizes but `units`.
    pub(super) fn product(&self, pool: &ThreadPool, x: &[i8], how: &BlockwiseOut<'_>, units: usize, out: &mut [f32]) {
        assert_eq!(units, self.units, "units of the weights");
        let (rows, depth) = (how.scales.len(), self.blocks * self.block);
        with_scratch(|s| {
            let pairs = s.extra.typed::<i32>(rows * self.blocks);
            for ((x, pairs), zero) in
                x.chunks_exact(depth).zip(pairs.chunks_exact_mut(self.blocks)).zip(how.zero_points)
            {
                for (x, pair) in x.chunks_exact(self.block).zip(pairs) {
                    let sum: i32 = x.iter().map(|&x| i32::from(x)).sum();
                    *pair = -zero & 0xFFFF | -sum << 16;
                }
            }
            let (pairs, out) = (&*pairs, Shared::new(out));
            let panels = units.div_ceil(LANES);
            let grain = GRAIN / (LANES * depth * rows).max(1) + 1;
            pool.run_chunks(panels, grain, &|range| {
                for p in range {
                    let panel = &self.data.as_slice()[p * self.panel_len()..][..self.panel_len()];
                    let lanes = (units - p * LANES).min(LANES);
                    for first in (0..rows).step_by(ROWS) {
                        let n = (rows - first).min(ROWS);
                        let (x, pairs) = (&x[first * depth..], &pairs[first * self.blocks..]);
                        let mut sums = [[0f32; LANES]; ROWS];
                        // SAFETY: chosen by `suits` through an `Isa`; the slices hold a panel, and `n` rows of `x` and pairs.
                        unsafe {
                            let (x, pairs) = (x.as_ptr(), pairs.as_ptr());
                            match n {
                                1 => self.sums::<1>(panel.as_ptr(), x, pairs, &mut sums),
                                2 => self.sums::<2>(panel.as_ptr(), x, pairs, &mut sums),
                                3 => self.sums::<3>(panel.as_ptr(), x, pairs, &mut sums),
                                _ => self.sums::<4>(panel.as_ptr(), x, pairs, &mut sums),
                            }
                        }
                        for (r, sums) in sums.iter().enumerate().take(n) {
                            let row = first + r;
                            let at = row * units + p * LANES;
                            // SAFETY: the units of a panel are this task's alone.
                            let out = unsafe { out.part(at..at + lanes) };
                            for (i, (y, sum)) in out.iter_mut().zip(sums).enumerate() {
                                *y = how.finish(*sum, row, p * LANES + i);
                            }
                        }
                    }
                }
            });
        });
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn sums<const MR: usize>(
        &self,
        mut panel: *const i32,
        x: *const i8,
        pairs: *const i32,
        out: &mut [[f32; LANES]; ROWS],
    ) {
        let (lower, upper) = (_mm512_set1_epi8(0x0F), _mm512_set1_epi8(0xF0u8 as i8));
        let depth = self.blocks * self.block;
        let mut totals = [_mm512_setzero_ps(); MR];
        for b in 0..self.blocks {
            let scale = _mm512_loadu_ps(panel.cast());
            let own = _mm512_loadu_si512(panel.add(LANES).cast());
            panel = panel.add(2 * LANES);
            let mut low = [_mm512_setzero_si512(); MR];
            let mut high = [_mm512_setzero_si512(); MR];
            for i in (0..self.block).step_by(8) {
                let w = _mm512_loadu_si512(panel.cast());
                panel = panel.add(LANES);
                let (first, second) = (_mm512_and_si512(w, lower), _mm512_and_si512(w, upper));
                for r in 0..MR {
                    let at = x.add(r * depth + b * self.block + i).cast::<i32>();
                    low[r] = _mm512_dpbusd_epi32(low[r], first, _mm512_set1_epi32(at.read_unaligned()));
                    high[r] = _mm512_dpbusd_epi32(high[r], second, _mm512_set1_epi32(at.add(1).read_unaligned()));
                }
            }
            for r in 0..MR {
                // The upper halves were read as 16 times what they are.
                let sum = _mm512_add_epi32(low[r], _mm512_srai_epi32::<4>(high[r]));
                let pair = _mm512_set1_epi32(*pairs.add(r * self.blocks + b));
                let sum = _mm512_cvtepi32_ps(_mm512_dpwssd_epi32(sum, own, pair));
                totals[r] = _mm512_add_ps(totals[r], _mm512_mul_ps(sum, scale));
            }
        }
        for (total, out) in totals.iter().zip(out) {
            _mm512_storeu_ps(out.as_mut_ptr(), *total);
        }
    }
}
