//! The geometry of two-dimensional windows over NHWC tensors: convolutions and pools.

use crate::common::padding::window;
use crate::{OpError, ensure};
use ferrolite_kernels::ConvShape;
use ferrolite_model::schema::Padding;
use std::ops::Range;

/// Where a window of `kernel` taps, `dilation` apart, stands for each of `output` positions over an `input` image.
///
/// All pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window2d {
    /// Images.
    pub batch: usize,
    /// Pixels of an input image.
    pub input: (usize, usize),
    /// Positions of the window.
    pub output: (usize, usize),
    /// Taps of the window.
    pub kernel: (usize, usize),
    /// Input pixels between neighbouring positions.
    pub stride: (usize, usize),
    /// Input pixels between neighbouring taps.
    pub dilation: (usize, usize),
    /// Padding before the first row and column.
    pub pad: (usize, usize),
}

/// Largest window side, stride and dilation: far beyond any network, and small enough that no product overflows.
pub const LIMIT: usize = 1 << 20;

impl Window2d {
    /// Places windows over an input of `shape` (NHWC).
    pub fn new(
        shape: &[usize],
        kernel: (usize, usize),
        stride: (i32, i32),
        dilation: (i32, i32),
        padding: Padding,
    ) -> Result<Window2d, OpError> {
        ensure!(shape.len() == 4, "the input has {} dimensions, not 4", shape.len());
        ensure!(shape[1..].iter().all(|&d| d > 0), "the input is empty: {shape:?}");
        let numbers = [stride.0, stride.1, dilation.0, dilation.1].map(|n| usize::try_from(n).unwrap_or(0));
        let sane = |n: usize| (1..=LIMIT).contains(&n);
        ensure!(
            numbers.into_iter().chain([kernel.0, kernel.1]).all(sane),
            "window {kernel:?}, stride {stride:?}, dilation {dilation:?}: each has to be in 1..={LIMIT}"
        );
        let rows = window(padding, shape[1], kernel.0, stride.0, dilation.0)?;
        let columns = window(padding, shape[2], kernel.1, stride.1, dilation.1)?;
        Ok(Window2d {
            batch: shape[0],
            input: (shape[1], shape[2]),
            output: (rows.out, columns.out),
            kernel,
            stride: (stride.0 as usize, stride.1 as usize),
            dilation: (dilation.0 as usize, dilation.1 as usize),
            pad: (rows.before, columns.before),
        })
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Window positions in all images.
    pub fn positions(&self) -> usize {
        self.batch * self.output.0 * self.output.1
    }

    /// Input pixels in all images.
    pub fn pixels(&self) -> usize {
        self.batch * self.input.0 * self.input.1
    }

    /// The geometry for the kernels, with one channel in and out.
    pub fn shape(&self) -> ConvShape {
        ConvShape {
            batch: self.batch,
            in_h: self.input.0,
            in_w: self.input.1,
            in_c: 1,
            in_stride: 1,
            out_h: self.output.0,
            out_w: self.output.1,
            out_c: 1,
            out_stride: 1,
            k_h: self.kernel.0,
            k_w: self.kernel.1,
            stride: self.stride,
            dilation: self.dilation,
            pad_top: self.pad.0,
            pad_left: self.pad.1,
        }
    }

    /// Calls `f(tap, pixel)` for the taps of the `position`-th window that lie inside its image, in order. Positions and
    /// pixels are counted through all images.
    #[inline]
    pub fn for_taps(&self, position: usize, mut f: impl FnMut(usize, usize)) {
        let (x, row) = (position % self.output.1, position / self.output.1);
        let (y, batch) = (row % self.output.0, row / self.output.0);
        let columns = taps_inside(x * self.stride.1, self.pad.1, self.input.1, self.kernel.1, self.dilation.1);
        for ky in taps_inside(y * self.stride.0, self.pad.0, self.input.0, self.kernel.0, self.dilation.0) {
            let iy = y * self.stride.0 + ky * self.dilation.0 - self.pad.0;
            for kx in columns.clone() {
                let ix = x * self.stride.1 + kx * self.dilation.1 - self.pad.1;
                f(ky * self.kernel.1 + kx, (batch * self.input.0 + iy) * self.input.1 + ix);
            }
        }
    }

    /// The transposed view: calls `f(tap, position)` for the windows that see the `pixel`-th input pixel, and through
    /// which tap, in order of position.
    #[inline]
    pub fn for_positions(&self, pixel: usize, mut f: impl FnMut(usize, usize)) {
        let (ix, row) = (pixel % self.input.1, pixel / self.input.1);
        let (iy, batch) = (row % self.input.0, row / self.input.0);
        // Position p sees the pixel through tap k where p · stride + k · dilation = pixel + pad.
        let place = |at: usize, offset: usize, stride: usize, limit: usize| {
            let from = at.checked_sub(offset)?;
            (from % stride == 0 && from / stride < limit).then_some(from / stride)
        };
        for ky in (0..self.kernel.0).rev() {
            let Some(y) = place(iy + self.pad.0, ky * self.dilation.0, self.stride.0, self.output.0) else { continue };
            for kx in (0..self.kernel.1).rev() {
                if let Some(x) = place(ix + self.pad.1, kx * self.dilation.1, self.stride.1, self.output.1) {
                    f(ky * self.kernel.1 + kx, (batch * self.output.0 + y) * self.output.1 + x);
                }
            }
        }
    }
}

/// The taps k < `kernel` for which 0 ≤ start + k · dilation − pad < `input`.
#[inline]
pub fn taps_inside(start: usize, pad: usize, input: usize, kernel: usize, dilation: usize) -> Range<usize> {
    let first = pad.saturating_sub(start).div_ceil(dilation);
    let last = (input + pad).saturating_sub(start).div_ceil(dilation).min(kernel);
    first..last
}
