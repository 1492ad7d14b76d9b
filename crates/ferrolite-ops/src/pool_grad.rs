//! FerroliteMaxPool2DGrad and FerroliteAveragePool2DGrad: gradients of pools. Inputs: the pool's input, and the gradient with
//! respect to its output. The options are the pool's.

use crate::OpError;
use crate::activation_grad::through_activation;
use crate::common::node_case::NodeCase;
use crate::common::window2d::Window2d;
use crate::ensure;
use crate::gradient::GradientCtx;
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::pool_2d::{Mode, window};
use ferrolite_kernels::{ConvShape, Isa, avg_pool2d_grad, max_pool2d_grad};
use ferrolite_model::TensorType::Float32;
use ferrolite_model::schema::{Padding, Pool2DOptionsT};
use ferrolite_model::{BuiltinOptions, TensorId};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// The gradient of a pool.
pub struct PoolGrad(Mode);

/// FerroliteMaxPool2DGrad: the first greatest element of a window, by rows, gets the window's gradient.
pub const MAX_POOL_2D_GRAD: PoolGrad = PoolGrad(Mode::Max);
/// FerroliteAveragePool2DGrad: the elements of a window share its gradient.
pub const AVERAGE_POOL_2D_GRAD: PoolGrad = PoolGrad(Mode::Average);

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Max => "FerroliteMaxPool2DGrad",
        Mode::Average => "FerroliteAveragePool2DGrad",
    }
}

/// Emits the gradient of a pool.
pub fn gradient(ctx: &mut GradientCtx<'_>, mode: Mode) -> Result<Vec<Option<TensorId>>, OpError> {
    let Some(&Some(x)) = ctx.node.inputs.first() else { return Err(OpError::invalid("input 0 is missing")) };
    let dy = through_activation(ctx)?;
    let shape = ctx.shape(x);
    Ok(vec![Some(ctx.emit_custom(name(mode), &[x, dy], &shape))])
}

impl OpDef for PoolGrad {
    fn id(&self) -> OpId {
        OpId::Custom(name(self.0))
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (x, dy) = (node.input(0)?, node.input(1)?);
        ensure!([x.ty, dy.ty] == [Float32; 2], "the gradient of a pool of {} by {}", x.ty, dy.ty);
        let w = window(node)?;
        let output = [w.batch, w.output.0, w.output.1, x.shape[3]];
        ensure!(dy.shape[..] == output, "gradient {:?} for an output of {output:?}", dy.shape);
        Ok(smallvec![Inferred::new(Float32, x.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (w, mode, channels) = (window(node)?, self.0, node.input(0)?.shape[3]);
        reference(move |io| {
            let (x, dy) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
            let dx = io.outputs[0].slice::<f32>()?;
            dx.fill(0.0);
            for position in 0..w.positions() {
                for c in 0..channels {
                    let dy = dy[position * channels + c];
                    let (mut count, mut greatest) = (0u32, None::<usize>);
                    w.for_taps(position, |_, pixel| {
                        count += 1;
                        let at = pixel * channels + c;
                        if greatest.is_none_or(|g| x[at] > x[g]) {
                            greatest = Some(at);
                        }
                    });
                    match mode {
                        Mode::Max => greatest.into_iter().for_each(|at| dx[at] += dy),
                        Mode::Average => w.for_taps(position, |_, pixel| dx[pixel * channels + c] += dy / count as f32),
                    }
                }
            }
            Ok(())
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        match self.0 {
            Mode::Max => &[FastKernel { name: "max", supports, prepare: |node, isa| prepare(node, isa, Mode::Max) }],
            Mode::Average => {
                &[FastKernel { name: "average", supports, prepare: |node, isa| prepare(node, isa, Mode::Average) }]
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        // Input, output, window, stride.
        type Pool = ([i32; 4], [i32; 4], i32, i32);
        const POOLS: [Pool; 5] = [
            ([2, 8, 8, 3], [2, 4, 4, 3], 2, 2),
            ([1, 7, 9, 33], [1, 7, 9, 33], 3, 1),
            ([3, 7, 5, 16], [3, 4, 3, 16], 3, 2),
            ([1, 6, 6, 1], [1, 2, 2, 1], 2, 4),
            ([2, 1, 1, 8], [2, 1, 1, 8], 1, 1),
        ];
        let op = name(self.0);
        let case = |(x, y, window, stride): Pool| {
            let options = BuiltinOptions::Pool2DOptions(Box::new(Pool2DOptionsT {
                padding: Padding::SAME,
                stride_h: stride,
                stride_w: stride,
                filter_height: window,
                filter_width: window,
                ..Default::default()
            }));
            let node = NodeCase::new().drawn((Float32, &x, None)).drawn((Float32, &y, None));
            let name = format!("{x:?} {window} {stride}");
            node.finish_custom_builtin(name, (op, 1), Vec::new(), options, &[(Float32, &x, None)])
        };
        POOLS.into_iter().filter_map(case).collect()
    }
}

fn supports(node: &NodeView<'_>) -> bool {
    let small = |w: &Window2d| w.kernel.0.checked_mul(w.kernel.1).is_some_and(|taps| taps < 65_000);
    window(node).is_ok_and(|w| w.positions() > 0 && small(&w))
}

fn prepare(node: &NodeView<'_>, isa: Isa, mode: Mode) -> Result<Box<dyn Kernel>, OpError> {
    let c = node.input(0)?.shape[3];
    let shape = ConvShape { in_c: c, in_stride: c, out_c: c, out_stride: c, ..window(node)?.shape() };
    Ok(Box::new(Fast { name: format!("{}/{}", name(mode), isa.name()), isa, mode, shape }))
}

struct Fast {
    name: String,
    isa: Isa,
    mode: Mode,
    shape: ConvShape,
}

impl Kernel for Fast {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (x, dy) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        let dx = io.outputs[0].slice::<f32>()?;
        // The kernels add.
        dx.fill(0.0);
        match self.mode {
            Mode::Max => max_pool2d_grad(io.pool, self.isa, &self.shape, x, dy, dx),
            Mode::Average => avg_pool2d_grad(io.pool, self.isa, &self.shape, dy, dx),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
