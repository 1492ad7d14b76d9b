//! Operator versions: the lowest that has what a node uses, so that older runtimes accept the file wherever they can.

use crate::model::*;
use crate::schema::{ActivationFunctionType, BuiltinOperator, FullyConnectedOptionsWeightsFormat, TensorType as Code};
use crate::types::TensorType;
use TensorType::{BFloat16, Bool, Float16, Float32, Float64, Int2, Int4, Int8, Int16, Int32, Int64, UInt4, UInt8};
use TensorType::{String as Text, UInt16, UInt32};

/// Operators whose version depends on the type of their first input alone: 1 unless listed.
const BY_TYPE: &[(&[BuiltinOperator], &[(TensorType, i32)])] = {
    use BuiltinOperator as Op;
    &[
        (&[Op::MAX_POOL_2D, Op::AVERAGE_POOL_2D, Op::TANH, Op::LOGISTIC], &[(Int16, 3), (Int8, 2)]),
        (&[Op::MEAN, Op::MIRROR_PAD, Op::REDUCE_MAX, Op::REDUCE_MIN, Op::RSQRT], &[(Int16, 3), (Int8, 2)]),
        (&[Op::RELU6, Op::LESS, Op::GREATER_EQUAL], &[(Int16, 3), (Int8, 2)]),
        (&[Op::RELU], &[(Int16, 3), (Int8, 2), (UInt8, 2)]),
        (&[Op::SUM, Op::SPACE_TO_DEPTH, Op::DEPTH_TO_SPACE, Op::SPLIT_V, Op::LOG_SOFTMAX], &[(Int8, 2)]),
        (&[Op::GREATER, Op::LESS_EQUAL, Op::SQUARED_DIFFERENCE], &[(Int8, 2)]),
        (&[Op::EXP, Op::LOG, Op::SQRT, Op::REDUCE_PROD], &[(Int8, 2), (Int16, 2)]),
        (&[Op::GELU], &[(Int8, 2), (UInt8, 2)]),
        (&[Op::LEAKY_RELU], &[(Int16, 2)]),
        (&[Op::SOFTMAX], &[(Float16, 4), (Int16, 3), (Int8, 2)]),
        (&[Op::CONCATENATION], &[(Float16, 6), (Int4, 5), (UInt32, 4), (Int16, 3), (Int8, 2)]),
        (&[Op::PACK], &[(UInt32, 4), (Int16, 3), (Int8, 2)]),
        (&[Op::UNPACK], &[(Float16, 5), (BFloat16, 5), (Int16, 4), (Bool, 3), (Int8, 2), (UInt8, 2)]),
        (&[Op::SQUEEZE], &[(Text, 2)]),
        (&[Op::TILE], &[(Int8, 3), (Text, 2)]),
        (&[Op::EQUAL], &[(Int16, 5), (Text, 3), (Int8, 2)]),
        (&[Op::NOT_EQUAL], &[(Int16, 4), (Text, 3), (Int8, 2)]),
        (&[Op::ARG_MAX, Op::ARG_MIN], &[(Bool, 3), (Int8, 2)]),
        (&[Op::REVERSE_V2], &[(Int8, 3), (Bool, 2)]),
        (&[Op::FLOOR_DIV], &[(Int16, 3), (Int8, 3), (Float32, 2)]),
        (&[Op::FLOOR_MOD], &[(Int16, 2), (Int8, 2)]),
        (&[Op::SIN, Op::COS], &[(Float16, 2)]),
        (&[Op::SIGN], &[(Int32, 2)]),
        (&[Op::RANGE], &[(Int64, 2)]),
        (&[Op::SELECT_V2], &[(UInt32, 2)]),
    ]
};

/// The lowest version of a node's operator that has what the node uses.
pub fn min_operator_version(model: &Model, subgraph: &Subgraph, node: &Node) -> i32 {
    let Some(code) = model.operator_codes.get(node.opcode) else { return 1 };
    let used = Used { subgraph, node };
    for (operators, versions) in BY_TYPE {
        if operators.contains(&code.builtin) {
            let ty = used.input(0);
            return versions.iter().find(|row| Some(row.0) == ty).map_or(1, |row| row.1);
        }
    }
    used.version(code.builtin)
}

