//! Checks and the output shape.

use crate::op::{InferResult, Inferred, NodeView};
use crate::{OpError, ensure};
use ferrolite_model::schema::{FullyConnectedOptionsT, FullyConnectedOptionsWeightsFormat};
use ferrolite_model::{BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::borrow::Cow;

/// Sizes of the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Rows of the input and the output.
    pub rows: usize,
    /// Length of a row of the input and of the weights.
    pub depth: usize,
    /// Length of a row of the output.
    pub units: usize,
}

/// The node's options; absent ones are the defaults.
pub fn options<'a>(node: &NodeView<'a>) -> Result<Cow<'a, FullyConnectedOptionsT>, OpError> {
    match node.options {
        BuiltinOptions::NONE => Ok(Cow::Owned(FullyConnectedOptionsT::default())),
        options => match options.as_fully_connected_options() {
            Some(options) => Ok(Cow::Borrowed(options)),
            None => Err(OpError::invalid("options of another operator")),
        },
    }
}

/// Whether the weights are stored in blocks of 4 units × 16 inputs with flipped signs.
pub fn is_shuffled(options: &FullyConnectedOptionsT) -> bool {
    options.weights_format == FullyConnectedOptionsWeightsFormat::SHUFFLED4x16INT8
}

/// The sizes, checked.
pub fn problem(node: &NodeView<'_>) -> Result<Problem, OpError> {
    let (input, weights) = (node.input(0)?, node.input(1)?);
    ensure!(weights.shape.len() == 2, "weights have {} dimensions, not 2", weights.shape.len());
    let (units, depth) = (weights.shape[0], weights.shape[1]);
    let elements = input.elements();
    let rows = if depth == 0 {
        ensure!(elements == 0, "input {:?} does not fit weights {:?}", input.shape, weights.shape);
        input.shape.iter().rev().skip(1).product()
    } else {
        ensure!(elements % depth == 0, "input {:?} does not fit weights {:?}", input.shape, weights.shape);
        elements / depth
    };
    if let Some(bias) = node.optional_input(2) {
        ensure!(bias.elements() == units, "bias {:?} for {units} units", bias.shape);
    }
    Ok(Problem { rows, depth, units })
}

/// Output type and shape.
pub fn infer(node: &NodeView<'_>) -> InferResult {
    let options = options(node)?;
    let shuffled = is_shuffled(&options);
    node.expect(2..=3, if shuffled { 2 } else { 1 })?;
    let p = problem(node)?;
    let input = node.input(0)?;
    let shape = if options.keep_num_dims {
        let Some((&last, outer)) = input.shape.split_last() else {
            return Err(OpError::invalid("a scalar input with keep_num_dims"));
        };
        ensure!(last == p.depth, "input {:?} does not end in {} with keep_num_dims", input.shape, p.depth);
        outer.iter().copied().chain([p.units]).collect()
    } else {
        smallvec![p.rows, p.units]
    };
    let output = node.output(0)?.ty;
    if shuffled {
        ensure!(p.rows == 1 || p.rows == 4, "shuffled weights with {} rows, not 1 or 4", p.rows);
        ensure!(p.units % 4 == 0 && p.depth % 16 == 0, "shuffled weights of shape {} x {}", p.units, p.depth);
        let workspace = Inferred { ty: TensorType::UInt8, shape: Some(input.shape.clone()) };
        return Ok(smallvec![Inferred { ty: TensorType::Int16, shape: Some(shape) }, workspace]);
    }
    // uint8 inputs may have an int16 output; the kernels check the combination.
    Ok(smallvec![Inferred { ty: output, shape: Some(shape) }])
}
