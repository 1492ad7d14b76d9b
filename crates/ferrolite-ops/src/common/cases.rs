//! Generated cases of elementwise operators: shapes × types × activations, quantized or not.

use crate::op::Case;
use ferrolite_model::schema::{self, ActivationFunctionType};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, ModelBuilder, Quantization, TensorType};

/// A tensor of a case.
pub type Spec<'a> = (TensorType, &'a [i32], Option<(f32, i64)>);

/// A case of one node with these inputs and one output.
pub fn case(
    name: String,
    op: BuiltinOperator,
    options: BuiltinOptions,
    inputs: &[Spec<'_>],
    output: Spec<'_>,
) -> Option<Case> {
    let mut b = ModelBuilder::new();
    let quantize = |b: &mut ModelBuilder, id, parameters: Option<(f32, i64)>| {
        if let Some((scale, zero_point)) = parameters {
            b.quantize(id, Quantization::per_tensor(scale, zero_point));
        }
    };
    let mut ids = Vec::new();
    for (i, &(ty, shape, parameters)) in inputs.iter().enumerate() {
        let id = b.input(format!("x{i}"), ty, shape);
        quantize(&mut b, id, parameters);
        ids.push(Some(id));
    }
    let y = b.tensor("y", output.0, output.1);
    quantize(&mut b, y, output.2);
    b.output(y);
    b.node(op, 1, options, &ids, &[y]);
    Some(Case { name, model: b.build().ok()? })
}

/// A case of one node with options of the later kind. `prepare` adds what the node refers to, subgraphs say.
pub fn case2(
    name: String,
    op: BuiltinOperator,
    inputs: &[Spec<'_>],
    outputs: &[Spec<'_>],
    prepare: impl FnOnce(&mut ModelBuilder) -> BuiltinOptions2,
) -> Option<Case> {
    let mut b = ModelBuilder::new();
    let inputs = inputs.iter().enumerate().map(|(i, &(ty, shape, _))| Some(b.input(format!("x{i}"), ty, shape)));
    let inputs: Vec<_> = inputs.collect();
    let outputs = outputs.iter().enumerate().map(|(i, &(ty, shape, _))| b.tensor(format!("y{i}"), ty, shape));
    let outputs: Vec<_> = outputs.collect();
    outputs.iter().for_each(|&y| b.output(y));
    let options = prepare(&mut b);
    b.select(0);
    b.node2(op, 1, options, &inputs, &outputs);
    Some(Case { name, model: b.build().ok()? })
}

/// Adds a subgraph of one node, with these inputs and one output of the first input's type and shape.
pub fn one_node(b: &mut ModelBuilder, op: BuiltinOperator, options: BuiltinOptions, inputs: &[Spec<'_>]) -> i32 {
    let graph = b.subgraph(format!("{op:?}"));
    let ids: Vec<_> = inputs.iter().map(|&(ty, shape, _)| Some(b.input("a", ty, shape))).collect();
    let y = b.tensor("b", inputs[0].0, inputs[0].1);
    b.node(op, 1, options, &ids, &[y]);
    b.output(y);
    graph as i32
}

/// Shapes that end within a vector, fill several, and are worth several threads.
const UNARY_SHAPES: [&[i32]; 5] = [&[], &[1], &[37], &[3, 41, 71], &[5, 131, 129]];

/// Cases of an operator with one input; `types` are pairs of an element type and the output's parameters.
pub fn unary(op: BuiltinOperator, options: &BuiltinOptions, types: &[(TensorType, Option<(f32, i64)>)]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &(ty, output) in types {
        let input = output.map(|_| match ty {
            TensorType::Int8 => (0.05, 3),
            TensorType::UInt8 => (0.05, 131),
            _ => (0.000_3, 0),
        });
        for shape in UNARY_SHAPES {
            let name = format!("{ty} {shape:?}");
            cases.extend(case(name, op, options.clone(), &[(ty, shape, input)], (ty, shape, output)));
        }
    }
    cases
}

/// Pairs of shapes, with what they broadcast to.
const BINARY_SHAPES: [[&[i32]; 3]; 11] = [
    [&[2, 5, 7, 9], &[2, 5, 7, 9], &[2, 5, 7, 9]],
    [&[3, 4, 33], &[33], &[3, 4, 33]],
    [&[33], &[3, 4, 33], &[3, 4, 33]],
    [&[5, 70], &[], &[5, 70]],
    [&[1], &[5, 70], &[5, 70]],
    [&[2, 8, 8, 24], &[2, 1, 1, 24], &[2, 8, 8, 24]],
    [&[64, 33], &[64, 1], &[64, 33]],
    [&[8, 1, 40], &[1, 6, 40], &[8, 6, 40]],
    [&[4, 1, 3, 1, 2], &[1, 5, 3, 2, 1], &[4, 5, 3, 2, 2]],
    [&[1, 40, 41, 32], &[1, 40, 41, 32], &[1, 40, 41, 32]],
    [&[3, 70, 256], &[1, 256], &[3, 70, 256]],
];

/// Cases of an operator with two inputs of one type.
///
/// Integers of 8 bits are quantized, other types are not.
pub fn binary(op: BuiltinOperator, options: &[(&str, BuiltinOptions)], types: &[TensorType]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &ty in types {
        let parameters = match ty {
            TensorType::Int8 => [Some((0.04, -7)), Some((0.03, 11)), Some((0.06, 5))],
            TensorType::UInt8 => [Some((0.04, 120)), Some((0.03, 140)), Some((0.06, 133))],
            _ => [None; 3],
        };
        for (activation, options) in options {
            for [a, b, out] in BINARY_SHAPES {
                let inputs = [(ty, a, parameters[0]), (ty, b, parameters[1])];
                let name = format!("{ty} {a:?} {b:?} {activation}");
                cases.extend(case(name, op, options.clone(), &inputs, (ty, out, parameters[2])));
            }
        }
    }
    cases
}

/// Options of ADD, SUB, MUL or DIV without and with an activation.
pub fn activations(op: BuiltinOperator) -> Vec<(&'static str, BuiltinOptions)> {
    use ActivationFunctionType as A;
    let of = |fused_activation_function: A| match op {
        BuiltinOperator::ADD => {
            let pot_scale_int16 = false;
            BuiltinOptions::AddOptions(Box::new(schema::AddOptionsT { fused_activation_function, pot_scale_int16 }))
        }
        BuiltinOperator::SUB => {
            let pot_scale_int16 = false;
            BuiltinOptions::SubOptions(Box::new(schema::SubOptionsT { fused_activation_function, pot_scale_int16 }))
        }
        BuiltinOperator::MUL => BuiltinOptions::MulOptions(Box::new(schema::MulOptionsT { fused_activation_function })),
        _ => BuiltinOptions::DivOptions(Box::new(schema::DivOptionsT { fused_activation_function })),
    };
    vec![("", of(A::NONE)), ("relu", of(A::RELU)), ("relu_n1_to_1", of(A::RELU_N1_TO_1))]
}
