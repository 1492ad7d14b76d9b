//! Fast kernels: float sums and extremes, sums of bytes.

use super::plan::Plan;
use super::quantized::finish;
use super::{Kind, reduced};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::strided::known;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use crate::{OpError, ensure};
use ferrolite_kernels::{Fold, Isa, reduce_columns_f32, reduce_rows_f32, sum_columns_8bit, sum_rows_8bit};
use ferrolite_model::TensorType::{Float32, Int8, UInt8};

/// The fast kernels of a reduction.
pub fn table(kind: Kind) -> &'static [FastKernel] {
    match kind {
        Kind::Mean => &[
            FastKernel { name: "mean_f32", supports: is_float, prepare: |node, isa| float(node, isa, Kind::Mean) },
            FastKernel { name: "mean_8bit", supports: is_byte, prepare: |node, isa| bytes(node, isa, Kind::Mean) },
        ],
        Kind::Sum => &[
            FastKernel { name: "sum_f32", supports: is_float, prepare: |node, isa| float(node, isa, Kind::Sum) },
            FastKernel { name: "sum_8bit", supports: is_byte, prepare: |node, isa| bytes(node, isa, Kind::Sum) },
        ],
        Kind::Max => &[FastKernel {
            name: "reduce_max_f32",
            supports: is_float,
            prepare: |node, isa| float(node, isa, Kind::Max),
        }],
        Kind::Min => &[FastKernel {
            name: "reduce_min_f32",
            supports: is_float,
            prepare: |node, isa| float(node, isa, Kind::Min),
        }],
        Kind::Prod | Kind::Any | Kind::All => &[],
    }
}

/// How many inputs an output has; `None` where there are none at all.
fn count(node: &NodeView<'_>) -> Option<usize> {
    let plan = Plan::new(&node.input(0).ok()?.shape, &reduced(node).ok()??).ok()?;
    (plan.count * plan.outputs > 0).then_some(plan.count)
}

fn is_float(node: &NodeView<'_>) -> bool {
    node.input(0).is_ok_and(|t| t.ty == Float32) && count(node).is_some()
}

fn is_byte(node: &NodeView<'_>) -> bool {
    // What the sums have room for.
    node.input(0).is_ok_and(|t| matches!(t.ty, Int8 | UInt8)) && count(node).is_some_and(|n| n < 1 << 23)
}

fn plan(node: &NodeView<'_>) -> Result<Plan, OpError> {
    Plan::new(&node.input(0)?.shape, &known(reduced(node)?)?)
}

struct Run<F> {
    name: &'static str,
    scratch: usize,
    run: F,
}

impl<F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync> Kernel for Run<F> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        (self.run)(io)
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch
    }

    fn name(&self) -> &str {
        self.name
    }
}

fn float(node: &NodeView<'_>, isa: Isa, kind: Kind) -> Result<Box<dyn Kernel>, OpError> {
    let plan = plan(node)?;
    let (name, fold, start) = match kind {
        Kind::Mean => ("mean_f32", Fold::Sum, 0.0),
        Kind::Max => ("reduce_max_f32", Fold::Max, f32::NEG_INFINITY),
        Kind::Min => ("reduce_min_f32", Fold::Min, f32::INFINITY),
        _ => ("sum_f32", Fold::Sum, 0.0),
    };
    let run = move |io: &mut Io<'_>| {
        let input = io.input(0)?.slice::<f32>()?;
        let output = io.outputs[0].slice::<f32>()?;
        ensure!(output.len() == plan.outputs, "sizes changed since the kernel was prepared");
        output.fill(start);
        let reduce = if plan.reduces_rows() { reduce_rows_f32 } else { reduce_columns_f32 };
        plan.blocks(input, |to, values| reduce(io.pool, isa, fold, values, &mut output[to]))?;
        if kind == Kind::Mean {
            let count = plan.count as f32;
            output.iter_mut().for_each(|x| *x /= count);
        }
        Ok(())
    };
    Ok(Box::new(Run { name, scratch: 0, run }))
}

fn bytes(node: &NodeView<'_>, isa: Isa, kind: Kind) -> Result<Box<dyn Kernel>, OpError> {
    let plan = plan(node)?;
    let finish = finish(node, plan.count, kind == Kind::Mean)?;
    let signed = node.input(0)?.ty == Int8;
    let (low, high) = if signed { (-128, 127) } else { (0, 255) };
    let scratch = scratch_size::<i32>(plan.outputs);
    let run = move |io: &mut Io<'_>| {
        let input = io.input(0)?.bytes;
        let sums = Scratch::new(&mut *io.scratch).take::<i32>(plan.outputs)?;
        sums.fill(0);
        let reduce = if plan.reduces_rows() { sum_rows_8bit } else { sum_columns_8bit };
        plan.blocks(input, |to, values| reduce(io.pool, isa, signed, values, &mut sums[to]))?;
        let output = io.outputs[0].bytes();
        ensure!(output.len() == sums.len(), "{} outputs, {} computed", output.len(), sums.len());
        for (y, &sum) in output.iter_mut().zip(&*sums) {
            *y = finish.apply(sum.into()).clamp(low, high) as u8;
        }
        Ok(())
    };
    Ok(Box::new(Run { name: if kind == Kind::Mean { "mean_8bit" } else { "sum_8bit" }, scratch, run }))
}
