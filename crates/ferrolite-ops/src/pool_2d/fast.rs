//! Fast kernels: vectorized over channels.

use super::reference::quantized;
use super::{Mode, options, window};
use crate::OpError;
use crate::common::activation::float_range;
use crate::op::{FastKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{ConvShape, Isa, avg_pool2d_8bit, avg_pool2d_f32, max_pool2d_8bit, max_pool2d_f32};
use ferrolite_model::TensorType::{Float32, Int8, UInt8};

/// AVERAGE_POOL_2D.
pub const AVERAGE: &[FastKernel] =
    &[FastKernel { name: "average", supports, prepare: |node, isa| prepare(node, isa, Mode::Average) }];
/// MAX_POOL_2D.
pub const MAX: &[FastKernel] =
    &[FastKernel { name: "max", supports, prepare: |node, isa| prepare(node, isa, Mode::Max) }];

fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(input), Ok(w)) = (node.input(0), window(node)) else { return false };
    // The integer kernel sums at most so many bytes.
    let most = if input.ty == Float32 { 65_000 } else { 1 << 14 };
    let small = w.kernel.0.checked_mul(w.kernel.1).is_some_and(|taps| taps < most);
    w.positions() > 0 && small && matches!(input.ty, Float32 | Int8 | UInt8)
}

fn prepare(node: &NodeView<'_>, isa: Isa, mode: Mode) -> Result<Box<dyn Kernel>, OpError> {
    let (input, w) = (node.input(0)?, window(node)?);
    let c = input.shape[3];
    let shape = ConvShape { in_c: c, in_stride: c, out_c: c, out_stride: c, ..w.shape() };
    let (op, kernel) = match mode {
        Mode::Average => ("average_pool_2d", "avg_pool2d"),
        Mode::Max => ("max_pool_2d", "max_pool2d"),
    };
    let ty = if input.ty == Float32 { "f32" } else { "8bit" };
    let name = format!("{op}/{kernel}_{ty}_{}", isa.name());
    let (float, int) = if input.ty == Float32 {
        (float_range(options(node)?.fused_activation_function)?, None)
    } else {
        ((0.0, 0.0), Some(quantized(node)?))
    };
    Ok(Box::new(Pool { name, isa, mode, shape, float, int, signed: input.ty == Int8 }))
}

struct Pool {
    name: String,
    isa: Isa,
    mode: Mode,
    shape: ConvShape,
    float: (f32, f32),
    /// Range of the integer kernel.
    int: Option<(i32, i32)>,
    signed: bool,
}

impl Kernel for Pool {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (pool, isa, shape) = (io.pool, self.isa, &self.shape);
        let (input, out, signed) = (io.input(0)?, &mut io.outputs[0], self.signed);
        match (self.int, self.mode) {
            (None, Mode::Average) => avg_pool2d_f32(pool, isa, shape, input.slice()?, out.slice()?, self.float),
            (None, Mode::Max) => max_pool2d_f32(pool, isa, shape, input.slice()?, out.slice()?, self.float),
            (Some(range), Mode::Average) => {
                avg_pool2d_8bit(pool, isa, signed, shape, input.bytes, out.bytes(), range);
            }
            (Some(range), Mode::Max) => {
                max_pool2d_8bit(pool, isa, signed, shape, input.bytes, out.bytes(), range);
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
