//! PAD and PADV2: a border of one value around a tensor.

use crate::common::blocks::copy_run;
use crate::common::cases::{self, Operand};
use crate::common::moves_grad;
use crate::common::parallel::{GRAIN_BYTES, for_items};
use crate::common::strided::{Step, StridedCopy, elements, fixed_size, index_input, known, strides};
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::{Shape, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::{SmallVec, smallvec};
use std::ops::{Range, RangeInclusive};

/// PAD: with zeros (the zero point, where the output is quantized).
pub struct Pad;
/// PADV2: with the value of input 2.
pub struct PadV2;

/// Elements before and after, per dimension; `None` when not known yet.
pub fn paddings(node: &NodeView<'_>) -> Result<Option<SmallVec<[(usize, usize); 6]>>, OpError> {
    let rank = node.input(0)?.shape.len();
    let tensor = node.input(1)?;
    let values = match tensor.ty {
        TensorType::Int8 => tensor.values::<i8>()?.map(|v| v.into_iter().map(i64::from).collect()),
        _ => index_input(node, 1)?.indices()?,
    };
    let rows = matches!(*tensor.shape, [rows, 2] if rows == rank);
    ensure!(rows, "paddings of shape {:?} for {rank} dimensions", tensor.shape);
    let Some(values) = values else { return Ok(None) };
    ensure!(values.len() == 2 * rank, "{} paddings for {rank} dimensions", values.len());
    let pair = |p: &[i64]| Some((usize::try_from(p[0]).ok()?, usize::try_from(p[1]).ok()?));
    match values.chunks(2).map(pair).collect::<Option<_>>() {
        Some(pairs) => Ok(Some(pairs)),
        None => Err(OpError::invalid(format!("negative padding in {values:?}"))),
    }
}

/// The shape with its paddings.
pub fn padded_shape(shape: &[usize], paddings: &[(usize, usize)]) -> Result<Shape, OpError> {
    let sum = |(&n, &(before, after)): (&usize, &(usize, usize))| n.checked_add(before)?.checked_add(after);
    let padded: Option<Shape> = shape.iter().zip(paddings).map(sum).collect();
    let Some(padded) = padded else { return Err(OpError::invalid(format!("paddings {paddings:?} are too large"))) };
    elements(&padded)?;
    Ok(padded)
}

fn infer_pad(node: &NodeView<'_>, op: &str) -> InferResult {
    let input = node.input(0)?;
    fixed_size(input.ty, op)?;
    let Some(paddings) = paddings(node)? else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
    Ok(smallvec![Inferred { ty: input.ty, shape: Some(padded_shape(&input.shape, &paddings)?) }])
}

fn prepare_pad(node: &NodeView<'_>, value: Option<[u8; 16]>) -> Result<Box<dyn Kernel>, OpError> {
    let input = node.input(0)?;
    let paddings = known(paddings(node)?)?;
    let shape = padded_shape(&input.shape, &paddings)?;
    let to = strides(&shape);
    let count = elements(&input.shape)?;
    let start = paddings.iter().zip(&to).map(|(p, &s)| (p.0 as isize).wrapping_mul(s)).fold(0, isize::wrapping_add);
    let steps = input.shape.iter().zip(strides(&input.shape)).zip(to);
    let steps = steps.map(|((&len, src), dst)| Step { len, src, dst });
    let copy = StridedCopy::new(input.ty, steps, (0, count), (start as usize, elements(&shape)?))?;
    Ok(Box::new(PadKernel { copy, ty: input.ty, value }))
}

/// What a zero is in the output: the bytes of one element.
pub fn zero(output: &TensorInfo<'_>) -> [u8; 16] {
    let mut bytes = [0; 16];
    let zero_point = output.scale_zero_point().map_or(0, |(_, zero_point)| zero_point);
    if matches!(output.ty, TensorType::Int8 | TensorType::UInt8 | TensorType::Int16 | TensorType::Int4) {
        bytes[..4].copy_from_slice(&zero_point.to_le_bytes());
    }
    bytes
}

/// Fills the output with one value, then copies input 0 into it.
pub struct PadKernel {
    /// Where the input goes.
    pub copy: StridedCopy,
    /// Element type.
    pub ty: TensorType,
    /// The value; `None` takes it from input 2.
    pub value: Option<[u8; 16]>,
}

/// The border's value: as planned, or input 2.
fn border(io: &Io<'_>, ty: TensorType, planned: Option<[u8; 16]>) -> Result<[u8; 16], OpError> {
    if let Some(value) = planned {
        return Ok(value);
    }
    let value = io.input(2)?;
    let size = ty.byte_len(1).filter(|&n| n <= value.bytes.len());
    let Some(size) = size else { return Err(OpError::invalid("the padding value is missing")) };
    let mut bytes = [0; 16];
    bytes[..size].copy_from_slice(&value.bytes[..size]);
    Ok(bytes)
}

impl Kernel for PadKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let value = border(io, self.ty, self.value)?;
        let input = io.input(0)?;
        let output = io.outputs[0].bytes();
        fill(self.ty, &value, output);
        self.copy.run_bytes(input.bytes, output)
    }
}

