//! Generated cases of linear operators: one geometry in every type that has a fast kernel.

use crate::op::Case;
use ferrolite_model::TensorType::{Float32, Int8, Int16, Int32, Int64, UInt8};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, Quantization, TensorId};

/// Types of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Float with constant weights.
    Float,
    /// Float with weights and bias that are inputs.
    Trained,
    /// int8 with a scale per channel.
    Int8,
    /// int8 with one scale.
    Int8PerTensor,
    /// uint8.
    UInt8,
    /// Float activations, int8 weights with a scale per channel.
    Hybrid,
    /// Float activations, int8 weights with one scale.
    HybridPerTensor,
    /// int16 activations, int8 weights with a scale per channel.
    Int16,
    /// int16 activations, int8 weights with one scale.
    Int16PerTensor,
}

/// All of them.
pub const KINDS: [Kind; 9] = [
    Kind::Float,
    Kind::Trained,
    Kind::Int8,
    Kind::Int8PerTensor,
    Kind::UInt8,
    Kind::Hybrid,
    Kind::HybridPerTensor,
    Kind::Int16,
    Kind::Int16PerTensor,
];

/// A geometry.
pub struct Geometry<'a> {
    /// What distinguishes it.
    pub name: String,
    /// Operator.
    pub op: BuiltinOperator,
    /// Options.
    pub options: BuiltinOptions,
    /// Shape of the activations.
    pub x: &'a [i32],
    /// Shape of the weights.
    pub w: &'a [i32],
    /// Dimension of the weights that is the output channel.
    pub axis: usize,
    /// Shape of the output.
    pub y: &'a [i32],
    /// Products per output element, about.
    pub depth: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether the output shape is input 0 and the activations are input 2 (TRANSPOSE_CONV).
    pub transposed: bool,
}

impl Geometry<'_> {
    /// The case in these types.
    pub fn case(&self, kind: Kind) -> Option<Case> {
        let mut b = ModelBuilder::new();
        let (activation, weight, bias_ty) = match kind {
            Kind::Float | Kind::Trained => (Float32, Float32, Float32),
            Kind::Int8 | Kind::Int8PerTensor => (Int8, Int8, Int32),
            Kind::UInt8 => (UInt8, UInt8, Int32),
            Kind::Hybrid | Kind::HybridPerTensor => (Float32, Int8, Float32),
            Kind::Int16 | Kind::Int16PerTensor => (Int16, Int8, Int64),
        };
        let channels = self.w[self.axis] as usize;
        let elements = self.w.iter().product::<i32>() as usize;
        let mut noise = Noise(self.depth as u64 * 977 + elements as u64);
        let x = b.input("x", activation, self.x);
        let w = if kind == Kind::Trained {
            b.input("w", Float32, self.w)
        } else if weight == Float32 {
            let values: Vec<f32> = (0..elements).map(|_| noise.float()).collect();
            b.constant_f32("w", self.w, &values)
        } else {
            let bytes: Vec<u8> = (0..elements).map(|_| noise.weight()).collect();
            b.constant("w", weight, self.w, bytes)
        };
        let scale = 0.013;
        if weight != Float32 {
            let scales: Vec<f32> = (0..channels).map(|c| scale * (1.0 + c as f32 / 7.0)).collect();
            b.quantize(
                w,
                match kind {
                    Kind::Int8 | Kind::Hybrid | Kind::Int16 => Quantization::per_channel(scales, self.axis as i32),
                    Kind::UInt8 => Quantization::per_tensor(scale, 131),
                    _ => Quantization::per_tensor(scale, 0),
                },
            );
        }
        let mut inputs: Vec<Option<TensorId>> = vec![Some(x), Some(w)];
        if self.transposed {
            let shape = b.constant_i32("shape", &[self.y.len() as i32], self.y);
            inputs = vec![Some(shape), Some(w), Some(x)];
        }
        if self.bias {
            let bias = match (kind, bias_ty) {
                (Kind::Trained, _) => b.input("bias", Float32, &[channels as i32]),
                (_, Float32) => {
                    let values: Vec<f32> = (0..channels).map(|_| noise.float()).collect();
                    b.constant_f32("bias", &[channels as i32], &values)
                }
                (_, Int64) => {
                    let values: Vec<i64> = (0..channels).map(|_| (noise.float() * 3e6) as i64).collect();
                    b.constant_i64("bias", &[channels as i32], &values)
                }
                _ => {
                    let values: Vec<i32> = (0..channels).map(|_| (noise.float() * 3000.0) as i32).collect();
                    b.constant_i32("bias", &[channels as i32], &values)
                }
            };
            match bias_ty {
                Int32 => b.quantize(bias, Quantization::per_tensor(0.05 * scale, 0)),
                Int64 => b.quantize(bias, Quantization::per_tensor(0.05 / 256.0 * scale, 0)),
                _ => {}
            }
            inputs.push(Some(bias));
        }
        let y = b.tensor("y", activation, self.y);
        if activation != Float32 {
            let (in_zero, out_zero) = match activation {
                UInt8 => (119, 130),
                Int8 => (-7, 5),
                _ => (0, 0),
            };
            let in_scale = if activation == Int16 { 0.05 / 256.0 } else { 0.05 };
            b.quantize(x, Quantization::per_tensor(in_scale, in_zero));
            // A standard deviation of some 60 steps for uniform bytes.
            let spread = (self.depth.max(1) as f32).sqrt() * 0.05 * scale * 74.0 * 74.0;
            let steps = if activation == Int16 { 60.0 * 256.0 } else { 60.0 };
            b.quantize(y, Quantization::per_tensor(spread / steps, out_zero));
        }
        b.output(y);
        b.node(self.op, 1, self.options.clone(), &inputs, &[y]);
        Some(Case { name: format!("{kind:?} {}", self.name), model: b.build().ok()? })
    }

    /// The cases in all types.
    pub fn cases(&self) -> Vec<Case> {
        KINDS.iter().filter_map(|&kind| self.case(kind)).collect()
    }
}

/// A small generator (splitmix64).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Any byte but −128, which symmetric weights do not have.
    pub(crate) fn weight(&mut self) -> u8 {
        match self.next() as u8 {
            0x80 => 0x7f,
            byte => byte,
        }
    }

    /// In −1..1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::KINDS;
    use crate::op::OpDef;
    use crate::{conv_2d, depthwise_conv_2d, fully_connected, transpose_conv};

    #[test]
    fn every_geometry_is_built_in_every_type() {
        let ops: [&dyn OpDef; 4] = [
            &conv_2d::Conv2d,
            &depthwise_conv_2d::DepthwiseConv2d,
            &fully_connected::FullyConnected,
            &transpose_conv::TransposeConv,
        ];
        for op in ops {
            let cases = op.cases();
            assert!(cases.len() >= 10 * KINDS.len() - 10, "{}: {} cases", op.id(), cases.len());
            for kind in KINDS {
                let prefix = format!("{kind:?} ");
                let count = cases.iter().filter(|case| case.name.starts_with(&prefix)).count();
                assert_eq!(count * KINDS.len(), cases.len(), "{} {kind:?}", op.id());
            }
        }
    }
}
