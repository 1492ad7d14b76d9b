//! Fast kernels: direct, vectorized over channels.

use super::infer::{Problem, problem};
use super::reference::linear;
use super::wide;
use crate::common::activation::float_range;
use crate::common::fast_linear::types_supported;
use crate::common::linear::{Epilogue, Linear, Requant, channel_scales};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{Bands, FastKernel, Io, Kernel, NodeView, RowWindow};
use crate::{OpError, ensure};
use ferrolite_kernels::{
    ColumnsI8, ConvShape, DepthwiseI8, Isa, OutI8, depthwise_conv2d_f32, depthwise_conv2d_i8, depthwise_packed_len,
    pack_depthwise_f32, quantize_rows_asymmetric,
};
use ferrolite_model::TensorType::{Float32, UInt8};
use std::borrow::Cow;
use std::ops::Range;

/// One kernel for float, int8, uint8 and hybrid, one for int16.
pub const FAST: &[FastKernel] = &[
    FastKernel { name: "direct", supports, prepare },
    FastKernel { name: "direct_i16", supports: wide::supports, prepare: wide::prepare },
];

fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(p), Ok(w)) = (problem(node), node.input(1)) else { return false };
    let held = w.constant.is_some() && node.optional_input(2).is_none_or(|b| b.constant.is_some());
    p.window.positions() > 0
        && linear(node, &p).is_ok_and(|linear| types_supported(node, &linear))
        && if w.ty == Float32 { w.sparsity.is_none() || held } else { held && DepthwiseI8::fits(&shape(&p)) }
}

/// The convolution of the kernels.
pub fn shape(p: &Problem) -> ConvShape {
    ConvShape { in_c: p.in_c, in_stride: p.in_c, out_c: p.out_c(), out_stride: p.out_c(), ..p.window.shape() }
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let (linear, shape) = (linear(node, &p)?, shape(&p));
    let (x, weights, bias) = (node.input(0)?, node.input(1)?, node.optional_input(2));
    let range = float_range(linear.activation)?;
    if weights.ty == Float32 {
        let name = format!("depthwise_conv_2d/depthwise_f32_{}", isa.name());
        let held = constant::<f32>(weights)?.filter(|_| bias.is_none_or(|b| b.constant.is_some()));
        let packed = match held {
            Some(filter) => {
                let bias = bias.map(constant::<f32>).transpose()?.flatten();
                let mut packed = vec![0.0; depthwise_packed_len(&shape)];
                pack_depthwise_f32(&shape, &filter, bias.as_deref(), &mut packed);
                Some(packed)
            }
            None => None,
        };
        return Ok(Box::new(Float { name, isa, shape, range, packed }));
    }
    let unsigned = x.ty == UInt8;
    let filter: Option<Cow<'_, [i8]>> = if unsigned {
        constant::<u8>(weights)?.map(|w| w.iter().map(|w| (w ^ 0x80) as i8).collect())
    } else {
        constant::<i8>(weights)?
    };
    let Some(filter) = filter else { return Err(OpError::unsupported("quantized filters that are not constant")) };
    let (packed, epilogue) = if x.ty == Float32 {
        let scale = channel_scales(weights, p.out_c())?;
        let bias = bias.map(constant::<f32>).transpose()?.flatten();
        let columns = ColumnsI8::Float { scale: &scale, bias: bias.as_deref() };
        (DepthwiseI8::pack(isa, &shape, &filter, false, 0, 0, columns), None)
    } else {
        let (columns, epilogue) = requant(&linear, node)?;
        let bias = bias.map(constant::<i32>).transpose()?.flatten();
        let offset = if unsigned { 128 } else { 0 };
        let (zero_x, zero_w) = (epilogue.input_zero_point - offset, epilogue.weight_zero_point - offset);
        let columns = ColumnsI8::Requant { bias: bias.as_deref(), multiplier: &columns.0, shift: &columns.1 };
        (DepthwiseI8::pack(isa, &shape, &filter, unsigned, zero_x, zero_w, columns), Some(epilogue))
    };
    let inputs = x.elements();
    ensure!(inputs > 0, "the input is empty");
    let name = format!("depthwise_conv_2d/depthwise_i8_{}", isa.name());
    Ok(Box::new(Bytes { name, isa, shape, range, packed, epilogue, unsigned, inputs }))
}

/// Mantissas and exponents of the requantization.
fn requant(linear: &Linear, node: &NodeView<'_>) -> Result<((Vec<i32>, Vec<i32>), Epilogue), OpError> {
    let epilogue = linear.epilogue(node)?;
    let fixed = epilogue.requant.iter().filter_map(|r| match r {
        Requant::Fixed(m) => Some((m.multiplier, m.shift)),
        Requant::Real(_) => None,
    });
    Ok((fixed.unzip(), epilogue))
}