/// A dimension, or several that are padded as one.
#[derive(Clone, Copy)]
struct Level {
    n: usize,
    before: usize,
    after: usize,
}

/// The fast kernel: the output is written once, from its start to its end.
struct Sweep {
    ty: TensorType,
    value: Option<[u8; 16]>,
    /// Outermost first.
    levels: SmallVec<[Level; 6]>,
    /// Bytes of input and output.
    sizes: (usize, usize),
}

fn sweep(node: &NodeView<'_>, value: Option<[u8; 16]>) -> Result<Box<dyn Kernel>, OpError> {
    let input = node.input(0)?;
    let paddings = known(paddings(node)?)?;
    let size = input.ty.bits() / 8;
    let to = elements(&padded_shape(&input.shape, &paddings)?)? * size;
    let mut levels: SmallVec<[Level; 6]> = SmallVec::new();
    // Innermost first: whatever lies inside of a padded dimension moves with its elements.
    let mut block = size;
    for (&n, &(before, after)) in input.shape.iter().zip(&paddings).rev() {
        match levels.last_mut() {
            None if (before, after) == (0, 0) => block *= n,
            None => levels.push(Level { n: n * block, before: before * block, after: after * block }),
            Some(inner) if (inner.before, inner.after, before, after) == (0, 0, 0, 0) => inner.n *= n,
            Some(_) => levels.push(Level { n, before, after }),
        }
    }
    if levels.is_empty() {
        levels.push(Level { n: block, before: 0, after: 0 });
    }
    levels.reverse();
    Ok(Box::new(Sweep { ty: input.ty, value, levels, sizes: (elements(&input.shape)? * size, to) }))
}

impl Sweep {
    /// Writes the items `range` of the outermost of `levels`.
    fn write(&self, levels: &[Level], range: Range<usize>, value: &[u8; 16], src: &[u8], dst: &mut [u8]) {
        let [Level { n, before, .. }, ref inner @ ..] = *levels else { return };
        // Items of the innermost level are bytes.
        let (width, from) =
            if inner.is_empty() { (1, 1) } else { (dst.len() / range.len().max(1), src.len() / n.max(1)) };
        let middle = range.start.clamp(before, before + n)..range.end.clamp(before, before + n);
        let (start, rest) = dst.split_at_mut((middle.start.clamp(range.start, range.end) - range.start) * width);
        let (copied, end_of) = rest.split_at_mut(middle.len() * width);
        let source = &src[(middle.start - before) * from..(middle.end - before) * from];
        fill(self.ty, value, start);
        if inner.is_empty() {
            copy_run(source, copied);
        } else if from > 0 && width > 0 {
            let all = inner[0].before + inner[0].n + inner[0].after;
            if let ([row], Some((first, rest))) = (inner, copied.split_at_mut_checked(width)) {
                // Rows of bytes: the borders of the first one serve all.
                self.write(inner, 0..all, value, &source[..from], first);
                let (start, end) = first.split_at(row.before + row.n);
                for (from, to) in source[from..].chunks_exact(from).zip(rest.chunks_exact_mut(width)) {
                    let (to_start, to_end) = to.split_at_mut(row.before + row.n);
                    let (border, middle) = to_start.split_at_mut(row.before);
                    copy_run(&start[..row.before], border);
                    copy_run(from, middle);
                    copy_run(end, to_end);
                }
                return fill(self.ty, value, end_of);
            }
            for (from, to) in source.chunks_exact(from).zip(copied.chunks_exact_mut(width)) {
                self.write(inner, 0..all, value, from, to);
            }
        } else {
            // Nothing inside: all of it is border.
            fill(self.ty, value, copied);
        }
        fill(self.ty, value, end_of);
    }
}

