//! Generated cases of operators whose inputs are not all drawn: indices, shapes and tables are constants.

use crate::common::cases::Spec;
use crate::op::Case;
use crate::tensor::Element;
use ferrolite_model::schema::{BlockwiseQuantizationT, QuantizationDetailsT};
use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, BuiltinOptions2, FlexItem, ModelBuilder, Node, Quantization, TensorId, TensorType,
    flex_map,
};
use half::f16;

/// A model of one node under construction: its inputs in order, then [`NodeCase::finish`].
#[derive(Default)]
pub struct NodeCase {
    builder: ModelBuilder,
    inputs: Vec<Option<TensorId>>,
    options2: BuiltinOptions2,
}

impl NodeCase {
    /// No inputs yet.
    pub fn new() -> NodeCase {
        NodeCase::default()
    }

    /// An input that the test draws.
    pub fn drawn(mut self, (ty, shape, parameters): Spec<'_>) -> NodeCase {
        let id = self.builder.input(format!("x{}", self.inputs.len()), ty, shape);
        self.push(id, parameters.map(|(scale, zero)| Quantization::per_tensor(scale, zero)))
    }

    /// A constant.
    pub fn constant<T: Element>(self, ty: TensorType, shape: &[i32], values: &[T]) -> NodeCase {
        self.constant_quantized(ty, shape, values, None)
    }

    /// A constant with scales.
    pub fn constant_quantized<T: Element>(
        mut self,
        ty: TensorType,
        shape: &[i32],
        values: &[T],
        quantization: Option<Quantization>,
    ) -> NodeCase {
        let data: Vec<u8> = bytemuck::cast_slice(values).to_vec();
        let id = self.builder.constant(format!("x{}", self.inputs.len()), ty, shape, data);
        self.push(id, quantization)
    }

    /// A constant matrix of narrow integers with a scale per block of `block` elements of a row.
    pub fn constant_blocks(
        mut self,
        ty: TensorType,
        shape: &[i32; 2],
        packed: &[u8],
        block: i32,
        scales: &[f16],
    ) -> NodeCase {
        let data: Vec<u8> = bytemuck::cast_slice(scales).to_vec();
        let ids = self.builder.constant("scales", TensorType::Float16, &[shape[0], shape[1] / block], data);
        let details = BlockwiseQuantizationT {
            scales: ids as i32,
            zero_points: -1,
            block_size: block,
            ..BlockwiseQuantizationT::default()
        };
        let details = Some(QuantizationDetailsT::BlockwiseQuantization(Box::new(details)));
        self.constant_quantized(ty, shape, packed, Some(Quantization { details, ..Quantization::default() }))
    }

    /// An int32 constant.
    pub fn i32(self, shape: &[i32], values: &[i32]) -> NodeCase {
        self.constant(TensorType::Int32, shape, values)
    }

    /// Options of the second kind.
    pub fn options2(mut self, options2: BuiltinOptions2) -> NodeCase {
        self.options2 = options2;
        self
    }

    /// A constant of strings.
    pub fn strings(mut self, shape: &[i32], strings: &[&str]) -> NodeCase {
        let id = constant_strings(&mut self.builder, shape, strings);
        self.push(id, None)
    }

    fn push(mut self, id: TensorId, quantization: Option<Quantization>) -> NodeCase {
        if let Some(quantization) = quantization {
            self.builder.quantize(id, quantization);
        }
        self.inputs.push(Some(id));
        self
    }

    /// The case: the node with its outputs.
    pub fn finish(
        mut self,
        name: String,
        op: BuiltinOperator,
        options: BuiltinOptions,
        outputs: &[Spec<'_>],
    ) -> Option<Case> {
        let ids = self.outputs(outputs);
        let b = &mut self.builder;
        if self.options2 == BuiltinOptions2::NONE {
            b.node(op, 1, options, &self.inputs, &ids);
        } else {
            b.node2(op, 1, self.options2, &self.inputs, &ids);
        }
        Some(Case { name, model: self.builder.build().ok()? })
    }

    /// The case of a custom operator.
    pub fn finish_custom(
        self,
        name: String,
        op: &str,
        options: &[(&str, FlexItem)],
        outputs: &[Spec<'_>],
    ) -> Option<Case> {
        self.finish_custom_builtin(name, (op, 1), flex_map(options), BuiltinOptions::NONE, outputs)
    }

    /// The case of a version of a custom operator that has builtin options.
    pub fn finish_custom_builtin(
        mut self,
        name: String,
        (op, version): (&str, i32),
        custom_options: Vec<u8>,
        options: BuiltinOptions,
        outputs: &[Spec<'_>],
    ) -> Option<Case> {
        let ids = self.outputs(outputs);
        let opcode = self.builder.model_mut().custom_operator_index(op, version);
        let node = Node::new(opcode, self.inputs, ids, options);
        self.builder.add_node(Node { custom_options: Some(custom_options.into()), ..node });
        Some(Case { name, model: self.builder.build().ok()? })
    }

    fn outputs(&mut self, outputs: &[Spec<'_>]) -> Vec<TensorId> {
        let b = &mut self.builder;
        let mut ids = Vec::new();
        for (i, &(ty, shape, parameters)) in outputs.iter().enumerate() {
            let id = b.tensor(format!("y{i}"), ty, shape);
            if let Some((scale, zero)) = parameters {
                b.quantize(id, Quantization::per_tensor(scale, zero));
            }
            b.output(id);
            ids.push(id);
        }
        ids
    }
}

/// A constant of strings: their number, where each begins and the last ends, and their bytes.
pub fn constant_strings(b: &mut ModelBuilder, shape: &[i32], strings: &[&str]) -> TensorId {
    let mut end = 4 * (strings.len() + 2) as i32;
    let mut data = (strings.len() as i32).to_le_bytes().to_vec();
    data.extend(end.to_le_bytes());
    for string in strings {
        end += string.len() as i32;
        data.extend(end.to_le_bytes());
    }
    strings.iter().for_each(|string| data.extend(string.as_bytes()));
    b.constant("strings", TensorType::String, shape, data)
}