struct Float {
    name: String,
    isa: Isa,
    shape: ConvShape,
    range: (f32, f32),
    /// Filter and bias, where they are constant.
    packed: Option<Vec<f32>>,
}

impl Float {
    fn convolve(&self, io: &mut Io<'_>, shape: &ConvShape) -> Result<(), OpError> {
        let x = io.input(0)?.slice::<f32>()?;
        let (filter, bias) = (io.input(1)?, io.optional_input(2));
        let mut scratch = Scratch::new(&mut *io.scratch);
        let packed = match &self.packed {
            Some(packed) => packed,
            None => {
                let packed = scratch.take::<f32>(depthwise_packed_len(&self.shape))?;
                let bias = bias.map(|b| b.slice::<f32>()).transpose()?;
                pack_depthwise_f32(&self.shape, filter.slice::<f32>()?, bias, packed);
                &*packed
            }
        };
        let out = io.outputs[0].slice::<f32>()?;
        depthwise_conv2d_f32(io.pool, self.isa, shape, x, packed, out, self.range);
        Ok(())
    }
}

impl Kernel for Float {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.convolve(io, &self.shape)
    }

    fn bands(&self) -> Option<&dyn Bands> {
        (self.shape.batch == 1).then_some(self)
    }

    fn scratch_bytes(&self) -> usize {
        if self.packed.is_some() { 0 } else { scratch_size::<f32>(depthwise_packed_len(&self.shape)) }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// int8 and uint8, or hybrid.
struct Bytes {
    name: String,
    isa: Isa,
    shape: ConvShape,
    range: (f32, f32),
    packed: DepthwiseI8,
    /// Absent for float activations.
    epilogue: Option<Epilogue>,
    unsigned: bool,
    inputs: usize,
}

impl Bytes {
    fn convolve(&self, io: &mut Io<'_>, shape: &ConvShape) -> Result<(), OpError> {
        let input = io.input(0)?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let Some(epilogue) = &self.epilogue else {
            let x = input.slice::<f32>()?;
            let quantized = scratch.take::<i8>(self.inputs)?;
            let batch = self.shape.batch;
            let (scales, zeros) = (scratch.take::<f32>(batch)?, scratch.take::<i32>(batch)?);
            quantize_rows_asymmetric(io.pool, self.isa, x, x.len() / batch, quantized, scales, zeros);
            let to = OutI8::F32 {
                out: io.outputs[0].slice::<f32>()?,
                ldc: self.shape.out_stride,
                row_scale: scales,
                row_zero_point: Some(zeros),
                rows_per_scale: self.shape.out_h * self.shape.out_w,
                columns_first: false,
                min: self.range.0,
                max: self.range.1,
            };
            depthwise_conv2d_i8(io.pool, &self.shape, quantized, &self.packed, to);
            return Ok(());
        };
        let x: &[i8] = bytemuck::cast_slice(input.bytes);
        let out: &mut [i8] = bytemuck::cast_slice_mut(io.outputs[0].bytes());
        let offset = if self.unsigned { 128 } else { 0 };
        let to = OutI8::I8 {
            out,
            ldc: self.shape.out_stride,
            zero_point: epilogue.output_zero_point - offset,
            min: epilogue.range.0 - offset,
            max: epilogue.range.1 - offset,
        };
        depthwise_conv2d_i8(io.pool, shape, x, &self.packed, to);
        Ok(())
    }
}

impl Kernel for Bytes {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.convolve(io, &self.shape)
    }

    fn bands(&self) -> Option<&dyn Bands> {
        // Float activations are quantized by the range of the whole image.
        (self.shape.batch == 1 && self.epilogue.is_some()).then_some(self)
    }

    fn scratch_bytes(&self) -> usize {
        let quantized = if self.epilogue.is_none() { scratch_size::<i8>(self.inputs) } else { 0 };
        quantized.saturating_add(2 * scratch_size::<f32>(self.shape.batch))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

macro_rules! bands_of_shape {
    ($($kernel:ty),*) => {$(
        impl Bands for $kernel {
            fn window(&self) -> RowWindow {
                RowWindow::from(&self.shape)
            }

            fn run_rows(&self, io: &mut Io<'_>, rows: Range<usize>) -> Result<(), OpError> {
                self.convolve(io, &self.shape.band(rows))
            }
        }
    )*};
}
bands_of_shape!(Float, Bytes);
