//! Fast kernels of cells with constant weights and neither peepholes, layer normalization nor an auxiliary input.
//!
//! The weights of all gates are packed side by side: one matrix product over all time steps for the input, one per step for
//! the output state.

use super::cell::{CELL, Cell, FORGET, INPUT, Kind, OUTPUT, Sizes};
use super::infer::{Pass, Passes, bidirectional, is_basic, lstm, unidirectional};
use super::integer::{Parameters, saturate, update_cell};
use crate::common::fixed16;
use crate::common::operand::{BiasI8, Columns, OperandF32, OperandI8};
use crate::common::recurrent::{Steps, symmetric_scale};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::tensor::{Element, TensorMut};
use crate::{OpError, ensure};
use ferrolite_kernels::{
    EpilogueF32, Isa, Layout, OutI8, PackI8, ThreadPool, Unary, gemm_f32, gemm_i8, quantize_rows_asymmetric,
    quantize_rows_symmetric, unary_f32_inplace,
};
use ferrolite_model::TensorType;
use ferrolite_model::schema::ActivationFunctionType;
use std::borrow::Cow;
use std::sync::OnceLock;

/// LSTM's kernels.
pub const LSTM: &[FastKernel] = &[FastKernel {
    name: "packed gates",
    supports: |node| !is_basic(node.options) && supports(node, lstm(node)),
    prepare: |node, isa| prepare(node, isa, lstm(node)?),
}];

/// Those of UNIDIRECTIONAL_SEQUENCE_LSTM.
pub const UNIDIRECTIONAL: &[FastKernel] = &[FastKernel {
    name: "packed gates",
    supports: |node| supports(node, unidirectional(node)),
    prepare: |node, isa| prepare(node, isa, unidirectional(node)?),
}];

/// Those of BIDIRECTIONAL_SEQUENCE_LSTM.
pub const BIDIRECTIONAL: &[FastKernel] = &[FastKernel {
    name: "packed gates",
    supports: |node| supports(node, bidirectional(node)),
    prepare: |node, isa| prepare(node, isa, bidirectional(node)?),
}];

fn supports(node: &NodeView<'_>, passes: Passes) -> bool {
    passes.is_ok_and(|passes| passes.iter().all(|pass| cell_supported(node, pass)))
}

fn cell_supported(node: &NodeView<'_>, pass: &Pass) -> bool {
    let cell = &pass.cell;
    let Sizes { input, cells, outputs, .. } = cell.sizes;
    let held = |index: usize| node.optional_input(index).is_none_or(|t| t.constant.is_some());
    let weights =
        cell.gates().flat_map(|gate| [cell.at.input, cell.at.recurrent, cell.at.bias].map(|first| first + gate));
    pass.aux.is_none()
        && !(cell.peephole || cell.norm || cell.diagonal.contains(&true))
        && cell.settings.activation == ActivationFunctionType::TANH
        && input * cells * outputs * pass.steps.batch * pass.steps.time > 0
        && weights.chain([cell.at.projection, cell.at.projection + 1]).all(held)
}

fn prepare(node: &NodeView<'_>, isa: Isa, passes: Vec<Pass>) -> Result<Box<dyn Kernel>, OpError> {
    if let [pass] = passes[..]
        && pass.cell.kind == Kind::Integer
    {
        return Ok(Box::new(Integer::prepare(node, pass, isa)?));
    }
    let passes = passes.into_iter().map(|pass| Ok((pass, Matrices::prepare(node, &pass.cell, isa)?)));
    let passes = passes.collect::<Result<Vec<_>, OpError>>()?;
    let name = passes.first().map_or("", |(_, matrices)| matrices.kernel());
    Ok(Box::new(Real { name: format!("lstm/{name}"), isa, passes }))
}

/// The gates in the order of the packed columns: those of the logistic function first.
fn order(cell: &Cell) -> impl Iterator<Item = usize> + use<> {
    let coupled = cell.coupled;
    [INPUT, FORGET, OUTPUT, CELL].into_iter().filter(move |&gate| gate != INPUT || !coupled)
}

/// Constants of several gates one after the other.
fn join<T: Element>(node: &NodeView<'_>, cell: &Cell, first: usize) -> Result<Vec<T>, OpError> {
    let mut all = Vec::new();
    for gate in order(cell) {
        all.extend_from_slice(&held::<T>(node, first + gate)?);
    }
    Ok(all)
}

