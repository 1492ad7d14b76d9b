//! SOFTMAX, the specification.

use super::rows;
use crate::common::fixed_exp::{exp_on_negative, reciprocal};

use crate::common::linear::{Saturate, per_tensor};
use crate::common::requant::{Multiplier, rounding_divide_by_pot, saturating_rounding_doubling_high_mul};
use crate::op::{Kernel, NodeView, reference as kernel};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{BFloat16, Float16, Float32, Int8, Int16, UInt8};
use half::{bf16, f16};

/// The factor that the logits are multiplied with; 1 where the options are absent.
pub fn beta(node: &NodeView<'_>) -> f32 {
    node.options.as_softmax_options().map_or(1.0, |o| o.beta)
}

pub fn reference(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    match (node.input(0)?.ty, node.output(0)?.ty) {
        (Float32, Float32) => float::<f32>(node, |x| x, |x| x),
        (Float16, Float16) => float(node, f16::to_f32, f16::from_f32),
        (BFloat16, BFloat16) => float(node, bf16::to_f32, bf16::from_f32),
        (Int8, Int8) => eight_bits::<i8, i8>(node, -128, 8),
        (UInt8, UInt8) => eight_bits::<u8, u8>(node, 0, 8),
        (Int8, Int16) => eight_bits::<i8, i16>(node, -32768, 16),
        (UInt8, Int16) => eight_bits::<u8, i16>(node, -32768, 16),
        (Int16, Int16) => sixteen_bits(node),
        (x, y) => Err(OpError::unsupported(format!("softmax of {x} to {y}"))),
    }
}

/// exp(beta · (x − max)) / sum. Narrow types keep the exponentials in the output, rounded.
fn float<T: Element>(node: &NodeView<'_>, load: fn(T) -> f32, store: fn(f32) -> T) -> Result<Box<dyn Kernel>, OpError> {
    let ((_, depth), beta) = (rows(node)?, beta(node));
    kernel(move |io| {
        let x = io.input(0)?.slice::<T>()?;
        let out = io.outputs[0].slice::<T>()?;
        for (x, y) in x.chunks_exact(depth.max(1)).zip(out.chunks_exact_mut(depth.max(1))) {
            let max = x.iter().fold(f32::MIN, |max, &x| if load(x) > max { load(x) } else { max });
            let mut sum = 0.0;
            for (&x, y) in x.iter().zip(&mut *y) {
                let e = ((load(x) - max) * beta).exp();
                *y = store(e);
                sum += e;
            }
            y.iter_mut().for_each(|y| *y = store(load(*y) / sum));
        }
        Ok(())
    })
}

/// Input scaling of the integer exponentials: (factor to F5, smallest difference from the maximum that counts).
///
/// The F5 format leaves exp(−16) and less out; 31 is the greatest difference that it holds.
pub fn input_scaling(beta: f32, scale: f32) -> Result<(Multiplier, i32), OpError> {
    let real = (f64::from(beta) * f64::from(scale) * f64::from(1 << 26)).min(f64::from(i32::MAX));
    ensure!(real > 1.0, "beta {beta} and scale {scale} are too small");
    let multiplier = Multiplier::new(real)?;
    let radius = (31.0 * f64::from(1 << 26) / 2f64.powi(multiplier.shift)).floor();
    Ok((multiplier, -(radius as i32)))
}

