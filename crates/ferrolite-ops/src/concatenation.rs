//! CONCATENATION: tensors one after another along a dimension.

use crate::common::activation::quantized_range;
use crate::common::blocks::copy_run;
use crate::common::cases;
use crate::common::lut::Table8;
use crate::common::moves_grad;
use crate::common::parallel::{GRAIN_BYTES, for_items};
use crate::common::strided::{Step, StridedCopy, axis, elements, fixed_size, strides};
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::{Shape, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_model::schema::{ActivationFunctionType, ConcatenationOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// CONCATENATION.
pub struct Concatenation;

/// The dimension along which tensors of this rank are joined. Scalars join into a vector.
fn join_axis(node: &NodeView<'_>, rank: usize) -> Result<usize, OpError> {
    let options = node.options.as_concatenation_options();
    let Some(options) = options else { return Err(OpError::invalid("options are missing")) };
    ensure!(options.fused_activation_function == ActivationFunctionType::NONE, "an activation cannot be fused");
    axis(options.axis.into(), rank.max(1))
}

impl OpDef for Concatenation {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CONCATENATION)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=7
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=usize::MAX, 1)?;
        let first = node.input(0)?;
        let ty = fixed_size(first.ty, "CONCATENATION")?;
        let at = join_axis(node, first.shape.len())?;
        let mut shape: Shape = if first.shape.is_empty() { smallvec![0] } else { first.shape.clone() };
        shape[at] = 0;
        for i in 0..node.inputs.len() {
            let input = node.input(i)?;
            let rest = |s: &[usize]| s.iter().enumerate().filter(|&(d, _)| d != at).all(|(d, &n)| n == shape[d]);
            ensure!(input.ty == ty, "inputs of type {ty} and {}", input.ty);
            ensure!(
                input.shape.len() == first.shape.len() && rest(&input.shape),
                "shapes {:?} and {:?} do not join along {at}",
                first.shape,
                input.shape
            );
            let size = input.shape.get(at).copied().unwrap_or(1);
            let Some(total) = shape[at].checked_add(size) else { return Err(OpError::invalid("too large")) };
            shape[at] = total;
        }
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(concatenate(node)?))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "block_copy",
            supports: |node| node.output(0).is_ok_and(|t| t.ty.bits() >= 8),
            prepare: |node, _| Ok(Box::new(join(node)?)),
        }]
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::concatenation)
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: None, ..QuantRule::SAME_SCALE })
    }

    fn cases(&self) -> Vec<Case> {
        const JOINS: [(&[&[i32]], usize); 7] = [
            (&[&[2, 5, 7, 8], &[2, 5, 7, 12]], 3),
            (&[&[1, 9, 9, 3], &[1, 9, 9, 5], &[1, 9, 9, 1]], 3),
            (&[&[4, 10], &[7, 10]], 0),
            (&[&[2, 3, 5], &[2, 1, 5], &[2, 4, 5]], 1),
            (&[&[1, 33], &[1, 31], &[1, 400]], 1),
            (&[&[1, 40, 41, 32], &[1, 40, 41, 64]], 3),
            (&[&[6]], 0),
        ];
        let mut all = Vec::new();
        let mut push = |ty: TensorType, shapes: &[&[i32]], at: usize, scales: [Option<(f32, i64)>; 3], name: &str| {
            let inputs: Vec<cases::Spec<'_>> =
                shapes.iter().enumerate().map(|(i, &shape)| (ty, shape, scales[i % 2])).collect();
            let mut to = shapes[0].to_vec();
            to[at] = shapes.iter().map(|s| s[at]).sum();
            let options = ConcatenationOptionsT { axis: at as i32, ..Default::default() };
            let options = BuiltinOptions::ConcatenationOptions(Box::new(options));
            let name = format!("{ty} {shapes:?} {at}{name}");
            all.extend(cases::case(name, BuiltinOperator::CONCATENATION, options, &inputs, (ty, &to, scales[2])));
        };
        for (shapes, at) in JOINS {
            for ty in [TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int16, TensorType::Int64] {
                push(ty, shapes, at, [cases::typical(ty); 3], "");
            }
            push(TensorType::UInt8, shapes, at, [Some((0.02, 120)), Some((0.03, 140)), Some((0.04, 100))], " rescaled");
        }
        all
    }
}

fn concatenate(node: &NodeView<'_>) -> Result<Concatenate, OpError> {
    let output = node.output(0)?;
    let at = join_axis(node, node.input(0)?.shape.len())?;
    let (to, total) = (strides(&output.shape), elements(&output.shape)?);
    let mut parts = Vec::with_capacity(node.inputs.len());
    let mut offset = 0;
    for i in 0..node.inputs.len() {
        let input = node.input(i)?;
        let mut shape: Shape = if input.shape.is_empty() { smallvec![1] } else { input.shape.clone() };
        let steps: Vec<Step> =
            shape.iter().zip(strides(&shape)).zip(&to).map(|((&len, src), &dst)| Step { len, src, dst }).collect();
        let count = elements(&shape)?;
        let start = if count == 0 { 0 } else { offset * to[at] as usize };
        let copy = StridedCopy::new(input.ty, steps, (0, count), (start, total))?;
        parts.push((copy, Rescale::between(input, output)?));
        offset += std::mem::take(&mut shape[at]);
    }
    Ok(Concatenate { parts, ty: output.ty })
}