impl Model {
    /// Raises the version of every builtin operator to what its nodes need.
    pub fn raise_operator_versions(&mut self) {
        let mut needed = vec![0; self.operator_codes.len()];
        for subgraph in &self.subgraphs {
            for node in &subgraph.nodes {
                if let Some(needed) = needed.get_mut(node.opcode) {
                    *needed = min_operator_version(self, subgraph, node).max(*needed);
                }
            }
        }
        for (code, needed) in self.operator_codes.iter_mut().zip(needed) {
            if code.builtin != BuiltinOperator::CUSTOM {
                code.version = code.version.max(needed);
            }
        }
    }
}

/// The version of the first rule that holds, or 1.
fn first(rules: &[(bool, i32)]) -> i32 {
    rules.iter().find(|rule| rule.0).map_or(1, |rule| rule.1)
}

/// What a node uses.
struct Used<'a> {
    subgraph: &'a Subgraph,
    node: &'a Node,
}

impl Used<'_> {
    fn input_tensor(&self, index: usize) -> Option<&Tensor> {
        self.subgraph.tensors.get((*self.node.inputs.get(index)?)?)
    }

    fn output_tensor(&self, index: usize) -> Option<&Tensor> {
        self.subgraph.tensors.get(*self.node.outputs.get(index)?)
    }

    fn input(&self, index: usize) -> Option<TensorType> {
        self.input_tensor(index).map(|tensor| tensor.ty)
    }

    fn output(&self, index: usize) -> Option<TensorType> {
        self.output_tensor(index).map(|tensor| tensor.ty)
    }

    fn rank(&self, index: usize) -> usize {
        self.input_tensor(index).map_or(0, |tensor| tensor.shape.len())
    }

    /// Types of the first two inputs and the first output.
    fn are(&self, input: TensorType, weights: TensorType, output: TensorType) -> bool {
        self.input(0) == Some(input) && self.input(1) == Some(weights) && self.output(0) == Some(output)
    }

    /// Float activations with integer weights.
    fn is_hybrid(&self) -> bool {
        self.are(Float32, Int8, Float32)
    }

    /// Integer activations of 16 bits, with weights of any width.
    fn is_int16(&self) -> bool {
        self.input(0) == Some(Int16) && self.output(0) == Some(Int16)
    }

    /// The first two inputs broadcast, in more than four dimensions.
    fn broadcasts_high(&self) -> bool {
        let shapes = (self.input_tensor(0).map(|t| &t.shape), self.input_tensor(1).map(|t| &t.shape));
        let differ = matches!(shapes, (Some(a), Some(b)) if a != b);
        differ && (0..self.node.inputs.len()).any(|index| self.rank(index) > 4)
    }

    fn version(&self, operator: BuiltinOperator) -> i32 {
        use BuiltinOperator as Op;
        use {BuiltinOptions as O, TensorType as T};
        let options = &self.node.options;
        let is = |ty: T| self.input(0) == Some(ty);
        let any = |types: &[T]| self.input(0).is_some_and(|ty| types.contains(&ty));
        let weights = |ty: T| self.input(1) == Some(ty);
        let either = |types: &[T]| any(types) || self.output(0).is_some_and(|ty| types.contains(&ty));
        match operator {
            Op::CONV_2D => first(&[
                (self.are(Int16, Int8, Int16) && self.has_bias_type(), 8),
                (self.is_grouped(), 6),
                (self.is_int16(), 4),
                (self.are(Int8, Int8, Int8), 3),
                (self.are(Int8, Int4, Int8), 7),
                (self.is_hybrid() && per_channel(self.input_tensor(1)), 5),
                (self.is_hybrid(), 2),
            ]),
            Op::DEPTHWISE_CONV_2D => {
                let dilated = matches!(options, O::DepthwiseConv2DOptions(o)
                    if o.dilation_w_factor != 1 || o.dilation_h_factor != 1);
                first(&[
                    (self.is_int16(), 5),
                    (self.is_hybrid() && per_channel(self.input_tensor(1)), 6),
                    (self.is_hybrid(), 4),
                    (self.are(Int8, Int8, Int8), 3),
                    (self.are(Int8, Int4, Int8), 7),
                    (dilated, 2),
                ])
            }
            Op::FULLY_CONNECTED => self.fully_connected(),
            Op::TRANSPOSE_CONV => {
                let activation = matches!(options, O::TransposeConvOptions(o)
                    if o.fused_activation_function != ActivationFunctionType::NONE);
                // Here the input is the third tensor, behind the shape and the weights.
                let int16 = self.input(2) == Some(Int16) && self.output(0) == Some(Int16);
                first(&[
                    (int16 && self.has_bias_type(), 5),
                    (activation, 4),
                    (self.input(3).is_some(), 3),
                    (weights(Int8), 2),
                ])
            }
            Op::BATCH_MATMUL => {
                let asymmetric = matches!(options, O::BatchMatMulOptions(o) if o.asymmetric_quantize_inputs);
                first(&[(is(Int16), 3), (is(Int8), 2), (self.is_hybrid() && asymmetric, 4)])
            }
            Op::ADD => {
                let plain = matches!(options, O::AddOptions(o) if !o.pot_scale_int16);
                first(&[
                    (is(Float16), 6),
                    (is(Int16) && !quantized(self.input_tensor(0)), 5),
                    (is(Int64), 4),
                    (self.is_int16() && plain, 3),
                    (is(Int8), 2),
                ])
            }
            Op::SUB => {
                let plain = matches!(options, O::SubOptions(o) if !o.pot_scale_int16);
                first(&[(self.is_int16() && plain, 5), (is(Int64), 4), (self.broadcasts_high(), 3), (is(Int8), 2)])
            }
            Op::MUL => first(&[
                (is(Float16), 8),
                (is(UInt32) || is(Int16) && !quantized(self.input_tensor(0)), 7),
                (is(T::Complex64), 6),
                (is(Int64), 5),
                (is(Int16), 4),
                (self.rescales_up(), 3),
                (is(Int8), 2),
            ]),
            Op::DIV => first(&[(self.broadcasts_high(), 2)]),
            Op::MAXIMUM | Op::MINIMUM => first(&[(self.is_int16(), 4), (self.broadcasts_high(), 3), (is(Int8), 2)]),
            Op::QUANTIZE => first(&[
                (either(&[UInt4]), 5),
                (either(&[Int4]), 4),
                (per_channel(self.output_tensor(0)), 3),
                (self.output(0) == Some(Int16), 2),
            ]),
            Op::DEQUANTIZE => first(&[
                (is(UInt4), 8),
                (is(Int2), 7),
                (is(Int4), 6),
                (any(&[Int16, Float16]), 3),
                (is(Int8) && per_channel(self.input_tensor(0)), 5),
                (is(Int8), 2),
            ]),
            Op::PAD | Op::PADV2 => first(&[(is(Bool), 5), (self.rank(0) > 4, 4), (is(Int16), 3), (is(Int8), 2)]),
            Op::TRANSPOSE => first(&[
                (is(Float16), 9),
                (self.rank(0) > 6 || is(BFloat16), 8),
                (is(Int4), 7),
                (self.rank(0) > 5, 6),
                (is(Int16), 5),
                (self.rank(0) > 4, 4),
                (is(Bool), 3),
                (is(Int8), 2),
            ]),
            Op::STRIDED_SLICE => {
                let O::StridedSliceOptions(o) = options else { return 1 };
                first(&[
                    (o.offset, 8),
                    (is(UInt32), 7),
                    (o.ellipsis_mask != 0 || o.new_axis_mask != 0, 6),
                    (is(Text), 5),
                    (self.rank(0) > 4, 4),
                    (is(Bool), 3),
                    (is(Int8), 2),
                ])
            }
            Op::SLICE => first(&[
                (is(Float16), 8),
                (is(Int4), 7),
                (is(UInt32), 6),
                (self.rank(0) > 4, 5),
                (is(Int16), 4),
                (is(Text), 3),
                (is(Int8), 2),
            ]),
            // The axis is the first input.
            Op::SPLIT => first(&[(weights(Int16), 4), (weights(Int32), 3), (weights(Int8), 2)]),
            Op::GATHER => {
                let batched = matches!(options, O::GatherOptions(o) if o.batch_dims != 0);
                first(&[(is(Int4), 7), (weights(Int16), 6), (batched, 5), (is(Int16), 4), (is(Bool), 3), (is(Int8), 2)])
            }
            Op::GATHER_ND => first(&[(is(Bool), 5), (weights(Int16), 4), (is(Int16), 3), (is(Text), 2)]),
            Op::RESIZE_BILINEAR => {
                let centers = matches!(options, O::ResizeBilinearOptions(o) if o.half_pixel_centers);
                first(&[(is(Int16), 4), (centers, 3), (is(Int8), 2)])
            }
            Op::RESIZE_NEAREST_NEIGHBOR => {
                let special = matches!(options, O::ResizeNearestNeighborOptions(o)
                    if o.half_pixel_centers || o.align_corners);
                first(&[(is(Int16), 4), (special, 3), (is(Int8), 2)])
            }
            Op::SPACE_TO_BATCH_ND | Op::BATCH_TO_SPACE_ND => {
                first(&[(is(Int16), 4), (self.rank(0) != 4, 3), (is(Int8), 2)])
            }
            Op::FAKE_QUANT => first(&[(matches!(options, O::FakeQuantOptions(o) if o.narrow_range), 2)]),
            Op::L2_NORMALIZATION => first(&[(self.output(0) == Some(Int8), 2)]),
            Op::ABS => first(&[
                (is(Int32), 5),
                (is(Int16) && quantized(self.input_tensor(0)), 3),
                (is(Int16), 4),
                (any(&[Int8, UInt8]), 2),
            ]),
            Op::FILL => first(&[
                (weights(Float16), 4),
                (weights(Int8) || weights(Int16), 3),
                (weights(Bool) || weights(Text), 2),
            ]),
            Op::SELECT => first(&[(is(UInt32), 4), ((0..3).any(|index| self.rank(index) == 5), 3), (is(Int8), 2)]),
            // There is no version 1.
            Op::BROADCAST_TO => first(&[(any(&[Int8, Int16]), 3), (true, 2)]),
            Op::WHERE => first(&[(!is(Bool), 2)]),
            Op::EMBEDDING_LOOKUP => {
                first(&[(weights(Int2), 5), (weights(Int4) || per_channel(self.input_tensor(1)), 4)])
            }
            Op::DYNAMIC_UPDATE_SLICE => first(&[
                (is(BFloat16), 6),
                (is(Int4), 5),
                (is(Int16), 4),
                (is(Float16), 3),
                (self.input(2) == Some(Int64), 2),
            ]),
            Op::SPARSE_TO_DENSE => {
                let values = |ty| self.input(2) == Some(ty);
                first(&[(values(Int8) || values(UInt8), 3), (values(Int64), 2)])
            }
            Op::CAST => first(&[
                (either(&[Int2, UInt4]), 8),
                (either(&[BFloat16]), 7),
                (is(Int4) && self.output(0) == Some(Float32), 6),
                (either(&[Float64, Float16]), 5),
                (either(&[UInt16]), 4),
                (either(&[Int8]), 3),
                (either(&[UInt32]), 2),
            ]),
            _ => 1,
        }
    }

    fn fully_connected(&self) -> i32 {
        let BuiltinOptions::FullyConnectedOptions(options) = &self.node.options else { return 1 };
        let shuffled = options.weights_format == FullyConnectedOptionsWeightsFormat::SHUFFLED4x16INT8;
        first(&[
            (self.input(1) == Some(Int2), 14),
            (self.are(Int16, Int4, Int16), 13),
            (self.is_hybrid() && per_channel(self.input_tensor(1)), 12),
            (self.are(Int16, Int8, Int16) && self.has_bias_type(), 11),
            (self.input_tensor(1).is_some_and(|weights| weights.sparsity.is_some()), 8),
            (self.is_int16(), 7),
            (self.node.inputs.len() == 2, 6),
            (options.keep_num_dims, 5),
            (self.are(Int8, Int8, Int8), 4),
            (self.are(Int8, Int4, Int8), 10),
            (self.is_hybrid() && options.asymmetric_quantize_inputs, 9),
            (self.is_hybrid(), 3),
            (shuffled, 2),
        ])
    }

    /// The options say which type a 16-bit operator's bias has; float, the default, says nothing.
    fn has_bias_type(&self) -> bool {
        let ty = match &self.node.options {
            BuiltinOptions::Conv2DOptions(o) => o.quantized_bias_type,
            BuiltinOptions::FullyConnectedOptions(o) => o.quantized_bias_type,
            BuiltinOptions::TransposeConvOptions(o) => o.quantized_bias_type,
            _ => Code::FLOAT32,
        };
        ty != Code::FLOAT32
    }

    /// A convolution whose filter sees a part of the input's channels.
    fn is_grouped(&self) -> bool {
        let channels = |index| self.input_tensor(index).and_then(|tensor| tensor.shape.get(3).copied());
        matches!((channels(0), channels(1)), (Some(input), Some(filter)) if filter != 0 && input != filter)
    }

    /// The product of the inputs' scales is at least the output's.
    fn rescales_up(&self) -> bool {
        let scale = |tensor: Option<&Tensor>| Some(tensor?.quantization.as_ref()?.as_per_tensor()?.0);
        match (scale(self.input_tensor(0)), scale(self.input_tensor(1)), scale(self.output_tensor(0))) {
            (Some(a), Some(b), Some(out)) => a != 0.0 && b != 0.0 && out != 0.0 && a * b / out >= 1.0,
            _ => false,
        }
    }
}

