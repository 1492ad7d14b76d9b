//! Runs one operator's kernels on given tensors, for unit tests.

use crate::op::{FastKernel, Io, Kernel, NodeView, OpDef};
use crate::tensor::{AlignedBytes, OutputData, Shape, TensorInfo, TensorMut, TensorRef};
use crate::{Inferred, OpError};
use ferrolite_kernels::Isa;
use ferrolite_kernels::ThreadPool;
use ferrolite_model::{BuiltinOptions, BuiltinOptions2, Bytes, Quantization, TensorType};
use smallvec::SmallVec;

/// A tensor with its data.
#[derive(Clone, Debug)]
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
#[derive(Clone, Copy)]
pub enum Pick {
    /// The reference.
    Reference,
    /// The first fast one that supports the node; an error if there is none.
    Fast,
}

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
        quantization: None,
        sparsity: None,
        is_variable: false,
        constant: None,
        known: None,
    };
    let mut node = NodeView {
        version: 1,
        options,
        options2: &BuiltinOptions2::NONE,
        custom_options: None,
        inputs: SmallVec::new(),
        outputs: SmallVec::new(),
    };
    for (tensor, bytes) in inputs.iter().zip(&constants) {
        node.inputs.push(Some(TensorInfo {
            quantization: tensor.quantization.as_ref(),
            constant: tensor.constant.then_some(bytes),
            known: tensor.constant.then_some(&tensor.bytes),
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
            let fast = fast.ok_or_else(|| OpError::unsupported("no fast kernel"))?;
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
