//! The fast kernel of int16 activations with int8 filters.

use super::fast::shape;
use super::infer::problem;
use super::reference::linear;
use crate::OpError;
use crate::common::linear::{Epilogue, Requant};
use crate::common::weights::constant;
use crate::op::{FnKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{DepthwiseI16, Isa, depthwise_conv2d_i16};
use ferrolite_model::TensorType::{Int8, Int16, Int32, Int64};

pub fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(p), Ok(x), Ok(w), Ok(y)) = (problem(node), node.input(0), node.input(1), node.output(0)) else {
        return false;
    };
    let bias = node.optional_input(2);
    p.window.positions() > 0
        && (x.ty, w.ty, y.ty) == (Int16, Int8, Int16)
        && w.constant.is_some()
        && bias.is_none_or(|b| b.constant.is_some() && matches!(b.ty, Int32 | Int64))
        && DepthwiseI16::fits(&shape(&p))
        && w.quantization.is_some_and(|q| q.zero_point.iter().all(|&z| z == 0))
}

pub fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let shape = shape(&p);
    let Epilogue { requant, range, .. } = linear(node, &p)?.epilogue(node)?;
    let Some(filter) = constant::<i8>(node.input(1)?)? else {
        return Err(OpError::unsupported("quantized filters that are not constant"));
    };
    let bias: Option<Vec<i64>> = match node.optional_input(2) {
        Some(b) if b.ty == Int64 => constant::<i64>(b)?.map(|b| b.to_vec()),
        Some(b) => constant::<i32>(b)?.map(|b| b.iter().map(|&b| b.into()).collect()),
        None => None,
    };
    let channel = |(c, r): (usize, &Requant)| match r {
        Requant::Fixed(m) => Some((bias.as_ref().map_or(0, |b| b[c]), m.multiplier, m.shift)),
        Requant::Real(_) => None,
    };
    let channels = requant.iter().enumerate().filter_map(channel).collect();
    let packed = DepthwiseI16::pack(isa, &shape, &filter, channels);
    Ok(Box::new(FnKernel("depthwise_conv_2d/depthwise_i16", move |io: &mut Io<'_>| {
        let (x, out) = (io.input(0)?.slice::<i16>()?, io.outputs[0].slice::<i16>()?);
        depthwise_conv2d_i16(io.pool, &shape, x, &packed, out, range);
        Ok(())
    })))
}
