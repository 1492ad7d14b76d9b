//! Index tensors that are read at run time, and the slices that rows of coordinates point at.

use crate::common::strided::elements;
use crate::tensor::{Shape, TensorRef};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;

/// The elements of an index tensor.
#[derive(Clone, Copy, Debug)]
pub enum Indices<'a> {
    /// int16.
    I16(&'a [i16]),
    /// int32.
    I32(&'a [i32]),
    /// int64.
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// Reads a tensor of one of the types that [`crate::common::strided::index_input`] accepts.
    pub fn of(tensor: TensorRef<'a>) -> Result<Indices<'a>, OpError> {
        Ok(match tensor.ty {
            TensorType::Int16 => Indices::I16(tensor.slice()?),
            TensorType::Int32 => Indices::I32(tensor.slice()?),
            _ => Indices::I64(tensor.slice()?),
        })
    }

    /// Number of indices.
    pub fn len(&self) -> usize {
        match self {
            Indices::I16(v) => v.len(),
            Indices::I32(v) => v.len(),
            Indices::I64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index `i`, which must be below [`Indices::len`].
    pub fn get(&self, i: usize) -> i64 {
        match self {
            Indices::I16(v) => v[i].into(),
            Indices::I32(v) => v[i].into(),
            Indices::I64(v) => v[i],
        }
    }

    /// Index `i` as one of `limit` choices; an error if it is none.
    pub fn pick(&self, i: usize, limit: usize) -> Result<usize, OpError> {
        let index = self.get(i);
        match usize::try_from(index).ok().filter(|&index| index < limit) {
            Some(index) => Ok(index),
            None => Err(OpError::invalid(format!("index {index} is not one of {limit}"))),
        }
    }
}

/// Rows of coordinates, each of which points at a slice of a tensor: the first dimensions are picked, the others stay.
#[derive(Clone, Debug)]
pub struct Coordinates {
    /// Dimensions that a row picks from.
    dims: Shape,
    /// Elements from one index of each of them to the next.
    steps: Shape,
    rows: usize,
    /// Elements of a slice.
    pub slice: usize,
}

impl Coordinates {
    /// `rows` rows of `depth` coordinates into a tensor of this shape.
    pub fn new(shape: &[usize], depth: usize, rows: usize) -> Result<Coordinates, OpError> {
        ensure!(depth <= shape.len(), "rows of {depth} coordinates for {} dimensions", shape.len());
        elements(shape)?;
        let slice = elements(&shape[depth..])?;
        let mut steps = Shape::from_elem(slice, depth);
        for i in (1..depth).rev() {
            // Wraps only where a dimension is 0, which no index is below.
            steps[i - 1] = steps[i].wrapping_mul(shape[i]);
        }
        Ok(Coordinates { dims: Shape::from_slice(&shape[..depth]), steps, rows, slice })
    }

    /// Calls `visit` with each row and the first element of its slice. Every coordinate is checked.
    pub fn for_each(&self, indices: TensorRef<'_>, mut visit: impl FnMut(usize, usize)) -> Result<(), OpError> {
        let indices = Indices::of(indices)?;
        let depth = self.dims.len();
        ensure!(indices.len() == self.rows * depth, "sizes changed since the kernel was prepared");
        if depth == 0 && self.slice == 0 {
            // Rows that hold nothing and point at nothing may be any number.
            return Ok(());
        }
        for row in 0..self.rows {
            let mut at = 0;
            for (i, (&dim, &step)) in self.dims.iter().zip(&self.steps).enumerate() {
                at += indices.pick(row * depth + i, dim)? * step;
            }
            visit(row, at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(shape: &[usize], depth: usize, indices: &[i32]) -> Result<Vec<(usize, usize)>, OpError> {
        let rows = indices.len().checked_div(depth).unwrap_or(1);
        let bytes = bytemuck::cast_slice(indices);
        let tensor = TensorRef { ty: TensorType::Int32, shape: &[indices.len()], quantization: None, bytes };
        let mut seen = Vec::new();
        Coordinates::new(shape, depth, rows)?.for_each(tensor, |row, at| seen.push((row, at)))?;
        Ok(seen)
    }

    #[test]
    fn finds_slices_and_refuses_what_lies_outside() {
        assert_eq!(visit(&[2, 3, 4], 2, &[1, 2, 0, 1]).unwrap(), [(0, 20), (1, 4)]);
        assert_eq!(visit(&[2, 3], 0, &[]).unwrap(), [(0, 0)]);
        assert!(visit(&[2, 3, 4], 2, &[2, 0]).is_err() && visit(&[2, 3, 4], 2, &[0, -1]).is_err());
        assert!(visit(&[2], 2, &[0, 0]).is_err() && visit(&[0, 3], 1, &[0]).is_err());
    }
}
