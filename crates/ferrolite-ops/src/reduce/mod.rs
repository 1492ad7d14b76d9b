//! Reductions over dimensions: MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_ANY, REDUCE_ALL.

mod cases;
mod fast;
mod plan;
mod quantized;

use crate::common::lanes::lanes;
use crate::common::moves_grad;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::strided::{axis, index_input, known};
use crate::gradient::Gradient;
use crate::op::{Case, FastKernel, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::tensor::{Element, Shape};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, TensorType};
use plan::Plan;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// MEAN.
pub const MEAN: Reduce = Reduce { op: BuiltinOperator::MEAN, kind: Kind::Mean, last_version: 3 };
/// SUM.
pub const SUM: Reduce = Reduce { op: BuiltinOperator::SUM, kind: Kind::Sum, last_version: 2 };
/// REDUCE_MAX.
pub const REDUCE_MAX: Reduce = Reduce { op: BuiltinOperator::REDUCE_MAX, kind: Kind::Max, last_version: 3 };
/// REDUCE_MIN.
pub const REDUCE_MIN: Reduce = Reduce { op: BuiltinOperator::REDUCE_MIN, kind: Kind::Min, last_version: 3 };
/// REDUCE_PROD.
pub const REDUCE_PROD: Reduce = Reduce { op: BuiltinOperator::REDUCE_PROD, kind: Kind::Prod, last_version: 2 };
/// REDUCE_ANY.
pub const REDUCE_ANY: Reduce = Reduce { op: BuiltinOperator::REDUCE_ANY, kind: Kind::Any, last_version: 1 };
/// REDUCE_ALL.
pub const REDUCE_ALL: Reduce = Reduce { op: BuiltinOperator::REDUCE_ALL, kind: Kind::All, last_version: 1 };

/// What is computed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
    Any,
    All,
}

/// A reduction. Inputs: data, axes.
pub struct Reduce {
    op: BuiltinOperator,
    kind: Kind,
    last_version: i32,
}

/// Which dimensions are reduced; `None` when not known yet. An axis may be listed twice; a scalar ignores axes.
fn reduced(node: &NodeView<'_>) -> Result<Option<Vec<bool>>, OpError> {
    let rank = node.input(0)?.shape.len();
    let Some(axes) = index_input(node, 1)?.indices()? else { return Ok(None) };
    let mut reduced = vec![false; rank];
    if rank > 0 {
        for a in axes {
            reduced[axis(a, rank)?] = true;
        }
    }
    Ok(Some(reduced))
}

impl Reduce {
    fn unsupported(&self, ty: TensorType) -> OpError {
        OpError::unsupported(format!("{} of {ty}", OpId::Builtin(self.op)))
    }
}

impl OpDef for Reduce {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=self.last_version
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        use TensorType::*;
        let boolean = matches!(self.kind, Kind::Any | Kind::All);
        let supported = match input.ty {
            Bool => self.kind != Kind::Mean,
            Float32 | Int32 | Int64 | Int8 | UInt8 | Int16 => !boolean,
            _ => false,
        };
        if !supported {
            return Err(self.unsupported(input.ty));
        }
        if matches!(self.kind, Kind::Max | Kind::Min) {
            quantized::same_parameters(input, node.output(0)?)?;
        }
        let Some(options) = node.options.as_reducer_options() else {
            return Err(OpError::invalid("options are missing"));
        };
        let Some(reduced) = reduced(node)? else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
        let dims = input.shape.iter().zip(reduced);
        let shape: Shape = if options.keep_dims {
            dims.map(|(&n, reduced)| if reduced { 1 } else { n }).collect()
        } else {
            dims.filter(|(_, reduced)| !reduced).map(|(&n, _)| n).collect()
        };
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        use TensorType::*;
        let input = node.input(0)?;
        let plan = Plan::new(&input.shape, &known(reduced(node)?)?)?;
        match (self.kind, input.ty) {
            (Kind::Mean, Float32) => mean_f32(plan),
            (Kind::Mean, Int32) => mean_int::<i32>(plan),
            (Kind::Mean, Int64) => mean_int::<i64>(plan),
            (Kind::Mean | Kind::Sum, Int8 | UInt8 | Int16) => {
                quantized::mean_or_sum(node, plan, self.kind == Kind::Mean)
            }
            (Kind::Sum, Float32) => fold(plan, (0f32, 0.0), |a, x| a + x, false),
            (Kind::Sum, Int32) => fold(plan, (0i32, 0), i32::wrapping_add, true),
            (Kind::Sum, Int64) => fold(plan, (0i64, 0), i64::wrapping_add, true),
            (Kind::Prod, Float32) => fold(plan, (1f32, 1.0), |a, x| a * x, false),
            (Kind::Prod, Int32) => fold(plan, (1i32, 1), i32::wrapping_mul, false),
            (Kind::Prod, Int64) => fold(plan, (1i64, 1), i64::wrapping_mul, false),
            (Kind::Prod, Int8 | UInt8 | Int16) if input.quantization.is_some_and(|q| !q.scale.is_empty()) => {
                quantized::prod(node, plan)
            }
            (Kind::Prod, Int8) => fold(plan, (1i8, 1), i8::wrapping_mul, false),
            (Kind::Prod, UInt8) => fold(plan, (1u8, 1), u8::wrapping_mul, false),
            (Kind::Prod, Int16) => fold(plan, (1i16, 1), i16::wrapping_mul, false),
            // The identity of a maximum of floats is −∞, but of nothing LiteRT makes the lowest finite number.
            (Kind::Max, Float32) => fold(plan, (f32::NEG_INFINITY, f32::MIN), |a, x| if x > a { x } else { a }, true),
            (Kind::Min, Float32) => fold(plan, (f32::INFINITY, f32::MAX), |a, x| if x < a { x } else { a }, true),
            (Kind::Any | Kind::Sum | Kind::Max, Bool) => fold(plan, (0u8, 0), |a, x| a | u8::from(x != 0), true),
            (Kind::All | Kind::Prod | Kind::Min, Bool) => fold(plan, (1u8, 1), |a, x| a & u8::from(x != 0), true),
            (Kind::Max, ty) => extreme(ty, plan, true).ok_or_else(|| self.unsupported(ty))?,
            (Kind::Min, ty) => extreme(ty, plan, false).ok_or_else(|| self.unsupported(ty))?,
            (_, ty) => Err(self.unsupported(ty)),
        }
    }

    fn fast(&self) -> &'static [FastKernel] {
        fast::table(self.kind)
    }

    fn cases(&self) -> Vec<Case> {
        cases::cases(self.op, self.kind)
    }

    fn gradient(&self) -> Option<Gradient> {
        match self.kind {
            Kind::Mean => Some(moves_grad::mean),
            Kind::Sum => Some(moves_grad::sum),
            _ => None,
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        match self.kind {
            Kind::Mean | Kind::Sum | Kind::Prod => Some(QuantRule::UNARY),
            Kind::Max | Kind::Min => Some(QuantRule::SAME_SCALE),
            Kind::Any | Kind::All => None,
        }
    }
}

