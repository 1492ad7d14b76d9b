//! The gradient: of the input a transposed convolution, of the filters an operator of its own.

use crate::OpError;
use crate::activation_grad::through_activation;
use crate::bias_grad::bias_gradient;
use crate::conv_grad::{CONV_2D_INPUT_GRAD, CONV_2D_WEIGHT_GRAD};
use crate::gradient::GradientCtx;
use ferrolite_model::schema::{Conv2DOptionsT, TransposeConvOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorId};

pub fn gradient(ctx: &mut GradientCtx<'_>) -> Result<Vec<Option<TensorId>>, OpError> {
    let (Some(&Some(x)), Some(&Some(w))) = (ctx.node.inputs.first(), ctx.node.inputs.get(1)) else {
        return Err(OpError::invalid("an input is missing"));
    };
    let Some(options) = ctx.node.options.as_conv_2_doptions().cloned() else {
        return Err(OpError::invalid("no convolution options"));
    };
    let dy = through_activation(ctx)?;
    let dx = ctx.needs[0].then(|| input_gradient(ctx, &options, x, w, dy));
    let dw = ctx.needs[1].then(|| {
        let shape = ctx.shape(w);
        ctx.emit_custom(CONV_2D_WEIGHT_GRAD.name(), &[x, w, dy], &shape)
    });
    let db = bias_gradient(ctx, 2, dy);
    Ok(vec![dx, dw, db])
}

fn input_gradient(ctx: &mut GradientCtx<'_>, o: &Conv2DOptionsT, x: TensorId, w: TensorId, dy: TensorId) -> TensorId {
    let (shape, filter) = (ctx.shape(x), ctx.shape(w));
    let plain = (o.dilation_h_factor, o.dilation_w_factor) == (1, 1) && shape.last() == filter.last();
    if !plain {
        return ctx.emit_custom(CONV_2D_INPUT_GRAD.name(), &[x, w, dy], &shape);
    }
    // OHWI to IHWO.
    let permutation = ctx.constant_i32(&[3, 1, 2, 0]);
    let swapped = [filter[3], filter[1], filter[2], filter[0]];
    let options = BuiltinOptions::TransposeOptions(Box::default());
    let w = ctx.emit(BuiltinOperator::TRANSPOSE, options, &[w, permutation], &swapped);
    let options = TransposeConvOptionsT {
        padding: o.padding,
        stride_w: o.stride_w,
        stride_h: o.stride_h,
        ..TransposeConvOptionsT::default()
    };
    let output = ctx.constant_i32(&shape);
    let options = BuiltinOptions::TransposeConvOptions(Box::new(options));
    ctx.emit(BuiltinOperator::TRANSPOSE_CONV, options, &[output, w, dy], &shape)
}
