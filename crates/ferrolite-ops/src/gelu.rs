//! GELU: x · Φ(x), exactly or by the tanh approximation. Source: LiteRT `reference/gelu.h`.

use crate::OpError;
use crate::common::cases;
use crate::common::elementwise::{check_type, infer_unary, unary, unary_float};
use crate::common::lut::{Table16, kernel8, table8};
use crate::common::vector;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId};
use crate::quantize::QuantRule;
use ferrolite_kernels::Unary;
use ferrolite_model::schema::GeluOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::ops::RangeInclusive;

/// GELU.
pub struct Gelu;

const TYPES: [TensorType; 6] = [
    TensorType::Float32,
    TensorType::Float16,
    TensorType::BFloat16,
    TensorType::Int8,
    TensorType::UInt8,
    TensorType::Int16,
];

fn is_approximate(node: &NodeView<'_>) -> bool {
    node.options.as_gelu_options().is_some_and(|o| o.approximate)
}

impl OpDef for Gelu {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::GELU)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        infer_unary(node, &TYPES)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let f = if is_approximate(node) { approximate } else { exact };
        let ty = node.input(0)?.ty;
        check_type(ty, &TYPES)?;
        match ty {
            TensorType::Int8 | TensorType::UInt8 => kernel8(table8(node, f)?),
            TensorType::Int16 => {
                let table = Table16::new(node, f)?;
                unary(move |x: i16| table.get(x))
            }
            _ => unary_float(ty, f),
        }
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[
            FastKernel {
                name: "gelu_f32",
                supports: vector::is_f32,
                prepare: |node, isa| {
                    let op = if is_approximate(node) { Unary::GeluTanh } else { Unary::Gelu };
                    vector::unary("gelu_f32", node, isa, op)
                },
            },
            FastKernel {
                name: "gelu_8bit_table",
                supports: vector::is_8_bit,
                prepare: |node, _| vector::table("gelu_8bit_table", &Gelu, node),
            },
        ]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::UNARY)
    }

    fn cases(&self) -> Vec<Case> {
        let types = [
            (TensorType::Float32, None),
            (TensorType::Int8, Some((0.05, -100))),
            (TensorType::UInt8, Some((0.05, 28))),
        ];
        let mut all = Vec::new();
        for approximate in [false, true] {
            let options = BuiltinOptions::GeluOptions(Box::new(GeluOptionsT { approximate }));
            let mut cases = cases::unary(BuiltinOperator::GELU, &options, &types);
            cases.iter_mut().filter(|_| approximate).for_each(|case| case.name.push_str(" approximate"));
            all.append(&mut cases);
        }
        all
    }
}

/// ½ x · erfc(−x / √2)
fn exact(x: f32) -> f32 {
    0.5 * x * erfc(f64::from(x * -FRAC_1_SQRT_2)) as f32
}

/// ½ x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))
fn approximate(x: f32) -> f32 {
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)).tanh())
}

const SQRT_2_OVER_PI: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// The complementary error function to about 11 digits.
///
/// Below 3 by the series erf(x) = 2/√π · e^(−x²) · Σ 2^n x^(2n+1) / (2n+1)!!, all of whose terms have the same sign,
/// and from there by the continued fraction erfc(x) = e^(−x²)/√π · 1/(x + ½/(x + 1/(x + 3⁄2/(x + …)))).
fn erfc(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > sum.abs() * 1e-17 {
            n += 2.0;
            term *= 2.0 * x * x / n;
            sum += term;
        }
        return 1.0 - std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    let tail = if a > 27.0 {
        0.0
    } else {
        let fraction = (1..=60).rev().fold(a, |below, k| a + f64::from(k) / 2.0 / below);
        (-a * a).exp() / (std::f64::consts::PI.sqrt() * fraction)
    };
    if x > 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::erfc;

    #[test]
    fn erfc_is_right() {
        // Abramowitz & Stegun, table 7.1, and WolframAlpha for the tails.
        let known = [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (5.0, 1.537_459_794_428_034_8e-12),
            (-1.0, 1.842_700_792_949_715),
        ];
        for (x, want) in known {
            assert!((erfc(x) / want - 1.0).abs() < 1e-10, "erfc({x}) = {}", erfc(x));
        }
        assert_eq!((erfc(f64::INFINITY), erfc(f64::NEG_INFINITY)), (0.0, 2.0));
    }
}
