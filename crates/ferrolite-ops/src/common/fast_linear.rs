//! Fast kernels of linear operators with matrix-like products: FULLY_CONNECTED and (grouped) CONV_2D. What
//! [`crate::common::linear`] specifies, on packed weights.

use crate::common::activation::float_range;
use crate::common::linear::{Epilogue, Linear, Requant, channel_scales};
use crate::common::operand::{BiasI8, Columns, OperandF32, OperandI8};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{Bands, Io, Kernel, NodeView, RowWindow};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_kernels::{
    ConvShape, EpilogueF32, Isa, Layout, OutI8, PackI8, PackedF32Ref, PackedI8Ref, ThreadPool, conv2d_f32, conv2d_i8,
    gemm_f32, gemm_i8, quantize_rows_asymmetric, quantize_rows_symmetric,
};
use ferrolite_model::TensorType::{Float32, Int2, Int4, Int8, Int32, UInt8};
use std::borrow::Cow;
use std::ops::Range;

/// The product of one group of channels.
#[derive(Clone, Copy, Debug)]
pub enum Product {
    /// `m` rows of `k` with `n` rows of `k` weights.
    Matrix {
        /// Rows.
        m: usize,
        /// Depth.
        k: usize,
        /// Columns.
        n: usize,
    },
    /// A convolution with OHWI filters.
    Conv(ConvShape),
}

impl Product {
    /// Columns: output channels of a group.
    pub fn n(&self) -> usize {
        match self {
            Product::Matrix { n, .. } => *n,
            Product::Conv(shape) => shape.out_c,
        }
    }

    /// Pieces of a row of weights, and their length.
    pub fn taps(&self) -> (usize, usize) {
        match self {
            Product::Matrix { k, .. } => (1, *k),
            Product::Conv(shape) => shape.taps(),
        }
    }

    /// Products per output.
    pub fn depth(&self) -> usize {
        let (taps, kc) = self.taps();
        taps.saturating_mul(kc)
    }

    /// Weights of a group.
    pub fn weights(&self) -> usize {
        let (taps, kc) = self.taps();
        self.n() * taps * kc
    }

    /// Elements between two rows (pixels) of the output.
    pub fn ldc(&self) -> usize {
        match self {
            Product::Matrix { n, .. } => *n,
            Product::Conv(shape) => shape.out_stride,
        }
    }

    /// Input channels of a group.
    pub fn in_c(&self) -> usize {
        match self {
            Product::Matrix { k, .. } => *k,
            Product::Conv(shape) => shape.in_c,
        }
    }

    /// How output rows of a single image depend on input rows; `None` for what is not a convolution of one image.
    fn row_window(&self) -> Option<RowWindow> {
        match self {
            Product::Conv(shape) if shape.batch == 1 => Some(RowWindow::from(shape)),
            _ => None,
        }
    }

    /// The product of the output rows `rows` of a single image.
    fn band(&self, rows: Range<usize>) -> Product {
        match self {
            Product::Conv(shape) => Product::Conv(shape.band(rows)),
            matrix => *matrix,
        }
    }

    /// Output rows that share one row of quantized input.
    fn rows_per_scale(&self) -> usize {
        match self {
            Product::Matrix { .. } => 1,
            Product::Conv(shape) => shape.out_h * shape.out_w,
        }
    }

    fn f32(&self, pool: &ThreadPool, x: &[f32], w: PackedF32Ref<'_>, out: &mut [f32], epilogue: EpilogueF32<'_>) {
        match self {
            Product::Matrix { m, k, n } => gemm_f32(pool, x, *m, *k, w, out, *n, epilogue),
            Product::Conv(shape) => conv2d_f32(pool, shape, x, w, out, epilogue),
        }
    }

    /// The product with packed bytes.
    pub fn i8(&self, pool: &ThreadPool, x: &[i8], w: PackedI8Ref<'_>, out: OutI8<'_>) {
        match self {
            Product::Matrix { m, k, .. } => gemm_i8(pool, x, *m, *k, w, out),
            Product::Conv(shape) => conv2d_i8(pool, shape, x, w, out),
        }
    }
}

/// A linear operator to prepare.
pub struct Plan {
    /// Name of the operator, for the profiler.
    pub name: &'static str,
    /// How it uses its tensors.
    pub linear: Linear,
    /// The product of each group.
    pub product: Product,
    /// Groups of channels.
    pub groups: usize,
    /// Groups of input elements that a hybrid kernel quantizes together.
    pub rows: usize,
}