/// A constant; uint8 weights are int8 ones under another name.
fn held<'a, T: Element>(node: &NodeView<'a>, index: usize) -> Result<Cow<'a, [T]>, OpError> {
    let info = node.input(index)?;
    let info = if info.ty == TensorType::UInt8 {
        crate::TensorInfo { ty: TensorType::Int8, ..info.clone() }
    } else {
        info.clone()
    };
    let missing = || OpError::invalid(format!("tensor {:?} is not constant", info.name));
    constant(&info)?.ok_or_else(missing)
}

/// Packed weights of a real cell.
enum Matrices {
    Float { input: OperandF32, recurrent: OperandF32, projection: Option<OperandF32> },
    Hybrid { input: OperandI8, recurrent: OperandI8, projection: Option<OperandI8> },
}

impl Matrices {
    fn prepare(node: &NodeView<'_>, cell: &Cell, isa: Isa) -> Result<Matrices, OpError> {
        let (at, Sizes { input, cells, outputs, .. }) = (cell.at, cell.sizes);
        let bias = join::<f32>(node, cell, at.bias)?;
        let n = bias.len();
        let projection_bias = node.optional_input(at.projection + 1).map(|_| held::<f32>(node, at.projection + 1));
        let projection_bias = projection_bias.transpose()?;
        if cell.kind == Kind::Float {
            let pack = |w: &[f32], n: usize, k: usize, bias: Option<&[f32]>| {
                OperandF32::new(isa, n, (1, k), Layout::RowsOfK, Some((w, bias)))
            };
            let projection = cell.projection.then(|| held::<f32>(node, at.projection)).transpose()?;
            return Ok(Matrices::Float {
                input: pack(&join(node, cell, at.input)?, n, input, Some(&bias)),
                recurrent: pack(&join(node, cell, at.recurrent)?, n, outputs, None),
                projection: projection.map(|w| pack(&w, outputs, cells, projection_bias.as_deref())),
            });
        }
        let pack = |w: &[i8], scales: Vec<f32>, k: usize, bias: Option<&[f32]>| {
            let spec = PackI8::new(isa, scales.len(), 1, k, 0, 0);
            OperandI8::new(spec, Layout::RowsOfK, Columns::Float(scales), Some((w, BiasI8::Float(bias))))
        };
        let scales = |first: usize| {
            let mut all = Vec::new();
            for gate in order(cell) {
                all.extend(vec![symmetric_scale(node.input(first + gate)?)?; cells]);
            }
            Ok::<_, OpError>(all)
        };
        let projection = cell.projection.then(|| {
            let scale = symmetric_scale(node.input(at.projection)?)?;
            Ok::<_, OpError>((held::<i8>(node, at.projection)?, vec![scale; outputs]))
        });
        Ok(Matrices::Hybrid {
            input: pack(&join(node, cell, at.input)?, scales(at.input)?, input, Some(&bias)),
            recurrent: pack(&join(node, cell, at.recurrent)?, scales(at.recurrent)?, outputs, None),
            projection: projection.transpose()?.map(|(w, scales)| pack(&w, scales, cells, projection_bias.as_deref())),
        })
    }

    fn kernel(&self) -> &'static str {
        match self {
            Matrices::Float { input, .. } => input.kernel(),
            Matrices::Hybrid { input, .. } => input.kernel(),
        }
    }

    /// `rows` rows of activations with a packed matrix.
    fn multiply(
        &self,
        which: Which,
        run: &Run<'_>,
        x: &[f32],
        rows: usize,
        q: &mut Quantized<'_>,
        out: &mut [f32],
    ) -> Result<(), OpError> {
        let (depth, n) = (x.len() / rows, out.len() / rows);
        let mut none = Scratch::new(&mut []);
        match self {
            Matrices::Float { input, recurrent, projection } => {
                let Some(operand) = which.of(input, recurrent, projection) else { return Ok(()) };
                let packed = operand.get(&[], None, &mut none)?;
                gemm_f32(run.pool, x, rows, depth, packed, out, n, EpilogueF32::default());
            }
            Matrices::Hybrid { input, recurrent, projection } => {
                let Some(operand) = which.of(input, recurrent, projection) else { return Ok(()) };
                let (bytes, scales, zeros) = (&mut q.bytes[..x.len()], &mut q.scales[..rows], &mut q.zeros[..rows]);
                if run.asymmetric {
                    quantize_rows_asymmetric(run.pool, run.isa, x, depth, bytes, scales, zeros);
                } else {
                    quantize_rows_symmetric(run.pool, run.isa, x, depth, bytes, scales);
                }
                let packed = operand.get(&[], BiasI8::Float(None), &mut none)?;
                let to = OutI8::F32 {
                    out,
                    ldc: n,
                    row_scale: scales,
                    row_zero_point: run.asymmetric.then_some(zeros),
                    rows_per_scale: 1,
                    columns_first: false,
                    min: f32::NEG_INFINITY,
                    max: f32::INFINITY,
                };
                gemm_i8(run.pool, bytes, rows, depth, packed, to);
            }
        }
        Ok(())
    }
}

