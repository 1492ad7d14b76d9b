//! Many matrix products of one shape.
#![allow(unsafe_code)]

use crate::gemm::Layout;
use crate::gemm_f32::{EpilogueF32, PackF32, gemm_f32};
use crate::mem::{Shared, with_scratch};
use crate::pool::{ThreadPool, chunk};
use crate::transpose::transpose_into;

/// Products of `m` rows each with right operands that are packed as they come.
#[derive(Clone, Debug)]
pub struct BatchGemmF32 {
    /// Rows.
    pub m: usize,
    /// Columns and depth.
    pub pack: PackF32,
    /// How right operands lie.
    pub layout: Layout,
    /// Left operands are stored as depth × rows.
    pub transposed: bool,
}

impl BatchGemmF32 {
    /// The `i`-th product, of the matrices `operands[i]` of `x` and `w`, goes to the `i`-th matrix of `out`.
    ///
    /// # Panics
    /// If an operand is too short for one of its matrices, or `out` is not as long as all products are.
    pub fn run(&self, pool: &ThreadPool, operands: &[(usize, usize)], x: &[f32], w: &[f32], out: &mut [f32]) {
        let (m, n, k) = (self.m, self.pack.n(), self.pack.k());
        assert_eq!(out.len(), operands.len() * m * n, "the output of {} products", operands.len());
        let shared = Shared::new(out);
        // Where products are few their rows and columns are shared between threads.
        let tasks = if operands.len() >= 2 * pool.threads() { operands.len().min(4 * pool.threads()) } else { 1 };
        pool.run(tasks, &|task| {
            let packed = self.pack.packed_len().next_multiple_of(16);
            with_scratch(|scratch| {
                let memory = scratch.extra.typed::<f32>(packed + if self.transposed { m * k } else { 0 });
                let (packed, upright) = memory.split_at_mut(packed);
                let mut held = None;
                for i in chunk(operands.len(), tasks, task) {
                    let (left, right) = operands[i];
                    if held != Some(right) {
                        self.pack.pack(&w[right * n * k..][..n * k], self.layout, None, packed);
                        held = Some(right);
                    }
                    let mut rows = &x[left * m * k..][..m * k];
                    if self.transposed {
                        transpose_into(self.pack.isa(), rows, m, k, m, upright, k);
                        rows = upright;
                    }
                    // SAFETY: every product has a part of its own.
                    let out = unsafe { shared.part(i * m * n..(i + 1) * m * n) };
                    gemm_f32(pool, rows, m, k, self.pack.view(packed), out, n, EpilogueF32::default());
                }
            });
        });
    }
}
