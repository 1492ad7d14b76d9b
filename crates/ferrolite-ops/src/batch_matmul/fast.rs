//! Fast kernels: one packed matrix product per right operand.

use super::infer::{Problem, options, problem};
use super::reference::linear;
use super::wide;
use crate::common::linear::{Epilogue, Requant, channel_scales};
use crate::common::operand::{BiasI8, Columns, OperandF32, OperandI8};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_kernels::{
    BatchGemmF32, EpilogueF32, Isa, Layout, OutI8, PackF32, PackI8, gemm_f32, gemm_i8, quantize_rows_asymmetric,
    quantize_rows_symmetric, transpose_into,
};
use ferrolite_model::TensorType::{Float32, Int8};

/// One kernel for float, int8 and hybrid, one for int16 with a constant right operand.
pub const FAST: &[FastKernel] = &[
    FastKernel { name: "gemm", supports, prepare },
    FastKernel { name: "gemm_int16", supports: wide::supports, prepare: wide::prepare },
];

fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(p), Ok(x), Ok(y), Ok(out)) = (problem(node), node.input(0), node.input(1), node.output(0)) else {
        return false;
    };
    let types = [x.ty, y.ty, out.ty];
    let known = types == [Float32; 3] || types == [Int8; 3] || types == [Float32, Int8, Float32];
    known && y.sparsity.is_none() && p.batches() * p.m * p.n * p.k > 0
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let layout = if p.adj_y { Layout::RowsOfK } else { Layout::RowsOfN };
    match (node.input(0)?.ty, node.input(1)?.ty) {
        (Float32, Float32) => {
            let held = constant::<f32>(node.input(1)?)?;
            let matrices = held.as_ref().map_or(1, |w| w.len() / (p.k * p.n));
            let operand = |i: usize| {
                let weights = held.as_ref().map(|w| (&w[i * p.k * p.n..][..p.k * p.n], None));
                OperandF32::new(isa, p.n, (1, p.k), layout, weights)
            };
            let operands: Vec<OperandF32> = (0..matrices).map(operand).collect();
            let name = format!("batch_matmul/{}", operands[0].kernel());
            let steps = Steps::new(&p);
            if held.is_none() && steps.products.len() > 1 {
                let gemm = BatchGemmF32 { m: p.m, pack: PackF32::new(isa, p.n, 1, p.k), layout, transposed: p.adj_x };
                let operands = (0..p.batches()).map(|batch| p.operands(batch)).collect();
                return Ok(Box::new(Batch { name, gemm, operands, elements: p.left_count * p.m * p.k }));
            }
            Ok(Box::new(Float { name, steps, operands, held: held.is_some(), isa, p }))
        }
        (x, _) => {
            let (columns, zeros, epilogue) = if x == Int8 {
                let epilogue = linear(node, &p).epilogue(node)?;
                let fixed = epilogue.requant.iter().map(|r| match r {
                    Requant::Fixed(m) => (m.multiplier, m.shift),
                    Requant::Real(_) => (0, 0),
                });
                let (multiplier, shift) = fixed.unzip();
                let zeros = (epilogue.input_zero_point, epilogue.weight_zero_point);
                (Columns::Requant { multiplier, shift }, zeros, Some(epilogue))
            } else {
                (Columns::Float(channel_scales(node.input(1)?, p.n)?), (0, 0), None)
            };
            let held = constant::<i8>(node.input(1)?)?;
            let spec = PackI8::new(isa, p.n, 1, p.k, zeros.0, zeros.1);
            let matrices = held.as_ref().map_or(1, |w| w.len() / (p.k * p.n));
            let operand = |i: usize| {
                let weights = held.as_ref().map(|w| (&w[i * p.k * p.n..][..p.k * p.n], BiasI8::Int(None)));
                OperandI8::new(spec, layout, columns.clone(), weights)
            };
            let operands: Vec<OperandI8> = (0..matrices).map(operand).collect();
            let name = format!("batch_matmul/{}", operands[0].kernel());
            let asymmetric = options(node).asymmetric_quantize_inputs;
            let steps = Steps::new(&p);
            Ok(Box::new(Integer { name, steps, operands, held: held.is_some(), epilogue, asymmetric, isa, p }))
        }
    }
}

/// The products to run: neighbours that share their right operand and lie side by side on the left are one.
pub struct Steps {
    /// (left matrix, right matrix, output matrix)
    pub products: Vec<(usize, usize, usize)>,
    /// Rows of each.
    pub m: usize,
}

impl Steps {
    /// Plans the products.
    pub fn new(p: &Problem) -> Steps {
        let batches = p.batches();
        if !p.adj_x && p.right.iter().all(|&step| step == 0) && p.left_count == batches {
            return Steps { products: vec![(0, 0, 0)], m: batches * p.m };
        }
        let product = |batch| {
            let (left, right) = p.operands(batch);
            (left, right, batch)
        };
        let mut products: Vec<_> = (0..batches).map(product).collect();
        // So that an operand that is packed at run time is packed once.
        products.sort_by_key(|&(_, right, _)| right);
        Steps { products, m: p.m }
    }
}

/// Products whose right operands are packed at each run.
struct Batch {
    name: String,
    gemm: BatchGemmF32,
    operands: Vec<(usize, usize)>,
    /// Of the left operand.
    elements: usize,
}

