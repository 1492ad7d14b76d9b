//! aeq.hadamard_rotation: stretches of the last dimension, multiplied with the normalized Walsh–Hadamard matrix of their
//! length.
//!
//! Sources: LiteRT `kernels/hadamard_rotation.cc`. The option `random_binary_vector` has no effect there, and none here.

use crate::common::elementwise::check_type;
use crate::common::flex::FlexOptions;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{FlexItem, ModelBuilder, TensorType, flex_map};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// aeq.hadamard_rotation.
pub struct HadamardRotation;

/// Length of a stretch.
fn size(node: &NodeView<'_>) -> Result<usize, OpError> {
    let size = FlexOptions::of(node)?.size("hadamard_size", 1 << 24)?;
    let row = node.input(0)?.shape.last().copied().unwrap_or(0);
    ensure!(size.is_power_of_two() && row % size == 0, "rows of {row} in stretches of {size}, not a power of two");
    Ok(size)
}

impl OpDef for HadamardRotation {
    fn id(&self) -> OpId {
        OpId::Custom("aeq.hadamard_rotation")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        check_type(input.ty, &[TensorType::Float32])?;
        ensure!(!input.shape.is_empty(), "a scalar has no rows");
        size(node)?;
        Ok(smallvec![Inferred::new(input.ty, input.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let size = size(node)?;
        let norm = 1.0 / (size as f32).sqrt();
        reference(move |io| {
            let input = io.input(0)?.slice::<f32>()?;
            let output = io.outputs[0].slice::<f32>()?;
            ensure!(output.len() == input.len(), "a kernel was prepared for another shape");
            output.copy_from_slice(input);
            for stretch in output.chunks_exact_mut(size) {
                let mut half = 1;
                while half < size {
                    for block in stretch.chunks_exact_mut(2 * half) {
                        let (low, high) = block.split_at_mut(half);
                        for (a, b) in low.iter_mut().zip(high) {
                            (*a, *b) = (*a + *b, *a - *b);
                        }
                    }
                    half *= 2;
                }
                stretch.iter_mut().for_each(|x| *x *= norm);
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (shape, size) in [(vec![3, 8], 8), (vec![2, 3, 64], 16), (vec![2, 256], 128), (vec![5, 6], 1)] {
            let items = [("hadamard_size", FlexItem::Int(size)), ("random_binary_vector", FlexItem::Ints(vec![1, -1]))];
            let mut b = ModelBuilder::new();
            let x = b.input("x", TensorType::Float32, &shape);
            let y = b.tensor("y", TensorType::Float32, &shape);
            b.output(y);
            b.custom("aeq.hadamard_rotation", flex_map(&items), &[Some(x)], &[y]);
            let name = format!("{shape:?} by {size}");
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}
