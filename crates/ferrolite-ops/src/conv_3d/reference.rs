//! The specification.

use super::Problem;
use crate::common::linear::{Contraction, Linear, Number, Site};
use ferrolite_model::schema::Conv3DOptionsT;

/// CONV_3D.
pub struct Forward(pub Problem);

/// CONV_3D_TRANSPOSE.
pub struct Transposed(pub Problem);

/// How the operators use their tensors; the filters are input 1.
pub fn linear(options: &Conv3DOptionsT, channels: usize, input: usize, bias: usize) -> Linear {
    Linear {
        input,
        weights: 1,
        bias,
        channels,
        activation: options.fused_activation_function,
        single_precision_scales: false,
        real_requant: false,
        narrow_sums: false,
        asymmetric: false,
        columns_first: false,
    }
}

impl Contraction for Forward {
    #[inline]
    fn contract<X: Copy, W: Copy, A: Number>(
        &self,
        x: &[X],
        w: &[W],
        load: impl Fn(X, usize) -> A,
        weight: impl Fn(W) -> A,
        mut emit: impl FnMut(Site, A),
    ) {
        let Problem { window, in_c, out_c } = self.0;
        for position in 0..window.positions() {
            for channel in 0..out_c {
                let mut sum = A::ZERO;
                window.for_taps(position, |tap, voxel| {
                    let w = w[tap * in_c * out_c..][..in_c * out_c].iter().skip(channel).step_by(out_c);
                    sum = x[voxel * in_c..][..in_c].iter().zip(w).fold(sum, |s, (&x, &w)| s.mac(load(x, 0), weight(w)));
                });
                emit(Site { index: position * out_c + channel, channel, row: 0 }, sum);
            }
        }
    }

    fn rows(&self) -> usize {
        1
    }

    fn row(&self, _: usize) -> (usize, usize, usize) {
        (0, 1, self.0.window.voxels() * self.0.in_c)
    }
}

impl Contraction for Transposed {
    #[inline]
    fn contract<X: Copy, W: Copy, A: Number>(
        &self,
        x: &[X],
        w: &[W],
        load: impl Fn(X, usize) -> A,
        weight: impl Fn(W) -> A,
        mut emit: impl FnMut(Site, A),
    ) {
        let Problem { window, in_c, out_c } = self.0;
        for voxel in 0..window.voxels() {
            for channel in 0..out_c {
                let mut sum = A::ZERO;
                window.for_positions(voxel, |tap, position| {
                    let w = &w[(tap * out_c + channel) * in_c..][..in_c];
                    let x = &x[position * in_c..][..in_c];
                    sum = x.iter().zip(w).fold(sum, |s, (&x, &w)| s.mac(load(x, 0), weight(w)));
                });
                emit(Site { index: voxel * out_c + channel, channel, row: 0 }, sum);
            }
        }
    }

    fn rows(&self) -> usize {
        1
    }

    fn row(&self, _: usize) -> (usize, usize, usize) {
        (0, 1, self.0.window.positions() * self.0.in_c)
    }
}
