//! Weights as reference kernels read them: plain elements, whatever their storage.

use crate::common::densify::densify;
use crate::op::Io;
use crate::tensor::{Element, TensorInfo, copy_elements};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;

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
            Some(values) => Ok(Weights::Held(values)),
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

/// The elements of a constant: those of int4 and int2 as int8, of a sparse one in their places. `None` for tensors that
/// are not constant.
pub fn constant<T: Element>(info: &TensorInfo<'_>) -> Result<Option<Vec<T>>, OpError> {
    let Some(bytes) = info.constant else { return Ok(None) };
    if matches!(info.ty, TensorType::Int4 | TensorType::Int2) {
        ensure!(T::matches(TensorType::Int8), "weights have type {}", info.ty);
        ensure!(info.sparsity.is_none(), "weights are both packed and sparse");
        return Ok(Some(copy_elements(&unpack(bytes, info.ty.bits(), info.elements())?)));
    }
    Ok(Some(densify::<T>(info)?))
}

/// Sign-extends packed elements of 2 or 4 bits, low bits first, to int8 (as bytes).
pub fn unpack(bytes: &[u8], bits: usize, elements: usize) -> Result<Vec<u8>, OpError> {
    let per_byte = 8 / bits;
    ensure!(bytes.len() >= elements.div_ceil(per_byte), "{} bytes do not hold {elements} elements", bytes.len());
    let extend = |i: usize| {
        let shifted = (bytes[i / per_byte] >> (i % per_byte * bits)) << (8 - bits);
        ((shifted as i8) >> (8 - bits)) as u8
    };
    Ok((0..elements).map(extend).collect())
}

#[cfg(test)]
mod tests {
    use super::unpack;

    #[test]
    fn unpacks_low_bits_first() {
        let signed = |v: Vec<u8>| v.into_iter().map(|b| b as i8).collect::<Vec<_>>();
        assert_eq!(signed(unpack(&[0x7f, 0x08], 4, 3).unwrap()), [-1, 7, -8]);
        assert_eq!(signed(unpack(&[0b11_10_01_00], 2, 4).unwrap()), [0, 1, -2, -1]);
        assert!(unpack(&[0], 4, 3).is_err());
    }
}
