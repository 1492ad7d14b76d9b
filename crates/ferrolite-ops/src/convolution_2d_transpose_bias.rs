//! Convolution2DTransposeBias, MediaPipe's transposed convolution: TRANSPOSE_CONV whose output shape follows from the input's.
//!
//! Sources: MediaPipe `util/tflite/operations/transpose_conv_bias.cc`.

use crate::common::raw_options::{raw_options, raw_padding};
use crate::op::{Case, FastKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::transpose_conv::TransposeConv;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::Float32;
use ferrolite_model::schema::{Padding, TransposeConvOptionsT};
use ferrolite_model::{BuiltinOptions, ModelBuilder};
use smallvec::SmallVec;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// Convolution2DTransposeBias. Inputs: data, filters of shape (out, rows, columns, in), bias.
pub struct Convolution2dTransposeBias;

/// The options: padding, and the stride along (rows, columns).
fn options(node: &NodeView<'_>) -> Result<(Padding, [usize; 2]), OpError> {
    let [padding, stride_w, stride_h] = raw_options(node)?;
    let stride = [stride_h, stride_w].map(|s| usize::try_from(s).unwrap_or(0));
    ensure!(stride.iter().all(|s| (1..=1 << 20).contains(s)), "strides {stride_h} and {stride_w}");
    Ok((raw_padding(padding)?, stride))
}

/// Output elements along one dimension. With SAME padding, the convolution that this is the transpose of gives the input's
/// size.
fn extent(padding: Padding, input: usize, kernel: usize, stride: usize) -> usize {
    let full = (input - 1) * stride + kernel;
    let trimmed = if padding == Padding::SAME { kernel.saturating_sub((input - 1) % stride + 1) } else { 0 };
    full - trimmed
}

/// Calls `f` with the same node as a TRANSPOSE_CONV, and the order in which that takes the inputs.
fn as_transpose_conv<T>(
    node: &NodeView<'_>,
    f: impl FnOnce(&NodeView<'_>) -> Result<T, OpError>,
) -> Result<T, OpError> {
    let (padding, [stride_h, stride_w]) = options(node)?;
    let options = TransposeConvOptionsT {
        padding,
        stride_h: stride_h as i32,
        stride_w: stride_w as i32,
        ..TransposeConvOptionsT::default()
    };
    let options = BuiltinOptions::TransposeConvOptions(Box::new(options));
    f(&NodeView {
        version: node.version,
        options: &options,
        options2: node.options2,
        custom_options: None,
        model: node.model,
        subgraph: node.subgraph,
        callees: node.callees,
        inputs: IN_ORDER.iter().map(|i| i.and_then(|i| node.optional_input(i)).cloned()).collect(),
        outputs: node.outputs.iter().cloned().collect(),
        intermediates: SmallVec::new(),
    })
}

/// Which input of this operator is which of TRANSPOSE_CONV, whose output shape is settled when a kernel is prepared.
const IN_ORDER: [Option<usize>; 4] = [None, Some(1), Some(0), Some(2)];

/// A kernel of TRANSPOSE_CONV.
struct Reordered(Box<dyn Kernel>);

impl Kernel for Reordered {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        io.inputs = IN_ORDER.iter().map(|i| i.and_then(|i| io.optional_input(i))).collect();
        self.0.run(io)
    }

    fn scratch_bytes(&self) -> usize {
        self.0.scratch_bytes()
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

fn transpose_conv_kernel(node: &NodeView<'_>) -> Option<&'static FastKernel> {
    let choose = |node: &NodeView<'_>| Ok(TransposeConv.fast().iter().find(|fast| (fast.supports)(node)));
    as_transpose_conv(node, choose).ok().flatten()
}

impl OpDef for Convolution2dTransposeBias {
    fn id(&self) -> OpId {
        OpId::Custom("Convolution2DTransposeBias")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        let (x, w, bias) = (node.input(0)?, node.input(1)?, node.input(2)?);
        if [x.ty, w.ty, bias.ty] != [Float32; 3] {
            return Err(OpError::unsupported(format!("types {}, {}, {}", x.ty, w.ty, bias.ty)));
        }
        let (&[batch, rows, columns, in_c], &[out_c, k_h, k_w, depth]) = (&x.shape[..], &w.shape[..]) else {
            return Err(OpError::invalid(format!("input {:?} and filters {:?}: not 4 dimensions", x.shape, w.shape)));
        };
        ensure!(rows * columns > 0 && k_h * k_w > 0, "input {:?} or filters {:?} are empty", x.shape, w.shape);
        ensure!(in_c == depth && bias.shape[..] == [out_c], "filters {:?}, bias {:?}", w.shape, bias.shape);
        let (padding, stride) = options(node)?;
        let (height, width) = (extent(padding, rows, k_h, stride[0]), extent(padding, columns, k_w, stride[1]));
        Ok(smallvec![Inferred::new(Float32, [batch, height, width, out_c])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let kernel = as_transpose_conv(node, |node| TransposeConv.reference(node))?;
        Ok(Box::new(Reordered(kernel)))
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "transpose_conv",
            supports: |node| transpose_conv_kernel(node).is_some(),
            prepare: |node, isa| {
                let Some(fast) = transpose_conv_kernel(node) else { return Err(OpError::unsupported("the node")) };
                Ok(Box::new(Reordered(as_transpose_conv(node, |node| (fast.prepare)(node, isa))?)))
            },
        }]
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (x, out_c, kernel, stride) in [
            ([1, 8, 8, 16], 3, [2, 2], [2, 2]),
            ([2, 5, 7, 3], 4, [3, 3], [2, 1]),
            ([1, 4, 3, 2], 5, [1, 4], [3, 2]),
            ([1, 1, 6, 8], 8, [3, 2], [1, 2]),
        ] {
            for (padding, raw) in [(Padding::SAME, 1), (Padding::VALID, 2)] {
                let at = |i: usize| extent(padding, x[i + 1] as usize, kernel[i] as usize, stride[i] as usize) as i32;
                let mut b = ModelBuilder::new();
                let data = b.input("x", Float32, &x);
                let filters = [out_c, kernel[0], kernel[1], x[3]];
                let count = filters.iter().product::<i32>();
                let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
                let w = b.constant_f32("w", &filters, &values);
                let bias = b.constant_f32("bias", &[out_c], &values[..out_c as usize]);
                let y = b.tensor("y", Float32, &[x[0], at(0), at(1), out_c]);
                b.output(y);
                let options: Vec<u8> = [raw, stride[1], stride[0]].iter().flat_map(|n: &i32| n.to_le_bytes()).collect();
                b.custom("Convolution2DTransposeBias", options, &[Some(data), Some(w), Some(bias)], &[y]);
                let name = format!("{x:?} to {out_c}, {kernel:?} by {stride:?}, {padding:?}");
                cases.extend(b.build().ok().map(|model| Case { name, model }));
            }
        }
        cases
    }

    fn macs(&self, node: &NodeView<'_>) -> u64 {
        as_transpose_conv(node, |node| Ok(TransposeConv.macs(node))).unwrap_or(0)
    }
}
