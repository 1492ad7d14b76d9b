//! Elementwise mathematics of one input: ABS, CEIL, COS, EXP, FLOOR, LOG, NEG, ROUND, RSQRT, SIN, SQRT, SQUARE.
//!
//! Each has a float function; some have integer or quantized forms. Sources: LiteRT
//! `kernels/{elementwise,exp,neg,floor,ceil,round}.cc`.

use crate::common::backward::unary as backward;
use crate::common::cases;
use crate::common::elementwise::{Quantized, check_type, infer_unary, is_quantized, unary, unary_float};
use crate::common::inverse_sqrt::inverse_sqrt;
use crate::common::lut::{Table16, kernel8, table8};
use crate::common::requant::Multiplier;
use crate::common::vector;
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::{OpError, ensure};
use ferrolite_kernels::Unary;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// Makes the kernel for types other than floats.
type IntegerKernel = fn(&NodeView<'_>) -> Result<Box<dyn Kernel>, OpError>;

/// One function.
pub struct Math {
    op: BuiltinOperator,
    version: i32,
    float: fn(f32) -> f32,
    /// Integer types and their kernel.
    integers: &'static [TensorType],
    integer: IntegerKernel,
    /// How it is quantized, if it is.
    rule: Option<QuantRule>,
    fast: &'static [FastKernel],
    gradient: Option<Gradient>,
}

fn no_integers(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    Err(OpError::unsupported(format!("input of type {}", node.input(0)?.ty)))
}

const fn float_only(op: BuiltinOperator, version: i32, float: fn(f32) -> f32) -> Math {
    Math { op, version, float, integers: &[], integer: no_integers, rule: None, fast: &[], gradient: None }
}

const QUANTIZED: &[TensorType] = &[TensorType::Int8, TensorType::Int16];

/// ABS.
pub const ABS: Math = Math {
    op: BuiltinOperator::ABS,
    version: 5,
    float: f32::abs,
    integers: &[TensorType::Int8, TensorType::Int16, TensorType::Int32],
    integer: abs,
    rule: Some(QuantRule::UNARY),
    fast: &[
        FastKernel {
            name: "abs_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("abs_f32", node, isa, Unary::Abs),
        },
        FastKernel {
            name: "abs_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("abs_8bit_table", &ABS, node),
        },
    ],
    gradient: Some(|ctx| {
        backward(ctx, |b, x| {
            let above = b.where_positive(b.grad, x);
            let minus = b.neg(x);
            let below = b.where_positive(b.grad, minus);
            b.sub(above, below)
        })
    }),
};
/// CEIL.
pub const CEIL: Math = float_only(BuiltinOperator::CEIL, 1, f32::ceil);
/// COS.
pub const COS: Math = Math {
    gradient: Some(|ctx| {
        backward(ctx, |b, x| {
            let sine = b.emit(BuiltinOperator::SIN, &[x]);
            let product = b.mul(b.grad, sine);
            b.neg(product)
        })
    }),
    ..float_only(BuiltinOperator::COS, 2, f32::cos)
};
/// EXP.
pub const EXP: Math = Math {
    op: BuiltinOperator::EXP,
    version: 2,
    float: f32::exp,
    integers: QUANTIZED,
    integer: |node| by_table(node, f32::exp),
    rule: Some(QuantRule::UNARY),
    fast: &[
        FastKernel {
            name: "exp_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("exp_f32", node, isa, Unary::Exp),
        },
        FastKernel {
            name: "exp_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("exp_8bit_table", &EXP, node),
        },
    ],
    gradient: Some(|ctx| backward(ctx, |b, _| b.mul(b.grad, b.output))),
};
/// FLOOR.
pub const FLOOR: Math = float_only(BuiltinOperator::FLOOR, 1, f32::floor);
/// LOG.
pub const LOG: Math = Math {
    op: BuiltinOperator::LOG,
    version: 2,
    float: f32::ln,
    integers: QUANTIZED,
    integer: log,
    rule: Some(QuantRule::UNARY),
    fast: &[FastKernel {
        name: "log_8bit_table",
        supports: vector::is_8_bit,
        prepare: |node, _| vector::table("log_8bit_table", &LOG, node),
    }],
    gradient: Some(|ctx| backward(ctx, |b, x| b.div(b.grad, x))),
};
/// NEG.
pub const NEG: Math = Math {
    op: BuiltinOperator::NEG,
    version: 1,
    float: |x| -x,
    integers: &[TensorType::Int8, TensorType::Int16, TensorType::Int32, TensorType::Int64],
    integer: negate,
    rule: None,
    fast: &[
        FastKernel {
            name: "neg_f32",
            supports: vector::is_f32,
            prepare: |node, isa| vector::unary("neg_f32", node, isa, Unary::Neg),
        },
        FastKernel {
            name: "neg_8bit_table",
            supports: vector::is_8_bit,
            prepare: |node, _| vector::table("neg_8bit_table", &NEG, node),
        },
    ],
    gradient: Some(|ctx| backward(ctx, |b, _| b.neg(b.grad))),
};
/// ROUND: halves to even.
pub const ROUND: Math = float_only(BuiltinOperator::ROUND, 1, f32::round_ties_even);
/// RSQRT.
pub const RSQRT: Math = Math {
    op: BuiltinOperator::RSQRT,
    version: 3,
    float: |x| 1.0 / x.sqrt(),
    integers: QUANTIZED,
    integer: rsqrt,
    rule: Some(QuantRule::UNARY),
    fast: &[FastKernel {
        name: "rsqrt_f32",
        supports: vector::is_f32,
        prepare: |node, isa| vector::unary("rsqrt_f32", node, isa, Unary::Rsqrt),
    }],
    gradient: Some(|ctx| {
        // −½ y³
        backward(ctx, |b, _| {
            let square = b.mul(b.output, b.output);
            let cube = b.mul(square, b.output);
            let slope = b.scale(cube, -0.5);
            b.mul(b.grad, slope)
        })
    }),
};
/// SIN.
pub const SIN: Math = Math {
    gradient: Some(|ctx| {
        backward(ctx, |b, x| {
            let cosine = b.emit(BuiltinOperator::COS, &[x]);
            b.mul(b.grad, cosine)
        })
    }),
    ..float_only(BuiltinOperator::SIN, 2, f32::sin)
};
/// SQRT.
pub const SQRT: Math = Math {
    op: BuiltinOperator::SQRT,
    version: 2,
    float: f32::sqrt,
    integers: QUANTIZED,
    integer: sqrt,
    rule: Some(QuantRule::UNARY),
    fast: &[FastKernel {
        name: "sqrt_f32",
        supports: vector::is_f32,
        prepare: |node, isa| vector::unary("sqrt_f32", node, isa, Unary::Sqrt),
    }],
    gradient: Some(|ctx| {
        backward(ctx, |b, _| {
            let half = b.scale(b.grad, 0.5);
            b.div(half, b.output)
        })
    }),
};
/// SQUARE.
pub const SQUARE: Math = Math {
    gradient: Some(|ctx| {
        backward(ctx, |b, x| {
            let twice = b.scale(x, 2.0);
            b.mul(b.grad, twice)
        })
    }),
    fast: &[FastKernel {
        name: "square_f32",
        supports: vector::is_f32,
        prepare: |node, isa| vector::unary("square_f32", node, isa, Unary::Square),
    }],
    ..float_only(BuiltinOperator::SQUARE, 1, |x| x * x)
};

const FLOATS: [TensorType; 3] = [TensorType::Float32, TensorType::Float16, TensorType::BFloat16];

impl OpDef for Math {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=self.version
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let ty = node.input(0)?.ty;
        if self.integers.contains(&ty) { infer_unary(node, self.integers) } else { infer_unary(node, &FLOATS) }
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let ty = node.input(0)?.ty;
        if self.integers.contains(&ty) {
            return (self.integer)(node);
        }
        check_type(ty, &FLOATS)?;
        unary_float(ty, self.float)
    }

    fn is_pointwise(&self) -> bool {
        true
    }

    fn fast(&self) -> &'static [FastKernel] {
        self.fast
    }

    fn quantize(&self) -> Option<QuantRule> {
        self.rule
    }

    fn gradient(&self) -> Option<Gradient> {
        self.gradient
    }

    fn cases(&self) -> Vec<Case> {
        let mut types = vec![(TensorType::Float32, None)];
        // Square roots of int8 refuse negative numbers, which the inputs would hold.
        let roots = [BuiltinOperator::SQRT, BuiltinOperator::RSQRT];
        if self.integers.contains(&TensorType::Int8) && !roots.contains(&self.op) {
            types.push((TensorType::Int8, Some((0.04, -50))));
        }
        cases::unary(self.op, &BuiltinOptions::NONE, &types)
    }
}

