//! GATHER: slices of a tensor, picked by index.

use crate::common::index::Indices;
use crate::common::runs::RunCopy;
use crate::common::strided::{axis, elements, index_input};
use crate::op::{InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::TensorRef;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// GATHER. Inputs: data, indices.
pub struct Gather;

/// Axis of the data that indices pick from, and number of leading dimensions that both share.
fn axes(node: &NodeView<'_>) -> Result<(usize, usize), OpError> {
    let (data, indices) = (node.input(0)?, node.input(1)?);
    let Some(options) = node.options.as_gather_options() else { return Err(OpError::invalid("options are missing")) };
    let at = axis(options.axis.into(), data.shape.len())?;
    let batch = axis(options.batch_dims.into(), indices.shape.len() + 1)?;
    ensure!(batch <= at, "batch_dims {batch} is above axis {at}");
    ensure!(data.shape[..batch] == indices.shape[..batch], "batches of {:?} and {:?}", data.shape, indices.shape);
    Ok((at, batch))
}

impl OpDef for Gather {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::GATHER)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=8
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (data, indices) = (node.input(0)?, index_input(node, 1)?);
        let (at, batch) = axes(node)?;
        let shape = data.shape[..at].iter().chain(&indices.shape[batch..]).chain(&data.shape[at + 1..]);
        let inferred = Inferred::new(data.ty, shape.copied());
        elements(inferred.shape.as_deref().unwrap_or_default())?;
        Ok(smallvec![inferred])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (data, indices) = (node.input(0)?, node.input(1)?);
        let (at, batch) = axes(node)?;
        Ok(Box::new(GatherKernel {
            ty: data.ty,
            batches: elements(&data.shape[..batch])?,
            outer: elements(&data.shape[batch..at])?,
            choices: data.shape[at],
            inner: elements(&data.shape[at + 1..])?,
            picks: elements(&indices.shape[batch..])?,
        }))
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }
}

/// Data is [batches, outer, choices, inner], indices [batches, picks], output [batches, outer, picks, inner].
struct GatherKernel {
    ty: TensorType,
    batches: usize,
    outer: usize,
    choices: usize,
    inner: usize,
    picks: usize,
}

impl GatherKernel {
    /// Calls `copy` with the first element of every picked slice in the data and in the output.
    fn for_each(&self, indices: TensorRef<'_>, mut copy: impl FnMut(usize, usize)) -> Result<(), OpError> {
        let indices = Indices::of(indices)?;
        ensure!(indices.len() == self.batches * self.picks, "sizes changed since the kernel was prepared");
        let pick = |i: usize| indices.pick(i, self.choices);
        // Also where slices are empty, a wrong index is an error.
        (0..self.batches * self.picks).try_for_each(|i| pick(i).map(|_| ()))?;
        if self.inner == 0 {
            return Ok(());
        }
        let mut to = 0;
        for batch in 0..self.batches {
            for outer in 0..self.outer {
                let from = (batch * self.outer + outer) * self.choices;
                for i in 0..self.picks {
                    copy((from + pick(batch * self.picks + i)?) * self.inner, to);
                    to += self.inner;
                }
            }
        }
        Ok(())
    }
}

impl Kernel for GatherKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (data, indices) = (io.input(0)?, io.input(1)?);
        let rows = self.batches * self.outer;
        let (src, dst) = (rows * self.choices * self.inner, rows * self.picks * self.inner);
        let copy = RunCopy { ty: self.ty, len: self.inner, src, dst };
        copy.run(data, &mut io.outputs[0], |copy| self.for_each(indices, copy))
    }
}
