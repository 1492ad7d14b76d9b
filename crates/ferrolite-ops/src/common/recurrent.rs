//! What recurrent operators share: weights that are float32, or int8 with activations quantized at run time (hybrid), and
//! their products with rows of activations.
//!
//! Sources: LiteRT `internal/kernel_utils.cc`, `internal/reference/portable_tensor_utils.cc`.

use crate::common::hybrid::{RowQuantization, quantize_row};
use crate::common::weights::Weights;
use crate::op::{Io, NodeView};
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};
use ferrolite_kernels::{Isa, matvec_f32, matvec_i8};
use ferrolite_model::TensorType::{self, Float32, Int8, UInt8};
use ferrolite_model::schema::ActivationFunctionType;

/// Weights as they are read: float32, or int8 with their scale.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Real numbers.
    Float(&'a [f32]),
    /// Steps of a scale.
    Int8(&'a [i8], f32),
}

impl Weight<'_> {
    /// Element `i` as a real number.
    #[inline]
    pub fn real(&self, i: usize) -> f32 {
        match self {
            Weight::Float(w) => w[i],
            Weight::Int8(w, scale) => scale * f32::from(w[i]),
        }
    }
}

/// An input of weights, prepared.
pub enum WeightInput {
    /// Real numbers.
    Float(Weights<f32>),
    /// int8 with one scale.
    Int8(Weights<i8>, f32),
    /// The same in a tensor that calls itself uint8: files of before int8 existed.
    UInt8(Weights<u8>, f32),
}

impl WeightInput {
    /// Input `index` of a node.
    pub fn prepare(node: &NodeView<'_>, index: usize) -> Result<WeightInput, OpError> {
        let info = node.input(index)?;
        match info.ty {
            Float32 => Ok(WeightInput::Float(Weights::prepare(index, info)?)),
            Int8 => Ok(WeightInput::Int8(Weights::prepare(index, info)?, symmetric_scale(info)?)),
            UInt8 => Ok(WeightInput::UInt8(Weights::prepare(index, info)?, symmetric_scale(info)?)),
            ty => Err(OpError::unsupported(format!("weights {:?} of type {ty}", info.name))),
        }
    }

    /// The weights.
    pub fn get<'s, 'a: 's>(&'s self, io: &Io<'a>) -> Result<Weight<'s>, OpError> {
        Ok(match self {
            WeightInput::Float(w) => Weight::Float(w.get(io)?),
            WeightInput::Int8(w, scale) => Weight::Int8(w.get(io)?, *scale),
            WeightInput::UInt8(w, scale) => Weight::Int8(bytemuck::cast_slice(w.get(io)?), *scale),
        })
    }
}

/// The one scale of symmetric weights. A zero point is not looked at, as in LiteRT: files of before int8 have 128.
pub fn symmetric_scale(info: &TensorInfo<'_>) -> Result<f32, OpError> {
    let (scale, zero_point) = info.scale_zero_point()?;
    ensure!(scale.is_finite() && scale > 0.0, "weights {:?} have scale {scale}", info.name);
    ensure!(zero_point == 0 || info.ty == UInt8, "weights {:?} have zero point {zero_point}", info.name);
    Ok(scale)
}

/// Whether weights of this type are multiplied with activations that are quantized at run time.
pub fn is_hybrid(weights: TensorType) -> Result<bool, OpError> {
    match weights {
        Float32 => Ok(false),
        Int8 | UInt8 => Ok(true),
        ty => Err(OpError::unsupported(format!("float32 activations with weights of type {ty}"))),
    }
}

/// A row of activations, with its quantized form where the weights are int8.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    values: &'a [f32],
    quantized: &'a [i8],
    parameters: RowQuantization,
    isa: Option<Isa>,
}

