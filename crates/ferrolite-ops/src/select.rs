//! SELECT and SELECT_V2: x where the condition holds, y elsewhere.
//!
//! SELECT takes x and y of one shape and a condition of the same shape, a scalar, or one value per index of the first
//! dimension; SELECT_V2 broadcasts all three. Source: LiteRT `kernels/select.cc`.

use crate::common::backward::Backward;
use crate::common::broadcast::{Broadcast, broadcast_shape};
use crate::common::cases::{MOVED, case, typical};
use crate::gradient::{Gradient, GradientCtx};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SELECT.
pub struct Select;

/// SELECT_V2.
pub struct SelectV2;

fn check(node: &NodeView<'_>) -> Result<(), OpError> {
    node.expect(3..=3, 1)?;
    let (condition, x, y) = (node.input(0)?, node.input(1)?, node.input(2)?);
    ensure!(condition.ty == TensorType::Bool, "the condition has type {}", condition.ty);
    ensure!(x.ty == y.ty, "inputs of types {} and {} differ", x.ty, y.ty);
    Ok(())
}

/// Where everything has one element, the output keeps the shape that the model gives it.
fn single_element(node: &NodeView<'_>) -> Result<Option<Shape>, OpError> {
    let output = node.output(0)?;
    let inputs = [node.input(0)?, node.input(1)?, node.input(2)?];
    Ok((inputs.iter().all(|t| t.elements() == 1) && output.elements() == 1).then(|| output.shape.clone()))
}

/// The shape by which SELECT's condition broadcasts to `shape`.
fn condition_shape(condition: &[usize], shape: &[usize]) -> Result<Shape, OpError> {
    let per_row = condition.len() == 1 && condition.first() == shape.first();
    ensure!(condition == shape || condition.is_empty() || per_row, "a condition of shape {condition:?} for {shape:?}");
    let mut result = Shape::from_slice(condition);
    if per_row {
        result.extend(std::iter::repeat_n(1, shape.len() - 1));
    }
    Ok(result)
}

impl OpDef for Select {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SELECT)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        check(node)?;
        let (condition, x, y) = (node.input(0)?, node.input(1)?, node.input(2)?);
        if let Some(shape) = single_element(node)? {
            return Ok(smallvec![Inferred { ty: x.ty, shape: Some(shape) }]);
        }
        ensure!(x.shape == y.shape, "shapes {:?} and {:?} differ", x.shape, y.shape);
        condition_shape(&condition.shape, &x.shape)?;
        Ok(smallvec![Inferred { ty: x.ty, shape: Some(x.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if single_element(node)?.is_some() {
            return kernel(node, &[]);
        }
        kernel(node, &condition_shape(&node.input(0)?.shape, &node.input(1)?.shape)?)
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for &ty in MOVED {
            for (condition, shape) in [(&[4, 33][..], &[4, 33][..]), (&[], &[7]), (&[5], &[5, 9])] {
                all.extend(choice(BuiltinOperator::SELECT, ty, condition, shape, shape, shape));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(RULE)
    }
}

impl OpDef for SelectV2 {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SELECT_V2)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=2
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        check(node)?;
        let (condition, x, y) = (node.input(0)?, node.input(1)?, node.input(2)?);
        let shape = match single_element(node)? {
            Some(shape) => shape,
            None => broadcast_shape(&[&condition.shape, &x.shape, &y.shape])?,
        };
        Ok(smallvec![Inferred { ty: x.ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(node, &node.input(0)?.shape)
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for &ty in MOVED {
            for (condition, x, y, to) in [
                (&[4, 33][..], &[4, 33][..], &[4, 33][..], &[4, 33][..]),
                (&[], &[7], &[7], &[7]),
                (&[5, 1], &[5, 9], &[9], &[5, 9]),
                (&[2, 1, 3], &[4, 1], &[], &[2, 4, 3]),
            ] {
                all.extend(choice(BuiltinOperator::SELECT_V2, ty, condition, x, y, to));
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(RULE)
    }

    fn gradient(&self) -> Option<Gradient> {
        Some(gradient)
    }
}

const RULE: QuantRule = QuantRule { activations: Some(&[1, 2]), output: OutputRule::SameAsInput, ..QuantRule::UNARY };

/// x gets the gradient where the condition holds, y elsewhere.
fn gradient(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let mut b = Backward::new(ctx)?;
    let condition = b.input(0)?;
    let zero = b.scalar(0.0);
    let mut grads = vec![None; 3];
    for (i, [on, off]) in [(1, [b.grad, zero]), (2, [zero, b.grad])] {
        if b.needs(i) {
            let grad = b.emit(BuiltinOperator::SELECT_V2, &[condition, on, off]);
            grads[i] = Some(b.reduce(grad, b.input(i)?)?);
        }
    }
    Ok(grads)
}

/// A conditional copy: only the width of the elements matters.
fn kernel(node: &NodeView<'_>, condition: &[usize]) -> Result<Box<dyn Kernel>, OpError> {
    let output = node.output(0)?;
    let (x, y) = (node.input(1)?, node.input(2)?);
    // The single element needs no shapes.
    let single = single_element(node)?.is_some();
    let walk = if single {
        Broadcast::new(&[], [&[], &[], &[]])?
    } else {
        Broadcast::new(&output.shape, [condition, &x.shape, &y.shape])?
    };
    match x.ty.bits() {
        8 => select::<u8>(walk),
        16 => select::<u16>(walk),
        32 => select::<u32>(walk),
        64 => select::<u64>(walk),
        128 => select::<[u64; 2]>(walk),
        _ => Err(OpError::unsupported(format!("inputs of type {}", x.ty))),
    }
}

fn select<T: bytemuck::Pod>(walk: Broadcast<3>) -> Result<Box<dyn Kernel>, OpError> {
    let (_, advances) = walk.inner();
    let [c, x, y]: [usize; 3] = advances.map(usize::from);
    reference(move |io| {
        let cast = |i: usize| -> Result<_, OpError> {
            bytemuck::try_cast_slice::<u8, T>(io.input(i)?.bytes).map_err(|e| OpError::invalid(e.to_string()))
        };
        let (condition, on, off) = (io.input(0)?.bytes, cast(1)?, cast(2)?);
        let output = bytemuck::try_cast_slice_mut::<u8, T>(io.outputs[0].bytes());
        let output = output.map_err(|e| OpError::invalid(e.to_string()))?;
        walk.check([condition.len(), on.len(), off.len()], output.len())?;
        walk.for_each(0..walk.output_len(), |start, [at_c, at_x, at_y], len| {
            for (i, o) in output[start..start + len].iter_mut().enumerate() {
                *o = if condition[at_c + i * c] != 0 { on[at_x + i * x] } else { off[at_y + i * y] };
            }
        });
        Ok(())
    })
}

fn choice(op: BuiltinOperator, ty: TensorType, condition: &[i32], x: &[i32], y: &[i32], to: &[i32]) -> Option<Case> {
    let options = match op {
        BuiltinOperator::SELECT => BuiltinOptions::SelectOptions(Box::default()),
        _ => BuiltinOptions::SelectV2Options(Box::default()),
    };
    let of = typical(ty);
    let inputs = [(TensorType::Bool, condition, None), (ty, x, of), (ty, y, of)];
    case(format!("{ty} {condition:?} {x:?} {y:?}"), op, options, &inputs, (ty, to, of))
}
