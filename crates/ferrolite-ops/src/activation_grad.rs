//! FerroliteReluGrad: the gradient of an activation fused into any operator, RELU and its kin.
//!
//! Inputs: the activation's output, and the gradient with respect to it. Where the output is at a bound of the clamp, the
//! gradient is 0. The options are those of the forward operator.

use crate::common::activation::float_range;
use crate::common::cases;
use crate::common::node_case::NodeCase;
use crate::gradient::GradientCtx;
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_kernels::{Isa, clamp_grad};
use ferrolite_model::TensorType::Float32;
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// FerroliteReluGrad.
pub struct ReluGrad;

pub(crate) const NAME: &str = "FerroliteReluGrad";

/// The activation that is fused into the operator with these options; `NONE` for operators that fuse none.
fn fused(options: &BuiltinOptions) -> ActivationFunctionType {
    match options {
        BuiltinOptions::Conv2DOptions(o) => o.fused_activation_function,
        BuiltinOptions::DepthwiseConv2DOptions(o) => o.fused_activation_function,
        BuiltinOptions::FullyConnectedOptions(o) => o.fused_activation_function,
        BuiltinOptions::Pool2DOptions(o) => o.fused_activation_function,
        BuiltinOptions::TransposeConvOptions(o) => o.fused_activation_function,
        BuiltinOptions::AddOptions(o) => o.fused_activation_function,
        BuiltinOptions::SubOptions(o) => o.fused_activation_function,
        BuiltinOptions::MulOptions(o) => o.fused_activation_function,
        BuiltinOptions::DivOptions(o) => o.fused_activation_function,
        BuiltinOptions::ConcatenationOptions(o) => o.fused_activation_function,
        BuiltinOptions::L2NormOptions(o) => o.fused_activation_function,
        _ => ActivationFunctionType::NONE,
    }
}

/// The gradient with respect to what the node's fused activation is applied to, given that of the node's only output.
pub fn through_activation(ctx: &mut GradientCtx<'_>) -> Result<TensorId, OpError> {
    let (Some(&Some(dy)), Some(&y)) = (ctx.grad_outputs.first(), ctx.node.outputs.first()) else {
        return Err(OpError::invalid("the output has no gradient"));
    };
    let graph = &ctx.model.subgraphs[ctx.subgraph];
    let tensors = ctx.node.inputs.iter().flatten().chain([&y]);
    let float = tensors.map(|&id| graph.tensors[id].ty).all(|ty| ty == Float32 || ty == TensorType::Int32);
    if !float {
        return Err(OpError::unsupported("the gradient of types other than float32"));
    }
    let (low, high) = float_range(fused(&ctx.node.options))?;
    if low == f32::NEG_INFINITY && high == f32::INFINITY {
        return Ok(dy);
    }
    let shape = ctx.shape(y);
    Ok(ctx.emit_custom(NAME, &[y, dy], &shape))
}

fn range(node: &NodeView<'_>) -> Result<(f32, f32), OpError> {
    float_range(fused(node.options))
}

impl OpDef for ReluGrad {
    fn id(&self) -> OpId {
        OpId::Custom(NAME)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (y, dy) = (node.input(0)?, node.input(1)?);
        ensure!([y.ty, dy.ty] == [Float32; 2], "the gradient of {} by {}", y.ty, dy.ty);
        ensure!(y.shape == dy.shape, "output {:?} and its gradient {:?} differ in shape", y.shape, dy.shape);
        Ok(smallvec![Inferred::new(Float32, dy.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (low, high) = range(node)?;
        reference(move |io| {
            let (y, dy) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
            let dx = io.outputs[0].slice::<f32>()?;
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = if low < *y && *y < high { *dy } else { 0.0 };
            }
            Ok(())
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "clamp_grad",
            supports: |_| true,
            prepare: |node, isa| {
                Ok(Box::new(Fast { name: format!("{NAME}/{}", isa.name()), isa, range: range(node)? }))
            },
        }]
    }

    fn cases(&self) -> Vec<Case> {
        let shapes: [&[i32]; 4] = [&[], &[37], &[3, 41, 71], &[5, 131, 129]];
        let mut all = Vec::new();
        for (activation, options) in cases::activations(BuiltinOperator::ADD) {
            for shape in shapes {
                let spec = (Float32, shape, None);
                let node = NodeCase::new().drawn(spec).drawn(spec);
                let name = format!("{shape:?} {activation}");
                all.extend(node.finish_custom_builtin(name, (NAME, 1), Vec::new(), options.clone(), &[spec]));
            }
        }
        all
    }
}

struct Fast {
    name: String,
    isa: Isa,
    range: (f32, f32),
}

impl Kernel for Fast {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (y, dy) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        clamp_grad(io.pool, self.isa, y, dy, io.outputs[0].slice::<f32>()?, self.range);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
