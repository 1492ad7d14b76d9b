//! Gradients of operators that move data, which are moves themselves, and of sums.

use crate::gradient::GradientCtx;
use crate::{OpError, ensure};
use ferrolite_model::schema::{BroadcastToOptionsT, MulOptionsT, ReshapeOptionsT, TransposeOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId, TensorType};

type Gradients = Result<Vec<Option<TensorId>>, OpError>;

/// Gradient of output 0.
fn output_gradient(ctx: &GradientCtx<'_>) -> Result<TensorId, OpError> {
    let gradient = ctx.grad_outputs.first().copied().flatten();
    gradient.ok_or_else(|| OpError::invalid("output 0 has no gradient"))
}

/// Input `i`, which must be there.
fn input(ctx: &GradientCtx<'_>, i: usize) -> Result<TensorId, OpError> {
    let id = ctx.node.inputs.get(i).copied().flatten();
    id.ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
}

/// Values of input `i`, an index tensor, which must be constant.
fn indices(ctx: &GradientCtx<'_>, i: usize) -> Result<Vec<i32>, OpError> {
    let tensor = &ctx.model.subgraphs[ctx.subgraph].tensors[input(ctx, i)?];
    let constant = ctx.model.constant(tensor);
    if constant.is_none() && tensor.elements() == Some(0) {
        return Ok(Vec::new());
    }
    let (Some(data), Some(size)) = (constant, tensor.ty.byte_len(1)) else {
        return Err(OpError::unsupported(format!("the gradient with input {i} not constant")));
    };
    let value = |bytes: &[u8]| match tensor.ty {
        TensorType::Int32 => bytes.first_chunk().map(|&b| i32::from_le_bytes(b)),
        TensorType::Int64 => bytes.first_chunk().and_then(|&b| i32::try_from(i64::from_le_bytes(b)).ok()),
        _ => None,
    };
    let values: Option<Vec<i32>> = data.chunks_exact(size).map(value).collect();
    values.ok_or_else(|| OpError::unsupported(format!("indices of type {}", tensor.ty)))
}

/// Gradients that are one for input 0 and none for the other inputs.
fn only_first(ctx: &GradientCtx<'_>, gradient: TensorId) -> Vec<Option<TensorId>> {
    let mut gradients = vec![None; ctx.node.inputs.len()];
    gradients[0] = Some(gradient);
    gradients
}

/// `x` under another shape.
pub fn emit_reshape(ctx: &mut GradientCtx<'_>, x: TensorId, shape: &[i32]) -> TensorId {
    if ctx.shape(x) == shape {
        return x;
    }
    let wanted = ctx.constant_i32(shape);
    let options = BuiltinOptions::ReshapeOptions(Box::new(ReshapeOptionsT { new_shape: Some(shape.to_vec()) }));
    ctx.emit(BuiltinOperator::RESHAPE, options, &[x, wanted], shape)
}

/// The box of `x` at `begin`.
pub fn emit_slice(ctx: &mut GradientCtx<'_>, x: TensorId, begin: &[i32], size: &[i32]) -> TensorId {
    if ctx.shape(x) == size {
        return x;
    }
    let inputs = [x, ctx.constant_i32(begin), ctx.constant_i32(size)];
    ctx.emit(BuiltinOperator::SLICE, BuiltinOptions::SliceOptions(Default::default()), &inputs, size)
}

/// `x` in a tensor of zeros of this shape, at `begin`.
pub fn emit_pad(ctx: &mut GradientCtx<'_>, x: TensorId, begin: &[i32], shape: &[i32]) -> TensorId {
    let from = ctx.shape(x);
    if from == shape {
        return x;
    }
    let paddings: Vec<i32> = (0..shape.len()).flat_map(|d| [begin[d], shape[d] - begin[d] - from[d]]).collect();
    let paddings = ctx.constant_i32(&paddings);
    ctx.model.subgraphs[ctx.subgraph].tensors[paddings].shape = vec![shape.len() as i32, 2];
    ctx.emit(BuiltinOperator::PAD, BuiltinOptions::PadOptions(Default::default()), &[x, paddings], shape)
}

/// RESHAPE, SQUEEZE, EXPAND_DIMS: back to the input's shape.
pub fn view(ctx: &mut GradientCtx<'_>) -> Gradients {
    let (dy, shape) = (output_gradient(ctx)?, ctx.shape(input(ctx, 0)?));
    let dx = emit_reshape(ctx, dy, &shape);
    Ok(only_first(ctx, dx))
}

/// TRANSPOSE: the inverse permutation.
pub fn transpose(ctx: &mut GradientCtx<'_>) -> Gradients {
    let (dy, shape) = (output_gradient(ctx)?, ctx.shape(input(ctx, 0)?));
    let rank = shape.len() as i32;
    let perm = indices(ctx, 1)?;
    let mut inverse = vec![-1; shape.len()];
    for (i, &p) in perm.iter().enumerate() {
        let p = if p < 0 { p + rank } else { p };
        ensure!((0..rank).contains(&p), "{perm:?} does not permute {rank} dimensions");
        inverse[p as usize] = i as i32;
    }
    ensure!(perm.len() == shape.len() && !inverse.contains(&-1), "{perm:?} does not permute {rank} dimensions");
    let inverse = ctx.constant_i32(&inverse);
    let options = BuiltinOptions::TransposeOptions(Box::new(TransposeOptionsT {}));
    let dx = ctx.emit(BuiltinOperator::TRANSPOSE, options, &[dy, inverse], &shape);
    Ok(only_first(ctx, dx))
}

