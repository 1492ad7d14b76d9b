//! Weights packed for the matrix kernels: at preparation where they are constant, in scratch memory at each run where they
//! are not (training).

use crate::OpError;
use crate::common::scratch::{Scratch, scratch_size};
use ferrolite_kernels::Isa;
use ferrolite_kernels::{ColumnsI8, Layout, PackF32, PackI8, PackedF32, PackedF32Ref, PackedI8, PackedI8Ref};

/// A float operand with its bias.
pub struct OperandF32 {
    spec: PackF32,
    layout: Layout,
    held: Option<PackedF32>,
}

impl OperandF32 {
    /// `n` columns of `taps · kc` weights; packed now if `weights` (and bias) are given.
    pub fn new(
        isa: Isa,
        n: usize,
        (taps, kc): (usize, usize),
        layout: Layout,
        weights: Option<(&[f32], Option<&[f32]>)>,
    ) -> OperandF32 {
        let held = weights.map(|(w, bias)| PackedF32::pack(isa, w, n, taps, kc, layout, bias));
        OperandF32 { spec: PackF32::new(isa, n, taps, kc), layout, held }
    }

    /// Bytes of scratch memory that [`OperandF32::get`] takes.
    pub fn scratch(&self) -> usize {
        if self.held.is_some() { 0 } else { scratch_size::<f32>(self.spec.packed_len()) }
    }

    /// Whether it was packed at preparation.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The packed operand; `weights` and `bias` are read only if it is not held.
    pub fn get<'a>(
        &'a self,
        weights: &[f32],
        bias: Option<&[f32]>,
        scratch: &mut Scratch<'a>,
    ) -> Result<PackedF32Ref<'a>, OpError> {
        match &self.held {
            Some(packed) => Ok(packed.as_ref()),
            None => Ok(self.spec.pack(weights, self.layout, bias, scratch.take(self.spec.packed_len())?)),
        }
    }

    /// Name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.spec.kernel()
    }
}

/// What an int8 operand's columns need beside the bias.
#[derive(Clone, Debug)]
pub enum Columns {
    /// Nothing: sums are wanted.
    Raw,
    /// Requantization.
    Requant {
        /// Mantissas.
        multiplier: Vec<i32>,
        /// Exponents.
        shift: Vec<i32>,
    },
    /// Requantization in double precision: the factors.
    Real(Vec<f64>),
    /// Scales to float.
    Float(Vec<f32>),
}

/// Bias of an int8 operand.
#[derive(Clone, Copy, Debug)]
pub enum BiasI8<'a> {
    /// Of integer sums.
    Int(Option<&'a [i32]>),
    /// Of float results.
    Float(Option<&'a [f32]>),
}

impl Columns {
    /// The columns so many times, one after the other.
    pub fn repeat(&self, times: usize) -> Columns {
        match self {
            Columns::Raw => Columns::Raw,
            Columns::Requant { multiplier, shift } => {
                Columns::Requant { multiplier: multiplier.repeat(times), shift: shift.repeat(times) }
            }
            Columns::Real(factors) => Columns::Real(factors.repeat(times)),
            Columns::Float(scales) => Columns::Float(scales.repeat(times)),
        }
    }

    /// The columns from `at` on, `n` of them.
    pub fn slice(&self, at: usize, n: usize) -> Columns {
        match self {
            Columns::Raw => Columns::Raw,
            Columns::Requant { multiplier, shift } => {
                Columns::Requant { multiplier: multiplier[at..at + n].to_vec(), shift: shift[at..at + n].to_vec() }
            }
            Columns::Real(factor) => Columns::Real(factor[at..at + n].to_vec()),
            Columns::Float(scale) => Columns::Float(scale[at..at + n].to_vec()),
        }
    }

    fn with<'a>(&'a self, bias: BiasI8<'a>) -> ColumnsI8<'a> {
        let int = if let BiasI8::Int(bias) = bias { bias } else { None };
        let float = if let BiasI8::Float(bias) = bias { bias } else { None };
        match self {
            Columns::Raw => ColumnsI8::Raw { bias: int },
            Columns::Requant { multiplier, shift } => ColumnsI8::Requant { bias: int, multiplier, shift },
            Columns::Real(factor) => ColumnsI8::Real { bias: int, factor },
            Columns::Float(scale) => ColumnsI8::Float { scale, bias: float },
        }
    }
}

/// An int8 operand with its bias and scales.
pub struct OperandI8 {
    spec: PackI8,
    layout: Layout,
    columns: Columns,
    held: Option<PackedI8>,
}

impl OperandI8 {
    /// Packs `weights` now, if they are given.
    pub fn new(spec: PackI8, layout: Layout, columns: Columns, weights: Option<(&[i8], BiasI8<'_>)>) -> OperandI8 {
        let held = weights.map(|(w, bias)| PackedI8::pack(spec, w, layout, columns.with(bias)));
        OperandI8 { spec, layout, columns, held }
    }

    /// Bytes of scratch memory that [`OperandI8::get`] takes.
    pub fn scratch(&self) -> usize {
        if self.held.is_some() { 0 } else { scratch_size::<i32>(self.spec.packed_len()) }
    }

    /// The packed operand; `weights` and `bias` are read only if it is not held.
    pub fn get<'a>(
        &'a self,
        weights: &[i8],
        bias: BiasI8<'_>,
        scratch: &mut Scratch<'a>,
    ) -> Result<PackedI8Ref<'a>, OpError> {
        if let Some(packed) = &self.held {
            return Ok(packed.as_ref());
        }
        let dst = scratch.take(self.spec.packed_len())?;
        let spec = self.spec.pack(weights, self.layout, self.columns.with(bias), &mut *dst).spec();
        Ok(PackedI8Ref::from_spec(spec, dst))
    }

    /// Name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.spec.kernel()
    }
}
