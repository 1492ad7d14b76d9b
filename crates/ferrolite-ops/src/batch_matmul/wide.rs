//! int16 by constant int8.

use super::fast::Steps;
use super::infer::{Problem, problem};
use super::reference::linear;
use crate::OpError;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::common::wide::{Finish, Halves, split, supported};
use crate::op::{Io, Kernel, NodeView};
use ferrolite_kernels::{Isa, Layout, gemm_i8};

pub fn supports(node: &NodeView<'_>) -> bool {
    let Ok(p) = problem(node) else { return false };
    let plain = !p.adj_x && node.input(1).is_ok_and(|y| y.sparsity.is_none());
    plain && p.batches() * p.m * p.n * p.k > 0 && supported(node, &linear(node, &p), p.k)
}

pub fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let linear = linear(node, &p);
    let finish = Finish { epilogue: linear.epilogue(node)?, narrow: linear.narrow_sums };
    let Some(weights) = constant::<i8>(node.input(1)?)? else {
        return Err(OpError::unsupported("a right operand that is not constant"));
    };
    let layout = if p.adj_y { Layout::RowsOfK } else { Layout::RowsOfN };
    let zero = finish.epilogue.weight_zero_point;
    let pack = |weights: &[i8]| Halves::new(isa, p.n, (1, p.k), layout, zero, weights);
    let operands: Vec<Halves> = weights.chunks_exact(p.k * p.n).map(pack).collect();
    let name = format!("batch_matmul/{} x2", operands[0].kernel());
    Ok(Box::new(Wide { name, steps: Steps::new(&p), operands, finish, inputs: node.input(0)?.elements(), p }))
}

struct Wide {
    name: String,
    p: Problem,
    steps: Steps,
    /// One per right matrix.
    operands: Vec<Halves>,
    finish: Finish,
    inputs: usize,
}

impl Kernel for Wide {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (&Problem { m, n, k, .. }, rows) = (&self.p, self.steps.m);
        let x = io.input(0)?.slice::<i16>()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let (high, low) = (scratch.take::<i8>(self.inputs)?, scratch.take::<i8>(self.inputs)?);
        let (up, down) = (scratch.take::<i32>(rows * n)?, scratch.take::<i32>(rows * n)?);
        split(x, high, low);
        let out = io.outputs[0].slice::<i16>()?;
        for &(left, right, to) in &self.steps.products {
            let from = left * m * k..left * m * k + rows * k;
            self.operands[right].each([&high[from.clone()], &low[from]], [&mut *up, &mut *down], n, |x, w, out| {
                gemm_i8(io.pool, x, rows, k, w, out);
            })?;
            self.finish.run(io.pool, [up, down], None, &mut out[to * m * n..][..rows * n])?;
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let parts = [scratch_size::<i8>(self.inputs), scratch_size::<i32>(self.steps.m * self.p.n)];
        parts.into_iter().fold(0, |n, part| n.saturating_add(part.saturating_mul(2)))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
