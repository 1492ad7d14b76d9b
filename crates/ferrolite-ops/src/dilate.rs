//! DILATE: gaps of one value between the elements of each dimension.

use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::common::strided::{Step, StridedCopy, elements, fixed_size, known, strides};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::pad::PadKernel;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// DILATE. Inputs: data, dilations, padding value.
pub struct Dilate;

/// The dilations, if they are known: n elements become (n − 1) · dilation + 1.
fn dilations(node: &NodeView<'_>) -> Result<Option<Shape>, OpError> {
    let Some(values) = node.input(1)?.indices()? else { return Ok(None) };
    ensure!(values.iter().all(|&d| d >= 1), "dilations {values:?} are not positive");
    Ok(Some(values.into_iter().map(|d| d as usize).collect()))
}

impl OpDef for Dilate {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DILATE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (input, dilation, value) = (node.input(0)?, node.input(1)?, node.input(2)?);
        let ty = fixed_size(input.ty, "DILATE")?;
        check_type(dilation.ty, &[TensorType::Int32])?;
        ensure!(value.ty == ty, "padding of type {} for {ty}", value.ty);
        ensure!(value.elements() == 1, "padding value of shape {:?}", value.shape);
        let rank = input.shape.len();
        ensure!(rank > 0, "the input is a scalar");
        ensure!(dilation.shape[..] == [rank], "dilations of shape {:?} for {rank} dimensions", dilation.shape);
        let Some(dilations) = dilations(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let dilated = |(&n, &d): (&usize, &usize)| match n.checked_sub(1) {
            Some(gaps) => gaps.checked_mul(d)?.checked_add(1),
            None => Some(0),
        };
        let shape: Option<Shape> = input.shape.iter().zip(&dilations).map(dilated).collect();
        let Some(shape) = shape else { return Err(OpError::invalid(format!("dilations {dilations:?} are too large"))) };
        elements(&shape)?;
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (input, output) = (node.input(0)?, node.output(0)?);
        let dilations = known(dilations(node)?)?;
        let (from, to) = (strides(&input.shape), strides(&output.shape));
        let steps = input.shape.iter().zip(&dilations).zip(from.iter().zip(&to));
        let steps = steps.map(|((&len, &d), (&src, &dst))| Step { len, src, dst: dst.wrapping_mul(d as isize) });
        let sizes = (elements(&input.shape)?, elements(&output.shape)?);
        let copy = StridedCopy::new(input.ty, steps, (0, sizes.0), (0, sizes.1))?;
        Ok(Box::new(PadKernel { copy, ty: input.ty, value: None }))
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let mut cases = Vec::new();
        for ty in [Float32, Float64, Int8, UInt8, Int16, Int32, Int64] {
            for (shape, dilations, output) in [
                (&[4][..], &[3][..], &[10][..]),
                (&[3, 2], &[1, 2], &[3, 3]),
                (&[2, 3, 4], &[2, 1, 1], &[3, 3, 4]),
                (&[2, 3, 1, 2], &[3, 2, 4, 2], &[4, 5, 1, 3]),
            ] {
                let case = NodeCase::new().drawn((ty, shape, None)).i32(&[shape.len() as i32], dilations);
                let case = case.drawn((ty, &[], None)).options2(BuiltinOptions2::DilateOptions(Default::default()));
                let name = format!("{ty} {shape:?} {dilations:?}");
                cases.extend(case.finish(name, BuiltinOperator::DILATE, BuiltinOptions::NONE, &[(ty, output, None)]));
            }
        }
        cases
    }
}
