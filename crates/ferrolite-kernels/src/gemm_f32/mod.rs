//! Matrix product and convolution of f32 with packed weights.
//!
//! A packed operand is a row of column panels. A panel is `width` biases, then `taps · kc` rows of `width` weights; `width` is
//! the tile's, but the last panel is only as wide as the vectors that it needs. Within a block of rows the products of a
//! result are added in the order of k, starting from the bias (for one or two rows in four interleaved sums), so a result
//! depends on the instruction set and on the number of rows, and on nothing else: not on threads, not on neighbours.
#![allow(unsafe_code)]

mod direct;
mod kernel;
mod pack;
#[cfg(test)]
pub(crate) mod tests;

use crate::gemm::ConvShape;
use crate::gemm::drive::{Block, Job, drive};
use crate::gemm::rows::{Matrix, Rows, Windows};
use crate::isa::{Isa, Variant, pick};
use crate::mem::{Shared, with_scratch};
use crate::pool::ThreadPool;
use kernel::{Out, Tile, TileFn};
pub use pack::{PackF32, PackedF32, PackedF32Ref};

/// A tile size and the kernel for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micro {
    /// Rows of a tile.
    pub(crate) mr: usize,
    /// Lanes of a vector, and vectors in the width of a tile.
    pub(crate) lanes: usize,
    pub(crate) vectors: usize,
    pub(crate) tile: TileFn,
}

impl Micro {
    pub(crate) fn nr(&self) -> usize {
        self.lanes * self.vectors
    }
}

/// Every float kernel, strongest first.
pub(crate) static KERNELS: &[Variant<Micro>] = kernel::KERNELS;

/// What happens to a sum before it is stored: `out = min(max, max(min, sum + add))`.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueF32<'a> {
    /// The lower bound; `f32::NEG_INFINITY` for none.
    pub min: f32,
    /// The upper bound; `f32::INFINITY` for none.
    pub max: f32,
    /// Added before clamping: a matrix laid out like the output (a residual connection, or gradients to accumulate).
    pub add: Option<&'a [f32]>,
}

impl Default for EpilogueF32<'_> {
    fn default() -> Self {
        EpilogueF32 { min: f32::NEG_INFINITY, max: f32::INFINITY, add: None }
    }
}

impl EpilogueF32<'_> {
    /// Clamps to `min..=max`, adds nothing.
    pub fn clamp(min: f32, max: f32) -> Self {
        EpilogueF32 { min, max, add: None }
    }

    /// max(0, sum).
    pub fn relu() -> Self {
        EpilogueF32::clamp(0.0, f32::INFINITY)
    }
}

/// The names of the float kernels that `isa` allows, with their tiles (rows, columns), strongest first.
pub fn kernels_f32(isa: Isa) -> Vec<(&'static str, (usize, usize))> {
    KERNELS.iter().filter(|v| v.isa <= isa.level()).map(|v| (v.name, (v.run.mr, v.run.nr()))).collect()
}

/// `out[m][n] = clamp(a[m][k] · packed[k][n] + bias[n] + add[m][n])`. `a` has rows of `k` at distance `lda`, `out` rows of `n`
/// at distance `ldc`; elements between rows are left alone.
///
/// # Panics
/// If a slice is shorter than its rows, a row distance is less than its row, or `add` is shorter than `out`'s rows.
pub fn gemm_f32(
    pool: &ThreadPool,
    a: &[f32],
    m: usize,
    lda: usize,
    packed: PackedF32Ref<'_>,
    out: &mut [f32],
    ldc: usize,
    epilogue: EpilogueF32<'_>,
) {
    let packed = packed.in_taps(1, packed.spec.k());
    let rows = Matrix::new(a, m, packed.spec.k(), lda, 1);
    multiply(pool, &rows, m, packed, out, ldc, epilogue);
}

