//! Fast kernels: the projections of the input are one matrix product with packed weights.

use super::reference::{Scales, remember};
use super::{BIAS, FEATURE, Kind, Problem, STATE, TIME, problem};
use crate::common::operand::{BiasI8, Columns, OperandF32, OperandI8};
use crate::common::recurrent::WeightInput;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::{Weights, constant};
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::tensor::{Element, TensorMut};
use crate::{OpError, ensure};
use ferrolite_kernels::{EpilogueF32, Isa, Layout, OutI8, PackI8, gemm_f32, gemm_i8};
use ferrolite_model::TensorType::Int16;
use std::borrow::Cow;

/// float32, and int8 with a state of int16.
pub const FAST: &[FastKernel] = &[FastKernel { name: "packed", supports, prepare }];

fn supports(node: &NodeView<'_>) -> bool {
    let Ok(p) = problem(node) else { return false };
    let integer = p.kind == Kind::Integer && node.input(STATE).is_ok_and(|state| state.ty == Int16);
    (p.kind == Kind::Float || integer)
        && p.batch * p.filters * p.input > 0
        && node.input(FEATURE).is_ok_and(|weights| weights.constant.is_some())
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    if p.kind == Kind::Integer {
        let scales = Scales::prepare(node, 0)?;
        let spec = PackI8::new(isa, p.filters, 1, p.input, scales.x_zero, 0);
        let operand = OperandI8::new(spec, Layout::RowsOfK, Columns::Raw, Some((&held(node)?, BiasI8::Int(None))));
        return Ok(Box::new(Integer {
            name: format!("svdf/{}", operand.kernel()),
            operand,
            scales,
            time: Weights::prepare(TIME, node.input(TIME)?)?,
            bias: node.optional_input(BIAS).map(|info| Weights::prepare(BIAS, info)).transpose()?,
            p,
        }));
    }
    let operand = OperandF32::new(isa, p.filters, (1, p.input), Layout::RowsOfK, Some((&held(node)?, None)));
    Ok(Box::new(Float {
        name: format!("svdf/{}", operand.kernel()),
        operand,
        time: WeightInput::prepare(node, TIME)?,
        bias: node.optional_input(BIAS).map(|info| Weights::prepare(BIAS, info)).transpose()?,
        p,
    }))
}

fn held<'a, T: Element>(node: &NodeView<'a>) -> Result<Cow<'a, [T]>, OpError> {
    constant(node.input(FEATURE)?)?.ok_or_else(|| OpError::invalid("weights that are not constant"))
}

/// The state's elements.
fn elements<'a, T: Element>(state: &'a mut [TensorMut<'_>], p: &Problem) -> Result<&'a mut [T], OpError> {
    let Some(state) = state.first_mut() else { return Err(OpError::invalid("state is missing")) };
    let state = state.slice::<T>()?;
    ensure!(state.len() == p.batch * p.filters * p.memory, "state of another size");
    Ok(state)
}

struct Float {
    name: String,
    p: Problem,
    operand: OperandF32,
    time: WeightInput,
    bias: Option<Weights<f32>>,
}

impl Kernel for Float {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let p = &self.p;
        let time = self.time.get(io)?;
        let bias = self.bias.as_ref().map(|bias| bias.get(io)).transpose()?;
        let (xs, pool) = (io.input(0)?.slice::<f32>()?, io.pool);
        let latest = Scratch::new(&mut *io.scratch).take::<f32>(p.batch * p.filters)?;
        let packed = self.operand.get(&[], None, &mut Scratch::new(&mut []))?;
        gemm_f32(pool, xs, p.batch, p.input, packed, latest, p.filters, EpilogueF32::default());
        let out = io.outputs[0].slice::<f32>()?;
        let memories = elements::<f32>(&mut io.state, p)?.chunks_exact_mut(p.filters * p.memory);
        let sequences = latest.chunks_exact(p.filters).zip(memories).zip(out.chunks_exact_mut(p.units));
        sequences.for_each(|((latest, memories), out)| remember(p, latest, time, bias, memories, out));
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        scratch_size::<f32>(self.p.batch.saturating_mul(self.p.filters))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

struct Integer {
    name: String,
    p: Problem,
    operand: OperandI8,
    scales: Scales,
    time: Weights<i16>,
    bias: Option<Weights<i32>>,
}

impl Integer {
    /// Shifts the latest projections of one sequence into its memories, and computes its outputs.
    fn remember(&self, latest: &[i32], time: &[i16], bias: Option<&[i32]>, memories: &mut [i16], out: &mut [i8]) {
        let p = &self.p;
        for (unit, out) in out.iter_mut().enumerate() {
            let mut sum = bias.map_or(0, |bias| bias[unit]);
            for filter in unit * p.rank..(unit + 1) * p.rank {
                let all = filter * p.memory..(filter + 1) * p.memory;
                let latest = self.scales.state(latest[filter]);
                sum = sum.wrapping_add(shift_and_multiply(&mut memories[all.clone()], latest, &time[all]));
            }
            *out = self.scales.output(sum);
        }
    }
}

/// Drops the oldest value, and returns the sum of the products with `weights`, wrapping.
fn shift_and_multiply(memory: &mut [i16], latest: i16, weights: &[i16]) -> i32 {
    const LANES: usize = 8;
    let product = |x: i16, w: i16| i32::from(x) * i32::from(w);
    let (blocks, rest) = memory.as_chunks_mut::<LANES>();
    let (block_weights, rest_weights) = weights.as_chunks::<LANES>();
    let mut sums = [0i32; LANES];
    let after = rest.first().copied().unwrap_or(latest);
    for (i, w) in block_weights.iter().enumerate().take(blocks.len()) {
        let next = blocks.get(i + 1).map_or(after, |block| block[0]);
        let old = blocks[i];
        let new: [i16; LANES] = std::array::from_fn(|k| if k + 1 < LANES { old[k + 1] } else { next });
        blocks[i] = new;
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum = sum.wrapping_add(product(new[k], w[k]));
        }
    }
    for i in 0..rest.len() {
        rest[i] = rest.get(i + 1).copied().unwrap_or(latest);
        sums[i] = sums[i].wrapping_add(product(rest[i], rest_weights[i]));
    }
    sums.into_iter().fold(0, i32::wrapping_add)
}

impl Kernel for Integer {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let p = &self.p;
        let time = self.time.get(io)?;
        let bias = self.bias.as_ref().map(|bias| bias.get(io)).transpose()?;
        let (xs, pool) = (io.input(0)?.slice::<i8>()?, io.pool);
        let sums = Scratch::new(&mut *io.scratch).take::<i32>(p.batch * p.filters)?;
        let packed = self.operand.get(&[], BiasI8::Int(None), &mut Scratch::new(&mut []))?;
        gemm_i8(pool, xs, p.batch, p.input, packed, OutI8::I32 { out: &mut *sums, ldc: p.filters });
        let out = io.outputs[0].slice::<i8>()?;
        let memories = elements::<i16>(&mut io.state, p)?.chunks_exact_mut(p.filters * p.memory);
        let sequences = sums.chunks_exact(p.filters).zip(memories).zip(out.chunks_exact_mut(p.units));
        for ((sums, memories), out) in sequences {
            self.remember(sums, time, bias, memories, out);
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        scratch_size::<i32>(self.p.batch.saturating_mul(self.p.filters))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