/// SUM: repeated along the reduced dimensions.
pub fn sum(ctx: &mut GradientCtx<'_>) -> Gradients {
    reduction(ctx, false)
}

/// MEAN: the same, divided by the number of elements.
pub fn mean(ctx: &mut GradientCtx<'_>) -> Gradients {
    reduction(ctx, true)
}

fn reduction(ctx: &mut GradientCtx<'_>, mean: bool) -> Gradients {
    let (mut dy, shape) = (output_gradient(ctx)?, ctx.shape(input(ctx, 0)?));
    let rank = shape.len() as i32;
    let mut kept = shape.clone();
    if rank > 0 {
        for axis in indices(ctx, 1)? {
            let at = if axis < 0 { axis + rank } else { axis };
            ensure!((0..rank).contains(&at), "axis {axis} is not one of {rank} dimensions");
            kept[at as usize] = 1;
        }
    }
    let count: f64 = shape.iter().zip(&kept).map(|(&n, &k)| if k == n { 1.0 } else { f64::from(n) }).product();
    dy = emit_reshape(ctx, dy, &kept);
    if mean && count != 1.0 {
        let factor = ctx.constant_f32(&[], &[(1.0 / count) as f32]);
        dy = ctx.emit(
            BuiltinOperator::MUL,
            BuiltinOptions::MulOptions(Box::<MulOptionsT>::default()),
            &[dy, factor],
            &kept,
        );
    }
    if kept != shape {
        let wanted = ctx.constant_i32(&shape);
        let options = BuiltinOptions::BroadcastToOptions(Box::new(BroadcastToOptionsT {}));
        dy = ctx.emit(BuiltinOperator::BROADCAST_TO, options, &[dy, wanted], &shape);
    }
    Ok(only_first(ctx, dy))
}

/// PAD: the inside.
pub fn pad(ctx: &mut GradientCtx<'_>) -> Gradients {
    let (dy, shape) = (output_gradient(ctx)?, ctx.shape(input(ctx, 0)?));
    let paddings = indices(ctx, 1)?;
    ensure!(paddings.len() == 2 * shape.len(), "{} paddings for {} dimensions", paddings.len(), shape.len());
    let begin: Vec<i32> = paddings.iter().copied().step_by(2).collect();
    let dx = emit_slice(ctx, dy, &begin, &shape);
    Ok(only_first(ctx, dx))
}

/// SLICE: zeros around.
pub fn slice(ctx: &mut GradientCtx<'_>) -> Gradients {
    let (dy, shape) = (output_gradient(ctx)?, ctx.shape(input(ctx, 0)?));
    let begin = indices(ctx, 1)?;
    ensure!(begin.len() == shape.len(), "{} begins for {} dimensions", begin.len(), shape.len());
    let dx = emit_pad(ctx, dy, &begin, &shape);
    Ok(only_first(ctx, dx))
}

/// CONCATENATION: each input's part.
pub fn concatenation(ctx: &mut GradientCtx<'_>) -> Gradients {
    let dy = output_gradient(ctx)?;
    let rank = ctx.shape(dy).len();
    let Some(options) = ctx.node.options.as_concatenation_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let axis = if options.axis < 0 { options.axis + rank as i32 } else { options.axis };
    ensure!((0..rank as i32).contains(&axis), "axis {axis} is not one of {rank} dimensions");
    let mut begin = vec![0; rank];
    let mut gradients = Vec::with_capacity(ctx.node.inputs.len());
    for i in 0..ctx.node.inputs.len() {
        let mut shape = ctx.shape(input(ctx, i)?);
        if shape.is_empty() {
            // Scalars join into a vector.
            shape = vec![1];
        }
        let size = shape[axis as usize];
        gradients.push(match ctx.needs.get(i) {
            Some(true) => {
                let part = emit_slice(ctx, dy, &begin, &shape);
                let shape = ctx.shape(input(ctx, i)?);
                Some(emit_reshape(ctx, part, &shape))
            }
            _ => None,
        });
        begin[axis as usize] += size;
    }
    Ok(gradients)
}

