//! Quantized functions of one value as tables of their float definition.
//!
//! 8-bit types have one entry per value. int16 has 512 intervals of 128 values, interpolated. Source: LiteRT
//! `kernels/internal/common.h` (LUTPopulate, LUTLookup).

use crate::op::{Kernel, NodeView, reference};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;

/// The output byte for each input byte.
pub type Table8 = Box<[u8; 256]>;

/// The table of `f` from input 0 to output 0, which are both int8 or both uint8.
pub fn table8(node: &NodeView<'_>, f: impl Fn(f32) -> f32) -> Result<Table8, OpError> {
    let signed = node.input(0)?.ty == TensorType::Int8;
    let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
    let (scale, zero) = node.output(0)?.scale_zero_point()?;
    let (low, high): (i32, i32) = if signed { (-128, 127) } else { (0, 255) };
    let inverse = 1.0 / scale;
    let mut table = Box::new([0; 256]);
    for stored in low..=high {
        let y = f(in_scale * stored.saturating_sub(in_zero) as f32);
        let rescaled = ((y * inverse).round() + zero as f32) as i32;
        // The truncation keeps the low byte: an index, and an int8 or uint8 value.
        table[stored as u8 as usize] = rescaled.clamp(low, high) as u8;
    }
    Ok(table)
}

/// The reference kernel for 8-bit types.
pub fn kernel8(table: Table8) -> Result<Box<dyn Kernel>, OpError> {
    reference(move |io| {
        let input = io.input(0)?.bytes;
        io.outputs[0].bytes().iter_mut().zip(input).for_each(|(o, &x)| *o = table[x as usize]);
        Ok(())
    })
}

/// Interpolation points of a function from int16 to int16.
pub struct Table16(Box<[i16; 513]>);

impl Table16 {
    /// The table of `f` from input 0 to output 0, both int16 with zero point 0.
    pub fn new(node: &NodeView<'_>, f: impl Fn(f32) -> f32) -> Result<Table16, OpError> {
        let (in_scale, in_zero) = node.input(0)?.scale_zero_point()?;
        let (scale, zero) = node.output(0)?.scale_zero_point()?;
        ensure!([in_zero, zero] == [0; 2], "int16 zero points must be 0");
        let (first, last) = (f32::from(i16::MIN), f32::from(i16::MAX));
        let (in_min, in_max) = (in_scale * first, in_scale * last);
        let step = (in_max - in_min) / 512.0;
        let inverse = 65536.0 / (scale * last - scale * first);
        let mut table = Box::new([0; 513]);
        for (i, entry) in table[..512].iter_mut().enumerate() {
            let x = in_min + i as f32 * step;
            let (here, middle, next) = (f(x), f(x + step / 2.0), f(in_min + (i + 1) as f32 * step));
            let sample = (here * inverse).round();
            // Half of the interpolation's error in the middle is taken off both ends.
            let interpolated = ((next * inverse + sample) / 2.0).round();
            let bias = ((interpolated - (middle * inverse).round()) / 2.0).round();
            *entry = (sample - bias).max(first).min(last) as i16;
        }
        table[512] = (f(in_max) * inverse).round().max(first).min(last) as i16;
        Ok(Table16(table))
    }

    /// The function's value.
    #[inline]
    pub fn get(&self, x: i16) -> i16 {
        let index = (256 + (i32::from(x) >> 7)) as usize;
        let base = self.0[index];
        let slope = i32::from(self.0[index + 1].wrapping_sub(base));
        let delta = (slope * i32::from(x & 0x7f) + 64) >> 7;
        base.wrapping_add(delta as i16)
    }
}
