//! The gradient: matrix products with the other operand, summed over the dimensions that were broadcast.

use crate::OpError;
use crate::activation_grad::through_activation;
use crate::gradient::GradientCtx;
use ferrolite_model::schema::{BatchMatMulOptionsT, ReducerOptionsT, ReshapeOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId};

/// Emits a BATCH_MATMUL of two operands, each with whether it is transposed.
pub fn emit_product(
    ctx: &mut GradientCtx<'_>,
    (x, adj_x): (TensorId, bool),
    (y, adj_y): (TensorId, bool),
    shape: &[i32],
) -> TensorId {
    let options = BatchMatMulOptionsT { adj_x, adj_y, asymmetric_quantize_inputs: false };
    ctx.emit(BuiltinOperator::BATCH_MATMUL, BuiltinOptions::BatchMatMulOptions(Box::new(options)), &[x, y], shape)
}

pub fn gradient(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let (Some(&Some(x)), Some(&Some(y))) = (ctx.node.inputs.first(), ctx.node.inputs.get(1)) else {
        return Err(OpError::invalid("an input is missing"));
    };
    let BatchMatMulOptionsT { adj_x, adj_y, .. } =
        ctx.node.options.as_batch_mat_mul_options().cloned().unwrap_or_default();
    let dz = through_activation(ctx)?;
    // z = a · b, a = x or its transpose, b = y or its: da = dz · bᵀ, db = aᵀ · dz, transposed like x and y.
    let dx = ctx.needs[0].then(|| {
        let (left, right) = if adj_x { ((y, adj_y), (dz, true)) } else { ((dz, false), (y, !adj_y)) };
        summed_product(ctx, left, right, x)
    });
    let dy = ctx.needs[1].then(|| {
        let (left, right) = if adj_y { ((dz, true), (x, adj_x)) } else { ((x, !adj_x), (dz, false)) };
        summed_product(ctx, left, right, y)
    });
    Ok(vec![dx, dy])
}

/// A product as wide as the output in its leading dimensions, summed to the shape of `of`.
fn summed_product(
    ctx: &mut GradientCtx<'_>,
    left: (TensorId, bool),
    right: (TensorId, bool),
    of: TensorId,
) -> TensorId {
    let (wanted, output) = (ctx.shape(of), ctx.shape(ctx.node.outputs[0]));
    let outer = output.len() - 2;
    let mut full = output[..outer].to_vec();
    full.extend(&wanted[wanted.len() - 2..]);
    let product = emit_product(ctx, left, right, &full);
    if full == wanted {
        return product;
    }
    let missing = full.len() - wanted.len();
    let axes = (0..outer).filter(|&d| d < missing || wanted[d - missing] != full[d]);
    let axes: Vec<i32> = axes.map(|d| d as i32).collect();
    let mut product = product;
    if !axes.is_empty() {
        axes.iter().for_each(|&d| full[d as usize] = 1);
        let axes = ctx.constant_i32(&axes);
        let options = BuiltinOptions::ReducerOptions(Box::new(ReducerOptionsT { keep_dims: true }));
        product = ctx.emit(BuiltinOperator::SUM, options, &[product, axes], &full);
    }
    if full == wanted {
        return product;
    }
    let shape = ctx.constant_i32(&wanted);
    let options = BuiltinOptions::ReshapeOptions(Box::new(ReshapeOptionsT { new_shape: Some(wanted.clone()) }));
    ctx.emit(BuiltinOperator::RESHAPE, options, &[product, shape], &wanted)
}