/// int8 or int16 through a table of `f`.
fn by_table(node: &NodeView<'_>, f: impl Fn(f32) -> f32) -> Result<Box<dyn Kernel>, OpError> {
    if node.input(0)?.ty == TensorType::Int8 {
        return kernel8(table8(node, f)?);
    }
    let table = Table16::new(node, f)?;
    unary(move |x: i16| table.get(x))
}

/// The logarithm of what is not positive is the smallest value of the output.
fn log(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    let smallest = if node.input(0)?.ty == TensorType::Int8 { i8::MIN.into() } else { i32::from(i16::MIN) };
    let floor = smallest.saturating_sub(zero) as f32 * scale;
    by_table(node, |x| if x <= 0.0 { floor } else { x.ln() })
}

fn negate(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    match node.input(0)?.ty {
        TensorType::Int8 => unary(i8::wrapping_neg),
        TensorType::Int16 => unary(i16::wrapping_neg),
        TensorType::Int32 => unary(i32::wrapping_neg),
        _ => unary(i64::wrapping_neg),
    }
}

fn abs(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    match node.input(0)?.ty {
        TensorType::Int32 => unary(i32::wrapping_abs),
        TensorType::Int16 if !is_quantized(node.input(0)?) => unary(i16::wrapping_abs),
        TensorType::Int16 => abs_quantized::<i16>(node),
        _ => abs_quantized::<i8>(node),
    }
}