/// Whether [`Plan::prepare`] knows the types of the operator. Sizes must not be 0.
pub fn types_supported(node: &NodeView<'_>, linear: &Linear) -> bool {
    let (Ok(x), Ok(w), Ok(y)) = (node.input(linear.input), node.input(linear.weights), node.output(0)) else {
        return false;
    };
    let bias = node.optional_input(linear.bias);
    // What is stored in another form than the kernels' is packed at preparation.
    let constant = w.constant.is_some() && bias.is_none_or(|b| b.constant.is_some());
    let plain = constant || w.sparsity.is_none();
    match (x.ty, w.ty, y.ty, bias.map(|b| b.ty)) {
        (Float32, Float32 | Int8, Float32, None | Some(Float32)) | (Int8, Int8, Int8, None | Some(Int32)) => plain,
        (Float32, Int4 | Int2, Float32, None | Some(Float32)) => constant,
        (Int8, Int4 | Int2, Int8, None | Some(Int32)) | (UInt8, UInt8, UInt8, None | Some(Int32)) => constant,
        _ => false,
    }
}

impl Plan {
    /// The kernel in the types of `node`.
    pub fn prepare(self, node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
        match (node.input(self.linear.input)?.ty, node.input(self.linear.weights)?.ty) {
            (Float32, Float32) => self.float(node, isa),
            (Float32, _) => self.hybrid(node, isa),
            _ => self.integer(node, isa),
        }
    }

    /// The constant bias: `None` if it is not known yet, `Some(None)` if there is none.
    fn bias<'a, T: Element>(&self, node: &NodeView<'a>) -> Result<Option<Option<Cow<'a, [T]>>>, OpError> {
        match node.optional_input(self.linear.bias) {
            None => Ok(Some(None)),
            Some(info) => Ok(constant::<T>(info)?.map(Some)),
        }
    }

    fn float(self, node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
        let range = float_range(self.linear.activation)?;
        let (n, len) = (self.product.n(), self.product.weights());
        let held = constant::<f32>(node.input(self.linear.weights)?)?.zip(self.bias::<f32>(node)?);
        let operands: Vec<OperandF32> = (0..self.groups)
            .map(|g| {
                let weights = held.as_ref().map(|(w, b)| (&w[g * len..][..len], part(b.as_deref(), g, n)));
                OperandF32::new(isa, n, self.product.taps(), Layout::RowsOfK, weights)
            })
            .collect();
        Ok(Box::new(Float { name: kernel_name(self.name, operands[0].kernel()), range, operands, plan: self }))
    }

    /// The int8 operands of all groups.
    fn operands(&self, isa: Isa, columns: Columns, zeros: (i32, i32), held: Option<(Cow<'_, [i8]>, Bias<'_>)>) -> Vec<OperandI8> {
        let (n, len) = (self.product.n(), self.product.weights());
        let (taps, kc) = self.product.taps();
        let spec = PackI8::new(isa, n, taps, kc, zeros.0, zeros.1);
        (0..self.groups)
            .map(|g| {
                let weights = held.as_ref().map(|(w, b)| (&w[g * len..][..len], b.part(g, n)));
                OperandI8::new(spec, Layout::RowsOfK, columns.slice(g * n, n), weights)
            })
            .collect()
    }

    fn integer(self, node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
        let epilogue = self.linear.epilogue(node)?;
        let unsigned = node.input(self.linear.input)?.ty == UInt8;
        let weights = node.input(self.linear.weights)?;
        let weights = if unsigned {
            // As int8: signs flipped, zero points 128 less.
            constant::<u8>(weights)?.map(|w| w.iter().map(|w| (w ^ 0x80) as i8).collect())
        } else {
            constant::<i8>(weights)?
        };
        let fixed = epilogue.requant.iter().filter_map(|r| match r {
            Requant::Fixed(m) => Some((m.multiplier, m.shift)),
            Requant::Real(_) => None,
        });
        let real = epilogue.requant.iter().filter_map(|r| match r {
            Requant::Real(factor) => Some(*factor),
            Requant::Fixed(_) => None,
        });
        let columns = if self.linear.real_requant {
            Columns::Real(real.collect())
        } else {
            let (multiplier, shift) = fixed.unzip();
            Columns::Requant { multiplier, shift }
        };
        let held = weights.zip(self.bias::<i32>(node)?).map(|(w, b)| (w, Bias::Int(b)));
        ensure!(!unsigned || held.is_some(), "uint8 weights that are not constant");
        let offset = if unsigned { 128 } else { 0 };
        let zeros = (epilogue.input_zero_point - offset, epilogue.weight_zero_point - offset);
        let operands = self.operands(isa, columns, zeros, held);
        let inputs = node.input(self.linear.input)?.elements();
        let mut scratch = operands.iter().map(OperandI8::scratch).fold(0, usize::saturating_add);
        if unsigned {
            scratch = scratch.saturating_add(scratch_size::<i8>(inputs));
        }
        let name = kernel_name(self.name, operands[0].kernel());
        Ok(Box::new(Integer { name, operands, epilogue, unsigned, inputs, scratch, plan: self }))
    }

    fn hybrid(self, node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
        let range = float_range(self.linear.activation)?;
        let weights = node.input(self.linear.weights)?;
        let zeros = weights.quantization.iter().all(|q| q.zero_point.iter().all(|&z| z == 0));
        ensure!(zeros, "weights {:?} of a hybrid kernel have zero points other than 0", weights.name);
        let columns = Columns::Float(channel_scales(weights, self.linear.channels)?);
        let held = constant::<i8>(weights)?.zip(self.bias::<f32>(node)?).map(|(w, b)| (w, Bias::Float(b)));
        let operands = self.operands(isa, columns, (0, 0), held);
        let inputs = node.input(self.linear.input)?.elements();
        let own = [scratch_size::<i8>(inputs), scratch_size::<f32>(self.rows), scratch_size::<i32>(self.rows)];
        let scratch = operands.iter().map(OperandI8::scratch).chain(own).fold(0, usize::saturating_add);
        let name = kernel_name(self.name, operands[0].kernel());
        Ok(Box::new(Hybrid { name, operands, range, inputs, isa, scratch, plan: self }))
    }
}

