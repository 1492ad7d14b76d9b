//! Carving typed slices out of a kernel's scratch memory.

use crate::{OpError, ensure};
use bytemuck::Pod;

/// What is left of [`crate::Io::scratch`]. Each piece starts at a multiple of 64.
pub struct Scratch<'a>(&'a mut [u8]);

/// Bytes that [`Scratch::take`] of `n` elements uses.
pub fn scratch_size<T>(n: usize) -> usize {
    n.saturating_mul(size_of::<T>()).checked_next_multiple_of(64).unwrap_or(usize::MAX)
}

impl<'a> Scratch<'a> {
    /// All of a kernel's scratch memory.
    pub fn new(bytes: &'a mut [u8]) -> Scratch<'a> {
        Scratch(bytes)
    }

    /// The next `n` elements, contents unspecified.
    pub fn take<T: Pod>(&mut self, n: usize) -> Result<&'a mut [T], OpError> {
        let size = scratch_size::<T>(n);
        ensure!(size <= self.0.len(), "scratch memory is {} bytes short", size - self.0.len());
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(size);
        self.0 = rest;
        bytemuck::try_cast_slice_mut(&mut piece[..n * size_of::<T>()]).map_err(|e| OpError::invalid(e.to_string()))
    }
}
