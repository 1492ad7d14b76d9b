//! NumericVerify: how far the values of a quantized tensor are from those of its float original.
//!
//! Sources: LiteRT `kernels/numeric_verify.cc`.

use crate::common::elementwise::check_type;
use crate::common::flex::FlexOptions;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize_dequantize::Dequantize;
use crate::{OpError, ensure};
use ferrolite_model::{FlexItem, ModelBuilder, Quantization, TensorType, flex_map};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// NumericVerify. Inputs: quantized values, floats. Output: their differences.
pub struct NumericVerify;

impl OpDef for NumericVerify {
    fn id(&self) -> OpId {
        OpId::Custom("NumericVerify")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (input, original) = (node.input(0)?, node.input(1)?);
        use TensorType::{Float16, Float32, Int8, Int16, UInt8};
        check_type(input.ty, &[UInt8, Int8, Int16, Float16])?;
        check_type(original.ty, &[Float32])?;
        ensure!(input.shape == original.shape, "{:?} is compared with {:?}", input.shape, original.shape);
        FlexOptions::of(node)?.float("tolerance")?;
        Ok(smallvec![Inferred::new(Float32, input.shape.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let options = FlexOptions::of(node)?;
        let tolerance = options.float("tolerance")?.unwrap_or(0.0);
        // LiteRT takes a smaller tolerance for a wish to see statistics only.
        let limit = if options.flag("log_if_failed")? && tolerance >= 0.1 {
            node.input(0)?.scale_zero_point().map_or(0.0, |(scale, _)| tolerance * scale)
        } else {
            f32::INFINITY
        };
        // It reads input 0 and writes output 0 alone.
        let dequantize = Dequantize.reference(node)?;
        reference(move |io| {
            dequantize.run(io)?;
            let original = io.input(1)?.slice::<f32>()?;
            let output = io.outputs[0].slice::<f32>()?;
            for (i, (y, &x)) in output.iter_mut().zip(original).enumerate() {
                let value = *y;
                *y -= x;
                let far = y.abs() > limit;
                ensure!(!far, "element {i} is {value}, which was {x}: more than {limit} away");
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (ty, scale, zero_point) in
            [(TensorType::UInt8, 0.02, 128), (TensorType::Int8, 0.01, -3), (TensorType::Int16, 0.0001, 0)]
        {
            let items = [("tolerance", FlexItem::Float(5.0)), ("log_if_failed", FlexItem::Bool(false))];
            let mut b = ModelBuilder::new();
            let (x, original) = (b.input("x", ty, &[5, 7]), b.input("original", TensorType::Float32, &[5, 7]));
            b.quantize(x, Quantization::per_tensor(scale, zero_point));
            let y = b.tensor("y", TensorType::Float32, &[5, 7]);
            b.output(y);
            b.custom("NumericVerify", flex_map(&items), &[Some(x), Some(original)], &[y]);
            cases.extend(b.build().ok().map(|model| Case { name: ty.to_string(), model }));
        }
        cases
    }
}