fn kernel_name(op: &str, kernel: &str) -> String {
    format!("{op}/{kernel}")
}

fn part<T>(values: Option<&[T]>, group: usize, n: usize) -> Option<&[T]> {
    values.map(|v| &v[group * n..][..n])
}

enum Bias<'a> {
    Int(Option<Cow<'a, [i32]>>),
    Float(Option<Cow<'a, [f32]>>),
}

impl Bias<'_> {
    fn part(&self, group: usize, n: usize) -> BiasI8<'_> {
        match self {
            Bias::Int(b) => BiasI8::Int(part(b.as_deref(), group, n)),
            Bias::Float(b) => BiasI8::Float(part(b.as_deref(), group, n)),
        }
    }
}

struct Float {
    name: String,
    plan: Plan,
    operands: Vec<OperandF32>,
    range: (f32, f32),
}

impl Float {
    fn multiply(&self, io: &mut Io<'_>, product: &Product) -> Result<(), OpError> {
        let linear = &self.plan.linear;
        let x = io.input(linear.input)?.slice::<f32>()?;
        // Packed and sparse weights are held; they are not of the kernel's type.
        let w = io.input(linear.weights)?.slice::<f32>().unwrap_or(&[]);
        let bias = io.optional_input(linear.bias).map(|b| b.slice::<f32>()).transpose()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let out = io.outputs[0].slice::<f32>()?;
        let (n, len) = (product.n(), product.weights());
        for (g, operand) in self.operands.iter().enumerate() {
            let weights = w.get(g * len..).map_or(&[][..], |w| &w[..len.min(w.len())]);
            let packed = operand.get(weights, part(bias, g, n), &mut scratch)?;
            let epilogue = EpilogueF32::clamp(self.range.0, self.range.1);
            product.f32(io.pool, &x[g * product.in_c()..], packed, &mut out[g * n..], epilogue);
        }
        Ok(())
    }
}

