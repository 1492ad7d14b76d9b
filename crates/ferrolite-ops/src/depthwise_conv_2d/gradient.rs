//! The gradient: operators of their own.

use crate::OpError;
use crate::activation_grad::through_activation;
use crate::bias_grad::bias_gradient;
use crate::conv_grad::{DEPTHWISE_INPUT_GRAD, DEPTHWISE_WEIGHT_GRAD};
use crate::gradient::GradientCtx;
use ferrolite_model::TensorId;

pub fn gradient(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let (Some(&Some(x)), Some(&Some(w))) = (ctx.node.inputs.first(), ctx.node.inputs.get(1)) else {
        return Err(OpError::invalid("an input is missing"));
    };
    let dy = through_activation(ctx)?;
    let needs = [ctx.needs[0], ctx.needs[1]];
    let mut emit = |needed: bool, name, of: TensorId| {
        needed.then(|| {
            let shape = ctx.shape(of);
            ctx.emit_custom(name, &[x, w, dy], &shape)
        })
    };
    let dx = emit(needs[0], DEPTHWISE_INPUT_GRAD.name(), x);
    let dw = emit(needs[1], DEPTHWISE_WEIGHT_GRAD.name(), w);
    let db = bias_gradient(ctx, 2, dy);
    Ok(vec![dx, dw, db])
}
