//! Weights as reference kernels read them: plain elements, whatever their storage.

use crate::common::densify::densify;
use crate::common::packed;
use crate::op::Io;
use crate::tensor::{Element, TensorInfo, copy_elements};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use std::borrow::Cow;

/// Weights of type `T`: read at run time, or unpacked at preparation from a packed or sparse constant.
pub enum Weights<T> {
    /// Input of the node, read at each run.
    Input(usize),
    /// Unpacked constant.
    Held(Vec<T>),
}

impl<T: Element> Weights<T> {
    /// Weights that are input `index` of a node, `info`. int4 and int2 constants become int8, sparse ones dense.
    pub fn prepare(index: usize, info: &TensorInfo<'_>) -> Result<Weights<T>, OpError> {
        let packed = matches!(info.ty, TensorType::Int4 | TensorType::Int2);
        if !packed && info.sparsity.is_none() {
            ensure!(T::matches(info.ty), "weights have type {}", info.ty);
            return Ok(Weights::Input(index));
        }
        match constant(info)? {
            Some(values) => Ok(Weights::Held(values.into_owned())),
            None => Err(OpError::unsupported(format!("{} weights that are not constant", info.ty))),
        }
    }

    /// The elements.
    pub fn get<'s, 'a: 's>(&'s self, io: &Io<'a>) -> Result<&'s [T], OpError> {
        match self {
            Weights::Input(i) => io.input(*i)?.slice(),
            Weights::Held(values) => Ok(values),
        }
    }
}

/// The elements of a constant, borrowed where they need no change: those of int4 and int2 as int8, of a sparse one in their places. `None` for tensors that
/// are not constant.
pub fn constant<'a, T: Element>(info: &TensorInfo<'a>) -> Result<Option<Cow<'a, [T]>>, OpError> {
    let Some(bytes) = info.constant.map(|bytes| &**bytes) else { return Ok(None) };
    if matches!(info.ty, TensorType::Int4 | TensorType::Int2) {
        ensure!(T::matches(TensorType::Int8), "weights have type {}", info.ty);
        ensure!(info.sparsity.is_none(), "weights are both packed and sparse");
        let elements = info.elements();
        ensure!(
            info.ty.byte_len(elements).is_some_and(|n| n <= bytes.len()),
            "{elements} elements in {} bytes",
            bytes.len()
        );
        let mut unpacked = vec![0u8; elements];
        if info.ty == TensorType::Int4 {
            for (two, &byte) in unpacked.chunks_mut(2).zip(bytes) {
                let halves = [(byte << 4).cast_signed() >> 4, byte.cast_signed() >> 4].map(i8::cast_unsigned);
                two.copy_from_slice(&halves[..two.len()]);
            }
        } else {
            unpacked.iter_mut().enumerate().for_each(|(i, to)| *to = packed::get(bytes, info.ty, i) as u8);
        }
        return Ok(Some(Cow::Owned(copy_elements(&unpacked))));
    }
    densify(info).map(Some)
}