/// Moves 8-bit values to the output's scale: round(x · scale + bias) + zero_point.
///
/// In float, as LiteRT does for uint8; for int8, where LiteRT refuses, the same.
#[derive(Clone, Copy)]
struct Rescale {
    scale: f32,
    bias: f32,
    zero_point: i32,
    low: i32,
    high: i32,
}

impl Rescale {
    fn between(input: &TensorInfo<'_>, output: &TensorInfo<'_>) -> Result<Option<Rescale>, OpError> {
        if !matches!(input.ty, TensorType::UInt8 | TensorType::Int8) {
            return Ok(None);
        }
        let (Ok((from, from_zero)), Ok((to, zero_point))) = (input.scale_zero_point(), output.scale_zero_point())
        else {
            return Ok(None);
        };
        if from == to && from_zero == zero_point {
            return Ok(None);
        }
        let (low, high) = quantized_range(ActivationFunctionType::NONE, output.ty, to, zero_point)?;
        let scale = from * (1.0 / to);
        ensure!(scale.is_finite() && to != 0.0, "scales {from} and {to}");
        Ok(Some(Rescale { scale, bias: -(from_zero as f32) * scale, zero_point, low, high }))
    }

    fn apply(self, x: i32) -> i32 {
        let value = (x as f32 * self.scale + self.bias).round() as i32;
        value.saturating_add(self.zero_point).clamp(self.low, self.high)
    }

    fn apply_byte(self, ty: TensorType, x: u8) -> u8 {
        self.apply(if ty == TensorType::Int8 { (x as i8).into() } else { x.into() }) as u8
    }

    fn table(self, ty: TensorType) -> Table8 {
        let mut table = Box::new([0; 256]);
        table.iter_mut().zip(0..=255).for_each(|(y, x)| *y = self.apply_byte(ty, x));
        table
    }
}

struct Concatenate {
    /// How each input gets to its place in the output.
    parts: Vec<(StridedCopy, Option<Rescale>)>,
    ty: TensorType,
}

impl Kernel for Concatenate {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let output = io.outputs[0].bytes();
        if self.ty.bits() < 8 {
            // Packed elements are written one by one into bytes that they share.
            output.fill(0);
        }
        for ((copy, rescale), input) in self.parts.iter().zip(&io.inputs) {
            let Some(input) = input else { return Err(OpError::invalid("an input is missing")) };
            match rescale {
                None => copy.run_bytes(input.bytes, output)?,
                Some(r) => copy.map_bytes(input.bytes, output, |x| r.apply_byte(self.ty, x))?,
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "reference"
    }
}

fn join(node: &NodeView<'_>) -> Result<Join, OpError> {
    let output = node.output(0)?;
    let at = join_axis(node, node.input(0)?.shape.len())?;
    let bytes = |shape: &[usize]| output.ty.byte_len(elements(shape)?).ok_or_else(|| OpError::invalid("too large"));
    let part = |i: usize| {
        let input = node.input(i)?;
        let table = Rescale::between(input, output)?.map(|r| r.table(output.ty));
        Ok((bytes(input.shape.get(at..).unwrap_or_default())?, table))
    };
    let parts = (0..node.inputs.len()).map(part).collect::<Result<Vec<_>, OpError>>()?;
    Ok(Join { parts, rows: elements(&output.shape[..at])?, row: bytes(&output.shape[at..])? })
}

/// Whole elements, row by row of the dimensions before the joined one.
struct Join {
    /// Of each input: bytes that it adds to a row, and what it makes of each if its scale is not the output's.
    parts: Vec<(usize, Option<Table8>)>,
    rows: usize,
    /// Bytes of a row.
    row: usize,
}

impl Kernel for Join {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (inputs, output) = (&io.inputs, io.outputs[0].bytes());
        let input = |i: usize| inputs.get(i).and_then(|x| x.as_ref()).map_or(&[][..], |x| x.bytes);
        let fits = self.parts.iter().enumerate().all(|(i, (run, _))| input(i).len() == run * self.rows);
        ensure!(fits && output.len() == self.row * self.rows, "sizes changed since the kernel was prepared");
        if output.is_empty() {
            return Ok(());
        }
        for_items(io.pool, output, self.row, GRAIN_BYTES / self.row + 1, |rows, part| {
            let mut at = 0;
            for (i, (run, table)) in self.parts.iter().enumerate().filter(|(_, (run, _))| *run > 0) {
                let from = input(i)[rows.start * run..].chunks_exact(*run);
                for (to, from) in part.chunks_exact_mut(self.row).zip(from) {
                    let to = &mut to[at..at + run];
                    match table {
                        None => copy_run(from, to),
                        Some(table) => to.iter_mut().zip(from).for_each(|(to, &x)| *to = table[usize::from(x)]),
                    }
                }
                at += run;
            }
        });
        Ok(())
    }

    fn name(&self) -> &str {
        "concatenation/block_copy"
    }
}
