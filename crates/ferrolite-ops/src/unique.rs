//! UNIQUE: the different elements of a vector in the order in which they first occur, and which of them each element is.

use crate::common::node_case::NodeCase;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::{Element, TensorMut};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::schema::{self, UniqueOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// UNIQUE. Outputs: the elements, whose number only the data tells; an index into them per element of the input.
pub struct Unique;

const TYPES: [TensorType; 6] = [Float32, Int8, UInt8, Int16, Int32, Int64];

impl OpDef for Unique {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::UNIQUE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 2)?;
        let (input, index) = (node.input(0)?, node.output(1)?.ty);
        if !TYPES.contains(&input.ty) || !matches!(index, Int32 | Int64) {
            return Err(OpError::unsupported(format!("UNIQUE of {} with {index} indices", input.ty)));
        }
        let option = node.options.as_unique_options().map_or(schema::TensorType::INT32, |o| o.idx_out_type);
        ensure!(index.to_schema() == option, "the options ask for other indices than {index}");
        ensure!(input.shape.len() == 1, "the input has {} dimensions", input.shape.len());
        ensure!(u32::try_from(input.shape[0]).is_ok_and(|n| n <= i32::MAX as u32), "{} elements", input.shape[0]);
        Ok(smallvec![Inferred::dynamic(input.ty), Inferred::new(index, input.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let len = input.elements();
        Ok(match input.ty {
            // Equal numbers get equal keys. LiteRT's map takes NaN for equal to anything; here it is equal to itself.
            Float32 => {
                Box::new(Distinct(len, |x: f32| if x.is_nan() { i64::MAX } else { i64::from((x + 0.0).to_bits()) }))
            }
            Int8 => Box::new(Distinct(len, |x: i8| x.into())),
            UInt8 => Box::new(Distinct(len, |x: u8| x.into())),
            Int16 => Box::new(Distinct(len, |x: i16| x.into())),
            Int32 => Box::new(Distinct(len, |x: i32| x.into())),
            _ => Box::new(Distinct(len, |x: i64| x)),
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in TYPES {
            for (index, idx_out_type) in [(Int32, schema::TensorType::INT32), (Int64, schema::TensorType::INT64)] {
                for len in [1, 19, 300] {
                    let options = BuiltinOptions::UniqueOptions(Box::new(UniqueOptionsT { idx_out_type }));
                    let outputs = [(ty, &[1][..], None), (index, &[len][..], None)];
                    let case = NodeCase::new().drawn((ty, &[len], None));
                    let name = format!("{ty} {index} {len}");
                    cases.extend(case.finish(name, BuiltinOperator::UNIQUE, options, &outputs));
                }
            }
        }
        cases
    }
}

/// Number of elements, and what makes two elements the same.
struct Distinct<T>(usize, fn(T) -> i64);

impl<T: Element> Kernel for Distinct<T> {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<u32>(self.0).saturating_mul(3)
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?.slice::<T>()?;
        ensure!(input.len() == self.0, "sizes changed since the kernel was prepared");
        let mut scratch = Scratch::new(io.scratch);
        let (order, first, number) = (scratch.take(self.0)?, scratch.take(self.0)?, scratch.take(self.0)?);
        // Sorted, equal elements are neighbours, the first one in front.
        order.iter_mut().zip(0u32..).for_each(|(o, i)| *o = i);
        let key = |i: u32| (self.1)(input[i as usize]);
        order.sort_unstable_by_key(|&i| (key(i), i));
        let mut front = 0;
        for &i in &*order {
            if i == order[0] || key(i) != key(front) {
                front = i;
            }
            first[i as usize] = front;
        }
        let [values, indices] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
        let is_first = |&(i, first): &(usize, &u32)| i == *first as usize;
        values.set_shape(&[first.iter().enumerate().filter(|x| is_first(x)).count()])?;
        let values = values.slice::<T>()?;
        for (count, (i, _)) in first.iter().enumerate().filter(|x| is_first(x)).enumerate() {
            values[count] = input[i];
            number[i] = count as u32;
        }
        let found = first.iter().map(|&first: &u32| number[first as usize]);
        write_indices(indices, found)
    }
}

fn write_indices(output: &mut TensorMut<'_>, indices: impl Iterator<Item = u32>) -> Result<(), OpError> {
    match output.ty {
        Int32 => output.slice::<i32>()?.iter_mut().zip(indices).for_each(|(o, i)| *o = i as i32),
        _ => output.slice::<i64>()?.iter_mut().zip(indices).for_each(|(o, i)| *o = i.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{Pick, TestTensor, run};

    #[test]
    fn keeps_the_first_of_each() {
        let input = [0.5, f32::NAN, -0.0, 0.5, 0.0, f32::NAN, -2.0];
        let options = BuiltinOptions::UniqueOptions(Default::default());
        let inputs = [TestTensor::f32(&[7], &input)];
        let result = run(&Unique, &options, &inputs, &[(Float32, None), (Int32, None)], Pick::Reference).unwrap();
        assert_eq!(result[1].values::<i32>(), [0, 1, 2, 0, 2, 1, 3]);
        let values = result[0].values::<f32>();
        assert!(values[1].is_nan() && (values[0], values[2], values[3]) == (0.5, 0.0, -2.0) && values.len() == 4);
    }
}
