//! ONE_HOT: indices to vectors that are on at the index and off elsewhere.

use crate::common::cases::{Operand, node};
use crate::common::strided::{axis, elements, fixed_size, index_input, scalar_index};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::pad::fill;
use crate::tensor::TensorRef;
use crate::{OpError, ensure};
use ferrolite_model::schema::OneHotOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// ONE_HOT. Inputs: indices, depth, on, off.
pub struct OneHot;

/// Where the new dimension goes.
fn new_axis(node: &NodeView<'_>) -> Result<usize, OpError> {
    let at = node.options.as_one_hot_options().map_or(-1, |o| o.axis);
    ensure!(at >= -1, "axis {at}");
    axis(at.into(), node.input(0)?.shape.len() + 1)
}

impl OpDef for OneHot {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::ONE_HOT)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(4..=4, 1)?;
        let (indices, on, off) = (index_input(node, 0)?, node.input(2)?, node.input(3)?);
        let ty = fixed_size(on.ty, "ONE_HOT")?;
        if ty.bits() < 8 {
            return Err(OpError::unsupported(format!("ONE_HOT of {ty}")));
        }
        ensure!(off.ty == ty, "on is {ty}, off is {}", off.ty);
        ensure!(on.elements() == 1 && off.elements() == 1, "on and off must be single values");
        let at = new_axis(node)?;
        let Some(depth) = scalar_index(index_input(node, 1)?)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let Ok(depth) = usize::try_from(depth) else { return Err(OpError::invalid(format!("depth {depth}"))) };
        let mut shape = indices.shape.clone();
        shape.insert(at, depth);
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let at = new_axis(node)?;
        let (indices, output) = (node.input(0)?, node.output(0)?);
        Ok(Box::new(OneHotKernel {
            ty: output.ty,
            depth: output.shape[at],
            inner: elements(&indices.shape[at..])?,
            indices: elements(&indices.shape)?,
        }))
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for &ty in &[TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int32, TensorType::Int64] {
            for (shape, depth, axis) in [(&[5][..], 7, -1), (&[2, 3], 4, 1), (&[2, 3], 4, 0), (&[33], 100, -1)] {
                let n: i32 = shape.iter().product();
                // Some outside of the range, which gives only off values.
                let picks: Vec<i32> = (0..n).map(|i| (i * 5) % (depth + 2) - 1).collect();
                let mut to = shape.to_vec();
                to.insert(if axis == -1 { shape.len() } else { axis as usize }, depth);
                let value = Operand::Data((ty, &[], None));
                let depth = [depth];
                let operands = [Operand::Index(shape, &picks), Operand::Index(&[], &depth), value, value];
                let options = BuiltinOptions::OneHotOptions(Box::new(OneHotOptionsT { axis }));
                let name = format!("{ty} {shape:?} {depth:?} {axis}");
                all.extend(node(name, BuiltinOperator::ONE_HOT, options, &operands, &[(ty, &to, None)]));
            }
        }
        all
    }
}

/// Indices are [outer, inner], the output is [outer, depth, inner].
struct OneHotKernel {
    ty: TensorType,
    depth: usize,
    inner: usize,
    indices: usize,
}

/// The bytes of a single value.
fn value(tensor: TensorRef<'_>) -> Result<[u8; 16], OpError> {
    let mut bytes = [0; 16];
    ensure!(tensor.bytes.len() <= 16, "on and off must be single values");
    bytes[..tensor.bytes.len()].copy_from_slice(tensor.bytes);
    Ok(bytes)
}

impl Kernel for OneHotKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let indices = io.input(0)?;
        let (on, off) = (value(io.input(2)?)?, value(io.input(3)?)?);
        let output = io.outputs[0].bytes();
        let size = self.ty.bits() / 8;
        let len = self.indices * self.depth * size;
        ensure!(output.len() == len, "sizes changed since the kernel was prepared");
        fill(self.ty, &off, output);
        let mut set = |i: usize, index: i64| {
            // An index outside is on nowhere.
            if let Some(index) = usize::try_from(index).ok().filter(|&index| index < self.depth) {
                let at = (i / self.inner * self.depth + index) * self.inner + i % self.inner;
                output[at * size..][..size].copy_from_slice(&on[..size]);
            }
        };
        match indices.ty {
            TensorType::Int16 => indices.slice::<i16>()?.iter().enumerate().for_each(|(i, &x)| set(i, x.into())),
            TensorType::Int32 => indices.slice::<i32>()?.iter().enumerate().for_each(|(i, &x)| set(i, x.into())),
            _ => indices.slice::<i64>()?.iter().enumerate().for_each(|(i, &x)| set(i, x)),
        }
        Ok(())
    }
}
