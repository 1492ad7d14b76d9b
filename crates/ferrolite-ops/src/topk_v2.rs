//! TOPK_V2: the largest elements of each row, and where they are.

use crate::common::cases::{Operand, node, typical};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::strided::{elements, index_input, scalar_index};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

/// TOPK_V2. Inputs: data, k. Outputs: values, indices.
pub struct TopKV2;

impl OpDef for TopKV2 {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::TOPK_V2)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 2)?;
        let input = node.input(0)?;
        let index = node.output(1)?.ty;
        use TensorType::*;
        if !matches!(input.ty, Float32 | UInt8 | Int8 | Int16 | Int32 | Int64) || !matches!(index, Int16 | Int32) {
            return Err(OpError::unsupported(format!("TOPK_V2 of {} with {index} indices", input.ty)));
        }
        let Some(&row) = input.shape.last() else { return Err(OpError::invalid("a scalar has no rows")) };
        ensure!(index == Int32 || row <= 1 << 15, "indices of rows of {row} do not fit int16");
        let Some(k) = scalar_index(index_input(node, 1)?)? else {
            return Ok(smallvec![Inferred::dynamic(input.ty), Inferred::dynamic(index)]);
        };
        let Some(k) = usize::try_from(k).ok().filter(|&k| k <= row) else {
            return Err(OpError::invalid(format!("{k} largest of {row}")));
        };
        let mut shape = input.shape.clone();
        shape[input.shape.len() - 1] = k;
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape.clone()) }, Inferred { ty: index, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let shape = &node.input(0)?.shape;
        let row = shape.last().copied().unwrap_or_default();
        let k = node.output(0)?.shape.last().copied().unwrap_or_default();
        let rows = elements(&shape[..shape.len().saturating_sub(1)])?;
        macro_rules! kernel {
            ($ty:ty, $order:expr) => {
                Ok(Box::new(TopK::<$ty> { rows, row, k, descending: $order, element: PhantomData }))
            };
        }
        match node.input(0)?.ty {
            TensorType::Float32 => kernel!(f32, descending_floats),
            TensorType::UInt8 => kernel!(u8, |a, b| b.cmp(a)),
            TensorType::Int8 => kernel!(i8, |a, b| b.cmp(a)),
            TensorType::Int16 => kernel!(i16, |a, b| b.cmp(a)),
            TensorType::Int32 => kernel!(i32, |a, b| b.cmp(a)),
            TensorType::Int64 => kernel!(i64, |a, b| b.cmp(a)),
            ty => Err(OpError::unsupported(format!("TOPK_V2 of {ty}"))),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for ty in [TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int32, TensorType::Int64] {
            for (shape, k) in [(&[40][..], 5), (&[3, 100], 1), (&[2, 3, 7], 7)] {
                let mut to = shape.to_vec();
                to[shape.len() - 1] = k;
                let k = [k];
                let operands = [Operand::Data((ty, shape, typical(ty))), Operand::Index(&[], &k)];
                let outputs = [(ty, &to[..], typical(ty)), (TensorType::Int32, &to[..], None)];
                let options = BuiltinOptions::TopKV2Options(Box::default());
                let name = format!("{ty} {shape:?} {k:?}");
                all.extend(node(name, BuiltinOperator::TOPK_V2, options, &operands, &outputs));
            }
        }
        all
    }
}

/// NaN goes last.
fn descending_floats(a: &f32, b: &f32) -> Ordering {
    b.partial_cmp(a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

struct TopK<T> {
    rows: usize,
    row: usize,
    k: usize,
    descending: fn(&T, &T) -> Ordering,
    element: PhantomData<T>,
}

impl<T> TopK<T> {
    /// Length of the rows to sort, 0 if there are none.
    fn sorted(&self) -> usize {
        if self.rows * self.k == 0 { 0 } else { self.row }
    }
}

impl<T: Element + Send + Sync> Kernel for TopK<T> {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<u32>(self.sorted())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?.slice::<T>()?;
        let order = Scratch::new(io.scratch).take::<u32>(self.sorted())?;
        let [values, indices] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
        let values = values.slice::<T>()?;
        let (row, k) = (self.row, self.k);
        ensure!(input.len() == self.rows * row && values.len() == self.rows * k, "sizes changed");
        if self.sorted() == 0 {
            return Ok(());
        }
        for (r, (data, values)) in input.chunks_exact(row).zip(values.chunks_exact_mut(k)).enumerate() {
            order.iter_mut().zip(0..).for_each(|(o, i)| *o = i);
            // Equal elements keep their order.
            let descending =
                |&a: &u32, &b: &u32| (self.descending)(&data[a as usize], &data[b as usize]).then(a.cmp(&b));
            if k < row {
                order.select_nth_unstable_by(k - 1, descending);
            }
            order[..k].sort_unstable_by(descending);
            for (value, &i) in values.iter_mut().zip(&order[..k]) {
                *value = data[i as usize];
            }
            if indices.ty == TensorType::Int16 {
                let indices = &mut indices.slice::<i16>()?[r * k..][..k];
                indices.iter_mut().zip(&*order).for_each(|(x, &i)| *x = i as i16);
            } else {
                let indices = &mut indices.slice::<i32>()?[r * k..][..k];
                indices.iter_mut().zip(&*order).for_each(|(x, &i)| *x = i as i32);
            }
        }
        Ok(())
    }
}
