//! Fast kernels: one dense convolution per phase of the stride.
//!
//! Output rows that lie `stride` apart see the same taps of the filter: they are a convolution with stride 1 by the flipped
//! part of the filter. Phases that see the same pixels are one convolution with more channels. Its result is spread over the
//! output afterwards, unless there is only one phase.

use super::infer::{Problem, problem};
use super::reference::linear;
use crate::OpError;
use crate::common::activation::float_range;
use crate::common::fast_linear::types_supported;
use crate::common::linear::{Epilogue, Requant, channel_scales};
use crate::common::operand::{BiasI8, Columns, OperandF32, OperandI8};
use crate::common::parallel::for_items;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{
    ConvShape, EpilogueF32, Isa, Layout, OutI8, PackI8, ThreadPool, conv2d_f32, conv2d_i8, quantize_rows_asymmetric,
};
use ferrolite_model::TensorType::{Float32, Int8, UInt8};

/// One kernel for float, int8 and hybrid.
pub const FAST: &[FastKernel] = &[FastKernel { name: "phases", supports, prepare }];

/// With more phases than this, spreading them over the output costs more than it saves.
const MAX_PHASES: usize = 64;

fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(x), Ok(w), Ok(out)) = (node.input(2), node.input(1), node.output(0)) else { return false };
    let Ok(p) = problem(node, &out.shape) else { return false };
    let held = w.constant.is_some() && node.optional_input(3).is_none_or(|b| b.constant.is_some());
    let phases = p.window.stride.0.min(p.window.input.0) * p.window.stride.1.min(p.window.input.1);
    (1..=MAX_PHASES).contains(&phases)
        && p.window.positions() > 0
        && linear(node, &p).is_ok_and(|linear| types_supported(node, &linear))
        && (held || (w.ty == Float32 && w.sparsity.is_none()))
        && x.ty != UInt8
}

/// The output pixels of phases that see the same input, as a convolution: one phase's channels after the other's.
struct Phase {
    shape: ConvShape,
    parts: Vec<Part>,
    /// Rows and columns that the convolution computes before the first that is wanted.
    skip: (usize, usize),
}

/// One phase.
struct Part {
    /// Tap of the filter for each tap of the convolution; `None`: a zero.
    taps: Vec<Option<usize>>,
    /// First output row and column.
    start: (usize, usize),
}

/// One dimension of a phase.
struct Span {
    start: usize,
    skip: usize,
    out: usize,
    pad: usize,
    /// Tap of the filter for each tap of the convolution.
    taps: Vec<Option<usize>>,
}

/// The phase that starts at output index `start`. Index o sees, where o + pad = q · stride + r with r < stride, tap
/// r + j · stride of input q − j.
fn span(start: usize, stride: usize, pad: usize, kernel: usize, output: usize) -> Span {
    let (first, residue) = ((start + pad) / stride, (start + pad) % stride);
    let taps: Vec<Option<usize>> = (residue..kernel).step_by(stride).rev().map(Some).collect();
    let taps = if taps.is_empty() { vec![None] } else { taps };
    // The convolution's first output is q = from; what it gives before q = first is skipped.
    let from = first.min(taps.len() - 1);
    let skip = first - from;
    Span { start, skip, out: (output - start).div_ceil(stride) + skip, pad: taps.len() - 1 - from, taps }
}

