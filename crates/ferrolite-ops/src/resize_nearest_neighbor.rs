//! RESIZE_NEAREST_NEIGHBOR: images scaled by repeating or leaving out pixels.

use crate::common::blocks::{copy_run, for_run_length};
use crate::common::cases;
use crate::common::parallel::for_items;
use crate::common::strided::fixed_size;
use crate::op::{Case, FastKernel, FnKernel, InferResult, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::QuantRule;
use crate::resize_bilinear::{images, infer_resize};
use crate::{OpError, ensure};
use ferrolite_kernels::Isa;
use ferrolite_model::schema::ResizeNearestNeighborOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use std::ops::RangeInclusive;

/// RESIZE_NEAREST_NEIGHBOR. Inputs: NHWC images, (height, width).
pub struct ResizeNearestNeighbor;

/// The input coordinate of each output coordinate.
fn nearest(input: usize, output: usize, align_corners: bool, half_pixel_centers: bool) -> Vec<usize> {
    let scale = if align_corners && output > 1 {
        (input - 1) as f32 / (output - 1) as f32
    } else {
        input as f32 / output as f32
    };
    let offset = if half_pixel_centers { 0.5 } else { 0.0 };
    let place = |i: usize| {
        let x = (i as f32 + offset) * scale;
        let x = if align_corners { x.round() } else { x.floor() };
        (x as usize).min(input - 1)
    };
    (0..output).map(place).collect()
}

impl OpDef for ResizeNearestNeighbor {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::RESIZE_NEAREST_NEIGHBOR)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=4
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let ty = fixed_size(node.input(0)?.ty, "RESIZE_NEAREST_NEIGHBOR")?;
        if ty.bits() < 8 {
            return Err(OpError::unsupported(format!("RESIZE_NEAREST_NEIGHBOR of {ty}")));
        }
        infer_resize(node)
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Some(Plan { n, h, w, rows, columns, pixel }) = plan(node)? else { return reference(|_| Ok(())) };
        let (oh, ow) = (rows.len(), columns.len());
        reference(move |io| {
            let input = io.input(0)?.bytes;
            let output = io.outputs[0].bytes();
            ensure!(input.len() == n * h * w * pixel && output.len() == n * oh * ow * pixel, "sizes changed");
            if pixel == 0 {
                return Ok(());
            }
            let mut pixels = output.chunks_exact_mut(pixel);
            for image in input.chunks_exact(h * w * pixel) {
                for &y in &rows {
                    let row = &image[y * w * pixel..][..w * pixel];
                    for (&x, out) in columns.iter().zip(&mut pixels) {
                        out.copy_from_slice(&row[x * pixel..][..pixel]);
                    }
                }
            }
            Ok(())
        })
    }

    fn fast(&self) -> &'static [FastKernel] {
        &[FastKernel {
            name: "rows",
            supports: |node| plan(node).is_ok_and(|p| p.is_some_and(|p| p.pixel > 0)),
            prepare,
        }]
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule::SAME_SCALE)
    }

    fn cases(&self) -> Vec<Case> {
        let types = [TensorType::Float32, TensorType::UInt8, TensorType::Int8, TensorType::Int16];
        let mut all = Vec::new();
        for (align_corners, half_pixel_centers) in [(false, false), (true, false), (false, true), (true, true)] {
            let options = ResizeNearestNeighborOptionsT { align_corners, half_pixel_centers };
            let options = BuiltinOptions::ResizeNearestNeighborOptions(Box::new(options));
            let mode = [["", " half"], [" align", " align half"]][usize::from(align_corners)];
            let mode = mode[usize::from(half_pixel_centers)];
            all.extend(cases::resize(BuiltinOperator::RESIZE_NEAREST_NEIGHBOR, &options, mode, &types));
        }
        all
    }
}

/// Where every output row and column comes from.
struct Plan {
    n: usize,
    h: usize,
    w: usize,
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// Bytes of a pixel.
    pixel: usize,
}

/// `None` when there are no pixels.
fn plan(node: &NodeView<'_>) -> Result<Option<Plan>, OpError> {
    let Some(([n, h, w, c], [_, oh, ow, _])) = images(node)? else { return Ok(None) };
    let Some(o) = node.options.as_resize_nearest_neighbor_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let rows = nearest(h, oh, o.align_corners, o.half_pixel_centers);
    let columns = nearest(w, ow, o.align_corners, o.half_pixel_centers);
    Ok(Some(Plan { n, h, w, rows, columns, pixel: c * node.input(0)?.ty.bits() / 8 }))
}

/// Picks the pixels of a row once and repeats the row whole.
fn prepare(node: &NodeView<'_>, _: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let Some(Plan { n, h, w, rows, columns, pixel }) = plan(node)? else {
        return Err(OpError::unsupported("images without pixels"));
    };
    let (from, to) = (w * pixel, columns.len() * pixel);
    Ok(Box::new(FnKernel("resize_nearest_neighbor/rows", move |io: &mut Io<'_>| {
        let (input, output) = (io.input(0)?.bytes, io.outputs[0].bytes());
        ensure!(input.len() == n * h * from && output.len() == n * rows.len() * to, "sizes changed");
        for_items(io.pool, output, to, (64 << 10) / to + 1, |range, part| {
            let source = |i: usize| i / rows.len() * h + rows[i % rows.len()];
            for (k, i) in range.clone().enumerate() {
                let (done, rest) = part.split_at_mut(k * to);
                if k > 0 && source(i) == source(i - 1) {
                    rest[..to].copy_from_slice(&done[(k - 1) * to..]);
                } else {
                    pick_pixels(&columns, pixel, &input[source(i) * from..][..from], &mut rest[..to]);
                }
            }
        });
        Ok(())
    })))
}

fn pick_pixels(columns: &[usize], pixel: usize, row: &[u8], out: &mut [u8]) {
    fn sized<const N: usize>(columns: &[usize], row: &[u8], out: &mut [u8]) {
        let row = row.as_chunks::<N>().0;
        out.as_chunks_mut::<N>().0.iter_mut().zip(columns).for_each(|(out, &x)| *out = row[x]);
    }
    for_run_length!(pixel, sized(columns, row, out), {
        for (out, &x) in out.chunks_exact_mut(pixel).zip(columns) {
            copy_run(&row[x * pixel..][..pixel], out);
        }
    })
}
