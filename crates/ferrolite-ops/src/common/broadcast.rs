//! Broadcasting: one loop nest for every elementwise operator with several inputs.
//!
//! Shapes are aligned at their last dimension; a dimension of 1 (or a missing one) repeats. Neighbouring dimensions that
//! every input walks alike are merged, so that the inner loop is as long as it can be and each input either advances by
//! one element in it or stands still.

use crate::op::{Kernel, NodeView, reference};
use crate::tensor::{Element, Shape};
use crate::{OpError, ensure};
use smallvec::SmallVec;
use std::ops::Range;

/// The shape that these shapes broadcast to.
pub fn broadcast_shape(shapes: &[&[usize]]) -> Result<Shape, OpError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result: Shape = SmallVec::from_elem(1, rank);
    for shape in shapes {
        for (out, &d) in result[rank - shape.len()..].iter_mut().zip(*shape) {
            ensure!(*out == d || *out == 1 || d == 1, "shapes {shapes:?} do not broadcast");
            *out = if d == 1 { *out } else { d };
        }
    }
    Ok(result)
}

/// How `N` inputs are walked to fill one output.
#[derive(Clone, Debug)]
pub struct Broadcast<const N: usize> {
    /// Merged output dimensions, outermost first; at least one.
    dims: Shape,
    /// Elements that each input advances per step of each of `dims`; in the last one 0 or 1.
    strides: [Shape; N],
    inputs: [usize; N],
    output: usize,
}

impl<const N: usize> Broadcast<N> {
    /// Plans the walk; an error when an input does not broadcast to `output`.
    pub fn new(output: &[usize], inputs: [&[usize]; N]) -> Result<Broadcast<N>, OpError> {
        let rank = output.len();
        for shape in &inputs {
            let fits = shape.len() <= rank
                && shape.iter().zip(&output[rank - shape.len()..]).all(|(&d, &out)| d == out || d == 1);
            ensure!(fits, "shape {shape:?} does not broadcast to {output:?}");
        }
        let mut step = [1usize; N];
        // Innermost first while they are collected.
        let mut dims = Shape::new();
        let mut strides: [Shape; N] = std::array::from_fn(|_| Shape::new());
        for (back, &size) in output.iter().rev().enumerate() {
            let here: [usize; N] = std::array::from_fn(|i| {
                let d = inputs[i].len().checked_sub(back + 1).map_or(1, |at| inputs[i][at]);
                let stride = if d == 1 { 0 } else { step[i] };
                step[i] *= d;
                stride
            });
            if size == 1 {
                continue;
            }
            let merges =
                dims.last().is_some_and(|&inner| (0..N).all(|i| strides[i][dims.len() - 1] * inner == here[i]));
            if merges {
                *dims.last_mut().expect("not empty") *= size;
            } else {
                dims.push(size);
                (0..N).for_each(|i| strides[i].push(here[i]));
            }
        }
        if dims.is_empty() {
            dims.push(1);
            strides.iter_mut().for_each(|s| s.push(1));
        }
        dims.reverse();
        strides.iter_mut().for_each(|s| s.reverse());
        let inputs = inputs.map(|shape| shape.iter().product());
        Ok(Broadcast { dims, strides, inputs, output: output.iter().product() })
    }

    /// Plans the walk of a node's first `N` inputs to output 0.
    pub fn of(node: &NodeView<'_>) -> Result<Broadcast<N>, OpError> {
        let mut inputs: [&[usize]; N] = [&[]; N];
        for (i, shape) in inputs.iter_mut().enumerate() {
            *shape = &node.input(i)?.shape;
        }
        Broadcast::new(&node.output(0)?.shape, inputs)
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.output
    }

    /// The length of the inner loop and, per input, whether it advances in it.
    pub fn inner(&self) -> (usize, [bool; N]) {
        let last = self.dims.len() - 1;
        (self.dims[last], std::array::from_fn(|i| self.strides[i][last] != 0))
    }

    /// An error unless slices of these lengths fit the shapes that were planned.
    pub fn check(&self, inputs: [usize; N], output: usize) -> Result<(), OpError> {
        ensure!(inputs == self.inputs && output == self.output, "a kernel was prepared for other shapes");
        Ok(())
    }