impl Kernel for Float {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.multiply(io, &self.plan.product)
    }

    fn bands(&self) -> Option<&dyn Bands> {
        self.plan.product.row_window().map(|_| self as &dyn Bands)
    }

    fn scratch_bytes(&self) -> usize {
        self.operands.iter().map(OperandF32::scratch).fold(0, usize::saturating_add)
    }

    fn reads(&self, i: usize) -> bool {
        i != self.plan.linear.weights || self.operands.iter().any(|operand| !operand.is_held())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

struct Integer {
    name: String,
    plan: Plan,
    operands: Vec<OperandI8>,
    epilogue: Epilogue,
    unsigned: bool,
    inputs: usize,
    scratch: usize,
}

impl Integer {
    fn multiply(&self, io: &mut Io<'_>, product: &Product) -> Result<(), OpError> {
        let linear = &self.plan.linear;
        let input = io.input(linear.input)?.bytes;
        let w: &[i8] = bytemuck::cast_slice(io.input(linear.weights)?.bytes);
        let bias = io.optional_input(linear.bias).map(|b| b.slice::<i32>()).transpose()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let x: &[i8] = if self.unsigned {
            let signed = scratch.take::<i8>(self.inputs)?;
            signed.iter_mut().zip(input).for_each(|(s, &u)| *s = (u ^ 0x80) as i8);
            signed
        } else {
            bytemuck::cast_slice(input)
        };
        let out: &mut [i8] = bytemuck::cast_slice_mut(io.outputs[0].bytes());
        let offset = if self.unsigned { 128 } else { 0 };
        let (low, high) = self.epilogue.range;
        let (n, len, ldc) = (product.n(), product.weights(), product.ldc());
        for (g, operand) in self.operands.iter().enumerate() {
            let weights = w.get(g * len..).map_or(&[][..], |w| &w[..len.min(w.len())]);
            let packed = operand.get(weights, BiasI8::Int(part(bias, g, n)), &mut scratch)?;
            let to = OutI8::I8 {
                out: &mut out[g * n..],
                ldc,
                zero_point: self.epilogue.output_zero_point - offset,
                min: low - offset,
                max: high - offset,
            };
            product.i8(io.pool, &x[g * product.in_c()..], packed, to);
        }
        if self.unsigned {
            out.iter_mut().for_each(|y| *y ^= -128);
        }
        Ok(())
    }
}

impl Kernel for Integer {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        self.multiply(io, &self.plan.product)
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn bands(&self) -> Option<&dyn Bands> {
        self.plan.product.row_window().map(|_| self as &dyn Bands)
    }
}

macro_rules! bands_of_product {
    ($($kernel:ty),*) => {$(
        impl Bands for $kernel {
            fn window(&self) -> RowWindow {
                self.plan.product.row_window().unwrap_or_else(|| RowWindow::pointwise(0))
            }

            fn run_rows(&self, io: &mut Io<'_>, rows: Range<usize>) -> Result<(), OpError> {
                self.multiply(io, &self.plan.product.band(rows))
            }
        }
    )*};
}
bands_of_product!(Float, Integer);

struct Hybrid {
    name: String,
    plan: Plan,
    operands: Vec<OperandI8>,
    range: (f32, f32),
    inputs: usize,
    isa: Isa,
    scratch: usize,
}

impl Kernel for Hybrid {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Plan { linear, product, rows, .. } = &self.plan;
        let x = io.input(linear.input)?.slice::<f32>()?;
        let w: &[i8] = bytemuck::cast_slice(io.input(linear.weights)?.bytes);
        let bias = io.optional_input(linear.bias).map(|b| b.slice::<f32>()).transpose()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let quantized = scratch.take::<i8>(self.inputs)?;
        let (scales, zeros) = (scratch.take::<f32>(*rows)?, scratch.take::<i32>(*rows)?);
        let columns = self.inputs / rows;
        if linear.asymmetric {
            quantize_rows_asymmetric(io.pool, self.isa, x, columns, quantized, scales, zeros);
        } else {
            quantize_rows_symmetric(io.pool, self.isa, x, columns, quantized, scales);
        }
        let out = io.outputs[0].slice::<f32>()?;
        let (n, len) = (product.n(), product.weights());
        for (g, operand) in self.operands.iter().enumerate() {
            let weights = w.get(g * len..).map_or(&[][..], |w| &w[..len.min(w.len())]);
            let packed = operand.get(weights, BiasI8::Float(part(bias, g, n)), &mut scratch)?;
            let to = OutI8::F32 {
                out: &mut out[g * n..],
                ldc: product.ldc(),
                row_scale: scales,
                row_zero_point: linear.asymmetric.then_some(&*zeros),
                rows_per_scale: product.rows_per_scale(),
                columns_first: linear.columns_first,
                min: self.range.0,
                max: self.range.1,
            };
            product.i8(io.pool, &quantized[g * product.in_c()..], packed, to);
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch
    }

    fn name(&self) -> &str {
        &self.name
    }
}
