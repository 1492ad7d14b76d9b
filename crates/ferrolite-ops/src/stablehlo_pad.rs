//! STABLEHLO_PAD: padding at the edges (or cropping, where it is negative) and between elements.

use crate::common::cases;
use crate::common::strided::{Step, StridedCopy, elements, fixed_size, strides};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::pad::fill;
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions2, TensorType, schema};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// STABLEHLO_PAD. Inputs: data, the padding value.
pub struct StablehloPad;

/// Where the elements of one dimension go.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placed {
    /// Length of the padded dimension.
    len: usize,
    /// First element that is kept.
    from: usize,
    /// How many are kept.
    count: usize,
    /// Where the first one goes.
    to: usize,
    /// Distance of neighbours.
    step: usize,
}

/// Places `n` elements, each `step` after the last one, from `low` on, in a dimension that ends `high` after the last one.
fn place(n: usize, low: i64, high: i64, interior: i64) -> Option<Placed> {
    let (n, step) = (i64::try_from(n).ok()?, interior.checked_add(1)?);
    let spread = (n - 1).max(0).checked_mul(interior)?.checked_add(n)?;
    let len = spread.checked_add(low)?.checked_add(high)?.max(0);
    // Elements before the start and behind the end.
    let before = |edge: i64| (-edge).max(0).div_euclid(step) + i64::from((-edge).max(0).rem_euclid(step) > 0);
    let from = before(low).min(n);
    let count = (n - from - before(high)).max(0);
    let count = if len == 0 { 0 } else { count };
    let to = low + from * step;
    let size = |x: i64| usize::try_from(x).ok();
    Some(Placed {
        len: size(len)?,
        from: size(from)?,
        count: size(count)?,
        to: if count == 0 { 0 } else { size(to)? },
        step: size(step)?,
    })
}

fn placed(node: &NodeView<'_>) -> Result<SmallVec<[Placed; 6]>, OpError> {
    let shape = &node.input(0)?.shape;
    let Some(options) = node.options2.as_stablehlo_pad_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let (low, high) = (&options.edge_padding_low, &options.edge_padding_high);
    let lists = [low, high, &options.interior_padding].map(|list| list.as_deref().unwrap_or_default());
    for list in lists {
        ensure!(list.len() == shape.len(), "{} paddings for {} dimensions", list.len(), shape.len());
        // Keeps the sums below far from overflow.
        ensure!(list.iter().all(|p| p.unsigned_abs() <= 1 << 40), "paddings {list:?} are too large");
    }
    let [low, high, interior] = lists;
    ensure!(interior.iter().all(|&p| p >= 0), "interior paddings {interior:?}");
    let placed = shape.iter().enumerate().map(|(d, &n)| place(n, low[d], high[d], interior[d]));
    placed.collect::<Option<_>>().ok_or_else(|| OpError::invalid(format!("paddings {lists:?} are too large")))
}

/// As in LiteRT, when one dimension is gone then all are 0.
fn padded_shape(placed: &[Placed]) -> Result<Shape, OpError> {
    let is_empty = placed.iter().any(|p| p.len == 0);
    let shape: Shape = placed.iter().map(|p| if is_empty { 0 } else { p.len }).collect();
    elements(&shape)?;
    Ok(shape)
}

