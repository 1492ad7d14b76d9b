//! LOG_SOFTMAX, the specification.

use super::reference::input_scaling;
use super::rows;
use crate::OpError;
use crate::common::fixed_exp::{exp_on_negative, log_at_least_1};
use crate::common::linear::{Saturate, per_tensor};
use crate::common::requant::{Multiplier, rounding_divide_by_pot};
use crate::op::{Kernel, NodeView, reference as kernel};
use crate::tensor::Element;
use ferrolite_model::TensorType::{Float32, Int8, UInt8};

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    match (node.input(0)?.ty, node.output(0)?.ty) {
        (Float32, Float32) => float(node),
        (Int8, Int8) => eight_bits::<i8>(node, -128, 127),
        (UInt8, UInt8) => eight_bits::<u8>(node, 0, 255),
        (x, y) => Err(OpError::unsupported(format!("log-softmax of {x} to {y}"))),
    }
}

fn float(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (_, depth) = rows(node)?;
    kernel(move |io| {
        let x = io.input(0)?.slice::<f32>()?;
        let out = io.outputs[0].slice::<f32>()?;
        for (x, y) in x.chunks_exact(depth.max(1)).zip(out.chunks_exact_mut(depth.max(1))) {
            let max = x.iter().fold(f32::MIN, |max, &x| if x > max { x } else { max });
            let log_sum = x.iter().fold(0.0f32, |sum, &x| sum + (x - max).exp()).ln();
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - max - log_sum);
        }
        Ok(())
    })
}

/// Exponentials in F5, their sum in F12, its logarithm in F5, the result in F4 below the highest value.
fn eight_bits<T>(node: &NodeView<'_>, lowest: i32, highest: i32) -> Result<Box<dyn Kernel>, OpError>
where
    T: Element + Into<i32> + Saturate,
{
    let (_, depth) = rows(node)?;
    let (multiplier, diff_min) = input_scaling(1.0, per_tensor(node.input(0)?)?.0)?;
    let inverse = Multiplier::new(2f64.powi(31 - multiplier.shift) / f64::from(multiplier.multiplier))?;
    kernel(move |io| {
        let x = io.input(0)?.slice::<T>()?;
        let out = io.outputs[0].slice::<T>()?;
        for (x, y) in x.chunks_exact(depth.max(1)).zip(out.chunks_exact_mut(depth.max(1))) {
            let max = x.iter().map(|&x| x.into()).max().unwrap_or(0);
            let difference = |x: T| -> i32 { x.into() - max };
            let sum = x.iter().map(|&x| difference(x)).filter(|&d| d >= diff_min).fold(0i32, |sum, d| {
                sum.wrapping_add(rounding_divide_by_pot(exp_on_negative(multiplier.apply(d)), 12))
            });
            let log_sum = log_at_least_1(sum);
            // What is less would leave the F5 format.
            let least = (diff_min - 1).max(inverse.apply(log_sum.wrapping_add(i32::MIN)));
            for (&x, y) in x.iter().zip(y) {
                let d = difference(x);
                let value = if d > least {
                    let log = multiplier.apply(d).wrapping_sub(log_sum);
                    rounding_divide_by_pot(log, 31 - 5 - 4).saturating_add(highest)
                } else {
                    lowest
                };
                *y = T::of(value);
            }
        }
        Ok(())
    })
}