/// One of a cell's matrices.
#[derive(Clone, Copy)]
enum Which {
    Input,
    Recurrent,
    Projection,
}

impl Which {
    fn of<'a, T>(self, input: &'a T, recurrent: &'a T, projection: &'a Option<T>) -> Option<&'a T> {
        match self {
            Which::Input => Some(input),
            Which::Recurrent => Some(recurrent),
            Which::Projection => projection.as_ref(),
        }
    }
}

/// What the products of a run need.
struct Run<'a> {
    pool: &'a ThreadPool,
    isa: Isa,
    asymmetric: bool,
}

/// Memory for quantized rows.
struct Quantized<'a> {
    bytes: &'a mut [i8],
    scales: &'a mut [f32],
    zeros: &'a mut [i32],
}

/// float32 and hybrid cells.
struct Real {
    name: String,
    isa: Isa,
    passes: Vec<(Pass, Matrices)>,
}

/// Elements of gates that are worth keeping at once.
const CHUNK: usize = 1 << 18;

/// Time steps whose products with the input are made at once.
#[derive(Clone, Copy)]
struct Chunk {
    first: usize,
    len: usize,
}

impl Chunk {
    /// Steps of a chunk at most.
    fn limit(pass: &Pass) -> usize {
        let row = pass.steps.batch.saturating_mul(4 * pass.cell.sizes.cells).max(1);
        (CHUNK / row).clamp(1, pass.steps.time.max(1))
    }

    /// The chunks of a pass in their order.
    fn of(pass: &Pass) -> impl Iterator<Item = Chunk> + use<> {
        let (time, backward, limit) = (pass.steps.time, pass.backward, Chunk::limit(pass));
        (0..time).step_by(limit).map(move |done| {
            let len = limit.min(time - done);
            Chunk { first: if backward { time - done - len } else { done }, len }
        })
    }

    /// Its steps in their order.
    fn times(self, pass: &Pass) -> impl Iterator<Item = usize> + use<> {
        let backward = pass.backward;
        (0..self.len).map(move |k| self.first + if backward { self.len - 1 - k } else { k })
    }

    /// Pieces of the input that lie together: first row there, first row in the chunk, rows.
    fn pieces(self, steps: Steps) -> impl Iterator<Item = (usize, usize, usize)> {
        let (count, rows) = if steps.time_major { (1, self.len * steps.batch) } else { (steps.batch, self.len) };
        (0..count).map(move |b| (steps.row(b, self.first), b * self.len, rows))
    }

    /// A step's row in the chunk.
    fn row(self, steps: Steps, sequence: usize, time: usize) -> usize {
        Steps { time: self.len, ..steps }.row(sequence, time - self.first)
    }
}

/// Rows of a chunk, length of a row of gates, elements that are quantized at once.
fn lengths(pass: &Pass) -> (usize, usize, usize) {
    let Sizes { input, cells, outputs, .. } = pass.cell.sizes;
    let rows = pass.steps.batch.saturating_mul(Chunk::limit(pass));
    let quantized = rows.saturating_mul(input).max(pass.steps.batch.saturating_mul(cells.max(outputs)));
    (rows, order(&pass.cell).count() * cells, if pass.cell.kind == Kind::Hybrid { quantized } else { 0 })
}

