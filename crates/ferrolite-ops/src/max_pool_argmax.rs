//! MaxPoolingWithArgmax2D: the largest element under a window and where it is; MaxUnpooling2D: back from there.
//!
//! There are two forms of places. MediaPipe's, of type float32: the tap of the window, counted by rows, plus 0.1; unpooling
//! drops the fraction. LiteRT's perception operators', of type int32: the element of the image, (row · columns + column) ·
//! channels + channel. Sources: MediaPipe `util/tflite/operations/{max_pool_argmax,max_unpooling}.cc`, LiteRT
//! `kernels/perception/{max_pool_with_argmax,max_unpooling_2d}.cc`.

use crate::common::activation::float_range;
use crate::common::elementwise::check_type;
use crate::common::linear::clamp;
use crate::common::padding::window;
use crate::common::raw_options::{raw_activation, raw_options, raw_padding};
use crate::common::strided::elements;
use crate::common::window2d::Window2d;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int32};
use ferrolite_model::schema::{ActivationFunctionType, Padding};
use ferrolite_model::{ModelBuilder, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// MaxPoolingWithArgmax2D. Outputs: largest elements, places.
pub struct MaxPoolingWithArgmax2d;

/// MaxUnpooling2D. Inputs: elements, places.
pub struct MaxUnpooling2d;

/// What the options say; pairs are (rows, columns).
struct Settings {
    padding: Padding,
    stride: (i32, i32),
    kernel: (usize, usize),
    activation: ActivationFunctionType,
}

impl Settings {
    fn of(node: &NodeView<'_>) -> Result<Settings, OpError> {
        let [padding, stride_w, stride_h, filter_w, filter_h, activation] = raw_options(node)?;
        let sane = |n: &i32| (1..=1 << 15).contains(n);
        let all = [stride_w, stride_h, filter_w, filter_h];
        ensure!(all.iter().all(sane), "window of {filter_h} x {filter_w}, every {stride_h} x {stride_w}");
        Ok(Settings {
            padding: raw_padding(padding)?,
            stride: (stride_h, stride_w),
            kernel: (filter_h as usize, filter_w as usize),
            activation: raw_activation(activation)?,
        })
    }
}

/// What is added to places of type float32, so that dropping the fraction is safe.
const FRACTION: f32 = 0.1;

fn raw(padding: i32, kernel: [i32; 2], stride: [i32; 2]) -> Vec<u8> {
    let fields = [padding, stride[1], stride[0], kernel[1], kernel[0], 0, 0, 0, 0, 0];
    fields.iter().flat_map(|n| n.to_le_bytes()).collect()
}

impl OpDef for MaxPoolingWithArgmax2d {
    fn id(&self) -> OpId {
        OpId::Custom("MaxPoolingWithArgmax2D")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 2)?;
        let (input, places) = (node.input(0)?, node.output(1)?.ty);
        check_type(input.ty, &[Float32])?;
        if !matches!(places, Float32 | Int32) {
            return Err(OpError::unsupported(format!("places of type {places}")));
        }
        let s = Settings::of(node)?;
        let w = Window2d::new(&input.shape, s.kernel, s.stride, (1, 1), s.padding)?;
        ensure!(i32::try_from(w.input.0 * w.input.1 * input.shape[3]).is_ok(), "the image is too large to number");
        let shape = [w.batch, w.output.0, w.output.1, input.shape[3]];
        Ok(smallvec![Inferred::new(Float32, shape), Inferred::new(places, shape)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (input, s) = (node.input(0)?, Settings::of(node)?);
        let (w, channels) = (Window2d::new(&input.shape, s.kernel, s.stride, (1, 1), s.padding)?, input.shape[3]);
        let (low, high) = float_range(s.activation)?;
        let image = w.input.0 * w.input.1;
        reference(move |io| {
            let x = io.input(0)?.slice::<f32>()?;
            let [values, places] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
            let values = values.slice::<f32>()?;
            for position in 0..w.positions() {
                for c in 0..channels {
                    let (mut largest, mut tap, mut pixel) = (f32::MIN, 0, 0);
                    w.for_taps(position, |t, p| {
                        let x = x[p * channels + c];
                        if x > largest {
                            (largest, tap, pixel) = (x, t, p % image);
                        }
                    });
                    let at = position * channels + c;
                    values[at] = clamp(largest, low, high);
                    match places.ty {
                        Float32 => places.slice::<f32>()?[at] = tap as f32 + FRACTION,
                        _ => places.slice::<i32>()?[at] = (pixel * channels + c) as i32,
                    }
                }
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (x, kernel, stride) in [([1, 8, 8, 5], [2, 2], [2, 2]), ([2, 7, 6, 3], [3, 2], [2, 2])] {
            for (places, (padding, number)) in
                [(Float32, (Padding::SAME, 1)), (Int32, (Padding::VALID, 2)), (Int32, (Padding::SAME, 1))]
            {
                let at = |i: usize| window(padding, x[i + 1] as usize, kernel[i] as usize, stride[i], 1);
                let (Ok(rows), Ok(columns)) = (at(0), at(1)) else { continue };
                let y = [x[0], rows.out as i32, columns.out as i32, x[3]];
                let mut b = ModelBuilder::new();
                let input = b.input("x", Float32, &x);
                let outputs = [b.tensor("y", Float32, &y), b.tensor("places", places, &y)];
                outputs.iter().for_each(|&id| b.output(id));
                b.custom("MaxPoolingWithArgmax2D", raw(number, kernel, stride), &[Some(input)], &outputs);
                let name = format!("{places} {x:?}, {kernel:?} by {stride:?}, {padding:?}");
                cases.extend(b.build().ok().map(|model| Case { name, model }));
            }
        }
        cases
    }
}

impl OpDef for MaxUnpooling2d {
    fn id(&self) -> OpId {
        OpId::Custom("MaxUnpooling2D")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (input, places) = (node.input(0)?, node.input(1)?);
        check_type(input.ty, &[Float32])?;
        check_type(places.ty, &[Float32, Int32])?;
        let &[batch, rows, columns, channels] = &input.shape[..] else {
            return Err(OpError::invalid(format!("the input has {} dimensions, not 4", input.shape.len())));
        };
        ensure!(input.shape == places.shape, "places of shape {:?} for {:?}", places.shape, input.shape);
        let s = Settings::of(node)?;
        let stride = (s.stride.0 as usize, s.stride.1 as usize);
        let extent = |n: usize, kernel: usize, stride: usize| match (places.ty, s.padding) {
            (Float32, _) => n.saturating_mul(kernel),
            (_, Padding::SAME) => n.saturating_mul(stride),
            _ => n.saturating_sub(1).saturating_mul(stride).saturating_add(kernel),
        };
        let shape = [batch, extent(rows, s.kernel.0, stride.0), extent(columns, s.kernel.1, stride.1), channels];
        elements(&shape)?;
        Ok(smallvec![Inferred::new(Float32, shape)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (s, input) = (Settings::of(node)?, &node.input(0)?.shape);
        let output = &node.output(0)?.shape;
        let pad = |i: usize, kernel: usize, stride: i32| {
            // The padding of the pooling that gives the input's size.
            let covered = input[i].saturating_sub(1) * stride as usize + kernel;
            covered.saturating_sub(output[i]) / 2
        };
        Ok(Box::new(Unpool {
            input: [input[0], input[1], input[2], input[3]],
            output: (output[1], output[2]),
            pad: (pad(1, s.kernel.0, s.stride.0), pad(2, s.kernel.1, s.stride.1)),
            kernel: s.kernel,
            stride: (s.stride.0 as usize, s.stride.1 as usize),
            by_tap: node.input(1)?.ty == TensorType::Float32,
        }))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (x, places, number) in [([1, 3, 4, 5], Float32, 1), ([2, 3, 2, 3], Int32, 1), ([1, 4, 3, 2], Int32, 2)] {
            let mut b = ModelBuilder::new();
            let inputs = [Some(b.input("x", Float32, &x)), Some(b.input("places", places, &x))];
            let y = b.tensor("y", Float32, &[x[0], 2 * x[1], 2 * x[2], x[3]]);
            b.output(y);
            b.custom("MaxUnpooling2D", raw(number, [2, 2], [2, 2]), &inputs, &[y]);
            let name = format!("{places} {x:?}, padding {number}");
            // Places have to be inside their windows; random numbers in −1..1 are tap 0.
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}

struct Unpool {
    input: [usize; 4],
    /// Rows and columns.
    output: (usize, usize),
    pad: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    /// Places are taps of a window.
    by_tap: bool,
}

impl Kernel for Unpool {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (x, places) = (io.input(0)?.slice::<f32>()?, io.input(1)?);
        let out = io.outputs[0].slice::<f32>()?;
        let [_, rows, columns, channels] = self.input;
        let image = self.output.0 * self.output.1 * channels;
        ensure!(out.len() == self.input[0] * image, "sizes changed since the kernel was prepared");
        out.fill(0.0);
        let outside = |i: usize| OpError::invalid(format!("place {i} is outside of the image"));
        for (i, &value) in x.iter().enumerate() {
            let (channel, pixel) = (i % channels, i / channels);
            let at = if self.by_tap {
                let tap = places.slice::<f32>()?[i];
                ensure!(tap > -1.0 && tap < (self.kernel.0 * self.kernel.1) as f32, "place {i} is {tap}, not a tap");
                let (ky, kx) = (tap as usize / self.kernel.1, tap as usize % self.kernel.1);
                let row = (pixel / columns % rows * self.stride.0 + ky).checked_sub(self.pad.0);
                let column = (pixel % columns * self.stride.1 + kx).checked_sub(self.pad.1);
                match (row, column) {
                    (Some(row), Some(column)) if row < self.output.0 && column < self.output.1 => {
                        (row * self.output.1 + column) * channels + channel
                    }
                    _ => return Err(outside(i)),
                }
            } else {
                usize::try_from(places.slice::<i32>()?[i]).map_err(|_| outside(i))?
            };
            ensure!(at < image, "place {i} is outside of the image");
            out[pixel / (rows * columns) * image + at] = value;
        }
        Ok(())
    }
}