fn phases(p: &Problem, merge: bool) -> Vec<Phase> {
    let w = &p.window;
    let mut phases: Vec<Phase> = Vec::new();
    for y in 0..w.stride.0.min(w.input.0) {
        let rows = span(y, w.stride.0, w.pad.0, w.kernel.0, w.input.0);
        for x in 0..w.stride.1.min(w.input.1) {
            let columns = span(x, w.stride.1, w.pad.1, w.kernel.1, w.input.1);
            let tap = |y: &Option<usize>, x: &Option<usize>| Some((*y)? * w.kernel.1 + (*x)?);
            let shape = ConvShape {
                batch: w.batch,
                in_h: w.output.0,
                in_w: w.output.1,
                in_c: p.in_c,
                in_stride: p.in_c,
                out_h: rows.out,
                out_w: columns.out,
                out_c: p.out_c,
                out_stride: p.out_c,
                k_h: rows.taps.len(),
                k_w: columns.taps.len(),
                stride: (1, 1),
                dilation: (1, 1),
                pad_top: rows.pad,
                pad_left: columns.pad,
            };
            let taps = rows.taps.iter().flat_map(|y| columns.taps.iter().map(move |x| tap(y, x))).collect();
            let (part, skip) = (Part { taps, start: (rows.start, columns.start) }, (rows.skip, columns.skip));
            match phases.iter_mut().find(|same| merge && same.shape == shape && same.skip == skip) {
                Some(same) => same.parts.push(part),
                None => phases.push(Phase { shape, parts: vec![part], skip }),
            }
        }
    }
    for phase in &mut phases {
        phase.shape.out_c *= phase.parts.len();
        phase.shape.out_stride = phase.shape.out_c;
    }
    phases
}

impl Phase {
    fn weights(&self, p: &Problem) -> usize {
        self.parts.iter().map(|part| p.out_c * part.taps.len() * p.in_c).sum()
    }

    /// Takes the filters of its parts out of all of them.
    fn gather<T: Copy>(&self, p: &Problem, filters: &[T], zero: T, to: &mut [T]) {
        let all = p.window.taps();
        let mut rows = to.chunks_exact_mut(p.in_c);
        for part in &self.parts {
            for channel in 0..p.out_c {
                for (tap, to) in part.taps.iter().zip(&mut rows) {
                    match tap {
                        Some(tap) => to.copy_from_slice(&filters[(channel * all + tap) * p.in_c..][..p.in_c]),
                        None => to.fill(zero),
                    }
                }
            }
        }
    }

    /// Spreads the pixels over the output.
    fn spread<T: Copy + Send + Sync>(&self, pool: &ThreadPool, p: &Problem, from: &[T], out: &mut [T]) {
        let (w, s, c) = (&p.window, &self.shape, p.out_c);
        for_items(pool, out, w.input.1 * c, 8192 / (w.input.1 * c).max(1) + 1, |lines, out| {
            for (line, out) in lines.zip(out.chunks_exact_mut(w.input.1 * c)) {
                let (batch, y) = (line / w.input.0, line % w.input.0);
                let mut at = 0;
                // Parts whose output pixels are neighbours are copied together.
                for run in self.parts.chunk_by(|a, b| (a.start.0, a.start.1 + 1) == b.start) {
                    let (start, width, first) = (run[0].start, run.len() * c, at);
                    at += width;
                    if y < start.0 || !(y - start.0).is_multiple_of(w.stride.0) {
                        continue;
                    }
                    let row = batch * s.out_h + (y - start.0) / w.stride.0 + self.skip.0;
                    let from = &from[(row * s.out_w + self.skip.1) * s.out_c..(row + 1) * s.out_w * s.out_c];
                    let pixels = out[start.1 * c..].chunks_mut(w.stride.1 * c).zip(from.chunks_exact(s.out_c));
                    for (out, from) in pixels {
                        let width = width.min(out.len());
                        copy(&from[first..first + width], &mut out[..width]);
                    }
                }
            }
        });
    }
}

/// Copies what is mostly only a few elements.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    if from.len() < 16 {
        from.iter().zip(to).for_each(|(from, to)| *to = *from);
    } else {
        to.copy_from_slice(from);
    }
}

enum Operands {
    Float(Vec<OperandF32>),
    Integer(Vec<OperandI8>, Epilogue),
    Hybrid(Vec<OperandI8>),
}

