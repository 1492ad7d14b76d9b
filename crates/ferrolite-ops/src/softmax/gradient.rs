//! Gradients of SOFTMAX and LOG_SOFTMAX, by their outputs.

use crate::OpError;
use crate::activation_grad::through_activation;
use crate::gradient::GradientCtx;
use ferrolite_model::schema::ReducerOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId};

/// dx = beta · y · (dy − Σ dy · y)
pub fn softmax(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let dy = through_activation(ctx)?;
    let y = ctx.node.outputs[0];
    let beta = ctx.node.options.as_softmax_options().map_or(1.0, |o| o.beta);
    let weighted = mul(ctx, dy, y);
    let sum = row_sum(ctx, weighted);
    let difference = sub(ctx, dy, sum);
    let mut dx = mul(ctx, difference, y);
    if beta != 1.0 {
        let beta = ctx.constant_f32(&[], &[beta]);
        dx = mul(ctx, dx, beta);
    }
    Ok(vec![Some(dx)])
}

/// dx = dy − exp(y) · Σ dy
pub fn log_softmax(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let dy = through_activation(ctx)?;
    let y = ctx.node.outputs[0];
    let shape = ctx.shape(y);
    let sum = row_sum(ctx, dy);
    let options = BuiltinOptions::ExpOptions(Box::default());
    let probabilities = ctx.emit(BuiltinOperator::EXP, options, &[y], &shape);
    let share = mul(ctx, probabilities, sum);
    Ok(vec![Some(sub(ctx, dy, share))])
}

fn mul(ctx: &mut GradientCtx<'_>, a: TensorId, b: TensorId) -> TensorId {
    let shape = ctx.shape(a);
    ctx.emit(BuiltinOperator::MUL, BuiltinOptions::MulOptions(Box::default()), &[a, b], &shape)
}

fn sub(ctx: &mut GradientCtx<'_>, a: TensorId, b: TensorId) -> TensorId {
    let shape = ctx.shape(a);
    ctx.emit(BuiltinOperator::SUB, BuiltinOptions::SubOptions(Box::default()), &[a, b], &shape)
}

fn row_sum(ctx: &mut GradientCtx<'_>, x: TensorId) -> TensorId {
    let mut shape = ctx.shape(x);
    if let Some(last) = shape.last_mut() {
        *last = 1;
    }
    let axis = ctx.constant_i32(&[-1]);
    let options = BuiltinOptions::ReducerOptions(Box::new(ReducerOptionsT { keep_dims: true }));
    ctx.emit(BuiltinOperator::SUM, options, &[x, axis], &shape)
}
