//! Reductions of quantized integers.

use super::plan::{Plan, with_scratch};
use crate::common::requant::Multiplier;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{Kernel, NodeView};
use crate::tensor::{Element, TensorInfo};
use crate::{OpError, ensure};
use bytemuck::Pod;
use ferrolite_model::TensorType;
use std::ops::AddAssign;

/// Scale and zero point; integers without quantization stand for themselves.
fn parameters(tensor: &TensorInfo<'_>) -> Result<(f32, i32), OpError> {
    let plain = tensor.quantization.is_none_or(|q| q.scale.is_empty());
    let (scale, zero_point) = if plain { (1.0, 0) } else { tensor.scale_zero_point()? };
    ensure!(tensor.ty != TensorType::Int16 || zero_point == 0, "int16 tensor {:?} has a zero point", tensor.name);
    Ok((scale, zero_point))
}

/// Maximum and minimum compare quantized values, so both tensors must mean the same by them.
pub fn same_parameters(input: &TensorInfo<'_>, output: &TensorInfo<'_>) -> Result<(), OpError> {
    if matches!(input.ty, TensorType::Int8 | TensorType::UInt8 | TensorType::Int16) {
        let (a, b) = (parameters(input)?, parameters(output)?);
        ensure!(a == b, "input and output are quantized differently: {a:?}, {b:?}");
    }
    Ok(())
}

/// MEAN and SUM: an exact integer sum, requantized once. LiteRT's reference SUM reads int8 as uint8; this does not.
pub fn mean_or_sum(node: &NodeView<'_>, plan: Plan, mean: bool) -> Result<Box<dyn Kernel>, OpError> {
    let finish = finish(node, plan.count, mean)?;
    let input = node.input(0)?;
    match input.ty {
        TensorType::Int8 if plan.count < 1 << 23 => sums::<i8, i32>(plan, finish),
        TensorType::UInt8 if plan.count < 1 << 23 => sums::<u8, i32>(plan, finish),
        TensorType::Int16 if plan.count < 1 << 15 => sums::<i16, i32>(plan, finish),
        TensorType::Int8 => sums::<i8, i64>(plan, finish),
        TensorType::UInt8 => sums::<u8, i64>(plan, finish),
        TensorType::Int16 => sums::<i16, i64>(plan, finish),
        ty => Err(OpError::unsupported(format!("a quantized reduction of {ty}"))),
    }
}

/// From sums of `count` inputs to outputs.
pub fn finish(node: &NodeView<'_>, count: usize, mean: bool) -> Result<Finish, OpError> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    let (in_scale, in_zero) = parameters(input)?;
    let (out_scale, out_zero) = parameters(output)?;
    let mut factor = Multiplier::new(f64::from(in_scale) / f64::from(out_scale))?;
    if mean && count > 0 {
        // Folds 1 / count into the multiplier with as many bits as stay within its shift.
        let count = count as i64;
        let shift = (63 - count.leading_zeros() as i32).min(32).min(31 + factor.shift);
        factor.multiplier = ((i64::from(factor.multiplier) << shift) / count) as i32;
        factor.shift -= shift;
    }
    Ok(Finish { factor, offset: i64::from(in_zero).saturating_mul(count as i64), zero_point: out_zero })
}

/// The requantization of a sum.
#[derive(Clone, Copy)]
pub struct Finish {
    factor: Multiplier,
    /// Sum of the inputs' zero points.
    offset: i64,
    zero_point: i32,
}

impl Finish {
    /// The output, before it is clamped to its type.
    pub fn apply(self, sum: i64) -> i32 {
        let sum = sum.saturating_sub(self.offset);
        let scaled = match i32::try_from(sum) {
            Ok(sum) => self.factor.apply(sum),
            // Beyond what the reference can sum up: one exact rounding.
            Err(_) => {
                let product = i128::from(sum) * i128::from(self.factor.multiplier);
                let right = 31 - self.factor.shift;
                let rounded = if right > 0 { (product + (1 << (right - 1))) >> right } else { product };
                rounded.clamp(i32::MIN.into(), i32::MAX.into()) as i32
            }
        };
        scaled.saturating_add(self.zero_point)
    }
}