#[cfg(test)]
mod tests {
    use crate::Catalog;
    use crate::common::backward::tests::execute;
    use crate::common::testing::{Pick, TestTensor, noise, run};
    use crate::gradient::GradientCtx;
    use ferrolite_model::schema::{ConcatenationOptionsT, ReducerOptionsT};
    use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, TensorId, TensorType};
    use std::collections::HashMap;

    /// The operators are linear, so that the gradient of ⟨seed, f(x)⟩ is what ⟨seed, f(e)⟩ gives for each unit vector e
    /// (less the part that is not of x, which is 0).
    fn check(
        op: BuiltinOperator,
        options: BuiltinOptions,
        floats: &[&[i32]],
        indices: &[(&[i32], &[i32])],
        out: &[i32],
    ) {
        let mut b = ModelBuilder::new();
        let xs: Vec<TensorId> = floats.iter().map(|s| b.input("x", TensorType::Float32, s)).collect();
        let constants: Vec<TensorId> = indices.iter().map(|(s, v)| b.constant_i32("i", s, v)).collect();
        let y = b.tensor("y", TensorType::Float32, out);
        let seed = b.input("seed", TensorType::Float32, out);
        let inputs: Vec<Option<TensorId>> = xs.iter().chain(&constants).map(|&id| Some(id)).collect();
        b.node(op, 1, options.clone(), &inputs, &[y]);
        let mut model = b.build().unwrap();
        let node = model.subgraphs[0].nodes[0].clone();

        let float = |shape: &[i32], values: &[f32]| {
            let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
            TestTensor::f32(&shape, values)
        };
        let count = |shape: &[i32]| shape.iter().product::<i32>() as usize;
        let seeds = noise(3, count(out));
        let catalog = Catalog::builtin();
        let def = catalog.find(model.operator(&node)).unwrap();
        let gradient = def.gradient().expect("has a gradient");
        let needs: Vec<bool> = (0..inputs.len()).map(|i| i < xs.len()).collect();
        let ctx = &mut GradientCtx {
            model: &mut model,
            subgraph: 0,
            node: &node,
            grad_outputs: &[Some(seed)],
            needs: &needs,
        };
        let gradients = gradient(ctx).unwrap();
        let mut tensors: HashMap<TensorId, TestTensor> = HashMap::new();
        tensors.insert(seed, float(out, &seeds));
        for (&x, shape) in xs.iter().zip(floats) {
            tensors.insert(x, float(shape, &vec![0.0; count(shape)]));
        }
        let zeros = tensors.clone();
        execute(&model, &mut tensors);
        for (i, (&x, shape)) in xs.iter().zip(floats).enumerate() {
            let got = tensors[&gradients[i].unwrap()].values::<f32>();
            for (e, got) in got.into_iter().enumerate() {
                let mut unit = vec![0.0; count(shape)];
                unit[e] = 1.0;
                let args: Vec<TestTensor> = inputs
                    .iter()
                    .flatten()
                    .map(|&id| match zeros.get(&id) {
                        Some(_) if id == x => float(shape, &unit),
                        Some(zero) => zero.clone(),
                        None => {
                            let (s, v) = indices[constants.iter().position(|&c| c == id).unwrap()];
                            let shape: Vec<usize> = s.iter().map(|&d| d as usize).collect();
                            TestTensor::new(TensorType::Int32, &shape, v).constant()
                        }
                    })
                    .collect();
                let y = run(def, &options, &args, &[(TensorType::Float32, None)], Pick::Reference).unwrap().remove(0);
                let want: f32 = y.values::<f32>().iter().zip(&seeds).map(|(y, s)| y * s).sum();
                assert!((got - want).abs() < 1e-6, "{op:?}: input {i}, element {e}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn moves_are_undone() {
        use BuiltinOperator as Op;
        let none = || BuiltinOptions::NONE;
        check(Op::RESHAPE, none(), &[&[2, 3]], &[(&[2], &[3, 2])], &[3, 2]);
        check(Op::SQUEEZE, none(), &[&[1, 3, 1]], &[], &[3]);
        check(Op::EXPAND_DIMS, none(), &[&[2, 3]], &[(&[], &[-1])], &[2, 3, 1]);
        check(Op::TRANSPOSE, none(), &[&[2, 3, 4]], &[(&[3], &[2, 0, -2])], &[4, 2, 3]);
        check(Op::PAD, none(), &[&[2, 3]], &[(&[2, 2], &[1, 0, 2, 1])], &[3, 6]);
        check(Op::SLICE, none(), &[&[4, 3]], &[(&[2], &[1, 0]), (&[2], &[2, -1])], &[2, 3]);
        let join =
            |axis| BuiltinOptions::ConcatenationOptions(Box::new(ConcatenationOptionsT { axis, ..Default::default() }));
        check(Op::CONCATENATION, join(-1), &[&[2, 1], &[2, 3], &[2, 2]], &[], &[2, 6]);
        check(Op::CONCATENATION, join(0), &[&[1, 2], &[2, 2]], &[], &[3, 2]);
    }

    #[test]
    fn sums_are_shared_out() {
        let options = |keep_dims| BuiltinOptions::ReducerOptions(Box::new(ReducerOptionsT { keep_dims }));
        for op in [BuiltinOperator::SUM, BuiltinOperator::MEAN] {
            check(op, options(false), &[&[2, 3, 4]], &[(&[2], &[0, -1])], &[3]);
            check(op, options(true), &[&[2, 3]], &[(&[1], &[1])], &[2, 1]);
            check(op, options(false), &[&[2, 3]], &[(&[2], &[0, 1])], &[]);
        }
    }
}
