//! Linear operators (convolutions, matrix products): everything but the loop.
//!
//! Such an operator is a [`Contraction`]: which products go into which output element. This file gives it its types:
//! float; integer with requantization; float activations with quantized weights (hybrid). Reference kernels only.

use crate::common::activation::{float_range, quantized_range};
use crate::common::hybrid::{RowQuantization, quantize_row};
use crate::common::requant::Multiplier;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::tensor::{Element, TensorInfo, TensorRef};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int2, Int4, Int8, Int16, Int32, Int64, UInt8};
use ferrolite_model::schema::ActivationFunctionType;
use ferrolite_model::{Quantization, TensorType};

/// A number that products are summed in. Integers wrap, so that no file can make them panic.
pub trait Number: Copy + Send + Sync + 'static {
    /// 0.
    const ZERO: Self;
    /// self + a · b
    fn mac(self, a: Self, b: Self) -> Self;
}

/// An integer that products are summed in.
pub trait Accumulator: Number {
    /// From an element.
    fn lift(x: i32) -> Self;
    /// self − x
    fn minus(self, x: i32) -> Self;
    /// Adds a bias.
    fn add(self, bias: i64) -> Self;
    /// Scales to the output.
    fn requantize(self, by: Requant) -> i32;
}

impl Number for f32 {
    const ZERO: f32 = 0.0;
    #[inline]
    fn mac(self, a: f32, b: f32) -> f32 {
        self + a * b
    }
}

macro_rules! accumulator {
    ($($ty:ty: $scale:ident;)+) => {
        $(impl Number for $ty {
            const ZERO: $ty = 0;
            #[inline]
            fn mac(self, a: $ty, b: $ty) -> $ty {
                self.wrapping_add(a.wrapping_mul(b))
            }
        }

        impl Accumulator for $ty {
            #[inline]
            fn lift(x: i32) -> $ty {
                x.into()
            }
            #[inline]
            fn minus(self, x: i32) -> $ty {
                self.wrapping_sub(x.into())
            }
            #[inline]
            fn add(self, bias: i64) -> $ty {
                self.wrapping_add(bias as $ty)
            }
            #[inline]
            fn requantize(self, by: Requant) -> i32 {
                match by {
                    Requant::Fixed(multiplier) => multiplier.$scale(self),
                    Requant::Real(factor) => (self as f64 * factor).round() as i32,
                }
            }
        })+
    };
}

accumulator! {
    i32: apply;
    i64: apply_i64;
}

/// How an accumulator becomes an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Requant {
    /// In fixed point.
    Fixed(Multiplier),
    /// Multiplied in double precision and rounded: FULLY_CONNECTED.
    Real(f64),
}

/// Where a sum of products goes.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Element of the output.
    pub index: usize,
    /// Output channel: that of the bias and of per-channel scales.
    pub channel: usize,
    /// Which row of the input (see [`Contraction::rows`]) went into it.
    pub row: usize,
}

/// Which products an output element sums.
pub trait Contraction: Send + Sync + 'static {
    /// Calls `emit` once per output element with its sum of `load(x, row) · weight(w)`.
    fn contract<X: Copy, W: Copy, A: Number>(
        &self,
        x: &[X],
        w: &[W],
        load: impl Fn(X, usize) -> A,
        weight: impl Fn(W) -> A,
        emit: impl FnMut(Site, A),
    );

    /// Number of groups of input elements that a hybrid kernel quantizes together.
    fn rows(&self) -> usize;

    /// (start, step, count) of the elements of a row.
    fn row(&self, row: usize) -> (usize, usize, usize);
}

/// How a linear operator uses its tensors.
pub struct Linear {
    /// Input that is the activation.
    pub input: usize,
    /// Input that is the weights.
    pub weights: usize,
    /// Input that is the bias; it may be absent.
    pub bias: usize,
    /// Output channels.
    pub channels: usize,
    /// Fused activation.
    pub activation: ActivationFunctionType,
    /// The multiplier is made from the float32 product of the scales (the kernels without per-channel scales).
    pub single_precision_scales: bool,
    /// Requantizes in double precision rather than fixed point.
    pub real_requant: bool,
    /// int16 activations are summed in 32 bits: the options ask for an int32 bias.
    pub narrow_sums: bool,
    /// Hybrid: quantizes the activations asymmetrically.
    pub asymmetric: bool,
    /// Hybrid: y = (sum · weight scale) · row scale rather than sum · (row scale · weight scale).
    pub columns_first: bool,
}