/// Reduces in the element's own type. `start` is the identity and what a reduction of nothing gives; `lane` allows
/// several partial results, which is exact for everything but sums and products of floats.
fn fold<T: Element + Send + Sync>(
    plan: Plan,
    start: (T, T),
    f: impl Fn(T, T) -> T + Copy + Send + Sync + 'static,
    lane: bool,
) -> Result<Box<dyn Kernel>, OpError> {
    let (identity, empty) = start;
    reference(move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let output = io.outputs[0].slice::<T>()?;
        output.fill(if plan.count == 0 { empty } else { identity });
        plan.fold(
            input,
            output,
            f,
            |a, row| if lane { lanes(a, identity, row, f) } else { row.iter().copied().fold(a, f) },
        )
    })
}

fn extreme(ty: TensorType, plan: Plan, max: bool) -> Option<Result<Box<dyn Kernel>, OpError>> {
    macro_rules! pick {
        ($rust:ty) => {
            if max {
                fold(plan, (<$rust>::MIN, <$rust>::MIN), <$rust>::max, true)
            } else {
                fold(plan, (<$rust>::MAX, <$rust>::MAX), <$rust>::min, true)
            }
        };
    }
    Some(match ty {
        TensorType::Int8 => pick!(i8),
        TensorType::UInt8 => pick!(u8),
        TensorType::Int16 => pick!(i16),
        TensorType::Int32 => pick!(i32),
        TensorType::Int64 => pick!(i64),
        _ => return None,
    })
}

/// Sum, then division; NaN for a mean of nothing.
fn mean_f32(plan: Plan) -> Result<Box<dyn Kernel>, OpError> {
    reference(move |io| {
        let input = io.input(0)?.slice::<f32>()?;
        let output = io.outputs[0].slice::<f32>()?;
        output.fill(0.0);
        let add = |a: f32, x: f32| a + x;
        plan.fold(input, output, add, |a, row| row.iter().copied().fold(a, add))?;
        let count = plan.count as f32;
        output.iter_mut().for_each(|x| *x /= count);
        Ok(())
    })
}

/// Sum in int64, then division towards zero; 0 for a mean of nothing.
fn mean_int<T>(plan: Plan) -> Result<Box<dyn Kernel>, OpError>
where
    T: Element + Into<i64> + TryFrom<i64> + Default,
{
    let scratch = scratch_size::<i64>(plan.outputs);
    plan::with_scratch(scratch, move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let sums = Scratch::new(io.scratch).take::<i64>(plan.outputs)?;
        sums.fill(0);
        let add = |a: i64, x: T| a.wrapping_add(x.into());
        plan.fold(input, sums, add, |a, row| row.iter().copied().fold(a, add))?;
        let output = io.outputs[0].slice::<T>()?;
        ensure!(output.len() == sums.len(), "{} outputs, {} computed", output.len(), sums.len());
        let count = plan.count.max(1) as i64;
        for (y, &sum) in output.iter_mut().zip(&*sums) {
            *y = T::try_from(sum / count).unwrap_or_default();
        }
        Ok(())
    })
}
