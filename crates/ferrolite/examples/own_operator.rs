//! Runs a model with an operator of one's own: `cargo run --release -p ferrolite --example own_operator`

use ferrolite::ops::{InferResult, Inferred, Kernel, NodeView, OpDef, OpError, OpId, ensure, reference};
use ferrolite::{Catalog, Error, Interpreter, ModelBuilder, Options, TensorType};
use std::ops::RangeInclusive;

/// The custom operator `Cube`: each value to the third power.
struct Cube;

impl OpDef for Cube {
    fn id(&self) -> OpId {
        OpId::Custom("Cube")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let x = node.input(0)?;
        ensure!(x.ty == TensorType::Float32, "takes float32, not {}", x.ty);
        Ok([Inferred::new(x.ty, x.shape.iter().copied())].into_iter().collect())
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let x = io.input(0)?;
            for (y, x) in io.outputs[0].slice::<f32>()?.iter_mut().zip(x.slice::<f32>()?) {
                *y = x * x * x;
            }
            Ok(())
        })
    }
}

fn main() -> Result<(), Error> {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[3]);
    let y = b.tensor("y", TensorType::Float32, &[3]);
    b.custom("Cube", Vec::new(), &[Some(x)], &[y]);
    b.output(y);
    let model = b.build()?;

    let options = Options { catalog: Catalog::builtin().with(Cube), ..Options::default() };
    let mut interpreter = Interpreter::with_options(model, options)?;
    interpreter.set_input(0, &[1.0f32, 2.0, -3.0])?;
    interpreter.invoke()?;
    println!("{:?}", interpreter.output::<f32>(0)?);
    assert_eq!(interpreter.output::<f32>(0)?, [1.0, 8.0, -27.0]);
    Ok(())
}