/// Scale and zero point of a quantized tensor, checked.
pub fn per_tensor(info: &TensorInfo<'_>) -> Result<(f32, i32), OpError> {
    let (scale, zero_point) = info.scale_zero_point()?;
    ensure!(scale.is_finite() && scale > 0.0, "tensor {:?} has scale {scale}", info.name);
    let range = match info.ty {
        UInt8 => 0..=255,
        Int8 => -128..=127,
        Int4 => -8..=7,
        Int2 => -2..=1,
        Int16 => 0..=0,
        other => return Err(OpError::unsupported(format!("quantized tensor {:?} of type {other}", info.name))),
    };
    ensure!(range.contains(&zero_point), "tensor {:?} of type {} has zero point {zero_point}", info.name, info.ty);
    Ok((scale, zero_point))
}

/// The scales of weights with `channels` output channels: one for each, repeated if there is one for the tensor.
pub fn channel_scales(info: &TensorInfo<'_>, channels: usize) -> Result<Vec<f32>, OpError> {
    let Some(Quantization { scale, zero_point, details, .. }) = info.quantization else {
        return Err(OpError::invalid(format!("weights {:?} have no scale", info.name)));
    };
    if details.is_some() && scale.is_empty() {
        return Err(OpError::unsupported(format!("weights {:?} with blockwise or custom quantization", info.name)));
    }
    ensure!(scale.iter().all(|s| s.is_finite() && *s >= 0.0), "weights {:?} have a bad scale", info.name);
    match scale.len() {
        1 => Ok(vec![scale[0]; channels]),
        n => {
            ensure!(n == channels, "weights {:?} have {n} scales for {channels} channels", info.name);
            ensure!(zero_point.iter().all(|&z| z == 0), "weights {:?} have zero points other than 0", info.name);
            Ok(scale.clone())
        }
    }
}

/// The requantization of a linear operator to an integer output.
pub struct Epilogue {
    /// One per channel.
    pub requant: Vec<Requant>,
    /// Zero point of the input.
    pub input_zero_point: i32,
    /// Zero point of the weights (uint8 and per-tensor int8 only).
    pub weight_zero_point: i32,
    /// Zero point of the output.
    pub output_zero_point: i32,
    /// Range of the fused activation.
    pub range: (i32, i32),
}

impl Linear {
    /// The reference kernel: `contraction` in the types of `node`.
    pub fn reference(self, node: &NodeView<'_>, contraction: impl Contraction) -> Result<Box<dyn Kernel>, OpError> {
        let (x, w) = (node.input(self.input)?, node.input(self.weights)?);
        let out = node.output(0)?.ty;
        let bias = node.optional_input(self.bias).map(|b| b.ty);
        // What a weight is once unpacked.
        let w_ty = if matches!(w.ty, Int4 | Int2) { Int8 } else { w.ty };
        match (x.ty, w_ty, out, bias) {
            (Float32, Float32, Float32, None | Some(Float32)) => self.float(node, contraction),
            (Float32, Int8, Float32, None | Some(Float32)) => self.hybrid(node, contraction),
            (Int8, Int8, Int8, None | Some(Int32)) => self.integer::<i8, i8, i8, i32>(node, contraction),
            (UInt8, UInt8, UInt8, None | Some(Int32)) => self.integer::<u8, u8, u8, i32>(node, contraction),
            (UInt8, UInt8, Int16, None | Some(Int32)) => self.integer::<u8, u8, i16, i32>(node, contraction),
            (Int16, Int8, Int16, None | Some(Int32)) if self.narrow_sums => {
                self.integer::<i16, i8, i16, i32>(node, contraction)
            }
            (Int16, Int8, Int16, None | Some(Int32 | Int64)) => self.integer::<i16, i8, i16, i64>(node, contraction),
            (Int16, Int16, Int16, None | Some(Int32 | Int64)) => self.integer::<i16, i16, i16, i64>(node, contraction),
            _ => Err(OpError::unsupported(format!(
                "input {}, weights {}, bias {}, output {out}",
                x.ty,
                w.ty,
                bias.map_or("none", TensorType::name)
            ))),
        }
    }