    /// Calls `run(output offset, input offsets, length)` for each stretch of the inner loop within `outputs`.
    pub fn for_each(&self, outputs: Range<usize>, mut run: impl FnMut(usize, [usize; N], usize)) {
        if outputs.is_empty() {
            return;
        }
        let last = self.dims.len() - 1;
        // Where the walk starts, from the innermost dimension outwards.
        let mut index: Shape = SmallVec::from_elem(0, last + 1);
        let mut rest = outputs.start;
        for d in (0..=last).rev() {
            index[d] = rest % self.dims[d];
            rest /= self.dims[d];
        }
        let mut at: [usize; N] =
            std::array::from_fn(|i| index.iter().zip(&self.strides[i]).map(|(&x, &stride)| x * stride).sum());
        let mut out = outputs.start;
        loop {
            let len = (self.dims[last] - index[last]).min(outputs.end - out);
            run(out, at, len);
            out += len;
            if out >= outputs.end {
                return;
            }
            // The inner dimension is through: back to its start, and one step in the next outer one that has room.
            (0..N).for_each(|i| at[i] -= index[last] * self.strides[i][last]);
            index[last] = 0;
            for d in (0..last).rev() {
                index[d] += 1;
                if index[d] < self.dims[d] {
                    (0..N).for_each(|i| at[i] += self.strides[i][d]);
                    break;
                }
                index[d] = 0;
                (0..N).for_each(|i| at[i] -= (self.dims[d] - 1) * self.strides[i][d]);
            }
        }
    }
}

/// A walk cut into pieces over which every input is one contiguous slice that repeats as often as the piece needs.
#[derive(Clone, Debug)]
pub struct Tiles<const N: usize> {
    outer: Broadcast<N>,
    /// Output elements of a piece.
    pub len: usize,
    /// Elements of each input's slice; they divide `len`.
    pub inputs: [usize; N],
}

impl<const N: usize> Tiles<N> {
    /// The largest pieces of a walk.
    pub fn new(walk: &Broadcast<N>) -> Tiles<N> {
        let mut inputs = [1; N];
        let mut repeats = [false; N];
        let (mut len, mut outer) = (1, walk.dims.len());
        while outer > 0 {
            let (size, d) = (walk.dims[outer - 1], outer - 1);
            let fits = |i: usize| match walk.strides[i][d] {
                0 => true,
                stride => !repeats[i] && stride == len,
            };
            if !(0..N).all(fits) {
                break;
            }
            for i in 0..N {
                match walk.strides[i][d] {
                    0 => repeats[i] |= size > 1,
                    _ => inputs[i] *= size,
                }
            }
            len *= size;
            outer = d;
        }
        let mut rest = walk.clone();
        rest.dims.truncate(outer);
        rest.strides.iter_mut().for_each(|s| s.truncate(outer));
        if outer == 0 {
            rest.dims.push(1);
            rest.strides.iter_mut().for_each(|s| s.push(0));
        }
        rest.output = rest.dims.iter().product();
        Tiles { outer: rest, len, inputs }
    }

    /// How many pieces there are.
    pub fn count(&self) -> usize {
        self.outer.output
    }

    /// Calls `run(first piece, input offsets, pieces, steps)` for every run of pieces over which inputs advance by equal steps.
    pub fn for_each_run(&self, mut run: impl FnMut(usize, [usize; N], usize, [usize; N])) {
        let last = self.outer.dims.len() - 1;
        let steps = std::array::from_fn(|i| self.outer.strides[i][last]);
        self.outer.for_each(0..self.count(), |piece, at, count| run(piece, at, count, steps));
    }

    /// Calls `run(piece, input offsets)` for pieces of a range.
    pub fn for_each(&self, pieces: Range<usize>, mut run: impl FnMut(usize, [usize; N])) {
        let last = self.outer.dims.len() - 1;
        self.outer.for_each(pieces, |piece, at, count| {
            for k in 0..count {
                run(piece + k, std::array::from_fn(|i| at[i] + k * self.outer.strides[i][last]));
            }
        });
    }
}

impl Broadcast<2> {
    /// out = f(a, b).
    pub fn map<A: Copy, B: Copy, O>(
        &self,
        a: &[A],
        b: &[B],
        out: &mut [O],
        f: impl Fn(A, B) -> O,
    ) -> Result<(), OpError> {
        self.check([a.len(), b.len()], out.len())?;
        self.map_range(0..self.output, a, b, out, f);
        Ok(())
    }

    /// out = f(a, b) for the part `out` of the output, which has the elements `range`.
    pub fn map_range<A: Copy, B: Copy, O>(
        &self,
        range: Range<usize>,
        a: &[A],
        b: &[B],
        out: &mut [O],
        f: impl Fn(A, B) -> O,
    ) {
        let (_, advances) = self.inner();
        let first = range.start;
        self.for_each(range, |start, [at_a, at_b], len| {
            let out = &mut out[start - first..start - first + len];
            match advances {
                [true, true] => {
                    for ((o, &x), &y) in out.iter_mut().zip(&a[at_a..at_a + len]).zip(&b[at_b..at_b + len]) {
                        *o = f(x, y);
                    }
                }
                [true, false] => {
                    let y = b[at_b];
                    out.iter_mut().zip(&a[at_a..at_a + len]).for_each(|(o, &x)| *o = f(x, y));
                }
                [false, true] => {
                    let x = a[at_a];
                    out.iter_mut().zip(&b[at_b..at_b + len]).for_each(|(o, &y)| *o = f(x, y));
                }
                [false, false] => {
                    let (x, y) = (a[at_a], b[at_b]);
                    out.iter_mut().for_each(|o| *o = f(x, y));
                }
            }
        });
    }
}

