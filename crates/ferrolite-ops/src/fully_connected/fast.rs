//! Fast kernels: one matrix product.

use super::blockwise::BLOCKWISE;
use super::infer::{is_shuffled, options, problem};
use super::reference::linear;
use super::swapped::SWAPPED;
use crate::common::fast_linear::{Plan, Product, types_supported};
use crate::op::{FastKernel, NodeView};

/// One kernel for float, int8, uint8 and hybrid, one for training, and one for weights with a scale per block.
pub const FAST: &[FastKernel] = &[BLOCKWISE, SWAPPED, GEMM];

const GEMM: FastKernel = FastKernel {
    name: "gemm",
    supports,
    prepare: |node, isa| {
        let p = problem(node)?;
        let product = Product::Matrix { m: p.rows, k: p.depth, n: p.units };
        Plan { name: "fully_connected", linear: linear(node, p)?, product, groups: 1, rows: p.rows }.prepare(node, isa)
    },
};

fn supports(node: &NodeView<'_>) -> bool {
    let Ok(p) = problem(node) else { return false };
    options(node).is_ok_and(|o| !is_shuffled(&o))
        && p.rows * p.depth * p.units > 0
        && linear(node, p).is_ok_and(|linear| types_supported(node, &linear))
}