impl Kernel for Batch {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (x, w) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        ensure!(x.len() == self.elements, "a kernel was prepared for other shapes");
        self.gemm.run(io.pool, &self.operands, x, w, io.outputs[0].slice::<f32>()?);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// One product, or several with constant right operands.
struct Float {
    name: String,
    p: Problem,
    steps: Steps,
    operands: Vec<OperandF32>,
    held: bool,
    isa: Isa,
}

impl Kernel for Float {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let &Problem { m, n, k, adj_x, .. } = &self.p;
        let (x, w) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        let out = io.outputs[0].slice::<f32>()?;
        let (left_scratch, right_scratch) = io.scratch.split_at_mut(if adj_x { scratch_size::<f32>(m * k) } else { 0 });
        let transposed: &mut [f32] = if adj_x { Scratch::new(left_scratch).take(m * k)? } else { &mut [] };
        let mut rest = &self.steps.products[..];
        while let Some(&(_, right, _)) = rest.first() {
            let (same, others) = rest.split_at(rest.partition_point(|step| step.1 == right));
            rest = others;
            let operand = &self.operands[if self.held { right } else { 0 }];
            let mut scratch = Scratch::new(&mut *right_scratch);
            let packed = operand.get(&w[right * k * n..][..k * n], None, &mut scratch)?;
            for &(left, _, to) in same {
                let rows = &x[left * m * k..][..self.steps.m * k];
                let rows = if adj_x {
                    transpose_into(self.isa, rows, m, k, m, transposed, k);
                    &*transposed
                } else {
                    rows
                };
                let out = &mut out[to * m * n..][..self.steps.m * n];
                gemm_f32(io.pool, rows, self.steps.m, k, packed, out, n, EpilogueF32::default());
            }
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let left = if self.p.adj_x { scratch_size::<f32>(self.p.m * self.p.k) } else { 0 };
        left.saturating_add(self.operands[0].scratch())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

struct Integer {
    name: String,
    p: Problem,
    steps: Steps,
    operands: Vec<OperandI8>,
    held: bool,
    /// Absent for float activations.
    epilogue: Option<Epilogue>,
    asymmetric: bool,
    isa: Isa,
}

impl Integer {
    fn left_len(&self) -> usize {
        self.p.left_count * self.p.m * self.p.k
    }

    /// Rows of the left operand that are quantized on their own.
    fn rows(&self) -> usize {
        if self.epilogue.is_none() { self.p.left_count * self.p.m } else { 0 }
    }
}

impl Kernel for Integer {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let &Problem { m, n, k, adj_x, left_count, .. } = &self.p;
        let (rows, hybrid) = (self.rows(), self.epilogue.is_none());
        let (input, w) = (io.input(0)?, io.input(1)?.slice::<i8>()?);
        let mut scratch = Scratch::new(&mut *io.scratch);
        let (scales, zeros) = (scratch.take::<f32>(rows)?, scratch.take::<i32>(rows)?);
        let plain = if hybrid || adj_x { scratch.take::<i8>(self.left_len())? } else { &mut [] };
        let x: &[i8] = if hybrid {
            let mut x = input.slice::<f32>()?;
            if adj_x {
                let upright = scratch.take::<f32>(self.left_len())?;
                for i in 0..left_count {
                    transpose_into(self.isa, &x[i * m * k..][..m * k], m, k, m, &mut upright[i * m * k..], k);
                }
                x = upright;
            }
            if self.asymmetric {
                quantize_rows_asymmetric(io.pool, self.isa, x, k, plain, scales, zeros);
            } else {
                quantize_rows_symmetric(io.pool, self.isa, x, k, plain, scales);
            }
            plain
        } else if adj_x {
            let x = input.slice::<i8>()?;
            for (x, plain) in x.chunks_exact(m * k).zip(plain.chunks_exact_mut(m * k)) {
                plain.iter_mut().enumerate().for_each(|(i, y)| *y = x[i % k * m + i / k]);
            }
            plain
        } else {
            input.slice::<i8>()?
        };
        let packed_scratch = scratch.take::<u8>(self.operands[0].scratch())?;
        let out = io.outputs[0].bytes();
        let mut rest = &self.steps.products[..];
        while let Some(&(_, right, _)) = rest.first() {
            let (same, others) = rest.split_at(rest.partition_point(|step| step.1 == right));
            rest = others;
            let operand = &self.operands[if self.held { right } else { 0 }];
            let mut scratch = Scratch::new(&mut *packed_scratch);
            let packed = operand.get(&w[right * k * n..][..k * n], BiasI8::Int(None), &mut scratch)?;
            for &(left, _, to) in same {
                let x = &x[left * m * k..][..self.steps.m * k];
                let to = to * m * n..to * m * n + self.steps.m * n;
                let to = match &self.epilogue {
                    Some(Epilogue { output_zero_point, range, .. }) => OutI8::I8 {
                        out: &mut bytemuck::cast_slice_mut(out)[to],
                        ldc: n,
                        zero_point: *output_zero_point,
                        min: range.0,
                        max: range.1,
                    },
                    None => OutI8::F32 {
                        out: &mut bytemuck::try_cast_slice_mut(out).map_err(|e| OpError::invalid(e.to_string()))?[to],
                        ldc: n,
                        row_scale: &scales[left * m..],
                        row_zero_point: self.asymmetric.then_some(&zeros[left * m..]),
                        rows_per_scale: 1,
                        columns_first: false,
                        min: f32::NEG_INFINITY,
                        max: f32::INFINITY,
                    },
                };
                gemm_i8(io.pool, x, self.steps.m, k, packed, to);
            }
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let hybrid = self.epilogue.is_none();
        let rows = self.rows();
        let parts = [
            scratch_size::<f32>(rows),
            scratch_size::<i32>(rows),
            if hybrid || self.p.adj_x { scratch_size::<i8>(self.left_len()) } else { 0 },
            if hybrid && self.p.adj_x { scratch_size::<f32>(self.left_len()) } else { 0 },
            scratch_size::<u8>(self.operands[0].scratch()),
        ];
        parts.into_iter().fold(0, usize::saturating_add)
    }

    fn name(&self) -> &str {
        &self.name
    }
}
