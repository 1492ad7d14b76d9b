//! SEGMENT_SUM and UNSORTED_SEGMENT_*: slices of a tensor combined by the segment that each belongs to.
//!
//! Sources: LiteRT `kernels/{segment_sum,unsorted_segment}.cc`, `reference/reference_ops.h`.

use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::common::strided::{elements, scalar_index};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int32};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SEGMENT_SUM. Inputs: data, segments, which start at 0 and grow by 0 or 1.
pub struct SegmentSum;

/// UNSORTED_SEGMENT_*. Inputs: data, segments (negative ones are left out), number of segments.
pub struct Unsorted {
    op: BuiltinOperator,
    /// What segments without members are, and how a member is added.
    float: (f32, fn(f32, f32) -> f32),
    int: (i32, fn(i32, i32) -> i32),
}

/// UNSORTED_SEGMENT_SUM.
pub const UNSORTED_SEGMENT_SUM: Unsorted =
    Unsorted { op: BuiltinOperator::UNSORTED_SEGMENT_SUM, float: (0.0, |a, b| a + b), int: (0, i32::wrapping_add) };
/// UNSORTED_SEGMENT_PROD.
pub const UNSORTED_SEGMENT_PROD: Unsorted =
    Unsorted { op: BuiltinOperator::UNSORTED_SEGMENT_PROD, float: (1.0, |a, b| a * b), int: (1, i32::wrapping_mul) };
/// UNSORTED_SEGMENT_MAX: a segment without members is the lowest finite number.
pub const UNSORTED_SEGMENT_MAX: Unsorted = Unsorted {
    op: BuiltinOperator::UNSORTED_SEGMENT_MAX,
    // NaN counts as no member.
    float: (f32::MIN, |a, b| if a < b { b } else { a }),
    int: (i32::MIN, |a, b| a.max(b)),
};
/// UNSORTED_SEGMENT_MIN: a segment without members is the largest finite number.
pub const UNSORTED_SEGMENT_MIN: Unsorted = Unsorted {
    op: BuiltinOperator::UNSORTED_SEGMENT_MIN,
    float: (f32::MAX, |a, b| if b < a { b } else { a }),
    int: (i32::MAX, |a, b| a.min(b)),
};

/// Segments must start at 0 and grow by at most 1; how many they are.
fn sorted_segments(ids: &[i32]) -> Result<usize, OpError> {
    let mut last = -1i64;
    for &id in ids {
        let step = i64::from(id) - last;
        ensure!(step == 1 || (step == 0 && last >= 0), "segment {id} after {last}");
        last = id.into();
    }
    Ok((last + 1) as usize)
}

impl OpDef for SegmentSum {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SEGMENT_SUM)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (data, ids) = (node.input(0)?, node.input(1)?);
        check_type(data.ty, &[Float32, Int32])?;
        check_type(ids.ty, &[Int32])?;
        let Some((&rows, slice)) = data.shape.split_first() else {
            return Err(OpError::invalid("the data is a scalar"));
        };
        ensure!(ids.shape[..] == [rows], "segments of shape {:?} for {rows} rows", ids.shape);
        let Some(ids) = ids.values::<i32>()? else { return Ok(smallvec![Inferred::dynamic(data.ty)]) };
        let shape = std::iter::once(sorted_segments(&ids)?).chain(slice.iter().copied());
        Ok(smallvec![Inferred::new(data.ty, shape)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            Float32 => combine(node, UNSORTED_SEGMENT_SUM.float),
            _ => combine(node, UNSORTED_SEGMENT_SUM.int),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in [Float32, Int32] {
            for (shape, ids) in
                [(&[6][..], &[0, 0, 1, 1, 1, 2][..]), (&[4, 5], &[0, 1, 2, 2]), (&[3, 2, 4], &[0, 0, 0])]
            {
                let mut output = shape.to_vec();
                output[0] = ids.last().map_or(0, |last| last + 1);
                let case = NodeCase::new().drawn((ty, shape, None)).i32(&shape[..1], ids);
                let name = format!("{ty} {shape:?}");
                cases.extend(case.finish(
                    name,
                    BuiltinOperator::SEGMENT_SUM,
                    BuiltinOptions::NONE,
                    &[(ty, &output, None)],
                ));
            }
        }
        cases
    }
}

