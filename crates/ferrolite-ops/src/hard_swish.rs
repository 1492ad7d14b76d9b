//! HARD_SWISH: x · relu6(x + 3) / 6. Sources: LiteRT `kernels/activations.cc`, `reference/hard_swish.h`.

use crate::common::backward::unary as backward;
use crate::common::cases;
use crate::common::elementwise::{
    Quantized, check_type, clamp, infer_unary, rounding_divide_by_pot_i16, unary, unary_float,
};
use crate::common::requant::{quantize_multiplier, saturating_rounding_doubling_high_mul_i16 as rounding_mul};
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use crate::{OpError, ensure, for_quantized};
use ferrolite_kernels::Unary;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// HARD_SWISH.
pub struct HardSwish;

const TYPES: [TensorType; 5] =
    [TensorType::Float32, TensorType::Float16, TensorType::BFloat16, TensorType::Int8, TensorType::UInt8];

impl OpDef for HardSwish {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::HARD_SWISH)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let ty = node.input(0)?.ty;
        check_type(ty, &TYPES)?;
        if ty.is_float() {
            return unary_float(ty, |x| x * clamp(x + 3.0, 0.0, 6.0) / 6.0);
        }
        let p = Params::new(node)?;
        for_quantized!(ty, T => unary(move |x: T| T::saturate(p.apply(x.widen()).into())))
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "hard_swish_f32",
                supports: vector::is_f32,
                prepare: |node, isa| vector::unary("hard_swish_f32", node, isa, Unary::HardSwish),
            },
            FastKernel {
                name: "hard_swish_8bit_table",
                supports: vector::is_8_bit,
                prepare: |node, _| vector::table("hard_swish_8bit_table", &HardSwish, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { int16: false, ..QuantRule::UNARY })
    }

    fn gradient(&self) -> Option<Gradient> {
        // x / 3 + 1 / 2 between −3 and 3, 1 above
        Some(|ctx| {
            backward(ctx, |b, x| {
                let inside = b.where_between(b.grad, x, -3.0, 3.0);
                let three = b.scalar(3.0);
                let beyond = b.sub(x, three);
                let above = b.where_positive(b.grad, beyond);
                let third = b.scale(x, 1.0 / 3.0);
                let half = b.scalar(0.5);
                let slope = b.add(third, half);
                let inside = b.mul(inside, slope);
                b.add(inside, above)
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        let types = [
            (TensorType::Float32, None),
            (TensorType::Int8, Some((0.06, -100))),
            (TensorType::UInt8, Some((0.06, 28))),
        ];
        cases::unary(BuiltinOperator::HARD_SWISH, &BuiltinOptions::NONE, &types)
    }
}

/// The 8-bit form, in int16: x with 7 more bits, once at the output's scale and once at 3 / 32768, where relu6(x + 3)
/// is a saturation.
#[derive(Clone, Copy, Debug)]
struct Params {
    input_zero_point: i32,
    output_zero_point: i16,
    output: (i16, i32),
    reluish: (i16, i32),
}

/// Multiplier (16 bits) and exponent of a real factor.
fn multiplier16(real: f32) -> (i16, i32) {
    let (multiplier, exponent) = quantize_multiplier(real.into());
    let rounded = if multiplier >= i32::MAX - (1 << 15) { i16::MAX } else { ((multiplier + (1 << 15)) >> 16) as i16 };
    (rounded, exponent)
}

fn saturating_left_shift(x: i16, amount: i32) -> i16 {
    (i64::from(x) << amount).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

impl Params {
    fn new(node: &NodeView<'_>) -> Result<Params, OpError> {
        let (in_scale, input_zero_point) = node.input(0)?.scale_zero_point()?;
        let (scale, zero) = node.output(0)?.scale_zero_point()?;
        ensure!(in_scale > 0.0 && scale > 0.0, "scales must be positive");
        let fine_scale = in_scale / 128.0;
        let output = multiplier16(fine_scale / scale);
        ensure!(output.1 <= 0, "the output scale {scale} is too small for the input scale {in_scale}");
        let reluish = multiplier16(fine_scale / (3.0 / 32768.0));
        Ok(Params { input_zero_point, output_zero_point: zero as i16, output, reluish })
    }

    fn apply(&self, x: i32) -> i16 {
        let x = (x.wrapping_sub(self.input_zero_point) as i16).wrapping_mul(1 << 7);
        let at_output_scale = rounding_mul(x, self.output.0);
        let (multiplier, exponent) = self.reluish;
        let mut reluish = if exponent > 0 { saturating_left_shift(x, exponent - 1) } else { x };
        reluish = rounding_mul(reluish, multiplier);
        if exponent > 0 {
            reluish = saturating_left_shift(reluish, 1);
        } else {
            reluish = rounding_divide_by_pot_i16(reluish, -exponent);
        }
        // From [−1, 1] in Q15 to [0, 1] in Q15.
        let gate = ((i32::from(reluish) + (1 << 15)) >> 1) as i16;
        // gate is not negative: the product cannot overflow. It is truncated towards zero.
        let product = (i32::from(gate) * i32::from(at_output_scale) / (1 << 15)) as i16;
        rounding_divide_by_pot_i16(product, -self.output.1).wrapping_add(self.output_zero_point)
    }
}
