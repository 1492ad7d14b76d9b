//! CONV_3D: convolution over NDHWC with filters of shape (depth, rows, columns, in, out). CONV_3D_TRANSPOSE: the transpose of
//! its linear map, with filters of shape (depth, rows, columns, out, in) and an output shape given by an input.

mod cases;
mod fast;
mod reference;

use crate::common::elementwise::check_type;
use crate::common::strided::dims;
use crate::common::window3d::Window3d;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::schema::Conv3DOptionsT;
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// CONV_3D. Inputs: data, filters, bias (optional).
pub struct Conv3d;

/// CONV_3D_TRANSPOSE. Inputs: output shape, filters, data, bias (optional).
pub struct Conv3dTranspose;

/// Sizes of a convolution. Of a transposed one, the window stands over the output.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Problem {
    window: Window3d,
    in_c: usize,
    out_c: usize,
}

impl Problem {
    fn macs(&self, positions: usize) -> u64 {
        [positions, self.window.taps(), self.in_c, self.out_c].iter().fold(1, |n, &f| n.saturating_mul(f as u64))
    }
}

fn options<'a>(node: &NodeView<'a>) -> Result<&'a Conv3DOptionsT, OpError> {
    node.options.as_conv_3_doptions().ok_or_else(|| OpError::invalid("no convolution options"))
}

/// Kernel size and the last two dimensions of the filters.
fn filters(node: &NodeView<'_>) -> Result<([usize; 3], [usize; 2]), OpError> {
    let shape = &node.input(1)?.shape;
    let &[d, h, w, a, b] = &shape[..] else {
        return Err(OpError::invalid(format!("the filters have {} dimensions, not 5", shape.len())));
    };
    ensure!(!shape.contains(&0), "the filters are empty: {shape:?}");
    Ok(([d, h, w], [a, b]))
}

/// Checks that the tensors at these positions are float32, and that the last, a bias, has a value per channel.
fn check_floats(node: &NodeView<'_>, data: usize, bias: usize, channels: usize) -> Result<(), OpError> {
    check_type(node.input(data)?.ty, &[TensorType::Float32])?;
    let filters = node.input(1)?;
    let float = filters.ty == TensorType::Float32 && filters.sparsity.is_none();
    if !float || node.optional_input(bias).is_some_and(|b| b.ty != TensorType::Float32) {
        return Err(OpError::unsupported(format!("filters of type {}, or such a bias", filters.ty)));
    }
    if let Some(bias) = node.optional_input(bias) {
        ensure!(bias.elements() == channels, "bias {:?} for {channels} channels", bias.shape);
    }
    Ok(())
}

/// The sizes of CONV_3D, checked.
fn problem(node: &NodeView<'_>) -> Result<Problem, OpError> {
    let (kernel, [in_c, out_c]) = filters(node)?;
    let shape = &node.input(0)?.shape;
    let window = Window3d::new(shape, kernel, options(node)?)?;
    ensure!(shape[4] == in_c, "filters of {in_c} channels for {} input channels", shape[4]);
    Ok(Problem { window, in_c, out_c })
}

/// The sizes of CONV_3D_TRANSPOSE for this output shape, checked.
fn transposed(node: &NodeView<'_>, output: &[usize]) -> Result<Problem, OpError> {
    let (kernel, [out_c, in_c]) = filters(node)?;
    let window = Window3d::new(output, kernel, options(node)?)?;
    let [d, h, w] = window.output;
    ensure!(output[4] == out_c, "output shape {output:?} for {out_c} filters");
    let shape = &node.input(2)?.shape;
    let fits = shape[..] == [output[0], d, h, w, in_c];
    ensure!(fits, "output shape {output:?} and filters of {in_c} channels do not belong to input {shape:?}");
    Ok(Problem { window, in_c, out_c })
}

impl OpDef for Conv3d {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CONV_3D)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=3, 1)?;
        let Problem { window, out_c, .. } = problem(node)?;
        check_floats(node, 0, 2, out_c)?;
        let [d, h, w] = window.output;
        Ok(smallvec![Inferred::new(TensorType::Float32, [window.batch, d, h, w, out_c])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let p = problem(node)?;
        reference::linear(options(node)?, p.out_c, 0, 2).reference(node, reference::Forward(p))
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::FAST
    }

    fn cases(&self) -> Vec<Case> {
        cases::forward()
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        problem(node).map_or(0, |p| p.macs(p.window.positions()))
    }
}

impl OpDef for Conv3dTranspose {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::CONV_3D_TRANSPOSE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=4, 1)?;
        let (shape, (_, [out_c, _])) = (node.input(0)?, filters(node)?);
        check_type(shape.ty, &[TensorType::Int32])?;
        check_floats(node, 2, 3, out_c)?;
        let Some(values) = shape.indices()? else { return Ok(smallvec![Inferred::dynamic(TensorType::Float32)]) };
        let shape = dims(&values)?;
        transposed(node, &shape)?;
        Ok(smallvec![Inferred::new(TensorType::Float32, shape)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        // The output's shape is known when a kernel is prepared.
        let p = transposed(node, &node.output(0)?.shape)?;
        reference::linear(options(node)?, p.out_c, 2, 3).reference(node, reference::Transposed(p))
    }

    fn cases(&self) -> Vec<Case> {
        cases::transposed()
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        let p = node.output(0).and_then(|out| transposed(node, &out.shape));
        p.map_or(0, |p| p.macs(p.window.positions()))
    }
}