impl OpDef for Unsorted {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (data, ids, count) = (node.input(0)?, node.input(1)?, node.input(2)?);
        check_type(data.ty, &[Float32, Int32])?;
        check_type(ids.ty, &[Int32])?;
        check_type(count.ty, &[Int32])?;
        ensure!(data.shape.starts_with(&ids.shape), "segments of shape {:?} for {:?}", ids.shape, data.shape);
        ensure!(count.shape.is_empty() || count.shape[..] == [1], "the number of segments is {:?}", count.shape);
        let Some(count) = scalar_index(count)? else { return Ok(smallvec![Inferred::dynamic(data.ty)]) };
        let Ok(count) = usize::try_from(count) else { return Err(OpError::invalid(format!("{count} segments"))) };
        let inferred =
            Inferred::new(data.ty, std::iter::once(count).chain(data.shape[ids.shape.len()..].iter().copied()));
        elements(inferred.shape.as_deref().unwrap_or_default())?;
        Ok(smallvec![inferred])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            Float32 => combine(node, self.float),
            _ => combine(node, self.int),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in [Float32, Int32] {
            for (shape, rank) in [(&[7][..], 1), (&[5, 4], 1), (&[3, 4, 2], 2), (&[2, 3], 0), (&[2, 2, 3], 3)] {
                let ids: Vec<i32> = (0..shape[..rank].iter().product()).map(|i: i32| (i * 3 + 1) % 6 - 1).collect();
                let output: Vec<i32> = [6].iter().chain(&shape[rank..]).copied().collect();
                let case = NodeCase::new().drawn((ty, shape, None)).i32(&shape[..rank], &ids).i32(&[], &[6]);
                let name = format!("{ty} {shape:?} {rank}");
                cases.extend(case.finish(name, self.op, BuiltinOptions::NONE, &[(ty, &output, None)]));
            }
        }
        cases
    }
}

/// The output's segments, each `empty` combined with its members in order.
fn combine<T: Element + Send + Sync>(
    node: &NodeView<'_>,
    (empty, add): (T, fn(T, T) -> T),
) -> Result<Box<dyn Kernel>, OpError> {
    let (data, ids, output) = (&node.input(0)?.shape, &node.input(1)?.shape, &node.output(0)?.shape);
    let (members, slice) = (elements(ids)?, elements(&data[ids.len()..])?);
    let (segments, len) = (output[0], elements(output)?);
    reference(move |io| {
        let (data, ids) = (io.input(0)?.slice::<T>()?, io.input(1)?.slice::<i32>()?);
        let output = io.outputs[0].slice::<T>()?;
        let fits = data.len() == members * slice && ids.len() == members && output.len() == len;
        ensure!(fits, "sizes changed since the kernel was prepared");
        output.fill(empty);
        for (i, &id) in ids.iter().enumerate() {
            let Ok(id) = usize::try_from(id) else { continue };
            ensure!(id < segments, "segment {id} is not one of {segments}");
            let output = &mut output[id * slice..][..slice];
            output.iter_mut().zip(&data[i * slice..][..slice]).for_each(|(o, &x)| *o = add(*o, x));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_segments_grow_by_one() {
        assert_eq!([&[0, 0, 1, 2][..], &[0], &[]].map(|ids| sorted_segments(ids).unwrap()), [3, 1, 0]);
        for bad in [&[1][..], &[-1], &[0, 2], &[0, 1, 0], &[0, i32::MIN], &[0, i32::MAX]] {
            assert!(sorted_segments(bad).is_err(), "{bad:?}");
        }
    }
}