/// A 2-D convolution over NHWC with packed filters (see [`ConvShape`] and [`PackF32::conv`]), as an implicit matrix product:
/// windows are read in place. `epilogue.add` is laid out like the output.
///
/// # Panics
/// If the shape is inconsistent, a slice too short, or the filters were packed for another depth.
pub fn conv2d_f32(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: &[f32],
    packed: PackedF32Ref<'_>,
    out: &mut [f32],
    epilogue: EpilogueF32<'_>,
) {
    shape.check();
    let (taps, kc) = shape.taps();
    assert!(packed.spec.k() == taps * kc && packed.spec.n() == shape.out_c, "filters packed for another convolution");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    if direct::fits(shape) {
        return direct::convolve(pool, shape, input, packed, out, epilogue);
    }
    let packed = packed.in_taps(taps, kc);
    if shape.k_h == 1
        && shape.k_w == 1
        && shape.stride == (1, 1)
        && shape.pad_top == 0
        && shape.pad_left == 0
        && shape.out_h == shape.in_h
        && shape.out_w == shape.in_w
    {
        return gemm_f32(pool, input, shape.rows(), shape.in_stride, packed, out, shape.out_stride, epilogue);
    }
    with_scratch(|s| {
        let pad = s.extra.typed::<f32>(kc);
        pad.fill(0.0);
        let rows = Windows::new(shape, input, pad, 1);
        multiply(pool, &rows, shape.rows(), packed, out, shape.out_stride, epilogue);
    });
}

/// # Panics
/// If `m` rows of `n` at distance `ldc` are more than `len` elements, or more than there are to add.
fn check_output(m: usize, n: usize, ldc: usize, len: usize, epilogue: &EpilogueF32<'_>) {
    assert!(ldc >= n || m == 1, "output row stride {ldc} is less than {n} columns");
    let span = (m - 1).checked_mul(ldc).and_then(|x| x.checked_add(n)).expect("output size overflows");
    assert!(len >= span, "output too short");
    assert!(epilogue.add.is_none_or(|a| a.len() >= span), "matrix to add too short");
}

fn multiply(
    pool: &ThreadPool,
    rows: &dyn Rows<f32>,
    m: usize,
    packed: PackedF32Ref<'_>,
    out: &mut [f32],
    ldc: usize,
    epilogue: EpilogueF32<'_>,
) {
    let spec = packed.spec;
    let n = spec.n;
    if m == 0 || n == 0 {
        return;
    }
    check_output(m, n, ldc, out.len(), &epilogue);
    let micro = spec.micro.run;
    let job = Job {
        m,
        mr: micro.mr,
        panels: spec.panels(),
        panel_bytes: spec.panel_len() * 4,
        taps: spec.taps,
        kc: spec.kc,
        n,
    };
    let out = Shared::new(out);
    drive(pool, &job, rows, &|b: Block<'_>| {
        let col = b.panels.start * micro.nr();
        let at = b.row * ldc + col;
        let tile = Tile {
            ptrs: b.ptrs.as_ptr(),
            ahead: b.ahead as *const u8,
            soon: packed.data.as_ptr().cast::<u8>().wrapping_add(b.soon.start),
            soon_len: b.soon.len(),
            taps: spec.taps,
            kc: spec.kc,
            panel: packed.data[b.panels.start * spec.panel_len()..].as_ptr(),
            panel_len: spec.panel_len(),
            to: Out {
                cols: n.min(b.panels.end * micro.nr()) - col,
                out: out.at(at),
                ldc,
                add: epilogue.add.map_or(std::ptr::null(), |a| a[at..].as_ptr()),
                min: epilogue.min,
                max: epilogue.max,
            },
        };
        // SAFETY: the kernel was picked through an `Isa`; `Rows` gave addresses good for `kc` elements; the packed operand
        // has the length that its spec says (checked when it was made); rows and columns of the block are inside `out` and
        // `add` by the spans above, and no other task writes them.
        unsafe { (micro.tile)(b.mr, &tile) };
    });
}

/// The kernel for `isa`.
pub(crate) fn micro_for(isa: Isa) -> &'static Variant<Micro> {
    pick(KERNELS, isa)
}