/// The reference kernel output 0 = f(input 0, input 1), with broadcasting.
pub fn binary<A, B, O, F>(node: &NodeView<'_>, f: F) -> Result<Box<dyn Kernel>, OpError>
where
    A: Element,
    B: Element,
    O: Element,
    F: Fn(A, B) -> O + Send + Sync + 'static,
{
    let walk = Broadcast::<2>::of(node)?;
    reference(move |io| {
        let (a, b) = (io.input(0)?.slice::<A>()?, io.input(1)?.slice::<B>()?);
        walk.map(a, b, io.outputs[0].slice::<O>()?, &f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element by element, without any merging.
    fn naive(output: &[usize], shapes: [&[usize]; 2]) -> Vec<[usize; 2]> {
        (0..output.iter().product())
            .map(|flat: usize| {
                shapes.map(|shape| {
                    let (mut rest, mut at, mut step) = (flat, 0, 1);
                    for (back, &size) in output.iter().rev().enumerate() {
                        let d = shape.len().checked_sub(back + 1).map_or(1, |i| shape[i]);
                        at += if d == 1 { 0 } else { rest % size * step };
                        step *= d;
                        rest /= size;
                    }
                    at
                })
            })
            .collect()
    }

    #[test]
    fn walks_every_pattern() {
        let patterns: [[&[usize]; 2]; 9] = [
            [&[2, 3, 4], &[2, 3, 4]],
            [&[2, 3, 4], &[4]],
            [&[2, 3, 4], &[]],
            [&[1], &[3, 1]],
            [&[3, 1, 2, 1], &[1, 4, 1, 5]],
            [&[2, 3, 1, 2, 3, 1], &[1, 3, 2, 1, 3, 3]],
            [&[2, 1, 1, 4], &[3, 5, 1]],
            [&[], &[]],
            [&[2, 0, 3], &[1, 3]],
        ];
        for shapes in patterns {
            let output = broadcast_shape(&shapes).unwrap();
            let walk = Broadcast::new(&output, shapes).unwrap();
            let total: usize = output.iter().product();
            for start in 0..=total {
                let mut seen = Vec::new();
                walk.for_each(start..total, |out, at, len| {
                    assert_eq!(out, start + seen.len());
                    let advances = walk.inner().1;
                    seen.extend((0..len).map(|k| [0, 1].map(|i| at[i] + k * usize::from(advances[i]))));
                });
                assert_eq!(seen, naive(&output, shapes)[start..], "{shapes:?}");
            }
        }
        for shapes in patterns {
            let output = broadcast_shape(&shapes).unwrap();
            let tiles = Tiles::new(&Broadcast::new(&output, shapes).unwrap());
            let mut seen = Vec::new();
            tiles.for_each(0..tiles.count(), |piece, at| {
                assert_eq!(piece * tiles.len, seen.len());
                seen.extend((0..tiles.len).map(|k| [0, 1].map(|i| at[i] + k % tiles.inputs[i])));
            });
            assert_eq!(seen, naive(&output, shapes), "{shapes:?}");
            let mut runs = Vec::new();
            tiles.for_each_run(|first, at, count, steps| {
                assert_eq!(first * tiles.len, runs.len());
                let row =
                    |r: usize| (0..tiles.len).map(move |k| [0, 1].map(|i| at[i] + r * steps[i] + k % tiles.inputs[i]));
                runs.extend((0..count).flat_map(row));
            });
            assert_eq!(runs, seen, "{shapes:?}");
        }
        let rows = Tiles::new(&Broadcast::new(&[2, 5, 3], [&[2, 5, 3], &[2, 1, 3]]).unwrap());
        assert_eq!((rows.count(), rows.len, rows.inputs), (2, 15, [15, 3]));
        let merged = Broadcast::new(&[2, 3, 4], [&[2, 3, 4], &[1, 1, 1]]).unwrap();
        assert_eq!(merged.inner(), (24, [true, false]));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert!(broadcast_shape(&[&[2, 3], &[2]]).is_err());
        assert!(Broadcast::new(&[2, 3], [&[2, 3], &[2]]).is_err());
        assert!(Broadcast::new(&[3], [&[1, 3], &[3]]).is_err());
        assert_eq!(broadcast_shape(&[&[2, 0], &[1]]).unwrap().as_slice(), [2, 0]);
    }
}
