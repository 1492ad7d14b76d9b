//! The loops of a reduction.

use crate::common::strided::elements;
use crate::op::{Io, Kernel};
use crate::{OpError, ensure};
use smallvec::SmallVec;
use std::ops::Range;

/// Dimensions merged into alternating kept and reduced ones, walked in the input's order.
pub struct Plan {
    /// Length of the input's contiguous rows.
    inner: usize,
    /// Whether a row is reduced to one value, or added to as many.
    inner_reduced: bool,
    /// The other dimensions: length and distance between outputs (0 where reduced).
    outer: SmallVec<[(usize, usize); 6]>,
    input: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// Inputs per output.
    pub count: usize,
}

impl Plan {
    /// Plans the reduction of `shape` over the dimensions marked in `reduced`.
    pub fn new(shape: &[usize], reduced: &[bool]) -> Result<Plan, OpError> {
        let mut merged: SmallVec<[(usize, bool); 6]> = SmallVec::new();
        for (&n, &r) in shape.iter().zip(reduced) {
            match merged.last_mut() {
                _ if n == 1 => {}
                Some(last) if last.1 == r => last.0 = last.0.saturating_mul(n),
                _ => merged.push((n, r)),
            }
        }
        let input = elements(shape)?;
        let product = |want: bool| {
            let part: SmallVec<[usize; 6]> = merged.iter().filter(|m| m.1 == want).map(|m| m.0).collect();
            elements(&part)
        };
        let (outputs, count) = (product(false)?, product(true)?);
        let (inner, inner_reduced) = merged.pop().unwrap_or((1, false));
        let mut next = if inner_reduced { 1 } else { inner };
        let mut outer: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        for &(n, r) in merged.iter().rev() {
            outer.push((n, if r { 0 } else { next }));
            next = if r { next } else { next.saturating_mul(n) };
        }
        outer.reverse();
        Ok(Plan { inner, inner_reduced, outer, input, outputs, count })
    }

    /// Calls `f(outputs, values)` for stretches of the input and where they go: where rows are reduced, each row to one of
    /// the outputs, else every row to all of them.
    pub fn blocks<T>(&self, input: &[T], mut f: impl FnMut(Range<usize>, &[T])) -> Result<(), OpError> {
        ensure!(input.len() == self.input, "sizes changed since the kernel was prepared");
        if input.is_empty() {
            return Ok(());
        }
        // A reduced dimension around rows that are kept: all its rows go to the same outputs.
        // Rows that are reduced around a dimension that is kept: side by side in the output.
        let (outer, rows) = match self.outer.split_last() {
            Some((&(n, step), outer)) if step == usize::from(self.inner_reduced) => (outer, n),
            _ => (&self.outer[..], 1),
        };
        let outputs = if self.inner_reduced { rows } else { self.inner };
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        let mut at = 0;
        for values in input.chunks_exact(self.inner * rows) {
            f(at..at + outputs, values);
            for (i, &(n, step)) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                at += step;
                if *i < n {
                    break;
                }
                at -= step * n;
                *i = 0;
            }
        }
        Ok(())
    }

    /// Whether rows are reduced, each to one output.
    pub fn reduces_rows(&self) -> bool {
        self.inner_reduced
    }

    /// Folds every input into its output, in the order of the input: `element` one at a time, or `row` all of a row
    /// that belongs to one output.
    pub fn fold<T: Copy, A: Copy>(
        &self,
        input: &[T],
        acc: &mut [A],
        element: impl Fn(A, T) -> A,
        row: impl Fn(A, &[T]) -> A,
    ) -> Result<(), OpError> {
        ensure!(input.len() == self.input && acc.len() == self.outputs, "sizes changed since the kernel was prepared");
        if input.is_empty() {
            return Ok(());
        }
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.outer.len());
        let mut at = 0;
        for values in input.chunks_exact(self.inner) {
            if self.inner_reduced {
                acc[at] = row(acc[at], values);
            } else {
                for (a, &x) in acc[at..at + self.inner].iter_mut().zip(values) {
                    *a = element(*a, x);
                }
            }
            for (i, &(n, step)) in index.iter_mut().zip(&self.outer).rev() {
                *i += 1;
                at += step;
                if *i < n {
                    break;
                }
                at -= step * n;
                *i = 0;
            }
        }
        Ok(())
    }
}

struct WithScratch<F>(usize, F);

impl<F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync> Kernel for WithScratch<F> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        (self.1)(io)
    }

    fn scratch_bytes(&self) -> usize {
        self.0
    }
}

/// A reference kernel with scratch memory.
pub fn with_scratch<F>(bytes: usize, run: F) -> Result<Box<dyn Kernel>, OpError>
where
    F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync + 'static,
{
    Ok(Box::new(WithScratch(bytes, run)))
}
