//! Bytes in vector code.

use super::reference::Rescaled;
use crate::OpError;
use crate::common::requant::Multiplier;
use crate::common::vector::{self, is_long_8_bit};
use crate::op::{Kernel, NodeView};
use ferrolite_kernels::{Add8Bit, Isa, add_8bit};
use ferrolite_model::TensorType;

/// How the kernel adds; `None` where it cannot: other types, factors that shift left, or pieces that are too short.
pub fn parameters(node: &NodeView<'_>, subtract: bool) -> Option<Add8Bit> {
    if !is_long_8_bit(node) {
        return None;
    }
    let p = Rescaled::new(node, subtract).ok()?;
    let right = |m: Multiplier| (-31..=0).contains(&m.shift).then_some((m.multiplier, -m.shift));
    Some(Add8Bit {
        signed: node.output(0).ok()?.ty == TensorType::Int8,
        subtract,
        zeros: p.zero_points,
        factors: [right(p.factors[0])?, right(p.factors[1])?],
        output: right(p.output)?,
        output_zero: p.output_zero_point,
        range: p.range,
    })
}

pub fn prepare(name: &'static str, node: &NodeView<'_>, subtract: bool, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let Some(p) = parameters(node, subtract) else { return Err(OpError::unsupported("these bytes")) };
    vector::bytes(name, node, move |pool, a, b, out| add_8bit(pool, isa, &p, a, b, out))
}
