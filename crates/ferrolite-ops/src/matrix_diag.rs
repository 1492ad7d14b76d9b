//! MATRIX_DIAG and MATRIX_SET_DIAG: vectors put on the diagonals of matrices, of zeros or given ones.

use crate::common::cases::case;
use crate::common::strided::{Step, StridedCopy, copy_whole, elements, fixed_size};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// MATRIX_DIAG. Input: diagonals.
pub struct MatrixDiag;

/// MATRIX_SET_DIAG. Inputs: matrices, diagonals.
pub struct MatrixSetDiag;

const TYPES: [TensorType; 6] = [Float32, Int8, UInt8, Int16, Int32, Int64];

/// The copy of diagonals of input `input` into matrices of shape `[.., rows, columns]`.
fn diagonal(node: &NodeView<'_>, input: usize) -> Result<StridedCopy, OpError> {
    let diagonal = node.input(input)?;
    let shape = &node.output(0)?.shape;
    let [batches @ .., rows, columns] = &shape[..] else { return Err(OpError::invalid("no matrices")) };
    let (len, count, size) = ((*rows).min(*columns), elements(batches)?, elements(&[*rows, *columns])?);
    let steps = [
        Step { len: count, src: len as isize, dst: size as isize },
        Step { len, src: 1, dst: (*columns as isize).wrapping_add(1) },
    ];
    StridedCopy::new(diagonal.ty, steps, (0, elements(&diagonal.shape)?), (0, elements(shape)?))
}

impl OpDef for MatrixDiag {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::MATRIX_DIAG)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        fixed_size(input.ty, "MATRIX_DIAG")?;
        let Some(&size) = input.shape.last() else { return Err(OpError::invalid("the diagonal is a scalar")) };
        let mut shape = input.shape.clone();
        shape.push(size);
        elements(&shape)?;
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let copy = diagonal(node, 0)?;
        reference(move |io| {
            io.outputs[0].bytes().fill(0);
            copy.run(io.input(0)?, &mut io.outputs[0])
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in TYPES {
            for (shape, output) in [(&[5][..], &[5, 5][..]), (&[3, 4], &[3, 4, 4]), (&[2, 3, 2], &[2, 3, 2, 2])] {
                let (op, output) = (BuiltinOperator::MATRIX_DIAG, (ty, output, None));
                cases.extend(case(format!("{ty} {shape:?}"), op, BuiltinOptions::NONE, &[(ty, shape, None)], output));
            }
        }
        cases
    }
}

impl OpDef for MatrixSetDiag {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::MATRIX_SET_DIAG)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (input, diagonal) = (node.input(0)?, node.input(1)?);
        fixed_size(input.ty, "MATRIX_SET_DIAG")?;
        ensure!(input.ty == diagonal.ty, "inputs of types {} and {} differ", input.ty, diagonal.ty);
        let [batches @ .., rows, columns] = &input.shape[..] else {
            return Err(OpError::invalid(format!("shape {:?} holds no matrices", input.shape)));
        };
        let fits = matches!(&diagonal.shape[..], [b @ .., d] if b == batches && d == rows.min(columns));
        ensure!(fits, "diagonals of shape {:?} for {:?}", diagonal.shape, input.shape);
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let copy = diagonal(node, 1)?;
        reference(move |io| {
            copy_whole(io.input(0)?, &mut io.outputs[0])?;
            copy.run(io.input(1)?, &mut io.outputs[0])
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in TYPES {
            for (shape, diagonal) in [(&[4, 4][..], &[4][..]), (&[2, 3, 5], &[2, 3]), (&[3, 2, 4, 2], &[3, 2, 2])] {
                let inputs = [(ty, shape, None), (ty, diagonal, None)];
                let (op, name) = (BuiltinOperator::MATRIX_SET_DIAG, format!("{ty} {shape:?}"));
                cases.extend(case(name, op, BuiltinOptions::NONE, &inputs, (ty, shape, None)));
            }
        }
        cases
    }
}
