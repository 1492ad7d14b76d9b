//! The geometry of three-dimensional windows over NDHWC tensors.

use crate::common::padding::window;
use crate::common::window2d::{LIMIT, taps_inside};
use crate::{OpError, ensure};
use ferrolite_model::schema::{Conv3DOptionsT, Padding};
use std::ops::Range;

/// Where a window of `kernel` taps, `dilation` apart, stands for each of `output` positions over an `input` volume. All
/// triples are (depth, rows, columns).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window3d {
    /// Volumes.
    pub batch: usize,
    /// Voxels of an input volume.
    pub input: [usize; 3],
    /// Positions of the window.
    pub output: [usize; 3],
    /// Taps of the window.
    pub kernel: [usize; 3],
    /// Input voxels between neighbouring positions.
    pub stride: [usize; 3],
    /// Input voxels between neighbouring taps.
    pub dilation: [usize; 3],
    /// Padding before the first voxel.
    pub pad: [usize; 3],
}

impl Window3d {
    /// Places windows over an input of `shape` (NDHWC).
    pub fn new(shape: &[usize], kernel: [usize; 3], o: &Conv3DOptionsT) -> Result<Window3d, OpError> {
        let &[batch, d, h, w, channels] = shape else {
            return Err(OpError::invalid(format!("the input has {} dimensions, not 5", shape.len())));
        };
        ensure!(d * h * w * channels > 0, "the input is empty: {shape:?}");
        let stride = [o.stride_d, o.stride_h, o.stride_w];
        let dilation = [o.dilation_d_factor, o.dilation_h_factor, o.dilation_w_factor];
        let numbers = stride.into_iter().chain(dilation).map(|n| usize::try_from(n).unwrap_or(0)).chain(kernel);
        ensure!(
            numbers.into_iter().all(|n| (1..=LIMIT).contains(&n)),
            "window {kernel:?}, stride {stride:?}, dilation {dilation:?}: each has to be in 1..={LIMIT}"
        );
        let known = matches!(o.padding, Padding::SAME | Padding::VALID);
        ensure!(known, "unknown padding {}", o.padding.0);
        let input = [d, h, w];
        let (mut output, mut pad) = ([0; 3], [0; 3]);
        for i in 0..3 {
            let along = window(o.padding, input[i], kernel[i], stride[i], dilation[i])?;
            (output[i], pad[i]) = (along.out, along.before);
        }
        let [stride, dilation] = [stride, dilation].map(|n| n.map(|n| n as usize));
        Ok(Window3d { batch, input, output, kernel, stride, dilation, pad })
    }

    /// Number of taps.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Window positions in all volumes.
    pub fn positions(&self) -> usize {
        self.batch * self.output.iter().product::<usize>()
    }

    /// Input voxels in all volumes.
    pub fn voxels(&self) -> usize {
        self.batch * self.input.iter().product::<usize>()
    }

    /// The taps along dimension `i` that lie inside the volume at position `at`.
    pub fn inside(&self, i: usize, at: usize) -> Range<usize> {
        taps_inside(at * self.stride[i], self.pad[i], self.input[i], self.kernel[i], self.dilation[i])
    }

    /// The voxel along dimension `i` under a tap that lies inside.
    pub fn under(&self, i: usize, at: usize, tap: usize) -> usize {
        at * self.stride[i] + tap * self.dilation[i] - self.pad[i]
    }

    /// Calls `f(tap, voxel)` for the taps of the `position`-th window that lie inside its volume, in order. Positions and
    /// voxels are counted through all volumes.
    #[inline]
    pub fn for_taps(&self, position: usize, mut f: impl FnMut(usize, usize)) {
        let (batch, [z, y, x]) = split(position, self.output);
        let [_, rows, columns] = self.input;
        for kz in self.inside(0, z) {
            for ky in self.inside(1, y) {
                let row = (batch * self.input[0] + self.under(0, z, kz)) * rows + self.under(1, y, ky);
                for kx in self.inside(2, x) {
                    let tap = (kz * self.kernel[1] + ky) * self.kernel[2] + kx;
                    f(tap, row * columns + self.under(2, x, kx));
                }
            }
        }
    }

    /// The transposed view: calls `f(tap, position)` for the windows that see the `voxel`-th input voxel, and through which
    /// tap, in order of position.
    #[inline]
    pub fn for_positions(&self, voxel: usize, mut f: impl FnMut(usize, usize)) {
        let (batch, at) = split(voxel, self.input);
        // Position p sees the voxel through tap k where p · stride + k · dilation = voxel + pad.
        let place = |i: usize, tap: usize| {
            let from = (at[i] + self.pad[i]).checked_sub(tap * self.dilation[i])?;
            (from % self.stride[i] == 0 && from / self.stride[i] < self.output[i]).then_some(from / self.stride[i])
        };
        let taps = |i: usize| (0..self.kernel[i]).rev().filter_map(move |tap| Some((tap, place(i, tap)?)));
        for (kz, z) in taps(0) {
            for (ky, y) in taps(1) {
                for (kx, x) in taps(2) {
                    let tap = (kz * self.kernel[1] + ky) * self.kernel[2] + kx;
                    let row = (batch * self.output[0] + z) * self.output[1] + y;
                    f(tap, row * self.output[2] + x);
                }
            }
        }
    }
}

/// A running number as batch and coordinates in volumes of `size`.
fn split(index: usize, size: [usize; 3]) -> (usize, [usize; 3]) {
    let (x, rest) = (index % size[2], index / size[2]);
    let (y, rest) = (rest % size[1], rest / size[1]);
    (rest / size[0], [rest % size[0], y, x])
}
