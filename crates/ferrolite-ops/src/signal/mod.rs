//! The audio front end of TensorFlow Lite Micro: SignalWindow, SignalFftAutoScale, SignalRfft, SignalEnergy, SignalFilterBank,
//! SignalFilterBankSquareRoot, SignalFilterBankSpectralSubtraction, SignalPCAN and SignalFilterBankLog: integers to the bit.
//!
//! Sources: tflite-micro `signal/{src,micro/kernels}`.

mod cases;
mod filter_bank;
mod fixed_fft;
mod spectrum;

use crate::common::flex::FlexOptions;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// Shapes of the outputs.
type Shapes = SmallVec<[Shape; 2]>;

/// One operator.
pub struct Signal {
    name: &'static str,
    /// Types of inputs and outputs.
    inputs: &'static [TensorType],
    outputs: &'static [TensorType],
    /// All checks but those of types, and shapes of the outputs.
    shapes: fn(&NodeView<'_>) -> Result<Shapes, OpError>,
    kernel: fn(&NodeView<'_>) -> Result<Box<dyn Kernel>, OpError>,
    /// Keeps something from run to run.
    stateful: bool,
}

pub use filter_bank::{FILTER_BANK, FILTER_BANK_LOG, PCAN, SPECTRAL_SUBTRACTION, SQUARE_ROOT};
pub use spectrum::{ENERGY, FFT_AUTO_SCALE, RFFT_FLOAT, RFFT_INT16, RFFT_INT32, WINDOW};

/// SignalRfft, of three types.
pub struct SignalRfft;

impl Signal {
    fn check(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(self.inputs.len()..=self.inputs.len(), self.outputs.len())?;
        for (i, &ty) in self.inputs.iter().enumerate() {
            let given = node.input(i)?.ty;
            if given != ty {
                return Err(OpError::unsupported(format!("input {i} of type {given}")));
            }
        }
        let shapes = (self.shapes)(node)?;
        Ok(shapes.into_iter().zip(self.outputs).map(|(shape, &ty)| Inferred { ty, shape: Some(shape) }).collect())
    }
}

impl OpDef for Signal {
    fn id(&self) -> OpId {
        OpId::Custom(self.name)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        self.check(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        (self.kernel)(node)
    }

    fn is_foldable(&self) -> bool {
        !self.stateful
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(self.name)
    }
}

impl SignalRfft {
    fn typed(node: &NodeView<'_>) -> Result<&'static Signal, OpError> {
        match node.input(0)?.ty {
            TensorType::Int16 => Ok(&RFFT_INT16),
            TensorType::Int32 => Ok(&RFFT_INT32),
            TensorType::Float32 => Ok(&RFFT_FLOAT),
            ty => Err(OpError::unsupported(format!("SignalRfft of {ty}"))),
        }
    }
}

impl OpDef for SignalRfft {
    fn id(&self) -> OpId {
        OpId::Custom("SignalRfft")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        SignalRfft::typed(node)?.check(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        SignalRfft::typed(node)?.reference(node)
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases("SignalRfft")
    }
}

/// Length of an input that has to be a vector.
fn vector(node: &NodeView<'_>, i: usize) -> Result<usize, OpError> {
    let shape = &node.input(i)?.shape;
    ensure!(shape.len() == 1, "input {i} has shape {shape:?}, which is not a vector");
    Ok(shape[0])
}

/// Input 0 as a vector, and an output like it.
fn like_input(node: &NodeView<'_>) -> Result<Shapes, OpError> {
    vector(node, 0)?;
    Ok(SmallVec::from_elem(node.input(0)?.shape.clone(), 1))
}

/// An option that is a number of bits to shift by, less than `bits`.
fn shift(node: &NodeView<'_>, key: &str, bits: usize) -> Result<u32, OpError> {
    Ok(FlexOptions::of(node)?.size(key, bits - 1)? as u32)
}
