//! Generated cases of recurrent operators.

use crate::common::linear_cases::Noise;
use crate::op::Case;
use ferrolite_model::TensorType::{Float32, Int8, Int16, Int32, UInt8};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, Quantization, TensorId, TensorType};

/// Scale and zero point.
pub type Scale = Option<(f32, i64)>;

/// One node and its tensors; inputs are added in their order.
pub struct CaseBuilder {
    model: ModelBuilder,
    noise: Noise,
    inputs: Vec<Option<TensorId>>,
}

impl CaseBuilder {
    /// Nothing yet; the same seed gives the same weights.
    pub fn new(seed: usize) -> CaseBuilder {
        CaseBuilder { model: ModelBuilder::new(), noise: Noise(seed as u64), inputs: Vec::new() }
    }

    fn push(&mut self, id: TensorId, scale: Scale) {
        if let Some((scale, zero_point)) = scale {
            self.model.quantize(id, Quantization::per_tensor(scale, zero_point));
        }
        self.inputs.push(Some(id));
    }

    /// An input of the model.
    pub fn input(&mut self, ty: TensorType, shape: &[i32], scale: Scale) {
        let id = self.model.input(format!("x{}", self.inputs.len()), ty, shape);
        self.push(id, scale);
    }

    /// A variable.
    pub fn state(&mut self, ty: TensorType, shape: &[i32], scale: Scale) {
        let id = self.model.variable(format!("state{}", self.inputs.len()), ty, shape);
        self.push(id, scale);
    }

    /// Optional inputs left out.
    pub fn absent(&mut self, count: usize) {
        self.inputs.extend((0..count).map(|_| None));
    }

    /// A constant: real numbers around 0 up to `size`; integers of one byte over their range, or 0 if `size` is, others
    /// up to `size` steps.
    pub fn constant(&mut self, ty: TensorType, shape: &[i32], size: f32, scale: Scale) {
        let name = format!("w{}", self.inputs.len());
        let count = shape.iter().product::<i32>();
        let (model, noise) = (&mut self.model, &mut self.noise);
        let mut values = (0..count).map(|_| noise.float() * size);
        let id = match ty {
            Float32 => model.constant_f32(name, shape, &values.collect::<Vec<_>>()),
            Int16 => {
                let bytes: Vec<u8> = values.flat_map(|x| (x as i16).to_le_bytes()).collect();
                model.constant(name, ty, shape, bytes)
            }
            Int32 => model.constant_i32(name, shape, &values.map(|x| x as i32).collect::<Vec<_>>()),
            Int8 | UInt8 => {
                values.by_ref().for_each(drop);
                let bytes: Vec<u8> = (0..count).map(|_| if size == 0.0 { 0 } else { noise.weight() }).collect();
                model.constant(name, ty, shape, bytes)
            }
            _ => return self.absent(1),
        };
        self.push(id, scale);
    }

    /// The case.
    pub fn finish(
        mut self,
        name: String,
        op: BuiltinOperator,
        options: BuiltinOptions,
        outputs: &[(TensorType, &[i32], Scale)],
        intermediates: &[(TensorType, Scale)],
    ) -> Option<Case> {
        let mut ids = Vec::new();
        for (i, &(ty, shape, scale)) in outputs.iter().enumerate() {
            let id = self.model.tensor(format!("y{i}"), ty, shape);
            if let Some((scale, zero_point)) = scale {
                self.model.quantize(id, Quantization::per_tensor(scale, zero_point));
            }
            self.model.output(id);
            ids.push(id);
        }
        let mut internal = Vec::new();
        for (i, &(ty, scale)) in intermediates.iter().enumerate() {
            let id = self.model.tensor(format!("intermediate{i}"), ty, &[0]);
            if let Some((scale, zero_point)) = scale {
                self.model.quantize(id, Quantization::per_tensor(scale, zero_point));
            }
            internal.push(id);
        }
        let node = self.model.node(op, 1, options, &self.inputs, &ids);
        self.model.graph_mut().nodes[node].intermediates = internal;
        Some(Case { name, model: self.model.build().ok()? })
    }
}
