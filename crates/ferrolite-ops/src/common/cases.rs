//! Generated cases of elementwise operators: shapes × types × activations, quantized or not.

use crate::op::Case;
use ferrolite_model::schema::{self, ActivationFunctionType};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, ModelBuilder, Quantization, TensorType};

/// A tensor of a case.
pub type Spec<'a> = (TensorType, &'a [i32], Option<(f32, i64)>);

/// An input of a case.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Drawn by the test.
    Data(Spec<'a>),
    /// A constant int32 tensor.
    Index(&'a [i32], &'a [i32]),
}

/// A case of one node with these inputs and one output.
pub fn case(
    name: String,
    op: BuiltinOperator,
    options: BuiltinOptions,
    inputs: &[Spec<'_>],
    output: Spec<'_>,
) -> Option<Case> {
    let operands: Vec<Operand<'_>> = inputs.iter().map(|&spec| Operand::Data(spec)).collect();
    node(name, op, options, &operands, &[output])
}

/// A case of one node.
pub fn node(
    name: String,
    op: BuiltinOperator,
    options: BuiltinOptions,
    operands: &[Operand<'_>],
    outputs: &[Spec<'_>],
) -> Option<Case> {
    let mut b = ModelBuilder::new();
    let quantize = |b: &mut ModelBuilder, id, parameters: Option<(f32, i64)>| {
        if let Some((scale, zero_point)) = parameters {
            b.quantize(id, Quantization::per_tensor(scale, zero_point));
        }
    };
    let mut ids = Vec::new();
    for (i, operand) in operands.iter().enumerate() {
        ids.push(Some(match *operand {
            Operand::Data((ty, shape, parameters)) => {
                let id = b.input(format!("x{i}"), ty, shape);
                quantize(&mut b, id, parameters);
                id
            }
            Operand::Index(shape, values) => b.constant_i32(format!("x{i}"), shape, values),
        }));
    }
    let mut results = Vec::new();
    for (i, &(ty, shape, parameters)) in outputs.iter().enumerate() {
        let y = b.tensor(if i == 0 { "y".to_owned() } else { format!("y{i}") }, ty, shape);
        quantize(&mut b, y, parameters);
        b.output(y);
        results.push(y);
    }
    b.node(op, 1, options, &ids, &results);
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

/// The parameters that a quantized type has in cases where no arithmetic depends on them.
pub fn typical(ty: TensorType) -> Option<(f32, i64)> {
    match ty {
        TensorType::Int8 => Some((0.02, -5)),
        TensorType::UInt8 => Some((0.02, 120)),
        TensorType::Int16 => Some((0.000_3, 0)),
        _ => None,
    }
}

/// Images larger and smaller, with few and many channels.
const RESIZES: [([i32; 4], [i32; 2]); 8] = [
    ([2, 5, 7, 3], [11, 9]),
    ([1, 4, 4, 1], [32, 32]),
    ([1, 9, 6, 21], [33, 40]),
    ([1, 12, 11, 40], [5, 4]),
    ([1, 1, 1, 16], [7, 7]),
    ([1, 33, 33, 8], [66, 66]),
    ([1, 30, 31, 4], [1, 1]),
    ([1, 6, 6, 5], [6, 6]),
];

/// Cases of an operator that scales images.
pub fn resize(op: BuiltinOperator, options: &BuiltinOptions, mode: &str, types: &[TensorType]) -> Vec<Case> {
    let mut all = Vec::new();
    for &ty in types {
        for (from, size) in RESIZES {
            let to = [from[0], size[0], size[1], from[3]];
            let operands = [Operand::Data((ty, &from, typical(ty))), Operand::Index(&[2], &size)];
            let name = format!("{ty} {from:?} {size:?}{mode}");
            all.extend(node(name, op, options.clone(), &operands, &[(ty, &to, typical(ty))]));
        }
    }
    all
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
const BINARY_SHAPES: [[&[i32]; 3]; 12] = [
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
    [&[1, 1, 6, 9], &[5, 6, 9], &[1, 5, 6, 9]],
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

/// Types that moving data is tried in.
pub const MOVED: &[TensorType] = &[
    TensorType::Float32,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
    TensorType::Int32,
    TensorType::Int64,
];

/// Cases of an operator that moves the data of input 0 as constant indices say.
pub fn moved(
    op: BuiltinOperator,
    options: &BuiltinOptions,
    types: &[TensorType],
    x: &[i32],
    indices: &[(&[i32], &[i32])],
    outputs: &[&[i32]],
) -> Vec<Case> {
    let mut all = Vec::new();
    for &ty in types {
        let data = [Operand::Data((ty, x, typical(ty)))];
        let indices = indices.iter().map(|&(shape, values)| Operand::Index(shape, values));
        let values: Vec<&[i32]> =
            indices.clone().filter_map(|o| if let Operand::Index(_, v) = o { Some(v) } else { None }).collect();
        let name = format!("{ty} {x:?} {values:?} {outputs:?}");
        let operands: Vec<Operand<'_>> = data.into_iter().chain(indices).collect();
        let outputs: Vec<Spec<'_>> = outputs.iter().map(|&shape| (ty, shape, typical(ty))).collect();
        all.extend(node(name, op, options.clone(), &operands, &outputs));
    }
    all
}
