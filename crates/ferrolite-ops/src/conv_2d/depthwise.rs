//! Groups of one channel: the kernels of DEPTHWISE_CONV_2D, with the filters in its order.

use super::infer::{Problem, options, problem};
use crate::OpError;
use crate::depthwise_conv_2d::DepthwiseConv2d;
use crate::op::{FastKernel, Io, Kernel, NodeView, OpDef};
use crate::tensor::{AlignedBytes, Shape, TensorInfo, TensorMut, TensorRef};
use ferrolite_kernels::Isa;
use ferrolite_model::TensorType::{self, Float32, Int8, UInt8};
use ferrolite_model::schema::DepthwiseConv2DOptionsT;
use ferrolite_model::{BuiltinOptions, Bytes};
use smallvec::{SmallVec, smallvec};

/// Whether groups have one channel, filters are constant, and the other operator takes it.
pub fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(p), Ok(filter)) = (problem(node), node.input(1)) else { return false };
    let plain = matches!(filter.ty, Float32 | Int8 | UInt8) && filter.sparsity.is_none();
    let held = filter.constant.is_some_and(|data| filter.ty.byte_len(filter.elements()) == Some(data.len()));
    p.groups > 1
        && p.depth() == 1
        && plain
        && held
        && with_depthwise(node, |view, _| kernel(view).is_some()) == Ok(true)
}

fn kernel(node: &NodeView<'_>) -> Option<&'static FastKernel> {
    DepthwiseConv2d.fast().iter().find(|kernel| (kernel.supports)(node))
}

/// Calls `f` with the node as a depthwise convolution, and its filters.
fn with_depthwise<R>(node: &NodeView<'_>, f: impl FnOnce(&NodeView<'_>, &Bytes) -> R) -> Result<R, OpError> {
    let (p, o, filter) = (problem(node)?, options(node)?, node.input(1)?);
    let options = BuiltinOptions::DepthwiseConv2DOptions(Box::new(DepthwiseConv2DOptionsT {
        padding: o.padding,
        stride_w: o.stride_w,
        stride_h: o.stride_h,
        depth_multiplier: (p.out_c / p.groups) as i32,
        fused_activation_function: o.fused_activation_function,
        dilation_w_factor: o.dilation_w_factor,
        dilation_h_factor: o.dilation_h_factor,
    }));
    let missing = || OpError::unsupported("filters that are not constant");
    let data = Bytes::from(reorder(&p, filter.ty, filter.constant.ok_or_else(missing)?));
    let filter = TensorInfo { shape: shape(&p), constant: Some(&data), known: None, ..filter.clone() };
    let view = NodeView {
        version: node.version,
        options: &options,
        options2: node.options2,
        custom_options: node.custom_options,
        model: node.model,
        subgraph: node.subgraph,
        callees: node.callees,
        inputs: smallvec![node.optional_input(0).cloned(), Some(filter), node.optional_input(2).cloned()],
        outputs: node.outputs.iter().cloned().collect(),
        intermediates: SmallVec::new(),
    };
    Ok(f(&view, &data))
}

fn shape(p: &Problem) -> Shape {
    Shape::from_slice(&[1, p.window.kernel.0, p.window.kernel.1, p.out_c])
}

/// From (channel, tap) to (tap, channel).
fn reorder(p: &Problem, ty: TensorType, filters: &[u8]) -> Vec<u8> {
    let (size, taps) = (ty.bits() / 8, p.window.taps());
    let mut data = Vec::with_capacity(filters.len());
    for tap in 0..taps {
        let of_tap = filters.chunks_exact(size).skip(tap).step_by(taps);
        of_tap.for_each(|element| data.extend_from_slice(element));
    }
    data
}

pub fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let (shape, ty) = (shape(&problem(node)?), node.input(1)?.ty);
    with_depthwise(node, |view, data| {
        let kernel = kernel(view).ok_or_else(|| OpError::unsupported("no depthwise kernel takes this node"))?;
        let inner = (kernel.prepare)(view, isa)?;
        let name = inner.name().replace("depthwise_conv_2d", "conv_2d");
        Ok(Box::new(Grouped { name, inner, filter: AlignedBytes::from(&**data), shape, ty }) as Box<dyn Kernel>)
    })?
}

struct Grouped {
    name: String,
    inner: Box<dyn Kernel>,
    filter: AlignedBytes,
    shape: Shape,
    ty: TensorType,
}

impl Kernel for Grouped {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        // The filter lives shorter than the other tensors.
        fn shorten<'s, 'l: 's>(tensor: TensorMut<'l>) -> TensorMut<'s> {
            tensor
        }
        let quantization = io.input(1)?.quantization;
        let filter = TensorRef { ty: self.ty, shape: &self.shape, quantization, bytes: &self.filter };
        self.inner.run(&mut Io {
            inputs: smallvec![io.optional_input(0), Some(filter), io.optional_input(2)],
            outputs: io.outputs.drain(..).map(shorten).collect(),
            state: SmallVec::new(),
            scratch: io.scratch,
            pool: io.pool,
            session: io.session,
        })
    }

    fn scratch_bytes(&self) -> usize {
        self.inner.scratch_bytes()
    }

    fn name(&self) -> &str {
        &self.name
    }
}
