//! Runs a model with two operators of one's own: `cargo run --release -p ferrolite --example own_operator`

use ferrolite::ops::{InferResult, Inferred, Kernel, NodeView, OpDef, OpError, OpId, StateInputs, ensure, reference};
use ferrolite::{Catalog, Error, Interpreter, ModelBuilder, Node, Options, TensorType};
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

/// The custom operator `Smooth`: a running mean of its inputs over time. Input 1 is its state, a variable. Its option, a
/// float32, is the weight of what is new.
struct Smooth;

impl Smooth {
    fn weight(node: &NodeView<'_>) -> Result<f32, OpError> {
        let bytes = node.custom_options.and_then(|bytes| <[u8; 4]>::try_from(&bytes[..]).ok());
        let weight = bytes.map(f32::from_le_bytes).filter(|w| (0.0..=1.0).contains(w));
        weight.ok_or_else(|| OpError::invalid("its option has to be a float32 in 0..=1"))
    }
}

impl OpDef for Smooth {
    fn id(&self) -> OpId {
        OpId::Custom("Smooth")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (x, mean) = (node.input(0)?, node.input(1)?);
        ensure!(x.ty == TensorType::Float32 && mean.ty == x.ty, "takes float32, not {} and {}", x.ty, mean.ty);
        ensure!(x.shape == mean.shape, "its state of shape {:?} is not like {:?}", mean.shape, x.shape);
        Smooth::weight(node)?;
        Ok([Inferred::new(x.ty, x.shape.iter().copied())].into_iter().collect())
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        // What the kernel needs of the node, it takes along.
        let weight = Smooth::weight(node)?;
        reference(move |io| {
            let x = io.input(0)?.slice::<f32>()?;
            let (mean, y) = (io.state[0].slice::<f32>()?, io.outputs[0].slice::<f32>()?);
            for ((mean, x), y) in mean.iter_mut().zip(x).zip(y) {
                *mean += weight * (x - *mean);
                *y = *mean;
            }
            Ok(())
        })
    }

    fn state_inputs(&self, _: &Node) -> StateInputs {
        StateInputs::from_slice(&[1])
    }

    fn is_foldable(&self) -> bool {
        false
    }
}

fn main() -> Result<(), Error> {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[3]);
    let cubed = b.tensor("cubed", TensorType::Float32, &[3]);
    b.custom("Cube", Vec::new(), &[Some(x)], &[cubed]);
    let (mean, y) = (b.variable("mean", TensorType::Float32, &[3]), b.tensor("y", TensorType::Float32, &[3]));
    b.custom("Smooth", 0.5f32.to_le_bytes().to_vec(), &[Some(cubed), Some(mean)], &[y]);
    b.output(y);
    let model = b.build()?;

    let options = Options { catalog: Catalog::builtin().with(Cube).with(Smooth), ..Options::default() };
    let mut interpreter = Interpreter::with_options(model, options)?;
    for want in [[0.5, 4.0, -13.5], [0.75, 6.0, -20.25]] {
        interpreter.set_input(0, &[1.0f32, 2.0, -3.0])?;
        interpreter.invoke()?;
        println!("{:?}", interpreter.output::<f32>(0)?);
        assert_eq!(interpreter.output::<f32>(0)?, want);
    }
    Ok(())
}