/// `A` is wide enough for the sum of all inputs of an output.
fn sums<T, A>(plan: Plan, finish: Finish) -> Result<Box<dyn Kernel>, OpError>
where
    T: Element + Saturate,
    A: Pod + From<T> + AddAssign + Into<i64> + Default,
{
    with_scratch(scratch_size::<A>(plan.outputs), move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let sums = Scratch::new(io.scratch).take::<A>(plan.outputs)?;
        sums.fill(A::default());
        let add = |mut a: A, x: T| {
            a += A::from(x);
            a
        };
        plan.fold(input, sums, add, |a, row| row.iter().copied().fold(a, add))?;
        let output = io.outputs[0].slice::<T>()?;
        ensure!(output.len() == sums.len(), "{} outputs, {} computed", output.len(), sums.len());
        for (y, &sum) in output.iter_mut().zip(&*sums) {
            *y = T::saturate(finish.apply(sum.into()));
        }
        Ok(())
    })
}

/// Clamps to the range of a narrow integer.
trait Saturate: Into<i32> {
    fn saturate(x: i32) -> Self;
}

macro_rules! saturate {
    ($($ty:ty),+) => {
        $(impl Saturate for $ty {
            fn saturate(x: i32) -> Self {
                x.clamp(<$ty>::MIN.into(), <$ty>::MAX.into()) as $ty
            }
        })+
    };
}

saturate!(i8, u8, i16);

/// REDUCE_PROD: every multiplication is scaled by input scale / output scale^(1/count), so that after all of them the
/// product has the output's scale.
pub fn prod(node: &NodeView<'_>, plan: Plan) -> Result<Box<dyn Kernel>, OpError> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    let (in_scale, in_zero) = parameters(input)?;
    let (out_scale, out_zero) = parameters(output)?;
    let step = f64::from(in_scale) / f64::from(out_scale).powf(1.0 / plan.count.max(1) as f64);
    let factor = Multiplier::new(step)?;
    // A product of nothing.
    let one = ((1.0 / out_scale).round() as i32).saturating_add(out_zero);
    match input.ty {
        TensorType::Int8 => products::<i8>(plan, factor, in_zero, out_zero, one),
        TensorType::UInt8 => products::<u8>(plan, factor, in_zero, out_zero, one),
        TensorType::Int16 => products::<i16>(plan, factor, in_zero, out_zero, one),
        ty => Err(OpError::unsupported(format!("a quantized product of {ty}"))),
    }
}

fn products<T: Element + Saturate>(
    plan: Plan,
    factor: Multiplier,
    in_zero: i32,
    out_zero: i32,
    one: i32,
) -> Result<Box<dyn Kernel>, OpError> {
    /// No input has been seen: the first one is taken unscaled.
    const NONE: i64 = i64::MIN;
    with_scratch(scratch_size::<i64>(plan.outputs), move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let products = Scratch::new(io.scratch).take::<i64>(plan.outputs)?;
        products.fill(NONE);
        let multiply = |a: i64, x: T| {
            let x = i64::from(x.into().wrapping_sub(in_zero));
            if a == NONE { x } else { factor.apply_i64(a.wrapping_mul(x)).into() }
        };
        plan.fold(input, products, multiply, |a, row| row.iter().copied().fold(a, multiply))?;
        let output = io.outputs[0].slice::<T>()?;
        ensure!(output.len() == products.len(), "{} outputs, {} computed", output.len(), products.len());
        for (y, &product) in output.iter_mut().zip(&*products) {
            let value = if product == NONE { one } else { factor.apply_i64(product).wrapping_add(out_zero) };
            *y = T::saturate(value);
        }
        Ok(())
    })
}