    fn float(self, node: &NodeView<'_>, contraction: impl Contraction) -> Result<Box<dyn Kernel>, OpError> {
        let (low, high) = float_range(self.activation)?;
        let weights = Weights::<f32>::prepare(self.weights, node.input(self.weights)?)?;
        Ok(Box::new(Run {
            scratch: 0,
            run: move |io: &mut Io<'_>| {
                let (x, w) = (io.input(self.input)?.slice::<f32>()?, weights.get(io)?);
                let bias = io.optional_input(self.bias).map(|b| b.slice::<f32>()).transpose()?;
                let out = io.outputs[0].slice::<f32>()?;
                let emit = |site: Site, sum: f32| {
                    let y = sum + bias.map_or(0.0, |b| b[site.channel]);
                    out[site.index] = clamp(y, low, high);
                };
                contraction.contract(x, w, |x, _| x, |w| w, emit);
                Ok(())
            },
        }))
    }

    fn hybrid(self, node: &NodeView<'_>, contraction: impl Contraction) -> Result<Box<dyn Kernel>, OpError> {
        let (low, high) = float_range(self.activation)?;
        let info = node.input(self.weights)?;
        let scales = channel_scales(info, self.channels)?;
        let zeros = info.quantization.iter().all(|q| q.zero_point.iter().all(|&z| z == 0));
        ensure!(zeros, "weights {:?} of a hybrid kernel have zero points other than 0", info.name);
        let weights = Weights::<i8>::prepare(self.weights, info)?;
        let (elements, rows) = (node.input(self.input)?.elements(), contraction.rows());
        Ok(Box::new(Run {
            scratch: scratch_size::<i8>(elements).saturating_add(scratch_size::<[u32; 2]>(rows)),
            run: move |io: &mut Io<'_>| {
                let (x, w) = (io.input(self.input)?.slice::<f32>()?, weights.get(io)?);
                let bias = io.optional_input(self.bias).map(|b| b.slice::<f32>()).transpose()?;
                let mut scratch = Scratch::new(&mut *io.scratch);
                let quantized = scratch.take::<i8>(elements)?;
                // Scale and zero point of each row.
                let parameters = scratch.take::<[u32; 2]>(rows)?;
                for (r, p) in parameters.iter_mut().enumerate() {
                    let RowQuantization { scale, zero_point } =
                        quantize_row(x, quantized, contraction.row(r), self.asymmetric);
                    *p = [scale.to_bits(), zero_point as u32];
                }
                let out = io.outputs[0].slice::<f32>()?;
                let emit = |site: Site, sum: i32| {
                    let (row, column) = (f32::from_bits(parameters[site.row][0]), scales[site.channel]);
                    let scaled =
                        if self.columns_first { sum as f32 * column * row } else { sum as f32 * (row * column) };
                    let y = scaled + bias.map_or(0.0, |b| b[site.channel]);
                    out[site.index] = clamp(y, low, high);
                };
                let load = |x: i8, row: usize| i32::from(x).wrapping_sub(parameters[row][1] as i32);
                contraction.contract(quantized, w, load, i32::from, emit);
                Ok(())
            },
        }))
    }

    fn integer<X, W, Y, A>(self, node: &NodeView<'_>, contraction: impl Contraction) -> Result<Box<dyn Kernel>, OpError>
    where
        X: Element + Into<i32>,
        W: Element + Into<i32> + Send + Sync,
        Y: Element + Saturate,
        A: Accumulator,
    {
        let epilogue = self.epilogue(node)?;
        let weights = Weights::<W>::prepare(self.weights, node.input(self.weights)?)?;
        Ok(Box::new(Run {
            scratch: 0,
            run: move |io: &mut Io<'_>| {
                let Epilogue { requant, input_zero_point, weight_zero_point, output_zero_point, range } = &epilogue;
                let (x, w) = (io.input(self.input)?.slice::<X>()?, weights.get(io)?);
                let bias = Bias::of(io.optional_input(self.bias))?;
                let out = io.outputs[0].slice::<Y>()?;
                let emit = |site: Site, sum: A| {
                    let y = sum.add(bias.at(site.channel)).requantize(requant[site.channel]);
                    out[site.index] = Y::of(y.saturating_add(*output_zero_point).clamp(range.0, range.1));
                };
                let load = |x: X, _| A::lift(x.into()).minus(*input_zero_point);
                contraction.contract(x, w, load, |w: W| A::lift(w.into()).minus(*weight_zero_point), emit);
                Ok(())
            },
        }))
    }

    /// The requantization that the scales and zero points of `node` ask for.
    pub fn epilogue(&self, node: &NodeView<'_>) -> Result<Epilogue, OpError> {
        let (x, w, y) = (node.input(self.input)?, node.input(self.weights)?, node.output(0)?);
        let (x_scale, input_zero_point) = per_tensor(x)?;
        let (y_scale, output_zero_point) = per_tensor(y)?;
        let scales = channel_scales(w, self.channels)?;
        let one = w.quantization.and_then(Quantization::as_per_tensor);
        let weight_zero_point = if one.is_some() { per_tensor(w)?.1 } else { 0 };
        let requant = scales.iter().map(|&w_scale| {
            if self.real_requant {
                let factor = f64::from(x_scale) * f64::from(w_scale) / f64::from(y_scale);
                ensure!(factor.is_finite(), "scale factor {factor}");
                Ok(Requant::Real(factor))
            } else if one.is_some() && self.single_precision_scales {
                Multiplier::new(f64::from(x_scale * w_scale) / f64::from(y_scale)).map(Requant::Fixed)
            } else {
                Multiplier::of_scales(x_scale, w_scale, y_scale).map(Requant::Fixed)
            }
        });
        Ok(Epilogue {
            requant: requant.collect::<Result<_, _>>()?,
            input_zero_point,
            weight_zero_point,
            output_zero_point,
            range: quantized_range(self.activation, y.ty, y_scale, output_zero_point)?,
        })
    }
}

