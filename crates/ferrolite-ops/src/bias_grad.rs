//! FerroliteBiasGrad: the gradient of a bias, the sum over everything but the last dimension.

use crate::common::node_case::NodeCase;
use crate::gradient::GradientCtx;
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_kernels::{Isa, sum_rows};
use ferrolite_model::TensorId;
use ferrolite_model::TensorType::Float32;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// FerroliteBiasGrad.
pub struct BiasGrad;

const NAME: &str = "FerroliteBiasGrad";

/// Emits the gradient of a bias, if input `index` is there and needs one.
pub fn bias_gradient(ctx: &mut GradientCtx<'_>, index: usize, dy: TensorId) -> Option<TensorId> {
    let bias = ctx.node.inputs.get(index).copied().flatten()?;
    if !ctx.needs.get(index).copied().unwrap_or(false) {
        return None;
    }
    let shape = ctx.shape(bias);
    Some(ctx.emit_custom(NAME, &[dy], &shape))
}

impl OpDef for BiasGrad {
    fn id(&self) -> OpId {
        OpId::Custom(NAME)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let dy = node.input(0)?;
        ensure!(dy.ty == Float32, "the gradient of a bias of {}", dy.ty);
        let Some(&channels) = dy.shape.last() else { return Err(OpError::invalid("the gradient is a scalar")) };
        Ok(smallvec![Inferred::new(Float32, [channels])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let channels = node.input(0)?.shape.last().copied().unwrap_or(0);
        reference(move |io| {
            let dy = io.input(0)?.slice::<f32>()?;
            let out = io.outputs[0].slice::<f32>()?;
            out.fill(0.0);
            for row in dy.chunks_exact(channels.max(1)) {
                out.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            Ok(())
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "sum_rows",
            supports: |node| node.input(0).is_ok_and(|dy| dy.elements() > 0),
            prepare: |node, isa| {
                let dy = node.input(0)?;
                let channels = dy.shape.last().copied().unwrap_or(1);
                let name = format!("{NAME}/sum_rows_f32_{}", isa.name());
                Ok(Box::new(Fast { name, isa, rows: dy.elements() / channels, channels }))
            },
        }]
    }

    fn cases(&self) -> Vec<Case> {
        let case = |shape: &[i32]| {
            let to = &shape[shape.len() - 1..];
            let node = NodeCase::new().drawn((Float32, shape, None));
            node.finish_custom(format!("{shape:?}"), NAME, &[], &[(Float32, to, None)])
        };
        let shapes: [&[i32]; 5] = [&[7], &[5, 1], &[33, 70], &[2, 9, 8, 40], &[3, 0, 4]];
        shapes.into_iter().filter_map(case).collect()
    }
}

struct Fast {
    name: String,
    isa: Isa,
    rows: usize,
    channels: usize,
}

impl Kernel for Fast {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let dy = io.input(0)?.slice::<f32>()?;
        sum_rows(io.pool, self.isa, dy, self.rows, self.channels, io.outputs[0].slice::<f32>()?, false);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