impl Kernel for Sweep {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let value = border(io, self.ty, self.value)?;
        let (input, output) = (io.input(0)?.bytes, io.outputs[0].bytes());
        ensure!((input.len(), output.len()) == self.sizes, "sizes changed since the kernel was prepared");
        let outermost = self.levels[0];
        let all = outermost.before + outermost.n + outermost.after;
        let width = output.len().checked_div(all).unwrap_or(0);
        if self.levels.len() == 1 || width == 0 {
            self.write(&self.levels, 0..all, &value, input, output);
        } else {
            for_items(io.pool, output, width, GRAIN_BYTES / width + 1, |range, part| {
                self.write(&self.levels, range, &value, input, part);
            });
        }
        Ok(())
    }

    fn name(&self) -> &str {
        "pad/sweep"
    }
}

/// Fills packed data with one element.
pub fn fill(ty: TensorType, value: &[u8; 16], data: &mut [u8]) {
    fn sized<const N: usize>(value: &[u8; 16], data: &mut [u8]) {
        if let Some(&element) = value.first_chunk::<N>() {
            data.as_chunks_mut::<N>().0.fill(element);
        }
    }
    match ty.bits() {
        2 => data.fill((value[0] & 3) * 0x55),
        4 => data.fill((value[0] & 15) * 0x11),
        8 => data.fill(value[0]),
        16 => sized::<2>(value, data),
        32 => sized::<4>(value, data),
        64 => sized::<8>(value, data),
        _ => sized::<16>(value, data),
    }
}

/// Whether the fast kernel takes the node: elements of whole bytes.
fn sweeps(node: &NodeView<'_>) -> bool {
    node.input(0).is_ok_and(|t| t.ty.bits() >= 8)
}

fn pad_cases(op: BuiltinOperator) -> Vec<Case> {
    // Shapes, and elements before and after per dimension.
    const PADS: [(&[i32], &[i32]); 8] = [
        (&[1, 9, 10, 3], &[0, 0, 1, 1, 1, 1, 0, 0]),
        (&[1, 16, 16, 24], &[0, 0, 0, 0, 0, 0, 0, 4]),
        (&[2, 5, 7, 8], &[0, 0, 2, 1, 0, 3, 0, 0]),
        (&[1, 40, 41, 33], &[0, 0, 1, 0, 1, 0, 0, 0]),
        (&[3, 4], &[1, 0, 2, 5]),
        (&[2, 3, 4], &[1, 1, 0, 0, 0, 2]),
        (&[7], &[3, 9]),
        (&[4, 6], &[0, 0, 0, 0]),
    ];
    let options = if op == BuiltinOperator::PAD {
        BuiltinOptions::PadOptions(Box::default())
    } else {
        BuiltinOptions::PadV2Options(Box::default())
    };
    let mut all = Vec::new();
    for ty in [TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int32, TensorType::Int64] {
        for (shape, pads) in PADS {
            let sum = |d: usize| shape[d] + pads[2 * d] + pads[2 * d + 1];
            let to: Vec<i32> = (0..shape.len()).map(sum).collect();
            let table = [shape.len() as i32, 2];
            let mut operands = vec![Operand::Data((ty, shape, cases::typical(ty))), Operand::Index(&table, pads)];
            if op == BuiltinOperator::PADV2 {
                operands.push(Operand::Data((ty, &[1], cases::typical(ty))));
            }
            let output = (ty, &to[..], cases::typical(ty));
            all.extend(cases::node(format!("{ty} {shape:?} {pads:?}"), op, options.clone(), &operands, &[output]));
        }
    }
    all
}

impl OpDef for Pad {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::PAD)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        infer_pad(node, "PAD")
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        prepare_pad(node, Some(zero(node.output(0)?)))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel { name: "sweep", supports: sweeps, prepare: |node, _| sweep(node, Some(zero(node.output(0)?))) }]
    }

    fn cases(&self) -> Vec<Case> {
        pad_cases(BuiltinOperator::PAD)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(moves_grad::pad)
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

impl OpDef for PadV2 {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::PADV2)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=6
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (input, value) = (node.input(0)?, node.input(2)?);
        ensure!(value.ty == input.ty, "padding of type {} for {}", value.ty, input.ty);
        ensure!(value.elements() == 1, "padding value of shape {:?}", value.shape);
        infer_pad(node, "PADV2")
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        prepare_pad(node, None)
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel { name: "sweep", supports: sweeps, prepare: |node, _| sweep(node, None) }]
    }

    fn cases(&self) -> Vec<Case> {
        pad_cases(BuiltinOperator::PADV2)
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: Some(&[0, 2]), ..QuantRule::SAME_SCALE })
    }
}