struct Phases {
    name: String,
    p: Problem,
    phases: Vec<Phase>,
    operands: Operands,
    range: (f32, f32),
    isa: Isa,
    /// Elements of the greatest phase that has to be spread; 0 for a phase that is the output.
    spread: usize,
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node, &node.output(0)?.shape)?;
    let linear = linear(node, &p)?;
    let (x, weights, bias) = (node.input(2)?, node.input(1)?, node.optional_input(3));
    // What is packed at every run is packed phase by phase.
    let held = weights.constant.is_some() && bias.is_none_or(|b| b.constant.is_some());
    let phases = phases(&p, held);
    let (operands, kernel) = if weights.ty == Float32 {
        let bias = bias.map(constant::<f32>).transpose()?;
        // Absent is known too.
        let bias = bias.map_or(Some(None), |b| b.map(Some));
        let held = constant::<f32>(weights)?.zip(bias);
        let operand = |phase: &Phase| {
            let mut filters = vec![0.0; phase.weights(&p)];
            let bias = held.as_ref().and_then(|(_, b)| b.as_ref()).map(|b| b.repeat(phase.parts.len()));
            let weights = held.as_ref().map(|(w, _)| {
                phase.gather(&p, w, 0.0, &mut filters);
                (&filters[..], bias.as_deref())
            });
            OperandF32::new(isa, phase.shape.out_c, phase.shape.taps(), Layout::RowsOfK, weights)
        };
        let operands: Vec<_> = phases.iter().map(operand).collect();
        let kernel = operands.first().map_or("", OperandF32::kernel);
        (Operands::Float(operands), kernel)
    } else {
        let Some(filters) = constant::<i8>(weights)? else {
            return Err(OpError::unsupported("quantized filters that are not constant"));
        };
        let epilogue = (x.ty == Int8).then(|| linear.epilogue(node)).transpose()?;
        let columns = match &epilogue {
            Some(epilogue) => {
                let fixed = epilogue.requant.iter().filter_map(|r| match r {
                    Requant::Fixed(m) => Some((m.multiplier, m.shift)),
                    Requant::Real(_) => None,
                });
                let (multiplier, shift) = fixed.unzip();
                Columns::Requant { multiplier, shift }
            }
            None => Columns::Float(channel_scales(weights, p.out_c)?),
        };
        let int = if epilogue.is_some() { bias.map(constant::<i32>).transpose()?.flatten() } else { None };
        let float = if epilogue.is_none() { bias.map(constant::<f32>).transpose()?.flatten() } else { None };
        let zero = epilogue.as_ref().map_or(0, |e| e.input_zero_point);
        let operand = |phase: &Phase| {
            let mut own = vec![0; phase.weights(&p)];
            phase.gather(&p, &filters, 0, &mut own);
            let times = phase.parts.len();
            let (int, float) = (int.as_ref().map(|b| b.repeat(times)), float.as_ref().map(|b| b.repeat(times)));
            let bias = match &epilogue {
                Some(_) => BiasI8::Int(int.as_deref()),
                None => BiasI8::Float(float.as_deref()),
            };
            let spec = PackI8::conv(isa, &phase.shape, zero, 0);
            OperandI8::new(spec, Layout::RowsOfK, columns.repeat(times), Some((&own, bias)))
        };
        let operands: Vec<_> = phases.iter().map(operand).collect();
        let kernel = operands.first().map_or("", OperandI8::kernel);
        match epilogue {
            Some(epilogue) => (Operands::Integer(operands, epilogue), kernel),
            None => (Operands::Hybrid(operands), kernel),
        }
    };
    let name = format!("transpose_conv/{kernel}");
    let alone =
        phases.len() == 1 && phases[0].parts.len() == 1 && phases[0].skip == (0, 0) && p.window.stride == (1, 1);
    let pixels = |phase: &Phase| phase.shape.rows() * phase.shape.out_c;
    let spread = if alone { 0 } else { phases.iter().map(pixels).max().unwrap_or(0) };
    Ok(Box::new(Phases { name, range: float_range(linear.activation)?, p, phases, operands, isa, spread }))
}