/// `x.clamp`, but NaN stays and an empty range does not panic.
#[inline]
pub fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// Integer elements that results are stored in.
pub trait Saturate {
    /// The nearest value.
    fn of(x: i32) -> Self;
}

macro_rules! saturate {
    ($($ty:ty)+) => {
        $(impl Saturate for $ty {
            #[inline]
            fn of(x: i32) -> $ty {
                x.clamp(<$ty>::MIN.into(), <$ty>::MAX.into()) as $ty
            }
        })+
    };
}

saturate!(i8 u8 i16);

/// The bias of an integer kernel.
#[derive(Clone, Copy)]
pub enum Bias<'a> {
    /// Zeros.
    None,
    /// Of 32 bits.
    I32(&'a [i32]),
    /// Of 64 bits.
    I64(&'a [i64]),
}

impl<'a> Bias<'a> {
    /// The data of a bias tensor.
    pub fn of(tensor: Option<TensorRef<'a>>) -> Result<Bias<'a>, OpError> {
        Ok(match tensor {
            None => Bias::None,
            Some(b) if b.ty == Int64 => Bias::I64(b.slice()?),
            Some(b) => Bias::I32(b.slice()?),
        })
    }

    /// The bias of a channel.
    #[inline]
    pub fn at(self, channel: usize) -> i64 {
        match self {
            Bias::None => 0,
            Bias::I32(b) => b[channel].into(),
            Bias::I64(b) => b[channel],
        }
    }
}

/// A reference kernel with scratch memory.
pub struct Run<F> {
    /// Bytes of scratch.
    pub scratch: usize,
    /// The computation.
    pub run: F,
}

impl<F> Kernel for Run<F>
where
    F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync,
{
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        (self.run)(io)
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch
    }
}
