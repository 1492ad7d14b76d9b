//! Runs one operator's kernels on given tensors, for unit tests.

use crate::gradient::GradientCtx;
use crate::op::{FastKernel, Io, Kernel, NodeView, OpDef, OpId};
use crate::session::NoSession;
use crate::tensor::{AlignedBytes, Known, OutputData, Shape, TensorInfo, TensorMut, TensorRef};
use crate::{Catalog, Inferred, OpError};
use ferrolite_kernels::Isa;
use ferrolite_kernels::ThreadPool;
use ferrolite_model::{
    BuiltinOptions, BuiltinOptions2, Bytes, Model, ModelBuilder, Quantization, TensorId, TensorType,
};
use smallvec::SmallVec;

/// A tensor with its data.
#[derive(Clone, Debug, PartialEq)]
pub struct TestTensor {
    /// Element type.
    pub ty: TensorType,
    /// Dimensions.
    pub shape: Shape,
    /// Data.
    pub bytes: Vec<u8>,
    /// Scales.
    pub quantization: Option<Quantization>,
    /// Whether operators may take it for a constant.
    pub constant: bool,
}

impl TestTensor {
    /// A tensor from elements.
    pub fn new<T: bytemuck::Pod>(ty: TensorType, shape: &[usize], values: &[T]) -> TestTensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{shape:?}");
        let bytes = bytemuck::cast_slice(values).to_vec();
        TestTensor { ty, shape: shape.into(), bytes, quantization: None, constant: false }
    }

    /// Float32.
    pub fn f32(shape: &[usize], values: &[f32]) -> TestTensor {
        TestTensor::new(TensorType::Float32, shape, values)
    }

    /// With one scale and zero point.
    pub fn scaled(mut self, scale: f32, zero_point: i64) -> TestTensor {
        self.quantization = Some(Quantization::per_tensor(scale, zero_point));
        self
    }

    /// As a constant.
    pub fn constant(mut self) -> TestTensor {
        self.constant = true;
        self
    }

    /// The elements.
    pub fn values<T: bytemuck::Pod>(&self) -> Vec<T> {
        crate::tensor::copy_elements(&self.bytes)
    }
}

/// Which kernel to run.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// The reference.
    Reference,
    /// The first fast one that supports the node; an error if there is none.
    Fast,
}

const NO_FAST_KERNEL: &str = "no fast kernel";

