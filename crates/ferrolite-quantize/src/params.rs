//! The arithmetic: from ranges to scales and zero points, and from numbers to integers.

use ferrolite_model::{Quantization, TensorType};

/// Scale and zero point of an integer tensor: real = scale · (quantized − zero point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// `Int8`, `UInt8` or `Int16`.
    pub ty: TensorType,
    /// Step between neighbouring values.
    pub scale: f32,
    /// The integer that means 0.
    pub zero_point: i64,
}

/// Ranges narrower than this hold nothing but zeros for all that 32-bit floats can tell downstream.
const NARROWEST: f64 = 1e-30;

impl Params {
    /// Parameters under which `min..=max`, extended to include 0, is representable: asymmetric for 8 bits, symmetric for 16.
    /// A range of nothing but 0 becomes 0..=1.
    pub fn from_range(ty: TensorType, min: f32, max: f32) -> Params {
        let (mut min, mut max) = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
        if max - min < NARROWEST {
            (min, max) = (0.0, 1.0);
        }
        let (low, high) = bounds(ty);
        if ty == TensorType::Int16 {
            return Params { ty, scale: (max.max(-min) / high as f64) as f32, zero_point: 0 };
        }
        let (low_f, high_f) = (low as f64, high as f64);
        let scale = (max - min) / (high_f - low_f);
        // Zero has to be exact. Either end of the range gives a zero point; the one with the smaller rounding error wins.
        let (from_min, from_max) = (low_f - min / scale, high_f - max / scale);
        let (error_min, error_max) = (low_f.abs() + (min / scale).abs(), high_f.abs() + (max / scale).abs());
        let exact = if error_min < error_max { from_min } else { from_max };
        Params { ty, scale: scale as f32, zero_point: (exact.round() as i64).clamp(low, high) }
    }

    /// The same parameters for a tensor of type `UInt8` instead of `Int8`.
    pub fn unsigned(self) -> Params {
        Params { ty: TensorType::UInt8, zero_point: self.zero_point + 128, ..self }
    }

    /// The nearest integer, halves away from zero, saturated: what QUANTIZE computes.
    pub fn quantize(&self, value: f32) -> i64 {
        let (low, high) = bounds(self.ty);
        ((value / self.scale).round() as i64).saturating_add(self.zero_point).clamp(low, high)
    }

    /// Smallest and largest representable numbers.
    pub fn range(&self) -> (f32, f32) {
        let (low, high) = bounds(self.ty);
        let real = |q: i64| (f64::from(self.scale) * (q - self.zero_point) as f64) as f32;
        (real(low), real(high))
    }

    /// Whether `min..=max` is representable to within half a step.
    pub fn covers(&self, min: f32, max: f32) -> bool {
        let (low, high) = self.range();
        min >= low - self.scale / 2.0 && max <= high + self.scale / 2.0
    }

    /// The data of a constant.
    pub fn quantize_all(&self, values: &[f32]) -> Vec<u8> {
        match self.ty {
            TensorType::Int16 => values.iter().flat_map(|&v| (self.quantize(v) as i16).to_le_bytes()).collect(),
            _ => values.iter().map(|&v| self.quantize(v) as u8).collect(),
        }
    }
}

impl From<Params> for Quantization {
    fn from(params: Params) -> Quantization {
        Quantization::per_tensor(params.scale, params.zero_point)
    }
}

/// Smallest and largest integer of a type.
fn bounds(ty: TensorType) -> (i64, i64) {
    match ty {
        TensorType::UInt8 => (0, 255),
        TensorType::Int16 => (-32768, 32767),
        _ => (-128, 127),
    }
}

/// Largest magnitude of int8 or int4 weights: -128 and -8 are left out, so that they are symmetric.
fn weight_max(ty: TensorType) -> f32 {
    if ty == TensorType::Int4 { 7.0 } else { 127.0 }
}

/// Which scale element `i` of a tensor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels {
    /// Number of scales.
    pub(crate) count: usize,
    /// Elements between neighbours along the axis.
    inner: usize,
}

impl Channels {
    /// One scale per index of dimension `axis`, or one for the whole tensor. `None` when there is no such dimension.
    pub(crate) fn new(shape: &[i32], axis: Option<usize>) -> Option<Channels> {
        let Some(axis) = axis else { return Some(Channels { count: 1, inner: 1 }) };
        let count = usize::try_from(*shape.get(axis)?).ok()?;
        let inner = shape[axis + 1..].iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))?;
        Some(Channels { count, inner: inner.max(1) })
    }

    fn of(&self, element: usize) -> usize {
        element / self.inner % self.count
    }
}

