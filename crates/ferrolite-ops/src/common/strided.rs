//! Moving elements: every operator that only rearranges data is a [`StridedCopy`], or a few of them.

mod blocks;

use crate::common::parallel::{GRAIN_BYTES, for_items};
use crate::common::strings::{Strings, resize_strings, write_strings};
use crate::op::{Kernel, NodeView, reference};
use crate::tensor::{Shape, TensorInfo, TensorMut, TensorRef};
use crate::{OpError, ensure};
use ferrolite_kernels::{Isa, ThreadPool};
use ferrolite_model::TensorType;
use smallvec::{SmallVec, smallvec};
use std::sync::{Mutex, PoisonError};

/// Resolves an axis that may count from the end.
pub fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let resolved = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match resolved.and_then(|a| usize::try_from(a).ok()).filter(|&a| a < rank) {
        Some(axis) => Ok(axis),
        None => Err(OpError::invalid(format!("axis {axis} is not one of {rank} dimensions"))),
    }
}

/// The single value of an index tensor; `None` when it is not known yet.
pub fn scalar_index(tensor: &TensorInfo<'_>) -> Result<Option<i64>, OpError> {
    let Some(values) = tensor.indices()? else { return Ok(None) };
    ensure!(values.len() == 1, "tensor {:?} needs one value, has {}", tensor.name, values.len());
    Ok(Some(values[0]))
}

/// Number of elements, which must leave room for byte offsets.
pub fn elements(shape: &[usize]) -> Result<usize, OpError> {
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    match n.filter(|&n| n <= isize::MAX as usize / 32) {
        Some(n) => Ok(n),
        None => Err(OpError::invalid(format!("shape {shape:?} is too large"))),
    }
}

/// Dimensions from index values, none of which may be negative.
pub fn dims(values: &[i64]) -> Result<Shape, OpError> {
    let shape: Option<Shape> = values.iter().map(|&d| usize::try_from(d).ok()).collect();
    let Some(shape) = shape else { return Err(OpError::invalid(format!("shape {values:?} is negative"))) };
    elements(&shape)?;
    Ok(shape)
}

/// Distances, in elements, between neighbours along each dimension of a dense tensor.
pub fn strides(shape: &[usize]) -> SmallVec<[isize; 8]> {
    let mut strides: SmallVec<[isize; 8]> = SmallVec::from_elem(1, shape.len());
    for i in (1..shape.len()).rev() {
        // Wraps only where another dimension is 0 and no element is ever looked at.
        strides[i - 1] = strides[i].wrapping_mul(shape[i] as isize);
    }
    strides
}

/// One loop of a copy: `len` elements, so far apart in the source and in the destination. A source step of 0 repeats
/// an element, a negative one reverses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Iterations.
    pub len: usize,
    /// Elements from one source element to the next.
    pub src: isize,
    /// Elements from one destination element to the next.
    pub dst: isize,
}

/// A nest of loops that copies elements of one type, planned once and checked against the sizes of both tensors.
#[derive(Clone, Debug)]
pub struct StridedCopy {
    ty: TensorType,
    /// Outermost first, no step of length 1; `None` when there is nothing to copy.
    steps: Option<SmallVec<[Step; 6]>>,
    src_start: usize,
    dst_start: usize,
    /// Bytes that steps and starts count in: an element, or several that always stay together. 0 where elements are
    /// smaller than a byte or have no fixed size.
    unit: usize,
    /// Elements that source and destination must have.
    src_len: usize,
    dst_len: usize,
}

