//! GATHER: slices of a tensor, picked by index.

use crate::common::blocks::{copy_run, for_run_length};
use crate::common::cases::{self, Operand};
use crate::common::index::Indices;
use crate::common::runs::RunCopy;
use crate::common::strided::{axis, elements, index_input};
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::tensor::TensorRef;
use crate::{OpError, ensure};
use ferrolite_model::schema::GatherOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// GATHER. Inputs: data, indices.
pub struct Gather;

/// Axis of the data that indices pick from, and number of leading dimensions that both share.
fn axes(node: &NodeView<'_>) -> Result<(usize, usize), OpError> {
    let (data, indices) = (node.input(0)?, node.input(1)?);
    let Some(options) = node.options.as_gather_options() else { return Err(OpError::invalid("options are missing")) };
    let at = axis(options.axis.into(), data.shape.len())?;
    // A negative one counts from the rank of the indices, which is itself allowed.
    let rank = indices.shape.len();
    let batch = match i64::from(options.batch_dims) {
        all if all == rank as i64 => rank,
        some => axis(some, rank)?,
    };
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
        Ok(Box::new(kernel(node)?))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "rows",
            supports: |node| node.input(0).is_ok_and(|data| data.ty.bits() >= 8),
            prepare: |node, _| Ok(Box::new(Rows(kernel(node)?))),
        }]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn cases(&self) -> Vec<Case> {
        // Data, indices, axis, batch dimensions, and the indices' values.
        type Pick = (&'static [i32], &'static [i32], usize, usize, &'static [i32]);
        const PICKS: [Pick; 6] = [
            (&[10, 16], &[1, 7], 0, 0, &[3, 9, 0, 0, 5, 1, 2]),
            (&[3, 5, 4], &[2, 3], 1, 0, &[4, 0, 1, 2, 3, 3]),
            (&[2, 6, 7], &[2, 4], 1, 1, &[0, 5, 2, 2, 1, 4, 0, 3]),
            (&[9], &[3], 0, 0, &[8, 0, 4]),
            (&[4, 33], &[5], 1, 0, &[0, 32, 16, 7, 8]),
            (&[5, 2, 3], &[], 0, 0, &[4]),
        ];
        let mut all = Vec::new();
        for ty in [TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int32, TensorType::Int64] {
            for (data, indices, axis, batch_dims, values) in PICKS {
                let to = [&data[..axis], &indices[batch_dims..], &data[axis + 1..]].concat();
                // A negative one counts from the rank of the indices.
                let below = if batch_dims > 0 && ty == TensorType::Int32 { indices.len() } else { 0 };
                let options = GatherOptionsT { axis: axis as i32, batch_dims: batch_dims as i32 - below as i32 };
                let options = BuiltinOptions::GatherOptions(Box::new(options));
                let operands = [Operand::Data((ty, data, cases::typical(ty))), Operand::Index(indices, values)];
                let name = format!("{ty} {data:?} {indices:?} {axis} {batch_dims}");
                let output = (ty, &to[..], cases::typical(ty));
                all.extend(cases::node(name, BuiltinOperator::GATHER, options, &operands, &[output]));
            }
        }
        all
    }
}

fn kernel(node: &NodeView<'_>) -> Result<GatherKernel, OpError> {
    let (data, indices) = (node.input(0)?, node.input(1)?);
    let (at, batch) = axes(node)?;
    Ok(GatherKernel {
        ty: data.ty,
        batches: elements(&data.shape[..batch])?,
        outer: elements(&data.shape[batch..at])?,
        choices: data.shape[at],
        inner: elements(&data.shape[at + 1..])?,
        picks: elements(&indices.shape[batch..])?,
    })
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

/// The fast kernel: indices are checked all at once, and slices of common sizes are moved without calls.
struct Rows(GatherKernel);

impl Kernel for Rows {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (data, indices) = (io.input(0)?, io.input(1)?);
        let GatherKernel { ty, batches, outer, choices, inner, picks } = self.0;
        let size = inner * (ty.bits() / 8);
        let dst = io.outputs[0].bytes();
        let fits = data.bytes.len() == batches * outer * choices * size && dst.len() == batches * outer * picks * size;
        ensure!(fits, "sizes changed since the kernel was prepared");
        match indices.ty {
            TensorType::Int16 => self.gather(indices.slice::<i16>()?, size, data.bytes, dst),
            TensorType::Int32 => self.gather(indices.slice::<i32>()?, size, data.bytes, dst),
            _ => self.gather(indices.slice::<i64>()?, size, data.bytes, dst),
        }
    }

    fn name(&self) -> &str {
        "gather/rows"
    }
}

impl Rows {
    fn gather<I: Copy + Into<i64>>(
        &self,
        indices: &[I],
        size: usize,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<(), OpError> {
        let GatherKernel { batches, outer, choices, picks, .. } = self.0;
        ensure!(indices.len() == batches * picks, "sizes changed since the kernel was prepared");
        let inside = |i: &I| (0..choices as i64).contains(&(*i).into());
        if let Some(wrong) = indices.iter().find(|i| !inside(i)) {
            return Err(OpError::invalid(format!("index {} is not one of {choices}", (*wrong).into())));
        }
        if size == 0 || picks == 0 || choices == 0 {
            return Ok(());
        }
        let blocks = src.chunks_exact(choices * size).zip(dst.chunks_exact_mut(picks * size));
        for (i, (src, dst)) in blocks.enumerate() {
            let indices = &indices[i / outer * picks..][..picks];
            for_run_length!(size, slices(indices, src, dst), {
                for (to, &i) in dst.chunks_exact_mut(size).zip(indices) {
                    copy_run(&src[i.into() as usize * size..][..size], to);
                }
            });
        }
        Ok(())
    }
}

fn slices<const N: usize>(indices: &[impl Copy + Into<i64>], src: &[u8], dst: &mut [u8]) {
    let src = src.as_chunks::<N>().0;
    for (to, &i) in dst.as_chunks_mut::<N>().0.iter_mut().zip(indices) {
        *to = src[i.into() as usize];
    }
}
