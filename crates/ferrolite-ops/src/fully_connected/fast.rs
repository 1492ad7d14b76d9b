//! Fast kernels: one matrix product.

use super::blockwise::BLOCKWISE;
use super::infer::{is_shuffled, options, problem};
use super::reference::linear;
use super::swapped::SWAPPED;
use crate::OpError;
use crate::common::fast_linear::{Plan, Product, types_supported};
use crate::common::wide;
use crate::op::{FastKernel, NodeView};

/// One kernel for float, int8, uint8 and hybrid, one for int16, one for training, and one for weights with a scale per
/// block.
pub const FAST: &[FastKernel] = &[BLOCKWISE, SWAPPED, GEMM, WIDE];

const GEMM: FastKernel = FastKernel { name: "gemm", supports, prepare: |node, isa| plan(node)?.prepare(node, isa) };

/// int16 activations.
const WIDE: FastKernel = FastKernel {
    name: "gemm_int16",
    supports: |node| usual(node) && plan(node).is_ok_and(|p| wide::supported(node, &p.linear, p.product.depth())),
    prepare: |node, isa| wide::prepare(plan(node)?, node, isa),
};

fn plan(node: &NodeView<'_>) -> Result<Plan, OpError> {
    let p = problem(node)?;
    let product = Product::Matrix { m: p.rows, k: p.depth, n: p.units };
    Ok(Plan { name: "fully_connected", linear: linear(node, p)?, product, groups: 1, rows: p.rows })
}

/// Whether there are products, of weights in their usual order.
fn usual(node: &NodeView<'_>) -> bool {
    let products = problem(node).is_ok_and(|p| p.rows * p.depth * p.units > 0);
    products && options(node).is_ok_and(|o| !is_shuffled(&o))
}

fn supports(node: &NodeView<'_>) -> bool {
    usual(node) && plan(node).is_ok_and(|p| types_supported(node, &p.linear))
}