/// Infers, prepares and runs. `outputs` gives types and quantization of the outputs.
pub fn run(
    op: &dyn OpDef,
    options: &BuiltinOptions,
    inputs: &[TestTensor],
    outputs: &[(TensorType, Option<Quantization>)],
    pick: Pick,
) -> Result<Vec<TestTensor>, OpError> {
    let constants: Vec<Bytes> = inputs.iter().map(|t| Bytes::from(t.bytes.clone())).collect();
    let info = |ty, shape: &[usize]| TensorInfo {
        name: "test",
        ty,
        shape: shape.into(),
        is_open: false,
        quantization: None,
        sparsity: None,
        is_variable: false,
        constant: None,
        known: None,
    };
    let (model, mut session) = (Model::default(), NoSession::default());
    let mut node = NodeView {
        version: 1,
        options,
        options2: &BuiltinOptions2::NONE,
        custom_options: None,
        model: &model,
        subgraph: 0,
        callees: None,
        inputs: SmallVec::new(),
        outputs: SmallVec::new(),
        intermediates: SmallVec::new(),
    };
    for (tensor, bytes) in inputs.iter().zip(&constants) {
        node.inputs.push(Some(TensorInfo {
            quantization: tensor.quantization.as_ref(),
            constant: tensor.constant.then_some(bytes),
            known: tensor.constant.then_some(Known::constant(&tensor.bytes)),
            ..info(tensor.ty, &tensor.shape)
        }));
    }
    for (ty, quantization) in outputs {
        node.outputs.push(TensorInfo { quantization: quantization.as_ref(), ..info(*ty, &[]) });
    }
    let inferred = op.infer(&node)?;
    for (output, Inferred { ty, shape }) in node.outputs.iter_mut().zip(&inferred) {
        assert_eq!(output.ty, *ty);
        output.shape = shape.clone().unwrap_or_default();
    }
    let kernel: Box<dyn Kernel> = match pick {
        Pick::Reference => op.reference(&node)?,
        Pick::Fast => {
            let fast: Option<&FastKernel> = op.fast().iter().find(|f| (f.supports)(&node));
            let fast = fast.ok_or_else(|| OpError::unsupported(NO_FAST_KERNEL))?;
            (fast.prepare)(&node, Isa::detect())?
        }
    };
    let data: Vec<AlignedBytes> = inputs.iter().map(|t| AlignedBytes::from(&t.bytes[..])).collect();
    let mut results: Vec<(Shape, AlignedBytes)> = inferred
        .iter()
        .map(|i| match &i.shape {
            None => (Shape::new(), AlignedBytes::default()),
            Some(s) => (s.clone(), AlignedBytes::zeroed(i.ty.byte_len(s.iter().product()).unwrap_or(0))),
        })
        .collect();
    let mut scratch = AlignedBytes::zeroed(kernel.scratch_bytes());
    scratch.fill(0xA5);
    let mut io = Io {
        inputs: inputs
            .iter()
            .zip(&data)
            .map(|(t, bytes)| {
                Some(TensorRef { ty: t.ty, shape: &t.shape, quantization: t.quantization.as_ref(), bytes })
            })
            .collect(),
        outputs: results
            .iter_mut()
            .zip(&inferred)
            .zip(outputs)
            .map(|(((shape, bytes), inferred), (ty, quantization))| TensorMut {
                ty: *ty,
                quantization: quantization.as_ref(),
                data: match inferred.shape {
                    Some(_) => OutputData::Planned { shape, bytes },
                    None => OutputData::Dynamic { shape, bytes },
                },
            })
            .collect(),
        scratch: &mut scratch,
        pool: &ThreadPool::new(2),
        state: SmallVec::new(),
        session: &mut session,
    };
    kernel.run(&mut io)?;
    drop(io);
    let outputs = results.into_iter().zip(outputs).map(|((shape, bytes), (ty, quantization))| TestTensor {
        ty: *ty,
        shape,
        bytes: bytes.to_vec(),
        quantization: quantization.clone(),
        constant: false,
    });
    Ok(outputs.collect())
}

/// Runs the main subgraph of a model with given values of its inputs, by reference or fast kernels, and returns the tensors
/// asked for.
pub fn evaluate(model: &Model, inputs: &[TestTensor], wanted: &[TensorId], pick: Pick) -> Vec<TestTensor> {
    let (catalog, graph) = (Catalog::builtin(), &model.subgraphs[0]);
    let mut values: Vec<Option<TestTensor>> = graph
        .tensors
        .iter()
        .map(|t| {
            let data = model.constant(t)?;
            let shape = t.shape.iter().map(|&d| d as usize).collect();
            Some(TestTensor { ty: t.ty, shape, bytes: data.to_vec(), quantization: None, constant: true })
        })
        .collect();
    graph.inputs.iter().zip(inputs).for_each(|(&id, value)| values[id] = Some(value.clone()));
    for node in &graph.nodes {
        let op = catalog.find(model.operator(node)).expect("a known operator");
        let inputs: Vec<TestTensor> =
            node.inputs.iter().flatten().map(|&id| values[id].clone().expect("nodes are in order")).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|&id| (graph.tensors[id].ty, None)).collect();
        let mut results = run(op, &node.options, &inputs, &outputs, pick);
        // Only operators without a fast kernel for the node fall back.
        if results == Err(OpError::unsupported(NO_FAST_KERNEL)) {
            results = run(op, &node.options, &inputs, &outputs, Pick::Reference);
        }
        let results = results.unwrap_or_else(|e| panic!("{}: {e}", op.id()));
        node.outputs.iter().zip(results).for_each(|(&id, value)| values[id] = Some(value));
    }
    wanted.iter().map(|&id| values[id].clone().expect("a computed tensor")).collect()
}

