//! The gradient: matrix products.

use crate::OpError;
use crate::activation_grad::through_activation;
use crate::batch_matmul::emit_product;
use crate::bias_grad::bias_gradient;
use crate::gradient::GradientCtx;
use ferrolite_model::schema::ReshapeOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId};

pub fn gradient(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let (Some(&Some(x)), Some(&Some(w))) = (ctx.node.inputs.first(), ctx.node.inputs.get(1)) else {
        return Err(OpError::invalid("an input is missing"));
    };
    let dy = through_activation(ctx)?;
    let &[units, depth] = &ctx.shape(w)[..] else { return Err(OpError::invalid("weights that are no matrix")) };
    let x_shape = ctx.shape(x);
    let rows = x_shape.iter().product::<i32>() / depth.max(1);
    let flat_dy = reshape(ctx, dy, &[rows, units]);
    let dx = ctx.needs[0].then(|| {
        let dx = emit_product(ctx, (flat_dy, false), (w, false), &[rows, depth]);
        reshape(ctx, dx, &x_shape)
    });
    let dw = ctx.needs[1].then(|| {
        let flat_x = reshape(ctx, x, &[rows, depth]);
        emit_product(ctx, (flat_dy, true), (flat_x, false), &[units, depth])
    });
    let db = bias_gradient(ctx, 2, flat_dy);
    Ok(vec![dx, dw, db])
}

fn reshape(ctx: &mut GradientCtx<'_>, tensor: TensorId, shape: &[i32]) -> TensorId {
    if ctx.shape(tensor) == shape {
        return tensor;
    }
    let wanted = ctx.constant_i32(shape);
    let options = BuiltinOptions::ReshapeOptions(Box::new(ReshapeOptionsT { new_shape: Some(shape.to_vec()) }));
    ctx.emit(BuiltinOperator::RESHAPE, options, &[tensor, wanted], shape)
}