impl OpDef for StablehloPad {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::STABLEHLO_PAD)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (input, value) = (node.input(0)?, node.input(1)?);
        let ty = fixed_size(input.ty, "STABLEHLO_PAD")?;
        ensure!(value.ty == ty, "padding of type {} for {ty}", value.ty);
        ensure!(value.elements() == 1, "padding value of shape {:?}", value.shape);
        Ok(smallvec![Inferred { ty, shape: Some(padded_shape(&placed(node)?)?) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let placed = placed(node)?;
        let shape = padded_shape(&placed)?;
        let (src, dst) = (strides(&input.shape), strides(&shape));
        let dot = |strides: &[isize], of: fn(&Placed) -> usize| -> usize {
            placed.iter().zip(strides).map(|(p, &s)| of(p).wrapping_mul(s as usize)).fold(0, usize::wrapping_add)
        };
        let starts = (dot(&src, |p| p.from), dot(&dst, |p| p.to));
        let steps = placed.iter().zip(src.iter().zip(&dst)).map(|(p, (&src, &dst))| Step {
            len: p.count,
            src,
            dst: dst.wrapping_mul(p.step as isize),
        });
        let copy =
            StridedCopy::new(input.ty, steps, (starts.0, elements(&input.shape)?), (starts.1, elements(&shape)?))?;
        Ok(Box::new(PadKernel { copy, ty: input.ty }))
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        // Shape, low, high, interior, padded shape.
        type Padding<'a> = (&'a [i32], &'a [i64], &'a [i64], &'a [i64], &'a [i32]);
        let paddings: [Padding<'_>; 4] = [
            (&[4], &[2], &[1], &[0], &[7]),
            (&[3, 5], &[-1, 2], &[0, -2], &[2, 1], &[6, 9]),
            (&[2, 3, 4], &[1, 0, -2], &[0, 3, 1], &[0, 1, 3], &[3, 8, 12]),
            (&[2, 3], &[0, -5], &[1, 4], &[0, 1], &[3, 4]),
        ];
        let all = [Float32, Int8, Int64].into_iter().flat_map(|ty| paddings.map(|padding| (ty, padding)));
        let case = |(ty, (shape, low, high, interior, padded)): (TensorType, Padding<'_>)| {
            let options = schema::StablehloPadOptionsT {
                edge_padding_low: Some(low.to_vec()),
                edge_padding_high: Some(high.to_vec()),
                interior_padding: Some(interior.to_vec()),
            };
            let name = format!("{ty} {shape:?} {low:?} {high:?} {interior:?}");
            let op = BuiltinOperator::STABLEHLO_PAD;
            cases::case2(name, op, &[(ty, shape, None), (ty, &[], None)], &[(ty, padded, None)], |_| {
                BuiltinOptions2::StablehloPadOptions(Box::new(options))
            })
        };
        all.filter_map(case).collect()
    }
}

struct PadKernel {
    copy: StridedCopy,
    ty: TensorType,
}

impl Kernel for PadKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (input, value) = (io.input(0)?, io.input(1)?);
        let mut element = [0; 16];
        ensure!(value.bytes.len() <= 16, "a padding value of {} bytes", value.bytes.len());
        element[..value.bytes.len()].copy_from_slice(value.bytes);
        let output = io.outputs[0].bytes();
        fill(self.ty, &element, output);
        self.copy.run_bytes(input.bytes, output)
    }
}

#[cfg(test)]
mod tests {
    use super::{Placed, place};

    /// Spreads the elements, then pads or crops at both ends.
    fn naive(n: usize, low: i64, high: i64, interior: i64) -> Vec<Option<usize>> {
        let mut spread = Vec::new();
        for i in 0..n {
            spread.push(Some(i));
            spread.extend((0..if i + 1 < n { interior } else { 0 }).map(|_| None));
        }
        let end = spread.len() as i64;
        (-low..end + high).map(|at| usize::try_from(at).ok().and_then(|at| *spread.get(at)?)).collect()
    }

    #[test]
    fn places_every_element() {
        for n in 0..5 {
            for low in -7..4 {
                for high in -7..4 {
                    for interior in 0..4 {
                        let want = naive(n, low, high, interior);
                        let Placed { len, from, count, to, step } = place(n, low, high, interior).unwrap();
                        let mut got = vec![None; len];
                        (0..count).for_each(|i| got[to + i * step] = Some(from + i));
                        assert_eq!(got, want, "{n} {low} {high} {interior}");
                    }
                }
            }
        }
    }
}
