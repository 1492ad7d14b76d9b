//! From columns of windows back to an image: the adjoint of reading the windows of a convolution.
#![allow(unsafe_code)]

use super::AXPY;
use crate::gemm::ConvShape;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use std::ops::Range;

/// `image[b][iy][ix][c] += Σ cols[b, oy, ox][ky][kx][c]` over all windows (oy, ox) and taps (ky, kx) that see the pixel; `cols` is
/// `[rows()][k_h · k_w · in_c]`. Taps outside the image are dropped. `out_c` of the shape takes no part. What a pixel gets is
/// added in one order, whatever the number of threads.
///
/// For the gradient of a convolution's input, `cols` is the gradient of the output times the filters, and the image starts at
/// 0. For a transposed convolution, `shape` is the convolution whose input is the transposed one's output.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn col2im(pool: &ThreadPool, isa: Isa, shape: &ConvShape, cols: &[f32], image: &mut [f32]) {
    shape.check();
    let s = shape;
    let k = s.k_h * s.k_w * s.in_c;
    assert!(s.rows().checked_mul(k).is_some_and(|l| l <= cols.len()), "columns too short");
    assert!(image.len() >= s.input_len(), "image too short");
    if k == 0 || s.rows() == 0 {
        return;
    }
    let add = pick(AXPY, isa).run;
    let shared = Shared::new(image);
    let grain = 20_000 / (s.out_w * k).max(1) + 1;
    pool.run_chunks(s.batch * s.in_h, grain, &|rows: Range<usize>| {
        for row in rows {
            let (b, iy) = (row / s.in_h, row % s.in_h);
            for ky in 0..s.k_h {
                // The output row whose tap `ky` sees this row.
                let Some(above) = (iy + s.pad_top).checked_sub(ky * s.dilation.0) else { continue };
                let oy = above / s.stride.0;
                if above % s.stride.0 != 0 || oy >= s.out_h {
                    continue;
                }
                for ox in 0..s.out_w {
                    let window = &cols[((b * s.out_h + oy) * s.out_w + ox) * k + ky * s.k_w * s.in_c..];
                    let inside = s.cols_inside(ox);
                    if inside.is_empty() {
                        continue;
                    }
                    let first = (s.left(ox) + (inside.start * s.dilation.1) as isize) as usize;
                    let to = |i: usize| (row * s.in_w + first + i * s.dilation.1) * s.in_stride;
                    // Taps side by side are one stretch.
                    let (taps, len) = if s.merged() { (1, inside.len() * s.in_c) } else { (inside.len(), s.in_c) };
                    for i in 0..taps {
                        let from = &window[(inside.start + i) * s.in_c..][..len];
                        // SAFETY: picked through an `Isa`; the taps are inside the image row, which this task alone writes.
                        unsafe { add(1.0, from.as_ptr(), shared.at(to(i)), len) };
                    }
                }
            }
        }
    });
}
