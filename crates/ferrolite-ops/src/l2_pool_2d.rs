//! L2_POOL_2D: the root of the mean of squares under a window; padding does not take part.

use crate::OpError;
use crate::common::activation::float_range;
use crate::common::cases::case;
use crate::common::elementwise::check_type;
use crate::common::linear::clamp;
use crate::common::window2d::Window2d;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::pool_2d::{options, window};
use ferrolite_model::schema::{ActivationFunctionType, Padding, Pool2DOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// L2_POOL_2D.
pub struct L2Pool2d;

impl OpDef for L2Pool2d {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::L2_POOL_2D)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        check_type(input.ty, &[TensorType::Float32])?;
        let w = window(node)?;
        Ok(smallvec![Inferred::new(input.ty, [w.batch, w.output.0, w.output.1, input.shape[3]])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (w, channels) = (window(node)?, node.input(0)?.shape[3]);
        let (low, high) = float_range(options(node)?.fused_activation_function)?;
        reference(move |io| {
            let x = io.input(0)?.slice::<f32>()?;
            let out = io.outputs[0].slice::<f32>()?;
            for position in 0..w.positions() {
                for c in 0..channels {
                    let (mut sum, mut count) = (0.0f32, 0u32);
                    w.for_taps(position, |_, pixel| {
                        let x = x[pixel * channels + c];
                        sum += x * x;
                        count += 1;
                    });
                    out[position * channels + c] = clamp((sum / count as f32).sqrt(), low, high);
                }
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (x, kernel, stride) in [([1, 8, 8, 32], (2, 2), (2, 2)), ([2, 7, 9, 5], (3, 2), (2, 1))] {
            for padding in [Padding::SAME, Padding::VALID] {
                let shape = x.map(|d: i32| d as usize);
                let size = (kernel.0 as usize, kernel.1 as usize);
                let Ok(w) = Window2d::new(&shape, size, stride, (1, 1), padding) else { continue };
                let y = [x[0], w.output.0 as i32, w.output.1 as i32, x[3]];
                let options = BuiltinOptions::Pool2DOptions(Box::new(Pool2DOptionsT {
                    padding,
                    stride_h: stride.0,
                    stride_w: stride.1,
                    filter_height: kernel.0,
                    filter_width: kernel.1,
                    fused_activation_function: ActivationFunctionType::NONE,
                }));
                let ty = TensorType::Float32;
                let name = format!("{x:?}, {kernel:?} by {stride:?}, {padding:?}");
                let (input, output) = ((ty, &x[..], None), (ty, &y[..], None));
                cases.extend(case(name, BuiltinOperator::L2_POOL_2D, options, &[input], output));
            }
        }
        cases
    }
}