fn abs_quantized<T: Quantized>(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    let factor = (in_scale != scale).then(|| Multiplier::new(f64::from(in_scale / scale))).transpose()?;
    unary(move |x: T| {
        let x = x.widen().wrapping_sub(in_zero).wrapping_abs();
        T::saturate(factor.map_or(x, |f| f.apply(x)).wrapping_add(zero))
    })
}

fn sqrt(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    if node.input(0)?.ty == TensorType::Int8 { sqrt_quantized::<i8>(node) } else { sqrt_quantized::<i16>(node) }
}

/// In float; the quotient is truncated, not rounded. Negative values are an error.
fn sqrt_quantized<T: Quantized>(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    reference(move |io| {
        let input = io.input(0)?.slice::<T>()?;
        for (o, x) in io.outputs[0].slice::<T>()?.iter_mut().zip(input) {
            let x = in_scale * x.widen().wrapping_sub(in_zero) as f32;
            let negative = x < 0.0;
            ensure!(!negative, "the square root of a negative number");
            *o = T::saturate(((x.sqrt() / scale) as i32).saturating_add(zero));
        }
        Ok(())
    })
}

fn rsqrt(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    ensure!(in_scale > 0.0 && scale > 0.0, "scales must be positive");
    if node.input(0)?.ty == TensorType::Int16 {
        let table = Table16::new(node, |x| if x <= 0.0 { f32::from(i16::MAX) * scale } else { 1.0 / x.sqrt() })?;
        return reference(move |io| {
            let input = io.input(0)?.slice::<i16>()?;
            ensure!(input.iter().all(|&x| x >= 0), "the square root of a negative number");
            io.outputs[0].slice::<i16>()?.iter_mut().zip(input).for_each(|(o, &x)| *o = table.get(x));
            Ok(())
        });
    }
    let factor = Multiplier::new(1.0 / f64::from(in_scale.sqrt() * scale))?;
    // Keeps 20 fractional bits between the two multiplications.
    const SHIFT: i32 = 20;
    let rescale = match factor.shift - SHIFT {
        shift if shift >= -31 => Multiplier { shift, ..factor },
        _ => Multiplier { multiplier: 0, shift: 0 },
    };
    reference(move |io| {
        let input = io.input(0)?.slice::<i8>()?;
        for (o, &x) in io.outputs[0].slice::<i8>()?.iter_mut().zip(input) {
            let x = i32::from(x).wrapping_sub(in_zero);
            ensure!(x >= 0, "the square root of a negative number");
            *o = if x == 0 {
                i8::MAX
            } else {
                let inverse = inverse_sqrt(x);
                let root = Multiplier { shift: inverse.shift + SHIFT, ..inverse }.apply(1);
                i8::saturate(rescale.apply(root).wrapping_add(zero))
            };
        }
        Ok(())
    })
}