impl Kernel for Real {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.passes.iter().try_for_each(|(pass, matrices)| self.run_pass(pass, matrices, io))
    }

    fn scratch_bytes(&self) -> usize {
        let of = |pass: &Pass| {
            let ((rows, n, quantized), batch) = (lengths(pass), pass.steps.batch);
            let products = scratch_size::<f32>(rows.saturating_mul(n)).saturating_add(scratch_size::<f32>(batch * n));
            let row = scratch_size::<f32>(batch * pass.cell.sizes.cells).saturating_mul(2);
            let quantized = scratch_size::<i8>(quantized).saturating_add(scratch_size::<f32>(rows).saturating_mul(2));
            products.saturating_add(row).saturating_add(quantized)
        };
        self.passes.iter().map(|(pass, _)| of(pass)).max().unwrap_or(0)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The output state and the cell state of a pass.
fn states<'a, H: Element, C: Element>(
    state: &'a mut [TensorMut<'_>],
    pass: &Pass,
) -> Result<(&'a mut [H], &'a mut [C]), OpError> {
    let (batch, Sizes { cells, outputs, .. }) = (pass.steps.batch, pass.cell.sizes);
    let Some([h, c]) = state.get_mut(pass.state..pass.state + 2) else {
        return Err(OpError::invalid("state is missing"));
    };
    let (h, c) = (h.slice::<H>()?, c.slice::<C>()?);
    ensure!(h.len() == batch * outputs && c.len() == batch * cells, "state of another size");
    Ok((h, c))
}

impl Real {
    fn run_pass(&self, pass: &Pass, matrices: &Matrices, io: &mut Io<'_>) -> Result<(), OpError> {
        let (steps, Sizes { input, cells, outputs, .. }) = (pass.steps, pass.cell.sizes);
        let settings = &pass.cell.settings;
        let (rows, n, quantized) = lengths(pass);
        let xs = io.input(pass.input)?.slice::<f32>()?;
        let run = Run { pool: io.pool, isa: self.isa, asymmetric: settings.asymmetric };
        let mut scratch = Scratch::new(&mut *io.scratch);
        let (all, recurrent) = (scratch.take::<f32>(rows * n)?, scratch.take::<f32>(steps.batch * n)?);
        let (values, squashed) = (scratch.take::<f32>(steps.batch * cells)?, scratch.take::<f32>(steps.batch * cells)?);
        let mut q =
            Quantized { bytes: scratch.take(quantized)?, scales: scratch.take(rows)?, zeros: scratch.take(rows)? };
        let (h, c) = states::<f32, f32>(&mut io.state, pass)?;
        let out = io.outputs[pass.output].slice::<f32>()?;
        // Columns of the gates; there is no input gate where it is coupled.
        let (forget, output, cell) = (n - 3 * cells, n - 2 * cells, n - cells);
        for chunk in Chunk::of(pass) {
            for (from, to, rows) in chunk.pieces(steps) {
                let (x, products) = (&xs[from * input..][..rows * input], &mut all[to * n..][..rows * n]);
                matrices.multiply(Which::Input, &run, x, rows, &mut q, products)?;
            }
            for t in chunk.times(pass) {
                matrices.multiply(Which::Recurrent, &run, h, steps.batch, &mut q, recurrent)?;
                for b in 0..steps.batch {
                    let gates = &mut all[chunk.row(steps, b, t) * n..][..n];
                    gates.iter_mut().zip(&recurrent[b * n..]).for_each(|(gate, r)| *gate += r);
                    unary_f32_inplace(run.pool, run.isa, Unary::Logistic, &mut gates[..cell]);
                    unary_f32_inplace(run.pool, run.isa, Unary::Tanh, &mut gates[cell..]);
                    let (f, g) = (&gates[forget..output], &gates[cell..]);
                    let c = &mut c[b * cells..][..cells];
                    if pass.cell.coupled {
                        c.iter_mut().zip(f).zip(g).for_each(|((c, f), g)| *c = f * *c + g * (1.0 - f));
                    } else {
                        let i = &gates[..cells];
                        c.iter_mut().zip(f).zip(g).zip(i).for_each(|(((c, f), g), i)| *c = f * *c + g * i);
                    }
                    clip(c, settings.cell_clip);
                    squashed[b * cells..][..cells].copy_from_slice(c);
                }
                unary_f32_inplace(run.pool, run.isa, Unary::Tanh, squashed);
                for b in 0..steps.batch {
                    let o = &all[chunk.row(steps, b, t) * n..][output..cell];
                    let (values, squashed) = (&mut values[b * cells..][..cells], &squashed[b * cells..][..cells]);
                    values.iter_mut().zip(o).zip(squashed).for_each(|((v, o), s)| *v = o * s);
                }
                if pass.cell.projection {
                    matrices.multiply(Which::Projection, &run, values, steps.batch, &mut q, h)?;
                    clip(h, settings.proj_clip);
                } else {
                    h.copy_from_slice(values);
                }
                for b in 0..steps.batch {
                    let to = steps.row(b, t) * pass.stride + pass.offset;
                    out[to..][..outputs].copy_from_slice(&h[b * outputs..][..outputs]);
                }
            }
        }
        Ok(())
    }
}

