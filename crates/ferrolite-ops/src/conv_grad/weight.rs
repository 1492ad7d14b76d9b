//! FerroliteConv2DWeightGrad by its own kernel.

use super::Problem;
use crate::OpError;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{FastKernel, Io, Kernel};
use ferrolite_kernels::{ConvShape, Isa, conv2d_weight_grad, conv2d_weight_grad_kernel};

/// Convolutions without groups.
pub const FAST: &[FastKernel] = &[FastKernel {
    name: "direct",
    supports: |node| matches!(Problem::of(node), Ok(Problem::Full(p)) if p.groups == 1 && p.window.positions() > 0),
    prepare: |node, isa| {
        let Problem::Full(p) = Problem::of(node)? else { return Err(OpError::unsupported("a depthwise convolution")) };
        let name = format!("FerroliteConv2DWeightGrad/{}", conv2d_weight_grad_kernel(isa));
        let (in_c, out_c) = (p.in_c, p.out_c);
        let shape = ConvShape { in_c, in_stride: in_c, out_c, out_stride: out_c, ..p.window.shape() };
        Ok(Box::new(WeightGrad { name, isa, shape }))
    },
}];

struct WeightGrad {
    name: String,
    isa: Isa,
    shape: ConvShape,
}

impl WeightGrad {
    fn elements(&self) -> usize {
        let s = &self.shape;
        s.k_h * s.k_w * s.in_c * s.out_c
    }
}

impl Kernel for WeightGrad {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (x, dy) = (io.input(0)?.slice::<f32>()?, io.input(2)?.slice::<f32>()?);
        let sum = Scratch::new(&mut *io.scratch).take::<f32>(self.elements())?;
        conv2d_weight_grad(io.pool, self.isa, &self.shape, x, dy, io.outputs[0].slice::<f32>()?, sum);
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        scratch_size::<f32>(self.elements())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