/// Symmetric scales of int8 or int4 weights. A channel of zeros has no scale of its own and takes the largest, so that its
/// bias is kept and multipliers stay in an ordinary range. The few values of int4 are spread so that their squared error is
/// least, which saturates the largest weights.
pub(crate) fn weight_scales(weights: &[f32], channels: Channels, ty: TensorType) -> Vec<f32> {
    let mut largest = vec![0f32; channels.count];
    for (i, weight) in weights.iter().enumerate() {
        let channel = &mut largest[channels.of(i)];
        *channel = channel.max(weight.abs());
    }
    let overall = largest.iter().fold(0f32, |a, &b| a.max(b));
    let overall = if f64::from(overall) < NARROWEST { 1.0 } else { overall };
    let reach = largest.iter().map(|&m| if f64::from(m) < NARROWEST { overall } else { m });
    let scales = reach.map(|m| m / weight_max(ty)).collect();
    if ty == TensorType::Int4 { least_squares(weights, scales, channels, ty) } else { scales }
}

/// For each channel, the part of its scale under which its weights have the least squared error.
fn least_squares(weights: &[f32], scales: Vec<f32>, channels: Channels, ty: TensorType) -> Vec<f32> {
    const PARTS: usize = 32;
    let mut best = vec![(f64::INFINITY, 0.0); channels.count];
    for part in (PARTS / 4..=PARTS).rev() {
        let tried: Vec<f32> = scales.iter().map(|scale| scale * part as f32 / PARTS as f32).collect();
        let mut errors = vec![0f64; channels.count];
        for (i, &weight) in weights.iter().enumerate() {
            let channel = channels.of(i);
            let error = weight - to_integer(weight, tried[channel], ty) * tried[channel];
            errors[channel] += f64::from(error * error);
        }
        for ((best, error), scale) in best.iter_mut().zip(errors).zip(tried) {
            if error < best.0 {
                *best = (error, scale);
            }
        }
    }
    best.into_iter().map(|(_, scale)| scale).collect()
}

fn to_integer(weight: f32, scale: f32, ty: TensorType) -> f32 {
    (weight / scale).round().clamp(-weight_max(ty), weight_max(ty))
}

/// Raises weight scales until every bias, in units of input scale · weight scale, stays within `limit`: a channel with a
/// large bias and tiny weights gives up resolution of the latter.
pub(crate) fn fit_bias(scales: &mut [f32], input_scale: f32, bias: &[f32], limit: f64) {
    let one = scales.len() == 1;
    for (i, value) in bias.iter().enumerate() {
        let Some(scale) = scales.get_mut(if one { 0 } else { i }) else { return };
        let least = f64::from(value.abs()) / limit / f64::from(input_scale);
        if f64::from(*scale) < least {
            *scale = least as f32;
        }
    }
}

/// Data of int8 or int4 weights.
pub(crate) fn quantize_weights(weights: &[f32], scales: &[f32], channels: Channels, ty: TensorType) -> Vec<u8> {
    let quantize = |(i, &weight): (usize, &f32)| to_integer(weight, scales[channels.of(i)], ty) as i8 as u8;
    let bytes: Vec<u8> = weights.iter().enumerate().map(quantize).collect();
    match ty {
        // Two to a byte, low bits first.
        TensorType::Int4 => bytes.chunks(2).map(|two| two[0] & 15 | two.get(1).unwrap_or(&0) << 4).collect(),
        _ => bytes,
    }
}

/// Data of a bias of type `Int32` or `Int64`, saturated.
pub(crate) fn quantize_bias(bias: &[f32], scales: &[f32], ty: TensorType) -> Vec<u8> {
    let scale = |i: usize| f64::from(scales[if scales.len() == 1 { 0 } else { i }]);
    let wide = bias.iter().enumerate().map(|(i, &b)| (f64::from(b) / scale(i)).round() as i64);
    match ty {
        TensorType::Int64 => wide.flat_map(i64::to_le_bytes).collect(),
        _ => wide.flat_map(|q| (q.clamp(-i64::from(i32::MAX), i64::from(i32::MAX)) as i32).to_le_bytes()).collect(),
    }
}

