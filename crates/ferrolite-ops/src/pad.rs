//! PAD and PADV2: a border of one value around a tensor.

use crate::common::moves_grad;
use crate::common::strided::{Step, StridedCopy, elements, fixed_size, index_input, known, strides};
use crate::gradient::Gradient;
use crate::op::{InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::{Shape, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

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

impl Kernel for PadKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let value = match self.value {
            Some(value) => value,
            None => {
                let value = io.input(2)?;
                let size = self.ty.byte_len(1).filter(|&n| n <= value.bytes.len());
                let Some(size) = size else { return Err(OpError::invalid("the padding value is missing")) };
                let mut bytes = [0; 16];
                bytes[..size].copy_from_slice(&value.bytes[..size]);
                bytes
            }
        };
        let input = io.input(0)?;
        let output = io.outputs[0].bytes();
        fill(self.ty, &value, output);
        self.copy.run_bytes(input.bytes, output)
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

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { activations: Some(&[0, 2]), ..QuantRule::SAME_SCALE })
    }
}
