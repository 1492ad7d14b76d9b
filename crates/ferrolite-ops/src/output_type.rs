//! Types that operators give their outputs whatever a file declares.
//!
//! LiteRT's kernels overwrite the declared type in some operators and check it in others; this is the list of the former.
//! Source: `output->type =` in LiteRT's `kernels/*.cc`.

use ferrolite_model::{BuiltinOperator, Model, Node, TensorId, TensorType};
use std::borrow::Cow;

/// Where the type of a node's outputs comes from.
enum Source {
    /// The file; an output computed as another type is an error.
    Declared,
    /// An input.
    Input(usize),
    /// The operator.
    Fixed(TensorType),
}

fn source(op: BuiltinOperator, node: &Node) -> Source {
    use BuiltinOperator as B;
    match op {
        B::ADD_N
        | B::BITWISE_XOR
        | B::CEIL
        | B::DENSIFY
        | B::DYNAMIC_UPDATE_SLICE
        | B::EXP
        | B::EXPAND_DIMS
        | B::FAKE_QUANT
        | B::FLOOR
        | B::FLOOR_DIV
        | B::FLOOR_MOD
        | B::GATHER
        | B::GATHER_ND
        | B::MATRIX_DIAG
        | B::MATRIX_SET_DIAG
        | B::MAXIMUM
        | B::MINIMUM
        | B::NEG
        | B::POW
        | B::PRELU
        | B::RANGE
        | B::RESIZE_BILINEAR
        | B::RESIZE_NEAREST_NEIGHBOR
        | B::RIGHT_SHIFT
        | B::ROUND
        | B::SPLIT_V
        | B::STABLEHLO_SHIFT_LEFT
        | B::ZEROS_LIKE => Source::Input(0),
        B::ADD
        | B::DIV
        | B::FILL
        | B::SCATTER_ND
        | B::SELECT
        | B::SELECT_V2
        | B::SPLIT
        | B::SQUARED_DIFFERENCE
        | B::SUB => Source::Input(1),
        B::ONE_HOT | B::SPARSE_TO_DENSE => Source::Input(2),
        B::EQUAL
        | B::NOT_EQUAL
        | B::LESS
        | B::LESS_EQUAL
        | B::GREATER
        | B::GREATER_EQUAL
        | B::LOGICAL_AND
        | B::LOGICAL_NOT
        | B::LOGICAL_OR => Source::Fixed(TensorType::Bool),
        B::BUCKETIZE | B::RANK => Source::Fixed(TensorType::Int32),
        B::DEQUANTIZE => Source::Fixed(TensorType::Float32),
        B::RFFT2D => Source::Fixed(TensorType::Complex64),
        B::WHERE => Source::Fixed(TensorType::Int64),
        B::ARG_MAX | B::ARG_MIN | B::SHAPE => {
            let options = &node.options;
            let ty = (options.as_arg_max_options().map(|o| o.output_type))
                .or_else(|| options.as_arg_min_options().map(|o| o.output_type))
                .or_else(|| options.as_shape_options().map(|o| o.out_type));
            ty.and_then(TensorType::from_schema).map_or(Source::Declared, Source::Fixed)
        }
        _ => Source::Declared,
    }
}

/// Gives outputs the types that their operators settle, in the order of the nodes; `None` when the file declares them all.
/// Constants and variables keep their types.
pub fn settle(model: &Model) -> Option<Model> {
    let mut settled = Cow::Borrowed(model);
    for (index, graph) in model.subgraphs.iter().enumerate() {
        for node in &graph.nodes {
            let type_of = |id: TensorId| settled.subgraphs[index].tensors[id].ty;
            let ty = match source(model.operator(node).builtin, node) {
                Source::Declared => continue,
                Source::Fixed(ty) => ty,
                Source::Input(i) => match node.inputs.get(i).copied().flatten() {
                    Some(id) => type_of(id),
                    None => continue,
                },
            };
            for &id in &node.outputs {
                let tensor = &settled.subgraphs[index].tensors[id];
                if tensor.ty != ty && !tensor.is_variable && model.constant(tensor).is_none() {
                    settled.to_mut().subgraphs[index].tensors[id].ty = ty;
                }
            }
        }
    }
    if let Cow::Owned(model) = settled { Some(model) } else { None }
}