/// Integer softmax with exponentials in F5 and their sum in F12.
fn eight_bits<X, Y>(node: &NodeView<'_>, lowest: i32, out_bits: i32) -> Result<Box<dyn Kernel>, OpError>
where
    X: Element + Into<i32>,
    Y: Element + Saturate,
{
    let (_, depth) = rows(node)?;
    let (multiplier, diff_min) = input_scaling(beta(node), per_tensor(node.input(0)?)?.0)?;
    kernel(move |io| {
        let x = io.input(0)?.slice::<X>()?;
        let out = io.outputs[0].slice::<Y>()?;
        for (x, y) in x.chunks_exact(depth.max(1)).zip(out.chunks_exact_mut(depth.max(1))) {
            let max = x.iter().map(|&x| x.into()).max().unwrap_or(0);
            let exp = |x: X| {
                let difference: i32 = x.into() - max;
                (difference >= diff_min).then(|| exp_on_negative(multiplier.apply(difference)))
            };
            let sum =
                x.iter().filter_map(|&x| exp(x)).fold(0i32, |sum, e| sum.wrapping_add(rounding_divide_by_pot(e, 12)));
            let (scale, bits_over_unit) = reciprocal(sum, 12);
            let exponent = (bits_over_unit + 31 - out_bits).clamp(0, 31);
            for (&x, y) in x.iter().zip(y) {
                let probability = exp(x)
                    .map_or(0, |e| rounding_divide_by_pot(saturating_rounding_doubling_high_mul(scale, e), exponent));
                *y = Y::of(probability.saturating_add(lowest));
            }
        }
        Ok(())
    })
}

/// int16 softmax by interpolated tables of exp on [−10, 0] and 1 / (1 + x) on [0, 1].
fn sixteen_bits(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (_, depth) = rows(node)?;
    let (scale, _) = per_tensor(node.input(0)?)?;
    // −65535..=0 stand for −10..=0.
    let multiplier = Multiplier::new(f64::from(scale * beta(node)) / (10.0 / 65535.0))?;
    let exp_table = Table::new(10.0 / 65535.0, 32767, f64::exp);
    let reciprocal_table = Table::new(1.0 / 65535.0, -32768, |x| 1.0 / (1.0 + x));
    kernel(move |io| {
        let x = io.input(0)?.slice::<i16>()?;
        let out = io.outputs[0].slice::<i16>()?;
        for (x, y) in x.chunks_exact(depth.max(1)).zip(out.chunks_exact_mut(depth.max(1))) {
            let max = i32::from(x.iter().copied().max().unwrap_or(0));
            let mut sum = 0i32;
            for (&x, y) in x.iter().zip(&mut *y) {
                *y = exp_table.at(i16::of(multiplier.apply(i32::from(x) - max).saturating_add(32767)));
                sum = sum.wrapping_add(i32::from(*y));
            }
            // The sum, at least about 1, is brought to [1, 2); the table takes what is above 1, centred on 0.
            let headroom = ((sum as u32).leading_zeros() as i32).clamp(1, 30);
            let shifted = ((i64::from(sum) << (headroom - 1)) + (1 << 13)) >> 14;
            let reciprocal = reciprocal_table.at(i16::of((shifted - ((1 << 15) + (1 << 16))) as i32));
            let right = 31 - headroom;
            for y in y {
                let product = i64::from(*y) * i64::from(reciprocal) + (1 << (right - 1));
                *y = ((product >> right) as i32).clamp(0, 32767) as i16;
            }
        }
        Ok(())
    })
}

/// 513 samples of a function of int16, made in double precision; between them it is interpolated.
struct Table(Box<[i16; 513]>);

impl Table {
    /// `f` of scale · (x − zero_point), in units of 2 / 65535.
    fn new(scale: f64, zero_point: i32, f: impl Fn(f64) -> f64) -> Table {
        let (first, last) = (f64::from(i16::MIN), f64::from(i16::MAX));
        let (low, high) = (scale * (first - f64::from(zero_point)), scale * (last - f64::from(zero_point)));
        let step = (high - low) / 512.0;
        let output_scale = 2.0 / 65535.0;
        let inverse = 65536.0 / (output_scale * last - output_scale * first);
        let mut table = Box::new([0; 513]);
        for (i, entry) in table[..512].iter_mut().enumerate() {
            let at = low + i as f64 * step;
            let (here, middle, next) = (f(at), f(at + step / 2.0), f(low + (i + 1) as f64 * step));
            let sample = (here * inverse).round();
            // Half of the interpolation's error in the middle is taken off both ends.
            let interpolated = ((next * inverse + sample) / 2.0).round();
            let bias = ((interpolated - (middle * inverse).round()) / 2.0).round();
            *entry = (sample - bias).clamp(first, last) as i16;
        }
        table[512] = (f(high) * inverse).round().clamp(first, last) as i16;
        Table(table)
    }

    fn at(&self, x: i16) -> i16 {
        let index = (256 + (i32::from(x) >> 7)) as usize;
        let base = self.0[index];
        let slope = i32::from(self.0[index + 1].wrapping_sub(base));
        base.wrapping_add(((slope * i32::from(x & 0x7f) + 64) >> 7) as i16)
    }
}
