//! CUMSUM: running sums along a dimension.

use crate::common::cases::moved;
use crate::common::strided::{axis, elements, index_input, known, scalar_index};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::schema::CumsumOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// CUMSUM. Inputs: data, axis.
pub struct Cumsum;

fn sum_axis(node: &NodeView<'_>) -> Result<Option<usize>, OpError> {
    let rank = node.input(0)?.shape.len();
    scalar_index(index_input(node, 1)?)?.map(|at| axis(at, rank)).transpose()
}

impl OpDef for Cumsum {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CUMSUM)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        if !matches!(input.ty, TensorType::Float32 | TensorType::Int32 | TensorType::Int64) {
            return Err(OpError::unsupported(format!("CUMSUM of {}", input.ty)));
        }
        if sum_axis(node)?.is_none() {
            return Ok(smallvec![Inferred::dynamic(input.ty)]);
        }
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match node.input(0)?.ty {
            TensorType::Float32 => sums(node, |a: f32, b| a + b),
            TensorType::Int32 => sums(node, i32::wrapping_add),
            _ => sums(node, i64::wrapping_add),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let types = [TensorType::Float32, TensorType::Int32, TensorType::Int64];
        let shapes: [(&[i32], i32); 4] = [(&[9], 0), (&[4, 33], 1), (&[4, 33], 0), (&[2, 3, 4, 5], -2)];
        let mut all = Vec::new();
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let options = BuiltinOptions::CumsumOptions(Box::new(CumsumOptionsT { exclusive, reverse }));
            for (shape, axis) in shapes {
                let cases = moved(BuiltinOperator::CUMSUM, &options, &types, shape, &[(&[], &[axis])], &[shape]);
                let name = format!("{axis} {exclusive} {reverse}");
                all.extend(cases.into_iter().map(|case| Case { name: format!("{} {name}", case.name), ..case }));
            }
        }
        all
    }
}

fn sums<T: Element>(
    node: &NodeView<'_>,
    add: impl Fn(T, T) -> T + Send + Sync + 'static,
) -> Result<Box<dyn Kernel>, OpError> {
    let shape = &node.input(0)?.shape;
    let at = known(sum_axis(node)?)?;
    let options = node.options.as_cumsum_options();
    let (exclusive, reverse) = options.map_or((false, false), |o| (o.exclusive, o.reverse));
    let (depth, inner, count) = (shape[at], elements(&shape[at + 1..])?, elements(shape)?);
    reference(move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let output = io.outputs[0].slice::<T>()?;
        ensure!(input.len() == count && output.len() == count, "sizes changed since the kernel was prepared");
        if count == 0 {
            return Ok(());
        }
        let outer = count / (depth * inner);
        for start in (0..outer).flat_map(|o| (0..inner).map(move |i| o * depth * inner + i)) {
            let mut sum = T::zeroed();
            for d in 0..depth {
                let d = if reverse { depth - 1 - d } else { d };
                let at = start + d * inner;
                let next = add(sum, input[at]);
                output[at] = if exclusive { sum } else { next };
                sum = next;
            }
        }
        Ok(())
    })
}
