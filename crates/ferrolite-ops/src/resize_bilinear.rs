//! RESIZE_BILINEAR: images scaled by linear interpolation.

use crate::common::cases;
use crate::common::strided::{dims, elements, index_input};
use crate::op::{Case, FastKernel, FnKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_kernels::{Between, Bilinear, Isa};
use ferrolite_model::schema::ResizeBilinearOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// RESIZE_BILINEAR. Inputs: NHWC images, (height, width).
pub struct ResizeBilinear;

/// Infers the output of a resize.
pub fn infer_resize(node: &NodeView<'_>) -> InferResult {
    node.expect(2..=2, 1)?;
    let input = node.input(0)?;
    let [n, h, w, c] = *input.shape else {
        return Err(OpError::invalid(format!("shape {:?} has not 4 dimensions", input.shape)));
    };
    let Some(size) = index_input(node, 1)?.indices()? else { return Ok(smallvec![Inferred::dynamic(input.ty)]) };
    ensure!(size.len() == 2 && size.iter().all(|s| (1..1 << 31).contains(s)), "size {size:?} is not an image's");
    let size = dims(&size)?;
    let resizable = |n: usize| (1..1 << 31).contains(&n);
    ensure!(resizable(h) && resizable(w), "images of {h} × {w} cannot be resized");
    elements(&[n, size[0], size[1], c])?;
    Ok(smallvec![Inferred::new(input.ty, [n, size[0], size[1], c])])
}

/// The shapes of input and output of a resize; `None` when there are no pixels.
pub fn images(node: &NodeView<'_>) -> Result<Option<([usize; 4], [usize; 4])>, OpError> {
    let shape = |s: &[usize]| <[usize; 4]>::try_from(s).map_err(|_| OpError::invalid("images have 4 dimensions"));
    let (from, to) = (shape(&node.input(0)?.shape)?, shape(&node.output(0)?.shape)?);
    Ok(if elements(&to)? == 0 { None } else { Some((from, to)) })
}

/// How coordinates are mapped.
#[derive(Clone, Copy)]
struct Mapping {
    align_corners: bool,
    half_pixel_centers: bool,
}

impl Mapping {
    /// In float, for float and uint8.
    fn float(self, input: usize, output: usize) -> Vec<Between<f32>> {
        let scale = if self.align_corners && output > 1 {
            (input - 1) as f32 / (output - 1) as f32
        } else {
            input as f32 / output as f32
        };
        let place = |i: usize| {
            let x = if self.half_pixel_centers { (i as f32 + 0.5) * scale - 0.5 } else { i as f32 * scale };
            let low = (x.floor().max(0.0) as usize).min(input - 1);
            let high = (x.ceil().max(0.0) as usize).min(input - 1);
            Between { low, high, at: x - low as f32 }
        };
        (0..output).map(place).collect()
    }

    /// In units of 1/1024, for int8 and int16.
    fn fixed(self, input: usize, output: usize) -> Vec<Between<i64>> {
        let (n, m) = (input as i64, output as i64);
        let scale =
            if self.align_corners && m > 1 { (1024 * (n - 1) + (m - 1) / 2) / (m - 1) } else { (1024 * n + m / 2) / m };
        let place = |i: i64| {
            let x = if self.half_pixel_centers { i * scale + scale / 2 - 512 } else { i * scale };
            let low = (x / 1024).clamp(0, n - 1);
            // C's division: towards zero.
            let high = ((x + 1023) / 1024).clamp(0, n - 1);
            Between { low: low as usize, high: high as usize, at: x - 1024 * low }
        };
        (0..m).map(place).collect()
    }
}

impl OpDef for ResizeBilinear {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RESIZE_BILINEAR)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let ty = node.input(0)?.ty;
        if !matches!(ty, TensorType::Float32 | TensorType::UInt8 | TensorType::Int8 | TensorType::Int16) {
            return Err(OpError::unsupported(format!("RESIZE_BILINEAR of {ty}")));
        }
        mapping(node)?;
        infer_resize(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Some((from, to)) = images(node)? else { return reference(|_| Ok(())) };
        let mapping = mapping(node)?;
        let float = || (mapping.float(from[1], to[1]), mapping.float(from[2], to[2]));
        let fixed = || (mapping.fixed(from[1], to[1]), mapping.fixed(from[2], to[2]));
        match node.input(0)?.ty {
            TensorType::Float32 => interpolate(from, to, float(), |corners: [f32; 4], y, x| blend(corners, y, x)),
            TensorType::UInt8 => interpolate(from, to, float(), |corners: [u8; 4], y, x| {
                // The cast saturates where C's would be undefined.
                (blend(corners.map(f32::from), y, x) + 0.5) as u8
            }),
            TensorType::Int8 => {
                interpolate(from, to, fixed(), |corners: [i8; 4], y, x| blend_fixed(corners.map(i64::from), y, x) as i8)
            }
            _ => interpolate(from, to, fixed(), |corners: [i16; 4], y, x| {
                blend_fixed(corners.map(i64::from), y, x) as i16
            }),
        }
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel { name: "rows", supports: |node| Rows::new(node).is_ok_and(|rows| rows.is_some()), prepare }]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn cases(&self) -> Vec<Case> {
        let types = [TensorType::Float32, TensorType::UInt8, TensorType::Int8, TensorType::Int16];
        let mut all = Vec::new();
        for (align_corners, half_pixel_centers) in [(false, false), (true, false), (false, true)] {
            let options = ResizeBilinearOptionsT { align_corners, half_pixel_centers };
            let options = BuiltinOptions::ResizeBilinearOptions(Box::new(options));
            let mode = [("", " half"), (" align", "")][usize::from(align_corners)];
            let mode = if half_pixel_centers { mode.1 } else { mode.0 };
            all.extend(cases::resize(BuiltinOperator::RESIZE_BILINEAR, &options, mode, &types));
        }
        all
    }
}

