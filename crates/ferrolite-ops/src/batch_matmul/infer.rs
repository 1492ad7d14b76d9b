//! Checks and the output shape.

use crate::op::{InferResult, Inferred, NodeView};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use ferrolite_model::schema::BatchMatMulOptionsT;
use smallvec::smallvec;

/// Sizes of the products, and where the matrices of each batch are.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Rows of the left operand and the output.
    pub m: usize,
    /// Columns of the right operand and the output.
    pub n: usize,
    /// Columns of the left and rows of the right operand.
    pub k: usize,
    /// The left operand is stored as k × m.
    pub adj_x: bool,
    /// The right operand is stored as n × k.
    pub adj_y: bool,
    /// Leading dimensions of the output.
    pub leading: Shape,
    /// Matrices between neighbours along each leading dimension of the left operand (0: broadcast).
    pub left: Shape,
    /// The same for the right operand.
    pub right: Shape,
    /// Matrices of the left operand.
    pub left_count: usize,
}

impl Problem {
    /// Matrix products.
    pub fn batches(&self) -> usize {
        self.leading.iter().product()
    }

    /// Which left and right matrices go into the `batch`-th product.
    pub fn operands(&self, mut batch: usize) -> (usize, usize) {
        let (mut left, mut right) = (0, 0);
        for (d, &size) in self.leading.iter().enumerate().rev() {
            left += batch % size * self.left[d];
            right += batch % size * self.right[d];
            batch /= size;
        }
        (left, right)
    }
}

/// The node's options; absent ones are the defaults.
pub fn options(node: &NodeView<'_>) -> BatchMatMulOptionsT {
    node.options.as_batch_mat_mul_options().cloned().unwrap_or_default()
}

/// The sizes, checked.
pub fn problem(node: &NodeView<'_>) -> Result<Problem, OpError> {
    let (x, y) = (&node.input(0)?.shape, &node.input(1)?.shape);
    let options = options(node);
    ensure!(x.len() >= 2 && y.len() >= 2, "operands {x:?} and {y:?} are not matrices");
    let ((x_outer, x_matrix), (y_outer, y_matrix)) = (x.split_at(x.len() - 2), y.split_at(y.len() - 2));
    let flip = |matrix: &[usize], adj: bool| if adj { (matrix[1], matrix[0]) } else { (matrix[0], matrix[1]) };
    let ((m, k), (k2, n)) = (flip(x_matrix, options.adj_x), flip(y_matrix, options.adj_y));
    ensure!(k == k2, "operands {x:?} and {y:?} have inner dimensions {k} and {k2}");
    let rank = x_outer.len().max(y_outer.len());
    // Steps in matrices, right-aligned; dimensions of size 1 are broadcast.
    let steps = |outer: &[usize]| -> (Shape, Shape) {
        let sizes: Shape = std::iter::repeat_n(1, rank - outer.len()).chain(outer.iter().copied()).collect();
        let mut steps = Shape::from_elem(0, rank);
        let mut step = 1;
        for d in (0..rank).rev() {
            steps[d] = if sizes[d] == 1 { 0 } else { step };
            step = step.saturating_mul(sizes[d]);
        }
        (sizes, steps)
    };
    let ((x_sizes, left), (y_sizes, right)) = (steps(x_outer), steps(y_outer));
    let mut leading = Shape::new();
    for (&a, &b) in x_sizes.iter().zip(&y_sizes) {
        ensure!(a == b || a == 1 || b == 1, "leading dimensions of {x:?} and {y:?} do not broadcast");
        leading.push(if a == 1 { b } else { a });
    }
    let left_count = x_outer.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    Ok(Problem { m, n, k, adj_x: options.adj_x, adj_y: options.adj_y, leading, left, right, left_count })
}

/// Output type and shape.
pub fn infer(node: &NodeView<'_>) -> InferResult {
    node.expect(2..=2, 1)?;
    let p = problem(node)?;
    let ty = match (node.input(0)?.ty, node.output(0)?.ty) {
        (TensorType::Int8, TensorType::Int32) => TensorType::Int32,
        (ty, _) => ty,
    };
    let shape = p.leading.iter().copied().chain([p.m, p.n]);
    Ok(smallvec![Inferred::new(ty, shape)])
}
