//! Gradients of depthwise convolutions with one filter per channel, channels innermost.

use super::{Problem, Side};
use crate::OpError;
use crate::common::parallel::for_items;
use crate::common::window2d::taps_inside;
use crate::depthwise_conv_2d;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use std::ops::Range;

/// The gradient of the input.
pub const INPUT: &[FastKernel] =
    &[FastKernel { name: "direct", supports, prepare: |node, _| prepare(node, Side::Input) }];
/// The gradient of the filters.
pub const WEIGHTS: &[FastKernel] =
    &[FastKernel { name: "direct", supports, prepare: |node, _| prepare(node, Side::Weights) }];

fn supports(node: &NodeView<'_>) -> bool {
    matches!(Problem::of(node), Ok(Problem::Depthwise(p)) if p.multiplier == 1 && p.window.positions() > 0)
}

fn prepare(node: &NodeView<'_>, side: Side) -> Result<Box<dyn Kernel>, OpError> {
    match Problem::of(node)? {
        Problem::Depthwise(p) => Ok(Box::new(Direct { p, side })),
        Problem::Full(_) => Err(OpError::unsupported("a convolution over all channels")),
    }
}

struct Direct {
    p: depthwise_conv_2d::Problem,
    side: Side,
}

/// Positions of an output row that see the image through one tap: the first pixel, and the step to the next.
struct Run {
    positions: Range<usize>,
    pixel: usize,
}

impl Direct {
    /// The part of output row `line` (counted through all images) that tap `tap` puts inside the image.
    fn run(&self, line: usize, tap: usize) -> Option<Run> {
        let w = &self.p.window;
        let (ky, kx) = (tap / w.kernel.1, tap % w.kernel.1);
        let (batch, oy) = (line / w.output.0, line % w.output.0);
        let iy = (oy * w.stride.0 + ky * w.dilation.0).checked_sub(w.pad.0).filter(|&iy| iy < w.input.0)?;
        // Positions take the place of taps: ox · stride + kx · dilation − pad in 0..columns.
        let inside = taps_inside(kx * w.dilation.1, w.pad.1, w.input.1, w.output.1, w.stride.1);
        let first = inside.start;
        let pixel = (batch * w.input.0 + iy) * w.input.1 + first * w.stride.1 + kx * w.dilation.1;
        let row = line * w.output.1;
        (!inside.is_empty()).then(|| Run { positions: row + first..row + inside.end, pixel: pixel - w.pad.1 })
    }
}

impl Kernel for Direct {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (w, c) = (&self.p.window, self.p.in_c);
        let (x, filter) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        let dy = io.input(2)?.slice::<f32>()?;
        let out = io.outputs[0].slice::<f32>()?;
        out.fill(0.0);
        match self.side {
            // An image is one task's: its windows overlap.
            Side::Input => for_items(io.pool, out, w.input.0 * w.input.1 * c, 1, |images, out| {
                let start = images.start * w.input.0 * w.input.1;
                for line in images.start * w.output.0..images.end * w.output.0 {
                    for tap in 0..w.taps() {
                        let Some(Run { positions, pixel }) = self.run(line, tap) else { continue };
                        let filter = &filter[tap * c..][..c];
                        for (i, dy) in dy[positions.start * c..positions.end * c].chunks_exact(c).enumerate() {
                            let dx = &mut out[(pixel - start + i * w.stride.1) * c..][..c];
                            dx.iter_mut().zip(dy).zip(filter).for_each(|((dx, dy), f)| *dx += dy * f);
                        }
                    }
                }
            }),
            Side::Weights => for_items(io.pool, out, c, 1, |taps, out| {
                for (tap, dw) in taps.zip(out.chunks_exact_mut(c)) {
                    for line in 0..w.batch * w.output.0 {
                        let Some(Run { positions, pixel }) = self.run(line, tap) else { continue };
                        for (i, dy) in dy[positions.start * c..positions.end * c].chunks_exact(c).enumerate() {
                            let x = &x[(pixel + i * w.stride.1) * c..][..c];
                            dw.iter_mut().zip(dy).zip(x).for_each(|((dw, dy), x)| *dw += dy * x);
                        }
                    }
                }
            }),
        }
        Ok(())
    }

    fn name(&self) -> &str {
        match self.side {
            Side::Input => "FerroliteDepthwiseConv2DInputGrad/direct",
            Side::Weights => "FerroliteDepthwiseConv2DWeightGrad/direct",
        }
    }
}