impl StridedCopy {
    /// Plans a copy from a source of `src.1` elements, starting at `src.0`, to a destination alike.
    pub fn new(
        ty: TensorType,
        steps: impl IntoIterator<Item = Step>,
        src: (usize, usize),
        dst: (usize, usize),
    ) -> Result<StridedCopy, OpError> {
        let mut merged: SmallVec<[Step; 6]> = SmallVec::new();
        let mut empty = false;
        for step in steps {
            empty |= step.len == 0;
            match merged.last_mut() {
                _ if step.len == 1 => {}
                Some(outer)
                    if outer.src == step.src.wrapping_mul(step.len as isize)
                        && outer.dst == step.dst.wrapping_mul(step.len as isize) =>
                {
                    *outer = Step { len: outer.len.saturating_mul(step.len), ..step };
                }
                _ => merged.push(step),
            }
        }
        let mut copy = StridedCopy {
            ty,
            steps: None,
            src_start: src.0,
            dst_start: dst.0,
            unit: ty.bits() / 8,
            src_len: src.1,
            dst_len: dst.1,
        };
        if !empty {
            check_reach(src, merged.iter().map(|s| (s.len, s.src)))?;
            check_reach(dst, merged.iter().map(|s| (s.len, s.dst)))?;
            copy.widen(&mut merged);
            transpose_last(&mut merged);
            copy.steps = Some(merged);
        }
        Ok(copy)
    }

    /// Plans a copy into a dense destination: `steps` are the output's dimensions with their source strides.
    pub fn dense(
        ty: TensorType,
        output: impl IntoIterator<Item = (usize, isize)>,
        src: (usize, usize),
    ) -> Result<StridedCopy, OpError> {
        let output: SmallVec<[(usize, isize); 8]> = output.into_iter().collect();
        let shape: Shape = output.iter().map(|&(len, _)| len).collect();
        let len = elements(&shape)?;
        let steps = output.iter().zip(strides(&shape)).map(|(&(len, src), dst)| Step { len, src, dst });
        StridedCopy::new(ty, steps, src, (0, len))
    }

    /// Takes short dense runs (two floats, say) for one wider element.
    fn widen(&mut self, steps: &mut SmallVec<[Step; 6]>) {
        let [outer @ .., Step { len, src: 1, dst: 1 }] = steps.as_mut_slice() else { return };
        let n = *len as isize;
        let whole = |s: &Step| s.src % n == 0 && s.dst % n == 0;
        if !matches!(self.unit.saturating_mul(*len), 2 | 4 | 8 | 16) || outer.is_empty() || !outer.iter().all(whole) {
            return;
        }
        if !self.src_start.is_multiple_of(*len) || !self.dst_start.is_multiple_of(*len) {
            return;
        }
        outer.iter_mut().for_each(|s| (s.src, s.dst) = (s.src / n, s.dst / n));
        (self.src_start, self.dst_start) = (self.src_start / *len, self.dst_start / *len);
        self.unit *= *len;
        steps.pop();
    }

    /// Copies between tensors of the planned type and sizes.
    pub fn run(&self, src: TensorRef<'_>, dst: &mut TensorMut<'_>) -> Result<(), OpError> {
        if self.ty == TensorType::String {
            return self.run_strings(src, dst);
        }
        self.run_bytes(src.bytes, dst.bytes())
    }

    /// Copies between the raw data of tensors of the planned type and sizes.
    pub fn run_bytes(&self, src: &[u8], dst: &mut [u8]) -> Result<(), OpError> {
        let fits = |bytes: &[u8], elements| self.ty.byte_len(elements).is_some_and(|n| n <= bytes.len());
        ensure!(fits(src, self.src_len) && fits(dst, self.dst_len), "{} data is shorter than its shape", self.ty);
        let Some(steps) = &self.steps else { return Ok(()) };
        match self.unit {
            1 => self.run_sized::<1>(steps, src, dst),
            2 => self.run_sized::<2>(steps, src, dst),
            4 => self.run_sized::<4>(steps, src, dst),
            8 => self.run_sized::<8>(steps, src, dst),
            16 => self.run_sized::<16>(steps, src, dst),
            _ => {
                let bits = self.ty.bits();
                ensure!(matches!(bits, 2 | 4), "cannot move elements of type {}", self.ty);
                self.for_each(|s, d| copy_packed(bits, src, s, dst, d));
            }
        }
        Ok(())
    }

    /// Whether elements are whole bytes, which is what [`StridedCopy::run_blocks`] takes.
    pub fn is_whole_bytes(&self) -> bool {
        self.unit > 0
    }