/// The planned interpolation in the arithmetic of the type.
enum Rows {
    Real(Bilinear<f32>),
    Fixed(Bilinear<i32>),
}

impl Rows {
    /// `None` where only the reference kernel will do.
    fn new(node: &NodeView<'_>) -> Result<Option<Rows>, OpError> {
        let Some(([_, h, w, c], [_, oh, ow, _])) = images(node)? else { return Ok(None) };
        let mapping = mapping(node)?;
        Ok(match node.input(0)?.ty {
            TensorType::Float32 | TensorType::UInt8 => {
                Bilinear::new((h, w, c), mapping.float(h, oh), &mapping.float(w, ow)).map(Rows::Real)
            }
            TensorType::Int8 => {
                let narrow =
                    |b: Between<i64>| Some(Between { low: b.low, high: b.high, at: i32::try_from(b.at).ok()? });
                let narrow = |all: Vec<Between<i64>>| all.into_iter().map(narrow).collect::<Option<Vec<_>>>();
                let (rows, columns) = (narrow(mapping.fixed(h, oh)), narrow(mapping.fixed(w, ow)));
                let planned = rows.zip(columns).and_then(|(rows, columns)| Bilinear::new((h, w, c), rows, &columns));
                planned.filter(Bilinear::is_exact).map(Rows::Fixed)
            }
            _ => None,
        })
    }
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let ty = node.input(0)?.ty;
    let (from, to) = (node.input(0)?.elements(), node.output(0)?.elements());
    let Some(rows) = Rows::new(node)? else { return Err(OpError::unsupported(format!("RESIZE_BILINEAR of {ty}"))) };
    Ok(Box::new(FnKernel("resize_bilinear/rows", move |io: &mut Io<'_>| {
        let (input, output) = (io.input(0)?, &mut io.outputs[0]);
        let sizes = (input.shape.iter().product(), output.shape().iter().product());
        ensure!((from, to) == sizes, "a kernel was prepared for other shapes");
        match &rows {
            Rows::Real(plan) if ty == TensorType::Float32 => {
                plan.run_f32(io.pool, isa, input.slice()?, output.slice()?);
            }
            Rows::Real(plan) => plan.run_u8(io.pool, isa, input.slice()?, output.slice()?),
            Rows::Fixed(plan) => plan.run_i8(io.pool, isa, input.slice()?, output.slice()?),
        }
        Ok(())
    })))
}

fn mapping(node: &NodeView<'_>) -> Result<Mapping, OpError> {
    let Some(o) = node.options.as_resize_bilinear_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    Ok(Mapping { align_corners: o.align_corners, half_pixel_centers: o.half_pixel_centers })
}

/// Corners in the order (low, low), (high, low), (low, high), (high, high) of (y, x); summed in that order.
fn blend([a, b, c, d]: [f32; 4], y: f32, x: f32) -> f32 {
    a * (1.0 - y) * (1.0 - x) + b * y * (1.0 - x) + c * (1.0 - y) * x + d * y * x
}

/// The same in fixed point, rounded half away from zero.
fn blend_fixed([a, b, c, d]: [i64; 4], y: i64, x: i64) -> i64 {
    let sum = a * (1024 - y) * (1024 - x) + b * y * (1024 - x) + c * (1024 - y) * x + d * y * x;
    (sum + if sum > 0 { 1 << 19 } else { -(1 << 19) }) / (1 << 20)
}

/// Visits every output pixel with its four neighbours.
fn interpolate<T: Element, A: Copy + Send + Sync + 'static>(
    [n, h, w, c]: [usize; 4],
    [_, oh, ow, _]: [usize; 4],
    (rows, columns): (Vec<Between<A>>, Vec<Between<A>>),
    blend: impl Fn([T; 4], A, A) -> T + Send + Sync + 'static,
) -> Result<Box<dyn Kernel>, OpError> {
    reference(move |io| {
        let input = io.input(0)?.slice::<T>()?;
        let output = io.outputs[0].slice::<T>()?;
        ensure!(input.len() == n * h * w * c && output.len() == n * oh * ow * c, "sizes changed");
        if c == 0 {
            return Ok(());
        }
        let mut pixels = output.chunks_exact_mut(c);
        for image in input.chunks_exact(h * w * c) {
            for y in &rows {
                for x in &columns {
                    let Some(pixel) = pixels.next() else { return Ok(()) };
                    let at = |y: usize, x: usize| &image[(y * w + x) * c..][..c];
                    let (ll, hl) = (at(y.low, x.low), at(y.high, x.low));
                    let (lh, hh) = (at(y.low, x.high), at(y.high, x.high));
                    for (i, value) in pixel.iter_mut().enumerate() {
                        *value = blend([ll[i], hl[i], lh[i], hh[i]], y.at, x.at);
                    }
                }
            }
        }
        Ok(())
    })
}