fn clip(values: &mut [f32], bound: f32) {
    if bound > 0.0 {
        values.iter_mut().for_each(|x| *x = x.min(bound).max(-bound));
    }
}

/// int8 cells.
struct Integer {
    name: String,
    pass: Pass,
    parameters: Parameters,
    input: OperandI8,
    recurrent: OperandI8,
    projection: Option<OperandI8>,
    logistic: &'static [i16],
    tanh: &'static [i16],
    tanh_of_state: &'static [i16],
}

/// The values of a function of int16 in F3 (logistic) or with `bits` integer bits (tanh), by the bits of its argument.
fn table(bits: Option<u32>) -> &'static [i16] {
    static LOGISTIC: OnceLock<Vec<i16>> = OnceLock::new();
    static TANH: [OnceLock<Vec<i16>>; 7] = [const { OnceLock::new() }; 7];
    // `opposite` of f(x) is f(−x).
    let all = |f: &dyn Fn(i16) -> i16, opposite: fn(i16) -> i16| {
        let mut values = vec![0; 1 << 16];
        values[0] = f(0);
        values[1 << 15] = f(i16::MIN);
        for x in 1..1 << 15 {
            let y = f(x as i16);
            (values[x], values[(1 << 16) - x]) = (y, opposite(y));
        }
        values
    };
    match bits {
        None => LOGISTIC.get_or_init(|| all(&fixed16::logistic, |y| i16::MAX - y)),
        Some(bits) => TANH[bits as usize].get_or_init(|| all(&|x| fixed16::tanh(x, bits), i16::wrapping_neg)),
    }
}

impl Integer {
    fn prepare(node: &NodeView<'_>, pass: Pass, isa: Isa) -> Result<Integer, OpError> {
        let cell = &pass.cell;
        let (at, Sizes { input, cells, outputs, .. }) = (cell.at, cell.sizes);
        let parameters = Parameters::prepare(node, cell)?;
        let bias = join::<i32>(node, cell, at.bias)?;
        let n = bias.len();
        let pack = |w: &[i8], n: usize, k: usize, zero: i32, bias: Option<&[i32]>| {
            let spec = PackI8::new(isa, n, 1, k, zero, 0);
            OperandI8::new(spec, Layout::RowsOfK, Columns::Raw, Some((w, BiasI8::Int(bias))))
        };
        let projection = cell.projection.then(|| {
            let bias = node.optional_input(at.projection + 1).map(|_| held::<i32>(node, at.projection + 1));
            // Its input is stored with the negative zero point: see the reference.
            let (w, zero) = (held::<i8>(node, at.projection)?, -parameters.hidden.1);
            Ok::<_, OpError>(pack(&w, outputs, cells, zero, bias.transpose()?.as_deref()))
        });
        let input = pack(&join(node, cell, at.input)?, n, input, parameters.input_zero, Some(&bias));
        Ok(Integer {
            name: format!("lstm/{}", input.kernel()),
            recurrent: pack(&join(node, cell, at.recurrent)?, n, outputs, parameters.output_zero, None),
            input,
            projection: projection.transpose()?,
            logistic: table(None),
            tanh: table(Some(3)),
            tanh_of_state: table(Some((15 + parameters.cell_scale) as u32)),
            parameters,
            pass,
        })
    }
}