    /// As [`StridedCopy::run_bytes`], fast: short runs without calls, transpositions in vector registers, and the
    /// outermost loop shared between threads.
    pub fn run_blocks(&self, pool: &ThreadPool, isa: Isa, src: &[u8], dst: &mut [u8]) -> Result<(), OpError> {
        let fits = |bytes: &[u8], elements| self.ty.byte_len(elements).is_some_and(|n| n <= bytes.len());
        ensure!(fits(src, self.src_len) && fits(dst, self.dst_len), "{} data is shorter than its shape", self.ty);
        let Some(steps) = &self.steps else { return Ok(()) };
        let Some((&outer, inner)) = steps.split_first().filter(|_| pool.threads() > 1 && self.outer_is_apart()) else {
            return blocks::run(isa, self.unit, steps, (self.src_start, self.dst_start), src, dst);
        };
        // One iteration of the outermost loop is one stretch of the destination.
        let width = outer.dst as usize * self.unit;
        let failed = Mutex::new(Ok(()));
        for_items(pool, &mut dst[..outer.len * width], width, GRAIN_BYTES / width + 1, |range, part| {
            let start = (self.src_start as isize + range.start as isize * outer.src) as usize;
            let mut steps: SmallVec<[Step; 6]> = smallvec![Step { len: range.len(), ..outer }];
            steps.extend_from_slice(inner);
            if let Err(e) = blocks::run(isa, self.unit, &steps, (start, 0), src, part) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Err(e);
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether iterations of the outermost loop fill the destination one after another.
    fn outer_is_apart(&self) -> bool {
        let Some((outer, inner)) = self.steps.as_ref().and_then(|s| s.split_first()) else { return false };
        let reach = inner.iter().map(|s| (s.len - 1) as isize * s.dst).sum::<isize>();
        let whole = outer.dst.saturating_mul(outer.len as isize).saturating_mul(self.unit as isize);
        let inside = usize::try_from(whole).ok().zip(self.ty.byte_len(self.dst_len)).is_some_and(|(n, all)| n <= all);
        self.dst_start == 0 && inner.iter().all(|s| s.dst >= 0) && reach < outer.dst && inside
    }

    /// Copies elements of one byte through `f`.
    pub fn map_bytes(&self, src: &[u8], dst: &mut [u8], f: impl Fn(u8) -> u8) -> Result<(), OpError> {
        ensure!(self.ty.bits() == 8, "{} elements are not bytes", self.ty);
        ensure!(src.len() >= self.src_len && dst.len() >= self.dst_len, "data is shorter than its shape");
        let unit = self.unit;
        self.for_each(|s, d| {
            for i in 0..unit {
                dst[d * unit + i] = f(src[s * unit + i]);
            }
        });
        Ok(())
    }

    fn run_sized<const N: usize>(&self, steps: &[Step], src: &[u8], dst: &mut [u8]) {
        let src = src.as_chunks::<N>().0;
        let dst = dst.as_chunks_mut::<N>().0;
        let (s, d) = (self.src_start as isize, self.dst_start as isize);
        match *steps {
            [] => dst[d as usize] = src[s as usize],
            [ref outer @ .., Step { len, src: 1, dst: 1 }] => odometer(outer, s, d, |s, d| {
                dst[d as usize..][..len].copy_from_slice(&src[s as usize..][..len]);
            }),
            [ref outer @ .., Step { len, src: 0, dst: 1 }] => odometer(outer, s, d, |s, d| {
                dst[d as usize..][..len].fill(src[s as usize]);
            }),
            [ref outer @ .., rows @ Step { src: 1, .. }, columns @ Step { dst: 1, .. }] => {
                odometer(outer, s, d, |s, d| transpose_tile(rows, columns, src, s, dst, d));
            }
            [ref outer @ .., inner] => odometer(outer, s, d, |mut s, mut d| {
                for _ in 0..inner.len {
                    dst[d as usize] = src[s as usize];
                    (s, d) = (s + inner.src, d + inner.dst);
                }
            }),
        }
    }

    /// Calls `f` with the source and destination index of every element.
    fn for_each(&self, mut f: impl FnMut(usize, usize)) {
        if let Some(steps) = &self.steps {
            odometer(steps, self.src_start as isize, self.dst_start as isize, |s, d| f(s as usize, d as usize));
        }
    }

    /// Strings have no fixed size: finds which source string goes where, then writes them one after another.
    fn run_strings(&self, src: TensorRef<'_>, dst: &mut TensorMut<'_>) -> Result<(), OpError> {
        let strings = Strings::new(src.bytes)?;
        ensure!(strings.len() >= self.src_len, "string data is shorter than its shape");
        let mut moved: Vec<&[u8]> = vec![&[]; self.dst_len];
        self.for_each(|s, d| moved[d] = strings.get(s));
        write_strings(dst, &moved)
    }
}

/// Checks that the loops stay inside `len` elements.
fn check_reach((start, len): (usize, usize), steps: impl Iterator<Item = (usize, isize)>) -> Result<(), OpError> {
    let (mut low, mut high) = (start as i128, start as i128);
    for (count, step) in steps {
        let reach = (count as i128 - 1) * step as i128;
        if reach < 0 { low += reach } else { high += reach }
    }
    ensure!(low >= 0 && high < len as i128, "elements {low}..={high} of a tensor of {len}");
    Ok(())
}

/// Where the innermost loop jumps in the source, puts the loop that does not next to it, so that both sides are walked
/// in tiles.
fn transpose_last(steps: &mut SmallVec<[Step; 6]>) {
    let Some(&last) = steps.last() else { return };
    if last.dst != 1 || last.src == 1 || last.src == 0 {
        return;
    }
    if let Some(i) = steps.iter().position(|s| s.src == 1) {
        let step = steps.remove(i);
        steps.insert(steps.len() - 1, step);
    }
}

/// Runs nested loops, outermost first; with several, none may have length 0.
pub fn odometer(steps: &[Step], mut s: isize, mut d: isize, mut body: impl FnMut(isize, isize)) {
    match steps {
        [] => body(s, d),
        [step] => {
            for _ in 0..step.len {
                body(s, d);
                (s, d) = (s + step.src, d + step.dst);
            }
        }
        _ => {
            let mut index: SmallVec<[usize; 8]> = SmallVec::from_elem(0, steps.len());
            loop {
                body(s, d);
                let mut i = steps.len();
                loop {
                    if i == 0 {
                        return;
                    }
                    i -= 1;
                    let step = steps[i];
                    index[i] += 1;
                    if index[i] < step.len {
                        (s, d) = (s + step.src, d + step.dst);
                        break;
                    }
                    index[i] = 0;
                    let back = step.len as isize - 1;
                    (s, d) = (s - step.src * back, d - step.dst * back);
                }
            }
        }
    }
}

/// Transposes: `rows` is dense in the source, `columns` in the destination.
fn transpose_tile<T: Copy>(rows: Step, columns: Step, src: &[T], s: isize, dst: &mut [T], d: isize) {
    const TILE: usize = 16;
    for row in (0..rows.len).step_by(TILE) {
        let height = TILE.min(rows.len - row);
        for column in (0..columns.len).step_by(TILE) {
            let width = TILE.min(columns.len - column);
            for r in row..row + height {
                let to = (d + r as isize * rows.dst) as usize + column;
                let mut from = s + r as isize + column as isize * columns.src;
                for value in &mut dst[to..to + width] {
                    *value = src[from as usize];
                    from += columns.src;
                }
            }
        }
    }
}

/// The kernel of an operator whose output is input 0's data under another shape.
pub fn view_kernel() -> Result<Box<dyn Kernel>, OpError> {
    reference(|io| copy_whole(io.input(0)?, &mut io.outputs[0]))
}

/// Values that a kernel cannot be prepared without: inference left the shape open until they are known.
pub fn known<T>(value: Option<T>) -> Result<T, OpError> {
    value.ok_or_else(|| OpError::invalid("an index input is not known yet"))
}

/// Checks that input `i` holds indices of one of the types that [`TensorInfo::indices`] reads.
pub fn index_input<'n, 'a>(node: &'n NodeView<'a>, i: usize) -> Result<&'n TensorInfo<'a>, OpError> {
    let tensor = node.input(i)?;
    match tensor.ty {
        TensorType::Int32 | TensorType::Int64 | TensorType::Int16 => Ok(tensor),
        ty => Err(OpError::unsupported(format!("index tensor {:?} of type {ty}", tensor.name))),
    }
}

/// Refuses element types that have no fixed size.
pub fn fixed_size(ty: TensorType, op: &str) -> Result<TensorType, OpError> {
    if ty.bits() == 0 { Err(OpError::unsupported(format!("{op} of {ty}"))) } else { Ok(ty) }
}

/// Copies element `s` of `src` to element `d` of `dst`, elements of `bits` < 8 bits packed low bits first.
#[inline]
pub fn copy_packed(bits: usize, src: &[u8], s: usize, dst: &mut [u8], d: usize) {
    let (per_byte, mask) = (8 / bits, (1u8 << bits) - 1);
    let value = src[s / per_byte] >> (s % per_byte * bits) & mask;
    let shift = d % per_byte * bits;
    let byte = &mut dst[d / per_byte];
    *byte = *byte & !(mask << shift) | value << shift;
}

/// Copies all data of an input of the same number of elements, whatever its type.
pub fn copy_whole(input: TensorRef<'_>, output: &mut TensorMut<'_>) -> Result<(), OpError> {
    let bytes =
        if input.ty == TensorType::String { resize_strings(output, input.bytes.len())? } else { output.bytes() };
    ensure!(bytes.len() == input.bytes.len(), "{} bytes do not fit {}", input.bytes.len(), bytes.len());
    bytes.copy_from_slice(input.bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(copy: &StridedCopy, src: &[u8], dst: usize) -> Vec<u8> {
        let mut out = vec![0xEE; dst];
        copy.run_bytes(src, &mut out).unwrap();
        out
    }

    #[test]
    fn merges_and_transposes() {
        let src: Vec<u8> = (0..60).collect();
        // [3, 4, 5] -> perm [2, 0, 1]: the first two stay together.
        let copy = StridedCopy::dense(TensorType::Int8, [(5, 1), (3, 20), (4, 5)], (0, 60)).unwrap();
        assert_eq!(copy.steps.as_ref().unwrap().len(), 2);
        // Pairs of int16 move as one.
        let pairs = StridedCopy::dense(TensorType::Int16, [(2, 2), (3, 4), (2, 1)], (0, 12)).unwrap();
        assert_eq!((pairs.unit, pairs.steps.as_ref().unwrap().len()), (4, 2));
        let want: Vec<u8> = [0, 2, 4, 1, 3, 5].iter().flat_map(|i| i * 4..i * 4 + 4).collect();
        assert_eq!(run(&pairs, &src[..24], 24), want);
        let want: Vec<u8> = (0..5).flat_map(|c| (0..12).map(move |r| r * 5 + c)).collect();
        assert_eq!(run(&copy, &src, 60), want);
    }

    #[test]
    fn large_transpose_in_tiles() {
        let src: Vec<u8> = (0..37 * 50 * 4).map(|i| i as u8).collect();
        let copy = StridedCopy::dense(TensorType::Int32, [(50, 1), (37, 50)], (0, 37 * 50)).unwrap();
        let out = run(&copy, &src, src.len());
        for (i, got) in out.chunks(4).enumerate() {
            let from = (i % 37) * 50 + i / 37;
            assert_eq!(got, &src[from * 4..][..4]);
        }
    }

    #[test]
    fn reverses_repeats_and_packs_nibbles() {
        let copy = StridedCopy::dense(TensorType::UInt8, [(2, 0), (3, -1)], (2, 3)).unwrap();
        assert_eq!(run(&copy, &[1, 2, 3], 6), [3, 2, 1, 3, 2, 1]);
        // Elements 1, 2, 3 of five packed ones.
        let copy = StridedCopy::dense(TensorType::Int4, [(3, 1)], (1, 5)).unwrap();
        assert_eq!(run(&copy, &[0x21, 0x43, 0x05], 2)[0], 0x32);
    }

    #[test]
    fn refuses_to_leave_the_tensor() {
        assert!(StridedCopy::dense(TensorType::UInt8, [(4, 1)], (0, 3)).is_err());
        assert!(StridedCopy::dense(TensorType::UInt8, [(3, -1)], (1, 3)).is_err());
        let copy = StridedCopy::dense(TensorType::UInt8, [(0, 1)], (0, 0)).unwrap();
        assert_eq!(run(&copy, &[], 0), []);
    }
}