/// Compares an operator's gradient with finite differences, at random float inputs of these shapes.
pub fn check_gradient(op: &dyn OpDef, options: BuiltinOptions, shapes: &[&[i32]], seed: u64) {
    let OpId::Builtin(builtin) = op.id() else { panic!("a custom operator") };
    let mut b = ModelBuilder::new();
    let ids: Vec<TensorId> = shapes.iter().map(|s| b.input("x", TensorType::Float32, s)).collect();
    let values: Vec<TestTensor> = (seed..)
        .zip(shapes)
        .map(|(seed, s)| {
            let shape: Vec<usize> = s.iter().map(|&d| d as usize).collect();
            TestTensor::f32(&shape, &noise(seed, shape.iter().product()))
        })
        .collect();
    let y = run(op, &options, &values, &[(TensorType::Float32, None)], Pick::Reference).expect("runs").remove(0);
    let y_shape: Vec<i32> = y.shape.iter().map(|&d| d as i32).collect();
    let output = b.tensor("y", TensorType::Float32, &y_shape);
    let inputs: Vec<_> = ids.iter().map(|&id| Some(id)).collect();
    b.node(builtin, 1, options.clone(), &inputs, &[output]);
    let dy = b.input("dy", TensorType::Float32, &y_shape);
    b.output(output);
    let mut model = b.build().expect("a valid model");
    let node = model.subgraphs[0].nodes[0].clone();
    let mut ctx = GradientCtx {
        model: &mut model,
        subgraph: 0,
        node: &node,
        grad_outputs: &[Some(dy)],
        needs: &vec![true; shapes.len()],
    };
    let gradients = op.gradient().expect("a gradient")(&mut ctx).expect("emits");
    let gradients: Vec<TensorId> = gradients.into_iter().flatten().collect();
    assert_eq!(gradients.len(), shapes.len());
    let weights = noise(seed + 100, y.values::<f32>().len());
    let mut given = values.clone();
    given.push(TestTensor::f32(&y.shape, &weights));
    let loss = |values: &[TestTensor]| -> f64 {
        let y = run(op, &options, values, &[(TensorType::Float32, None)], Pick::Reference).expect("runs").remove(0);
        y.values::<f32>().iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
    };
    for pick in [Pick::Reference, Pick::Fast] {
        let computed = evaluate(&model, &given, &gradients, pick);
        for (i, gradient) in computed.iter().enumerate() {
            assert_eq!(gradient.shape, values[i].shape, "gradient of input {i}");
            let gradient = gradient.values::<f32>();
            let largest = gradient.iter().fold(0.0f64, |m, &g| m.max(f64::from(g).abs()));
            for at in (0..gradient.len()).step_by(gradient.len() / 37 + 1) {
                // Small: activations must not bend within a step.
                let step = 5e-4;
                let mut difference = 0.0;
                for sign in [1.0, -1.0] {
                    let mut moved = values.clone();
                    let mut x = moved[i].values::<f32>();
                    x[at] += sign * step;
                    moved[i].bytes = bytemuck::cast_slice(&x).to_vec();
                    difference += f64::from(sign) * loss(&moved);
                }
                let expected = difference / (2.0 * f64::from(step));
                let got = f64::from(gradient[at]);
                assert!(
                    (got - expected).abs() < 2e-3 * (1.0 + largest),
                    "input {i}, element {at}: {got}, not {expected}"
                );
            }
        }
    }
}

/// Pseudo-random numbers in −1..1, the same for the same seed.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