impl Kernel for Phases {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let p = &self.p;
        let (pool, input) = (io.pool, io.input(2)?);
        let (filters, bias) = (io.input(1)?, io.optional_input(3));
        let mut scratch = Scratch::new(&mut *io.scratch);
        let out = &mut io.outputs[0];
        match &self.operands {
            Operands::Float(operands) => {
                let x = input.slice::<f32>()?;
                let bias = bias.map(|b| b.slice::<f32>()).transpose()?;
                let epilogue = EpilogueF32::clamp(self.range.0, self.range.1);
                let space = scratch.take::<f32>(self.spread)?;
                let rest = scratch.take::<u8>(self.packing())?;
                for (phase, operand) in self.phases.iter().zip(operands) {
                    let mut scratch = Scratch::new(&mut *rest);
                    let mut own: &mut [f32] = &mut [];
                    if operand.scratch() > 0 {
                        own = scratch.take(phase.weights(p))?;
                        phase.gather(p, filters.slice()?, 0.0, own);
                    }
                    let packed = operand.get(own, bias, &mut scratch)?;
                    let out = out.slice::<f32>()?;
                    if self.spread == 0 {
                        conv2d_f32(pool, &phase.shape, x, packed, out, epilogue);
                    } else {
                        conv2d_f32(pool, &phase.shape, x, packed, space, epilogue);
                        phase.spread(pool, p, space, out);
                    }
                }
            }
            Operands::Integer(operands, epilogue) => {
                let x = input.slice::<i8>()?;
                let space = scratch.take::<i8>(self.spread)?;
                for (phase, operand) in self.phases.iter().zip(operands) {
                    let packed = operand.get(&[], BiasI8::Int(None), &mut scratch)?;
                    let out = out.slice::<i8>()?;
                    let to = OutI8::I8 {
                        out: if self.spread == 0 { &mut *out } else { &mut *space },
                        ldc: phase.shape.out_c,
                        zero_point: epilogue.output_zero_point,
                        min: epilogue.range.0,
                        max: epilogue.range.1,
                    };
                    conv2d_i8(pool, &phase.shape, x, packed, to);
                    if self.spread > 0 {
                        phase.spread(pool, p, space, out);
                    }
                }
            }
            Operands::Hybrid(operands) => {
                let x = input.slice::<f32>()?;
                let batch = p.window.batch;
                let quantized = scratch.take::<i8>(x.len())?;
                let (scales, zeros) = (scratch.take::<f32>(batch)?, scratch.take::<i32>(batch)?);
                quantize_rows_asymmetric(pool, self.isa, x, x.len() / batch, quantized, scales, zeros);
                let space = scratch.take::<f32>(self.spread)?;
                for (phase, operand) in self.phases.iter().zip(operands) {
                    let packed = operand.get(&[], BiasI8::Float(None), &mut scratch)?;
                    let out = out.slice::<f32>()?;
                    let to = OutI8::F32 {
                        out: if self.spread == 0 { &mut *out } else { &mut *space },
                        ldc: phase.shape.out_c,
                        row_scale: scales,
                        row_zero_point: Some(zeros),
                        rows_per_scale: phase.shape.out_h * phase.shape.out_w,
                        columns_first: false,
                        min: self.range.0,
                        max: self.range.1,
                    };
                    conv2d_i8(pool, &phase.shape, quantized, packed, to);
                    if self.spread > 0 {
                        phase.spread(pool, p, space, out);
                    }
                }
            }
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        let input = self.p.window.positions() * self.p.in_c;
        match &self.operands {
            Operands::Float(_) => scratch_size::<f32>(self.spread).saturating_add(scratch_size::<u8>(self.packing())),
            Operands::Integer(..) => scratch_size::<i8>(self.spread),
            Operands::Hybrid(_) => [
                scratch_size::<i8>(input),
                2 * scratch_size::<f32>(self.p.window.batch),
                scratch_size::<f32>(self.spread),
            ]
            .into_iter()
            .fold(0, usize::saturating_add),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Phases {
    /// Scratch memory to pack filters that are not constant.
    fn packing(&self) -> usize {
        let Operands::Float(operands) = &self.operands else { return 0 };
        let one = |(phase, operand): (&Phase, &OperandF32)| match operand.scratch() {
            0 => 0,
            packed => packed.saturating_add(scratch_size::<f32>(phase.weights(&self.p))),
        };
        self.phases.iter().zip(operands).map(one).max().unwrap_or(0)
    }
}
