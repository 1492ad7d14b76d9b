//! Attention: softmax(f(queries · keys)) · values, some rows at a time, so that scores never leave the cache.
#![allow(unsafe_code)]

use crate::elementwise::{Binary, RowsF32, binary_f32_inplace, softmax_rows_inplace};
use crate::gemm::Layout;
use crate::gemm_f32::{EpilogueF32, PackF32, gemm_f32};
use crate::isa::Isa;
use crate::mem::{Shared, with_scratch};
use crate::pool::{ThreadPool, chunk};

/// Bytes of scores that are worked on at a time.
const TILE_BYTES: usize = 24 << 10;
/// Row blocks of every float kernel divide this.
const ROWS: usize = 42;

/// Sizes of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Queries.
    pub queries: usize,
    /// Keys and values.
    pub keys: usize,
    /// Elements of a query and a key.
    pub depth: usize,
    /// Elements of a value.
    pub width: usize,
    /// How the keys lie: `RowsOfK` for one after another.
    pub key_layout: Layout,
    /// How the values lie: `RowsOfN` for one after another.
    pub value_layout: Layout,
}

/// Which matrices make up one head; its output follows that of the head before.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Which of the query matrices.
    pub queries: usize,
    /// Which of the key matrices.
    pub keys: usize,
    /// Which of the value matrices.
    pub values: usize,
}

/// A step between the scores and their softmax: scores = clamp(op(scores, other)).
#[derive(Clone, Copy, Debug)]
pub struct ScoreStep<'a> {
    /// The operation.
    pub op: Binary,
    /// The other operand comes first.
    pub swapped: bool,
    /// The other operand.
    pub other: &'a [f32],
    /// Where its part for each head begins.
    pub heads: &'a [usize],
    /// Elements of its row: one or as many as there are keys.
    pub len: usize,
    /// Elements from one query's row to the next.
    pub step: usize,
    /// Bounds of the result.
    pub range: (f32, f32),
}

/// Attention of one shape.
#[derive(Clone, Debug)]
pub struct Attention {
    isa: Isa,
    shape: AttentionShape,
    beta: f32,
    keys: PackF32,
    values: PackF32,
    /// Parts that the queries of a head are cut into.
    tiles: usize,
}

impl Attention {
    /// Of this shape; `beta` is softmax's.
    ///
    /// # Panics
    /// If a size is 0 or a product of sizes overflows.
    pub fn new(isa: Isa, shape: AttentionShape, beta: f32) -> Attention {
        let AttentionShape { queries, keys, depth, width, .. } = shape;
        assert!(queries > 0 && keys > 0 && depth > 0 && width > 0, "{shape:?}");
        let rows = (TILE_BYTES / 4 / keys / ROWS).max(1) * ROWS;
        let packed = (PackF32::new(isa, keys, 1, depth), PackF32::new(isa, width, 1, keys));
        assert!(rows.checked_mul(keys).is_some(), "a tile of {keys} keys overflows");
        Attention { isa, shape, beta, keys: packed.0, values: packed.1, tiles: queries.div_ceil(rows) }
    }

