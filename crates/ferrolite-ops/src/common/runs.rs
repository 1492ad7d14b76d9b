//! Copying runs of neighbouring elements to places that are known at run time only.

use crate::common::strided::copy_packed;
use crate::common::strings::{MAX_STRINGS, Strings, write_strings};
use crate::tensor::{TensorMut, TensorRef};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;

/// Copies runs of one length between two tensors of one type, whatever the type.
#[derive(Clone, Copy, Debug)]
pub struct RunCopy {
    /// Element type.
    pub ty: TensorType,
    /// Elements of a run.
    pub len: usize,
    /// Elements of the source.
    pub src: usize,
    /// Elements of the destination.
    pub dst: usize,
}

impl RunCopy {
    /// Copies the runs whose first elements in source and destination `runs` passes on. They must lie inside. Strings that
    /// no run covers become empty; other elements keep their value.
    pub fn run(
        &self,
        src: TensorRef<'_>,
        dst: &mut TensorMut<'_>,
        runs: impl FnOnce(&mut dyn FnMut(usize, usize)) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        let len = self.len;
        if self.ty == TensorType::String {
            ensure!(self.dst <= MAX_STRINGS, "{} strings are too many", self.dst);
            let strings = Strings::new(src.bytes)?;
            ensure!(strings.len() >= self.src, "string data is shorter than its shape");
            let mut moved: Vec<&[u8]> = vec![&[]; self.dst];
            runs(&mut |from, to| (0..len).for_each(|i| moved[to + i] = strings.get(from + i)))?;
            return write_strings(dst, &moved);
        }
        let (src, dst) = (src.bytes, dst.bytes());
        let fits = |bytes: &[u8], n| self.ty.byte_len(n).is_some_and(|n| n <= bytes.len());
        ensure!(fits(src, self.src) && fits(dst, self.dst), "{} data is shorter than its shape", self.ty);
        let bits = self.ty.bits();
        if bits < 8 {
            return runs(&mut |from, to| (0..len).for_each(|i| copy_packed(bits, src, from + i, dst, to + i)));
        }
        let size = bits / 8;
        let bytes = len * size;
        runs(&mut |from, to| dst[to * size..][..bytes].copy_from_slice(&src[from * size..][..bytes]))
    }
}
