//! HASHTABLE_LOOKUP: rows of a table that is sorted by key, and whether each key was found.

use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::common::runs::RunCopy;
use crate::common::strided::elements;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// HASHTABLE_LOOKUP. Inputs: keys to find, keys of the table, rows of the table. Outputs: rows (zeros where there is
/// none), hits.
pub struct HashtableLookup;

impl OpDef for HashtableLookup {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::HASHTABLE_LOOKUP)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 2)?;
        let (lookup, keys, values) = (node.input(0)?, node.input(1)?, node.input(2)?);
        check_type(lookup.ty, &[Int32])?;
        check_type(keys.ty, &[Int32])?;
        ensure!(values.ty == String || values.ty.bits() >= 8, "a table of type {}", values.ty);
        let (&[wanted], &[rows]) = (&lookup.shape[..], &keys.shape[..]) else {
            return Err(OpError::invalid(format!("keys of shapes {:?} and {:?}", lookup.shape, keys.shape)));
        };
        ensure!(rows > 0 && values.shape.first() == Some(&rows), "{rows} keys for a table of {:?}", values.shape);
        ensure!(values.ty != String || values.shape.len() == 1, "a string table of shape {:?}", values.shape);
        let mut shape = values.shape.clone();
        shape[0] = wanted;
        elements(&shape)?;
        Ok(smallvec![Inferred { ty: values.ty, shape: Some(shape) }, Inferred::new(UInt8, [wanted])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (wanted, values) = (node.input(0)?.shape[0], node.input(2)?);
        let row = elements(&values.shape[1..])?;
        let copy = RunCopy { ty: values.ty, len: row, src: elements(&values.shape)?, dst: wanted * row };
        reference(move |io| {
            let (lookup, keys) = (io.input(0)?.slice::<i32>()?, io.input(1)?.slice::<i32>()?);
            let values = io.input(2)?;
            let [output, hits] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
            let hits = hits.slice::<u8>()?;
            let fits = lookup.len() == wanted && keys.len() * row == copy.src && hits.len() == wanted;
            ensure!(fits, "sizes changed since the kernel was prepared");
            if output.ty != String {
                output.bytes().fill(0);
            }
            copy.run(values, output, |copy| {
                for (i, (&key, hit)) in lookup.iter().zip(hits).enumerate() {
                    let found = find(keys, key);
                    *hit = found.is_some().into();
                    if let Some(found) = found {
                        copy(found * row, i * row);
                    }
                }
                Ok(())
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in [Float32, Int32, Int8, Int64] {
            for (keys, row) in [(&[3, 5, 8, 13][..], &[3][..]), (&[0, 1, 1, 2, 2, 2, 7], &[2, 2]), (&[4], &[])] {
                let rows = keys.len() as i32;
                let lookup = [5, 2, 4, 1, 13, -6];
                let shape = |n: i32| [n].iter().chain(row).copied().collect::<Vec<i32>>();
                let case = NodeCase::new().i32(&[6], &lookup).i32(&[rows], keys);
                let case = case.drawn((ty, &shape(rows), None));
                let outputs = [(ty, &shape(6)[..], None), (UInt8, &[6][..], None)];
                let name = format!("{ty} {rows} {row:?}");
                cases.extend(case.finish(name, BuiltinOperator::HASHTABLE_LOOKUP, BuiltinOptions::NONE, &outputs));
            }
        }
        cases
    }
}

/// Where a key is. Of equal keys, or in keys that are not sorted, finds the one that C's `bsearch` usually finds.
fn find(keys: &[i32], key: i32) -> Option<usize> {
    let mut range = 0..keys.len();
    while !range.is_empty() {
        let middle = (range.start + range.end) / 2;
        match key.cmp(&keys[middle]) {
            Ordering::Less => range.end = middle,
            Ordering::Equal => return Some(middle),
            Ordering::Greater => range.start = middle + 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn finds_keys() {
        assert_eq!([2, 9, 5, -1].map(|key| find(&[1, 2, 2, 2, 9], key)), [Some(2), Some(4), None, None]);
        assert_eq!((find(&[], 0), find(&[i32::MIN, i32::MAX], i32::MAX)), (None, Some(1)));
    }
}
