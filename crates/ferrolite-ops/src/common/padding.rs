//! Output sizes and padding of windows (convolutions and pools).

use crate::{OpError, ensure};
use ferrolite_model::schema::Padding;

/// One spatial dimension of a sliding window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Output positions.
    pub out: usize,
    /// Elements of padding before the first input element (the rest goes after the last).
    pub before: usize,
}

/// Places a window of `size` elements, `dilation` apart, every `stride` over `input` elements.
///
/// SAME: out = ceil(input / stride); VALID: out = ceil((input − span + 1) / stride), span = (size − 1)·dilation + 1.
pub fn window(padding: Padding, input: usize, size: usize, stride: i32, dilation: i32) -> Result<Window, OpError> {
    ensure!(stride > 0 && dilation > 0, "stride {stride} and dilation {dilation} must be positive");
    ensure!(size > 0, "the window is empty");
    let (stride, dilation) = (stride as usize, dilation as usize);
    let span = (size - 1).checked_mul(dilation).and_then(|n| n.checked_add(1));
    let Some(span) = span else { return Err(OpError::invalid("the window is too large")) };
    let out = match padding {
        Padding::SAME => input.div_ceil(stride),
        Padding::VALID => (input + stride).saturating_sub(span) / stride,
        other => return Err(OpError::invalid(format!("unknown padding {}", other.0))),
    };
    let covered = out.saturating_sub(1) * stride + span;
    Ok(Window { out, before: covered.saturating_sub(input) / 2 })
}