    /// The name of the kernel of the products.
    pub fn kernel(&self) -> &'static str {
        self.keys.kernel()
    }

    /// Computes all heads.
    ///
    /// # Panics
    /// If an operand is too short for a head, or the output is not as long as all heads' are.
    pub fn run(
        &self,
        pool: &ThreadPool,
        heads: &[Head],
        (queries, keys, values): (&[f32], &[f32], &[f32]),
        steps: &[ScoreStep<'_>],
        out: &mut [f32],
    ) {
        let AttentionShape { queries: m, keys: n, depth, width, .. } = self.shape;
        assert_eq!(out.len(), heads.len() * m * width, "the output of {} heads", heads.len());
        let line = |len: usize| len.next_multiple_of(16);
        let (packed_keys, packed_values) = (line(self.keys.packed_len()), line(self.values.packed_len()));
        let most = m.div_ceil(self.tiles);
        let shared = Shared::new(out);
        // Few heads are cut, though each part packs the keys and values anew.
        let cuts = if heads.len() >= 2 * pool.threads() { 1 } else { self.tiles.min(2 * pool.threads()) };
        let tasks = if pool.threads() == 1 { 1 } else { heads.len() * cuts };
        pool.run(tasks, &|task| {
            let (range, tiles) = match tasks {
                1 => (0..heads.len(), 0..self.tiles),
                _ => (task / cuts..task / cuts + 1, chunk(self.tiles, cuts, task % cuts)),
            };
            with_scratch(|scratch| {
                let memory = scratch.extra.typed::<f32>(packed_keys + packed_values + most * n);
                let (k, rest) = memory.split_at_mut(packed_keys);
                let (v, scores) = rest.split_at_mut(packed_values);
                for head in range.clone() {
                    let Head { queries: q, keys: key, values: value } = heads[head];
                    let k = self.keys.pack(&keys[key * n * depth..][..n * depth], self.shape.key_layout, None, k);
                    let v =
                        self.values.pack(&values[value * n * width..][..n * width], self.shape.value_layout, None, v);
                    for tile in tiles.clone() {
                        let rows = chunk(m, self.tiles, tile);
                        let q = &queries[(q * m + rows.start) * depth..][..rows.len() * depth];
                        let scores = &mut scores[..rows.len() * n];
                        gemm_f32(pool, q, rows.len(), depth, k, scores, n, EpilogueF32::default());
                        for step in steps {
                            let data = &step.other[step.heads[head] + rows.start * step.step..];
                            let other = RowsF32 { data, len: step.len, step: step.step };
                            binary_f32_inplace(self.isa, step.op, step.swapped, rows.len(), other, scores, step.range);
                        }
                        softmax_rows_inplace(self.isa, scores, n, self.beta);
                        let at = (head * m + rows.start) * width;
                        // SAFETY: no other task has these rows of this head.
                        let out = unsafe { shared.part(at..at + rows.len() * width) };
                        gemm_f32(pool, scores, rows.len(), n, v, out, width, EpilogueF32::default());
                    }
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::Rng;

    #[test]
    fn equals_its_definition() {
        let mut r = Rng::new(77);
        for (threads, heads, m, n, depth, width) in [(1, 2, 5, 7, 4, 3), (2, 1, 200, 335, 20, 17), (2, 6, 43, 1, 8, 8)]
        {
            let pool = ThreadPool::new(threads);
            let (q, k, v) = (r.f32s(heads * m * depth), r.f32s(heads * n * depth), r.f32s(heads * n * width));
            let (mask, scale, starts) = (r.f32s(heads * n), [0.5], (0..heads).map(|h| h * n).collect::<Vec<_>>());
            let mut want = vec![0.0; heads * m * width];
            for row in 0..heads * m {
                let h = row / m;
                let score = |j: usize| {
                    let dot: f32 = (0..depth).map(|d| q[row * depth + d] * k[(h * n + j) * depth + d]).sum();
                    (dot * 0.5 + mask[h * n + j]).exp()
                };
                let e: Vec<f32> = (0..n).map(score).collect();
                let sum: f32 = e.iter().sum();
                for (c, y) in want[row * width..][..width].iter_mut().enumerate() {
                    *y = (0..n).map(|j| e[j] / sum * v[(h * n + j) * width + c]).sum();
                }
            }
            let list: Vec<_> = (0..heads).map(|h| Head { queries: h, keys: h, values: h }).collect();
            let (zeros, range) = (vec![0; heads], (f32::NEG_INFINITY, f32::INFINITY));
            let steps = [
                ScoreStep { op: Binary::Mul, swapped: true, other: &scale, heads: &zeros, len: 1, step: 0, range },
                ScoreStep { op: Binary::Add, swapped: false, other: &mask, heads: &starts, len: n, step: 0, range },
            ];
            for isa in Isa::available() {
                let (key_layout, value_layout) = (Layout::RowsOfK, Layout::RowsOfN);
                let shape = AttentionShape { queries: m, keys: n, depth, width, key_layout, value_layout };
                let mut out = vec![0.0; want.len()];
                Attention::new(isa, shape, 1.0).run(&pool, &list, (&q, &k, &v), &steps, &mut out);
                assert!(out.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{shape:?} {isa}");
            }
        }
    }
}