impl Integer {
    /// The new cell state, and the output before its projection, from one sequence's sums of products.
    fn cell(&self, by_input: &[i32], by_state: &[i32], gates: &mut [i16], c: &mut [i16], hidden: &mut [i8]) {
        let Integer { pass, parameters: p, .. } = self;
        let (n, cells) = (gates.len(), pass.cell.sizes.cells);
        let (forget, output, cell) = (n - 3 * cells, n - 2 * cells, n - cells);
        for (k, gate) in order(&pass.cell).enumerate() {
            let Some(scales) = &p.gates[gate] else { continue };
            let table = if scales.tanh { self.tanh } else { self.logistic };
            let columns = k * cells..(k + 1) * cells;
            let sums = by_input[columns.clone()].iter().zip(&by_state[columns.clone()]);
            for (gate, (&x, &h)) in gates[columns].iter_mut().zip(sums) {
                let sum = saturate(scales.input_scale.apply(x));
                let sum = saturate(scales.recurrent_scale.apply(h).saturating_add(sum.into()));
                *gate = table[usize::from(sum as u16)];
            }
        }
        let i = (!pass.cell.coupled).then(|| &gates[..cells]);
        update_cell(c, p.cell_scale, i, &gates[forget..output], &gates[cell..], p.cell_clip);
        let (scale, zero) = p.hidden;
        // The projection's input is stored with the negative zero point: see the reference.
        let zero = if self.projection.is_some() { -zero } else { zero };
        for ((m, &o), &c) in hidden.iter_mut().zip(&gates[output..cell]).zip(&*c) {
            let product = i32::from(o) * i32::from(self.tanh_of_state[usize::from(c as u16)]);
            *m = scale.apply(product).saturating_add(zero).clamp(-128, 127) as i8;
        }
    }
}

impl Kernel for Integer {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Integer { pass, parameters: p, .. } = self;
        let (steps, Sizes { input, cells, outputs, .. }) = (pass.steps, pass.cell.sizes);
        let (rows, n, _) = lengths(pass);
        let xs = io.input(0)?.slice::<i8>()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let (all, recurrent) = (scratch.take::<i32>(rows * n)?, scratch.take::<i32>(steps.batch * n.max(outputs))?);
        let (gates, hidden) = (scratch.take::<i16>(n)?, scratch.take::<i8>(steps.batch * cells)?);
        let (h, c) = states::<i8, i16>(&mut io.state, pass)?;
        let out = io.outputs[0].slice::<i8>()?;
        let mut none = Scratch::new(&mut []);
        let no_bias = BiasI8::Int(None);
        let by_state = self.recurrent.get(&[], no_bias, &mut none)?;
        let by_input = self.input.get(&[], no_bias, &mut none)?;
        for chunk in Chunk::of(pass) {
            for (from, to, rows) in chunk.pieces(steps) {
                let to = OutI8::I32 { out: &mut all[to * n..][..rows * n], ldc: n };
                gemm_i8(io.pool, &xs[from * input..][..rows * input], rows, input, by_input, to);
            }
            for t in chunk.times(pass) {
                let to = OutI8::I32 { out: &mut *recurrent, ldc: n };
                gemm_i8(io.pool, h, steps.batch, outputs, by_state, to);
                for b in 0..steps.batch {
                    let from_input = &all[chunk.row(steps, b, t) * n..][..n];
                    let (c, hidden) = (&mut c[b * cells..][..cells], &mut hidden[b * cells..][..cells]);
                    self.cell(from_input, &recurrent[b * n..][..n], gates, c, hidden);
                }
                match (&self.projection, &p.projection) {
                    (Some(packed), Some(projection)) => {
                        let packed = packed.get(&[], no_bias, &mut none)?;
                        let sums = &mut recurrent[..steps.batch * outputs];
                        let to = OutI8::I32 { out: &mut *sums, ldc: outputs };
                        gemm_i8(io.pool, hidden, steps.batch, cells, packed, to);
                        h.iter_mut().zip(&*sums).for_each(|(h, &sum)| *h = projection.finish(sum, p.output_zero));
                    }
                    _ => h.copy_from_slice(hidden),
                }
                for b in 0..steps.batch {
                    out[steps.row(b, t) * outputs..][..outputs].copy_from_slice(&h[b * outputs..][..outputs]);
                }
            }
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let ((rows, n, _), batch, outputs) = (lengths(&self.pass), self.pass.steps.batch, self.pass.cell.sizes.outputs);
        // Sums of the projection take the place of those of the gates.
        let sums =
            scratch_size::<i32>(rows.saturating_mul(n)).saturating_add(scratch_size::<i32>(batch * n.max(outputs)));
        let gates = scratch_size::<i16>(n).saturating_add(scratch_size::<i8>(batch * self.pass.cell.sizes.cells));
        sums.saturating_add(gates)
    }

    fn name(&self) -> &str {
        &self.name
    }
}