impl<'a> Row<'a> {
    /// A row for float weights if `quantized` is empty, else one for int8 weights. Products are made in vector code if an
    /// instruction set is given.
    pub fn new(values: &'a [f32], quantized: &'a mut [i8], asymmetric: bool, isa: Option<Isa>) -> Row<'a> {
        if quantized.is_empty() {
            return Row { values, quantized, parameters: RowQuantization { scale: 1.0, zero_point: 0 }, isa };
        }
        let parameters = quantize_row(values, quantized, (0, 1, values.len()), asymmetric);
        Row { values, quantized, parameters, isa }
    }

    /// Adds to each element of `out` the product of a row of `matrix` with this row.
    pub fn accumulate(&self, matrix: Weight<'_>, out: &mut [f32]) {
        let depth = self.values.len();
        if let Some(isa) = self.isa {
            return self.accumulate_vectors(isa, matrix, out);
        }
        match matrix {
            Weight::Float(w) => {
                for (r, out) in out.iter_mut().enumerate() {
                    let row = w[r * depth..][..depth].iter().zip(self.values);
                    *out += row.fold(0.0, |sum, (w, x)| sum + w * x);
                }
            }
            Weight::Int8(w, scale) => {
                let RowQuantization { scale: row_scale, zero_point } = self.parameters;
                let factor = row_scale * scale;
                for (r, out) in out.iter_mut().enumerate() {
                    let row = w[r * depth..][..depth].iter().zip(self.quantized);
                    let sum = row.fold(0i32, |sum, (&w, &x)| {
                        sum.wrapping_add(i32::from(w).wrapping_mul(i32::from(x).wrapping_sub(zero_point)))
                    });
                    *out += sum as f32 * factor;
                }
            }
        }
    }
}

impl Row<'_> {
    fn accumulate_vectors(&self, isa: Isa, matrix: Weight<'_>, out: &mut [f32]) {
        // Sums of a part of the rows.
        const PART: usize = 64;
        let depth = self.values.len();
        match matrix {
            Weight::Float(w) => matvec_f32(isa, &w[..depth * out.len()], self.values, out),
            Weight::Int8(w, scale) => {
                let RowQuantization { scale: row_scale, zero_point } = self.parameters;
                let factor = row_scale * scale;
                let mut sums = [0; PART];
                for (i, out) in out.chunks_mut(PART).enumerate() {
                    let (rows, sums) = (&w[i * PART * depth..][..out.len() * depth], &mut sums[..out.len()]);
                    matvec_i8(isa, rows, self.quantized, zero_point, sums);
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum as f32 * factor);
                }
            }
        }
    }
}

/// Checks that an activation exists.
pub fn check_activation(activation: ActivationFunctionType) -> Result<(), OpError> {
    ensure!(activation.variant_name().is_some(), "unknown activation {}", activation.0);
    Ok(())
}

/// A fused activation of a recurrent operator, which applies all of them.
#[inline]
pub fn activate(activation: ActivationFunctionType, x: f32) -> f32 {
    match activation {
        ActivationFunctionType::RELU => x.max(0.0),
        ActivationFunctionType::RELU_N1_TO_1 => x.clamp(-1.0, 1.0),
        ActivationFunctionType::RELU6 => x.clamp(0.0, 6.0),
        ActivationFunctionType::TANH => x.tanh(),
        ActivationFunctionType::SIGN_BIT => f32::from(u8::from(x.is_sign_negative())),
        _ => x,
    }
}

/// 1 / (1 + e^−x)
#[inline]
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Checks the shape of an input.
pub fn expect_shape(info: &TensorInfo<'_>, shape: &[usize]) -> Result<(), OpError> {
    ensure!(info.shape[..] == *shape, "input {:?} has shape {:?}, not {shape:?}", info.name, &info.shape[..]);
    Ok(())
}

/// Checks the type of an input.
pub fn expect_type(info: &TensorInfo<'_>, ty: TensorType) -> Result<(), OpError> {
    if info.ty == ty {
        return Ok(());
    }
    Err(OpError::unsupported(format!("input {:?} of type {}, not {ty}", info.name, info.ty)))
}

/// The places of a sequence's elements: time steps of several sequences side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    /// Sequences.
    pub batch: usize,
    /// Time steps.
    pub time: usize,
    /// Whether time is the outer dimension.
    pub time_major: bool,
}

impl Steps {
    /// Of the two outer dimensions of a sequence.
    pub fn of(shape: &[usize], time_major: bool) -> Result<Steps, OpError> {
        let &[outer, inner, _] = shape else {
            return Err(OpError::invalid(format!("a sequence of shape {shape:?} has not 3 dimensions")));
        };
        let (time, batch) = if time_major { (outer, inner) } else { (inner, outer) };
        Ok(Steps { batch, time, time_major })
    }

    /// Index of a row of the sequence.
    #[inline]
    pub fn row(&self, sequence: usize, time: usize) -> usize {
        if self.time_major { time * self.batch + sequence } else { sequence * self.time + time }
    }

    /// The shape of a sequence with these steps.
    pub fn shape(&self, depth: usize) -> [usize; 3] {
        if self.time_major { [self.time, self.batch, depth] } else { [self.batch, self.time, depth] }
    }
}
