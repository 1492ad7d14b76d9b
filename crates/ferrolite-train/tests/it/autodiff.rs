//! The machinery of differentiation, on operators made for it.

use crate::{assert_gradients, options};
use ferrolite_model::{Model, ModelBuilder, TensorType};
use ferrolite_ops::gradient::Gradient;
use ferrolite_ops::op::{InferResult, Inferred, reference};
use ferrolite_ops::{Catalog, Kernel, NodeView, OpDef, OpError, OpId};
use ferrolite_runtime::Interpreter;
use ferrolite_train::{TrainError, differentiate, remove_dead_nodes};
use std::ops::RangeInclusive;

/// Elementwise product, with or without a gradient.
struct Product {
    name: &'static str,
    gradient: Option<Gradient>,
}

impl OpDef for Product {
    fn id(&self) -> OpId {
        OpId::Custom(self.name)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        Ok([Inferred::new(TensorType::Float32, node.input(0)?.shape.iter().copied())].into_iter().collect())
    }

    fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        reference(|io| {
            let (a, b) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
            let out = io.outputs[0].slice::<f32>()?;
            out.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = a * b);
            Ok(())
        })
    }

    fn gradient(&self) -> Option<Gradient> {
        self.gradient
    }
}

fn catalog() -> Catalog {
    let gradient: Gradient = |ctx| {
        let (Some(a), Some(b), Some(g)) = (ctx.node.inputs[0], ctx.node.inputs[1], ctx.grad_outputs[0]) else {
            return Err(OpError::invalid("no gradient came in"));
        };
        let shape = ctx.shape(a);
        let mut factor = |i: usize, other| ctx.needs[i].then(|| ctx.emit_custom("Product", &[g, other], &shape));
        Ok(vec![factor(0, b), factor(1, a)])
    };
    let product = Product { name: "Product", gradient: Some(gradient) };
    Catalog::builtin().with(product).with(Product { name: "Opaque", gradient: None })
}

/// x³ · y over four elements.
fn cube(op: &str) -> Model {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[4]);
    let y = b.input("y", TensorType::Float32, &[4]);
    let ids = [0, 1, 2].map(|i| b.tensor(format!("t{i}"), TensorType::Float32, &[4]));
    b.custom("Product", Vec::new(), &[Some(x), Some(x)], &[ids[0]]);
    b.custom(op, Vec::new(), &[Some(ids[0]), Some(x)], &[ids[1]]);
    b.custom("Product", Vec::new(), &[Some(ids[1]), Some(y)], &[ids[2]]);
    b.output(ids[2]);
    b.build().unwrap()
}

#[test]
fn contributions_of_all_readers_are_summed() {
    assert_gradients(&cube("Product"), &catalog());
}

#[test]
fn only_what_is_asked_for_is_emitted() {
    let mut model = cube("Opaque");
    let (x, y, output) = (0, 1, 4);
    let seed = model.subgraphs[0].tensors.len();
    let tensor = model.subgraphs[0].tensors[output].clone();
    model.subgraphs[0].tensors.push(tensor);
    // The gradient of y does not pass through the operator that has none.
    let before = model.subgraphs[0].nodes.len();
    let gradients = differentiate(&mut model, 0, &[(output, seed)], &[y], &catalog()).unwrap();
    assert_eq!(model.subgraphs[0].nodes.len(), before + 1);
    model.subgraphs[0].inputs.push(seed);
    model.subgraphs[0].outputs = vec![gradients[0].unwrap()];
    remove_dead_nodes(&mut model.subgraphs[0]);
    assert_eq!(model.subgraphs[0].nodes.len(), before, "the last forward node is not needed any more");
    let mut interpreter = Interpreter::with_options(model.clone(), options(&catalog())).unwrap();
    interpreter.set_input(0, &[1.0f32, 2.0, 3.0, -1.0]).unwrap();
    interpreter.set_input(2, &[1.0f32, 1.0, 1.0, 2.0]).unwrap();
    interpreter.invoke().unwrap();
    assert_eq!(interpreter.output::<f32>(0).unwrap(), [1.0, 8.0, 27.0, -2.0]);

    // The gradient of x does.
    let error = differentiate(&mut cube("Opaque"), 0, &[(output, y)], &[x], &catalog()).unwrap_err();
    assert!(matches!(&error, TrainError::NoGradient { node: 1, op, .. } if op == "Opaque"), "{error}");
    assert!(error.to_string().contains("node 1 (Opaque)"), "{error}");
}

#[test]
fn what_the_seeds_do_not_depend_on_has_no_gradient() {
    let mut model = cube("Product");
    let seeds = [(2, 0)];
    let gradients = differentiate(&mut model, 0, &seeds, &[0, 1], &catalog()).unwrap();
    assert!(gradients[0].is_some() && gradients[1].is_none());
    assert!(differentiate(&mut model, 0, &[(99, 0)], &[0], &catalog()).is_err());
    assert!(differentiate(&mut model, 1, &seeds, &[0], &catalog()).is_err());
}
