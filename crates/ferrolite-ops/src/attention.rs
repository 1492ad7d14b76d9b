//! Attention as one kernel: BATCH_MATMUL, binary operators on the scores (scaling, masks), SOFTMAX, BATCH_MATMUL.

use crate::batch_matmul::{Problem, problem};
use crate::op::{Io, Kernel, NodeView, OpDef};
use crate::softmax::beta;
use crate::{OpError, ensure};
use ferrolite_kernels::{Attention, AttentionShape, Binary, Head, Isa, Layout, ScoreStep};
use ferrolite_model::TensorType::Float32;
use smallvec::SmallVec;

/// The nodes, each of which takes the result of the one before, or another shape of it.
pub struct Chain<'a> {
    /// Queries · keys.
    pub scores: NodeView<'a>,
    /// What is done to the scores, with the input that they are.
    pub steps: Vec<(&'a dyn OpDef, NodeView<'a>, usize)>,
    /// Their softmax.
    pub softmax: NodeView<'a>,
    /// Softmax · values.
    pub output: NodeView<'a>,
}

/// Positions of the operands among the inputs of the kernel.
pub struct Operands {
    /// Of the queries, keys and values.
    pub matrices: [usize; 3],
    /// Of each step's other operand.
    pub others: Vec<usize>,
}

struct Step {
    op: Binary,
    swapped: bool,
    range: (f32, f32),
    heads: Vec<usize>,
    len: usize,
    step: usize,
    elements: usize,
}

struct Plan {
    shape: AttentionShape,
    heads: Vec<Head>,
    steps: Vec<Step>,
    /// Elements of the queries, keys, values and the output.
    elements: [usize; 4],
}

impl Chain<'_> {
    /// Whether there is a kernel for it.
    pub fn is_supported(&self) -> bool {
        self.plan().is_some()
    }

    fn plan(&self) -> Option<Plan> {
        let (scores, output) = (float_problem(&self.scores)?, float_problem(&self.output)?);
        let (m, n, batches) = (scores.m, scores.n, scores.batches());
        let fits = (output.m, output.k, output.batches(), output.left_count) == (m, n, batches, batches);
        let in_order = || (0..batches).all(|b| output.operands(b).0 == b);
        let soft = self.softmax.input(0).ok()?;
        if !fits || !in_order() || soft.ty != Float32 || soft.shape.last() != Some(&n) {
            return None;
        }
        let head = |b: usize| {
            let (queries, keys) = scores.operands(b);
            Head { queries, keys, values: output.operands(b).1 }
        };
        let layout = |p: &Problem| if p.adj_y { Layout::RowsOfK } else { Layout::RowsOfN };
        let elements = |node: &NodeView<'_>, i: usize| node.input(i).ok().map(|t| t.elements());
        Some(Plan {
            shape: AttentionShape {
                queries: m,
                keys: n,
                depth: scores.k,
                width: output.n,
                key_layout: layout(&scores),
                value_layout: layout(&output),
            },
            heads: (0..batches).map(head).collect(),
            steps: self.steps.iter().map(|(op, node, i)| step(*op, node, *i, m, n)).collect::<Option<_>>()?,
            elements: [
                elements(&self.scores, 0)?,
                elements(&self.scores, 1)?,
                elements(&self.output, 1)?,
                batches * m * output.n,
            ],
        })
    }

    /// The kernel, with the output of the last node as its only output.
    pub fn prepare(&self, operands: Operands, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
        let plan = self.plan().ok_or_else(|| OpError::unsupported("no attention kernel takes these nodes"))?;
        ensure!(operands.others.len() == plan.steps.len(), "{} operands", operands.others.len());
        let kernel = Attention::new(isa, plan.shape, beta(&self.softmax));
        Ok(Box::new(Fused { name: format!("attention/{}", kernel.kernel()), kernel, plan, operands }))
    }
}

/// The sizes of a product of floats with an upright left operand and something to compute.
fn float_problem(node: &NodeView<'_>) -> Option<Problem> {
    let float =
        [node.input(0), node.input(1), node.output(0)].iter().all(|t| t.as_ref().is_ok_and(|t| t.ty == Float32));
    let plain = node.input(1).is_ok_and(|y| y.sparsity.is_none());
    problem(node).ok().filter(|p| float && plain && !p.adj_x && p.batches() * p.m * p.n * p.k > 0)
}

/// A binary operator on scores of `m` rows and `n` columns, which are its input `chained`.
fn step(op: &dyn OpDef, node: &NodeView<'_>, chained: usize, m: usize, n: usize) -> Option<Step> {
    let (scores, other, output) = (node.input(chained).ok()?, node.input(1 - chained).ok()?, node.output(0).ok()?);
    let (binary, range) = op.binary_f32(node)?;
    if scores.ty != Float32 || output.shape != scores.shape || !scores.shape.ends_with(&[m, n]) {
        return None;
    }
    let rank = scores.shape.len();
    // From the last dimension: size of the operand, and the distance of its neighbours.
    let mut dims: SmallVec<[(usize, usize); 6]> = SmallVec::new();
    let mut step = 1usize;
    for back in 0..rank {
        let size = other.shape.len().checked_sub(back + 1).map_or(1, |i| other.shape[i]);
        dims.push((size, if size == 1 { 0 } else { step }));
        step = step.checked_mul(size)?;
    }
    let start = |mut head: usize| {
        let mut at = 0;
        for (&size, &(_, step)) in scores.shape[..rank - 2].iter().rev().zip(&dims[2..]) {
            at += head % size * step;
            head /= size;
        }
        at
    };
    let heads = scores.shape[..rank - 2].iter().product::<usize>();
    Some(Step {
        op: binary,
        swapped: chained == 1,
        range,
        heads: (0..heads).map(start).collect(),
        len: dims[0].0,
        step: dims[1].1,
        elements: other.elements(),
    })
}

struct Fused {
    name: String,
    kernel: Attention,
    plan: Plan,
    operands: Operands,
}

impl Kernel for Fused {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let get = |i: usize| io.input(i)?.slice::<f32>();
        let [queries, keys, values] = self.operands.matrices;
        let (q, k, v) = (get(queries)?, get(keys)?, get(values)?);
        let mut steps: SmallVec<[ScoreStep<'_>; 4]> = SmallVec::new();
        for (step, &i) in self.plan.steps.iter().zip(&self.operands.others) {
            let other = get(i)?;
            ensure!(other.len() == step.elements, "a kernel was prepared for other shapes");
            let Step { op, swapped, range, heads, len, step, .. } = step;
            let (op, swapped, len, step, range) = (*op, *swapped, *len, *step, *range);
            steps.push(ScoreStep { op, swapped, other, heads, len, step, range });
        }
        let out = io.outputs[0].slice::<f32>()?;
        let fits = [q.len(), k.len(), v.len(), out.len()] == self.plan.elements;
        ensure!(fits, "a kernel was prepared for other shapes");
        self.kernel.run(io.pool, &self.plan.heads, (q, k, v), &steps, out);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
