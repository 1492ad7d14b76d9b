//! Bytes in vector code.

use super::reference::Rescaled;
use crate::OpError;
use crate::common::broadcast::{Broadcast, Tiles};
use crate::common::elementwise::is_quantized;
use crate::common::parallel::for_items;
use crate::common::requant::Multiplier;
use crate::common::vector::is_8_bit;
use crate::op::{FnKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{Add8Bit, Isa, ThreadPool, add_8bit};
use ferrolite_model::TensorType;

/// Output elements below which a thread is not worth waking.
const GRAIN: usize = 16 << 10;

/// How the kernel adds; `None` where it cannot: other types, factors that shift left, or pieces that are too short.
pub fn parameters(node: &NodeView<'_>, subtract: bool) -> Option<Add8Bit> {
    let walk = Broadcast::<2>::of(node).ok()?;
    let long = |&n: &usize| n == 1 || n >= 16;
    let tiles = Tiles::new(&walk);
    if !is_8_bit(node) || !is_quantized(node.input(0).ok()?) || tiles.len < 16 || !tiles.inputs.iter().all(long) {
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
    let walk = Broadcast::<2>::of(node)?;
    let tiles = Tiles::new(&walk);
    // Small pieces are shared between threads whole; large ones are cut by the vector code.
    let alone = ThreadPool::new(1);
    let whole = tiles.len < GRAIN && tiles.count() > 1;
    Ok(Box::new(FnKernel(name, move |io: &mut Io<'_>| {
        let (a, b) = (io.input(0)?.bytes, io.input(1)?.bytes);
        let output = io.outputs[0].bytes();
        walk.check([a.len(), b.len()], output.len())?;
        let (pool, grain) = if whole { (&alone, GRAIN.div_ceil(tiles.len)) } else { (io.pool, usize::MAX) };
        let [len_a, len_b] = tiles.inputs;
        for_items(io.pool, output, tiles.len, grain, |pieces, part| {
            let first = pieces.start;
            tiles.for_each(pieces, |piece, [at_a, at_b]| {
                let out = &mut part[(piece - first) * tiles.len..][..tiles.len];
                add_8bit(pool, isa, &p, &a[at_a..at_a + len_a], &b[at_b..at_b + len_b], out);
            });
        });
        Ok(())
    })))
}
