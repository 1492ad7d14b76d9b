//! stub
/// half to float
#[inline]
pub fn f16_to_f32_scalar(h: u16) -> f32 {
    let (sign, e, m) = ((u32::from(h) & 0x8000) << 16, h >> 10 & 31, u32::from(h) & 0x3FF);
    let magnitude = match e {
        0 => return f32::from_bits(sign | (m as f32 * f32::from_bits(103 << 23)).to_bits()),
        31 => 0x7F80_0000 | m << 13,
        _ => (u32::from(e) + 112) << 23 | m << 13,
    };
    f32::from_bits(sign | magnitude)
}