fn per_channel(tensor: Option<&Tensor>) -> bool {
    tensor.and_then(|tensor| tensor.quantization.as_ref()).is_some_and(|q| q.scale.len() > 1)
}

fn quantized(tensor: Option<&Tensor>) -> bool {
    tensor.and_then(|tensor| tensor.quantization.as_ref()).is_some_and(|q| !q.scale.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn versions_rise_with_what_a_node_uses() {
        let mut b = ModelBuilder::new();
        let quantization = Quantization::per_tensor(0.5, 0);
        let x = b.quantized("x", TensorType::Int8, &[1, 8, 8, 4], quantization.clone());
        b.graph_mut().inputs.push(x);
        let w = b.constant_i8("w", &[2, 3, 3, 4], &[1; 72]);
        let y = b.quantized("y", TensorType::Int8, &[1, 8, 8, 2], quantization.clone());
        let options = BuiltinOptions::Conv2DOptions(Box::default());
        b.node(BuiltinOperator::CONV_2D, 1, options, &[Some(x), Some(w), None], &[y]);
        let z = b.quantized("z", TensorType::Int8, &[1, 8, 8, 2], quantization);
        b.node(BuiltinOperator::SOFTMAX, 1, BuiltinOptions::SoftmaxOptions(Box::default()), &[Some(y)], &[z]);
        b.node(BuiltinOperator::SHAPE, 1, BuiltinOptions::NONE, &[Some(y)], &[]);
        b.output(z);
        let mut model = b.build().unwrap();
        model.raise_operator_versions();
        let versions: Vec<i32> = model.operator_codes.iter().map(|code| code.version).collect();
        assert_eq!(versions, [3, 2, 1]);
        // Half of the channels: a grouped convolution.
        model.subgraphs[0].tensors[x].shape[3] = 8;
        let graph = &model.subgraphs[0];
        assert_eq!(min_operator_version(&model, graph, &graph.nodes[0]), 6);
    }
}