/// Data of a float16 constant; magnitudes beyond its range become its largest.
pub(crate) fn to_half(values: &[f32]) -> Vec<u8> {
    let (low, high) = (half::f16::MIN.to_f32(), half::f16::MAX.to_f32());
    values.iter().flat_map(|&v| half::f16::from_f32(v.clamp(low, high)).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use TensorType::{Int4, Int8, Int16, Int32, Int64, UInt8};

    #[test]
    fn asymmetric_ranges_include_zero_and_nudge_it() {
        // Nothing below 0: the zero point is the lowest integer.
        assert_eq!(Params::from_range(Int8, 2.0, 10.2), Params { ty: Int8, scale: 10.2 / 255.0, zero_point: -128 });
        // Nothing above 0: the highest.
        assert_eq!(Params::from_range(Int8, -5.1, -1.0).zero_point, 127);
        // -1..1 puts 0 between two integers (-0.5): it is moved onto one, and 0 is exact.
        let p = Params::from_range(Int8, -1.0, 1.0);
        assert!(p.zero_point == -1 || p.zero_point == 0);
        assert_eq!((f64::from(p.scale) * (p.quantize(0.0) - p.zero_point) as f64), 0.0);
        assert_eq!(Params::from_range(UInt8, -1.0, 3.0).zero_point, 64);
        assert_eq!(Params::from_range(Int8, -1.0, 3.0).unsigned(), Params::from_range(UInt8, -1.0, 3.0));
    }

    #[test]
    fn int16_is_symmetric() {
        let p = Params::from_range(Int16, -1.0, 3.2767);
        assert_eq!((p.scale, p.zero_point), (1e-4, 0));
        assert_eq!(p.quantize(-100.0), -32768);
    }

    #[test]
    fn degenerate_ranges_are_usable() {
        for (min, max) in [(0.0, 0.0), (-1e-44, 0.0), (0.0, 1e-38)] {
            for ty in [Int8, UInt8, Int16] {
                let p = Params::from_range(ty, min, max);
                assert!(p.scale.is_normal(), "{min}..{max} as {ty}: {p:?}");
                assert_eq!(p.quantize(0.0), p.zero_point);
            }
        }
        let p = Params::from_range(Int8, f32::MIN, f32::MAX);
        assert!(p.scale.is_normal());
    }

    #[test]
    fn rounds_half_away_and_saturates() {
        let p = Params { ty: Int8, scale: 1.0, zero_point: 10 };
        assert_eq!([0.5, -0.5, 1.4, 1e9, -1e9].map(|v| p.quantize(v)), [11, 9, 11, 127, -128]);
        assert_eq!(p.range(), (-138.0, 117.0));
        assert!(p.covers(-138.4, 117.0) && !p.covers(-139.0, 0.0));
    }

    #[test]
    fn weights_are_symmetric_per_channel() {
        // Axis 0 of [2, 3], then axis 1, then the whole.
        let w = [1.27, -0.5, 0.0, 0.0, 2.54, -2.54];
        let rows = Channels::new(&[2, 3], Some(0)).unwrap();
        let scales = weight_scales(&w, rows, Int8);
        assert_eq!(scales, [0.01, 0.02]);
        let q: Vec<i8> = quantize_weights(&w, &scales, rows, Int8).iter().map(|&b| b as i8).collect();
        assert_eq!(q, [127, -50, 0, 0, 127, -127]);
        assert_eq!(weight_scales(&w, Channels::new(&[2, 3], Some(1)).unwrap(), Int8), [0.01, 0.02, 0.02]);
        assert_eq!(weight_scales(&w, Channels::new(&[2, 3], None).unwrap(), Int8), [0.02]);
        assert!(Channels::new(&[2, 3], Some(2)).is_none());
    }

    #[test]
    fn int4_is_packed_and_saturates_where_that_pays() {
        let rows = Channels::new(&[1, 3], Some(0)).unwrap();
        assert_eq!(quantize_weights(&[7.0, -7.0, 1.0], &[1.0], rows, Int4), [0x97, 0x01]);
        let w: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) / 500.0).chain([2.0]).collect();
        let all = Channels::new(&[1001], None).unwrap();
        let error = |scale: f32| w.iter().map(|&v| (v - to_integer(v, scale, Int4) * scale).powi(2)).sum::<f32>();
        let found = weight_scales(&w, all, Int4)[0];
        assert!(error(found) < 0.6 * error(2.0 / 7.0), "{found}");
    }

    #[test]
    fn a_channel_of_zeros_keeps_its_bias() {
        let rows = Channels::new(&[2, 1], Some(0)).unwrap();
        assert_eq!(weight_scales(&[0.0, 1.27], rows, Int8), [0.01, 0.01]);
        assert_eq!(weight_scales(&[0.0, 0.0], rows, Int8), [1.0 / 127.0, 1.0 / 127.0]);
    }

    #[test]
    fn a_large_bias_raises_the_weight_scale() {
        let mut scales = [1e-9, 0.01];
        let limit = f64::from(1 << 30);
        fit_bias(&mut scales, 0.1, &[5.0, 5.0], limit);
        assert_eq!(scales[1], 0.01);
        assert!((5.0 / (0.1 * f64::from(scales[0])) - limit).abs() < 1e3);
        let bias = |bytes: Vec<u8>| i32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert_eq!(bias(quantize_bias(&[-1e9], &[1e-9], Int32)), -i32::MAX);
        assert_eq!(bias(quantize_bias(&[-1.25], &[0.5], Int32)), -3, "-2.5 rounds away from zero");
        // Beyond 32 bits; the scale is 2⁻⁴⁰.
        let scale = 0.5f32.powi(40);
        assert_eq!(quantize_bias(&[1.0], &[scale], Int64), (1i64 << 40).to_le_bytes());
    }

    #[test]
    fn half_saturates() {
        let h: Vec<f32> =
            to_half(&[1e9, -1e9, 0.5]).chunks(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(h, [65504.0, -65504.0, 0.5]);
    }
}
