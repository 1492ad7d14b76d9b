//! Matrix product and convolution of i8 with packed weights, exact in 32 bits, with exact epilogues.
//!
//! `acc[m][n] = Σ_k (a[m][k] - za) · (w[k][n] - zw) + bias[n]`, wrapping in i32 like the reference. It is computed as
//! `Σ a·w - zw·Σ a - za·Σ w + k·za·zw`: the inner block sums `a·u` with `u = w + offset` (the offset is 128 for VNNI, whose one
//! operand is unsigned, and 0 elsewhere), sums of rows of `a` are made once per block of rows and only if `zw + offset` is not
//! 0, and sums of columns are made by packing.
//!
//! Unsigned data: xor the bytes with 0x80 and take 128 off the zero point; this holds for activations and weights.
//!
//! A panel of a packed operand is four rows of `width` i32 ([`pack::Header`]), then for every tap its elements in groups of
//! four: `width` times 4 bytes. An incomplete group is filled with bytes that multiply by 0.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod epilogue;
mod pack;
mod portable;
#[cfg(test)]
mod tests;

use crate::gemm::ConvShape;
use crate::gemm::drive::{Block, Job, drive};
use crate::gemm::rows::{Matrix, Rows, Windows};
use crate::isa::{Isa, Level, Variant, pick};
use crate::mem::{Shared, with_scratch};
use crate::pool::ThreadPool;
pub use pack::{ColumnsI8, PackI8, PackedI8, PackedI8Ref};

/// Elements of depth that the inner block takes at once.
pub(crate) const QUAD: usize = 4;
/// The greatest tile in results.
const MAX_TILE: usize = 14 * 32;

/// The arguments of an inner block.
pub(crate) struct Dots {
    /// `ptrs[tap · rows + row]`: addresses of `quads · 4` bytes.
    pub(crate) ptrs: *const usize,
    /// Memory that is wanted soon: a line of it is asked for with every group.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) ahead: *const u8,
    pub(crate) taps: usize,
    pub(crate) quads: usize,
    /// Where every row starts: `width` sums.
    pub(crate) start: *const i32,
    /// The weights of a panel.
    pub(crate) panel: *const i32,
    /// Vectors of the panel's width.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) vectors: usize,
    /// `rows × width` sums.
    pub(crate) tile: *mut i32,
}

/// A tile size and the kernels for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micro {
    /// Rows of a tile.
    pub(crate) mr: usize,
    /// Lanes of a vector, and vectors in the width of a tile.
    pub(crate) lanes: usize,
    pub(crate) vectors: usize,
    /// Added to every weight byte when it is packed.
    pub(crate) offset: i32,
    /// Sums of products of 1 to `mr` rows.
    pub(crate) dots: unsafe fn(rows: usize, &Dots),
    /// Sums of `kc` bytes per tap of `rows` rows.
    pub(crate) row_sums: unsafe fn(rows: usize, ptrs: &[usize], kc: usize, sums: &mut [i32]),
}

impl Micro {
    pub(crate) fn nr(&self) -> usize {
        self.lanes * self.vectors
    }
}

/// Every integer kernel, strongest first.
pub(crate) static KERNELS: &[Variant<Micro>] = &[
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "gemm_i8_14x32_avx512vnni",
        isa: Level::Avx512Vnni,
        run: Micro { mr: 14, lanes: 16, vectors: 2, offset: 128, dots: avx512::dots, row_sums: avx512::row_sums },
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "gemm_i8_6x8_avx2",
        isa: Level::Avx2,
        run: Micro { mr: 6, lanes: 8, vectors: 1, offset: 0, dots: avx2::dots, row_sums: portable::row_sums },
    },
    Variant {
        name: "gemm_i8_4x8_portable",
        isa: Level::Portable,
        run: Micro { mr: 4, lanes: 8, vectors: 1, offset: 0, dots: portable::dots, row_sums: portable::row_sums },
    },
];

/// Where the results of an integer product go, and how. Every output has rows of `n` at distance `ldc`; elements between rows
/// are left alone.
#[derive(Debug)]
pub enum OutI8<'a> {
    /// Raw accumulators. For operands packed with any [`ColumnsI8`] (a float bias is not added).
    I32 {
        /// The output.
        out: &'a mut [i32],
        /// Its row distance.
        ldc: usize,
    },
    /// `clamp(multiply_by_quantized_multiplier(acc, multiplier[n], shift[n]) + zero_point, min, max)`. For operands packed
    /// with [`ColumnsI8::Requant`].
    I8 {
        /// The output.
        out: &'a mut [i8],
        /// Its row distance.
        ldc: usize,
        /// The zero point of the output.
        zero_point: i32,
        /// The lower bound, in -128..=127.
        min: i32,
        /// The upper bound, in -128..=127.
        max: i32,
    },
    /// `clamp(f32(acc) · (row_scale[r] · scale[n]) + bias[n], min, max)`, each operation rounded on its own (no fused
    /// multiply-add, so that every instruction set gives the same bits), where `r` is the row divided by `rows_per_scale`.
    /// With `columns_first` the product is `(f32(acc) · scale[n]) · row_scale[r]` instead. For operands packed with
    /// [`ColumnsI8::Float`].
    F32 {
        /// The output.
        out: &'a mut [f32],
        /// Its row distance.
        ldc: usize,
        /// One per group of rows.
        row_scale: &'a [f32],
        /// The zero points of the left operand, one per group of rows; they add to the one of packing. None means 0.
        row_zero_point: Option<&'a [i32]>,
        /// Rows of a group: 1 for a matrix, the pixels of an image for a convolution quantized per image.
        rows_per_scale: usize,
        /// Order of the two scales; a model that quantizes this output again sees the difference.
        columns_first: bool,
        /// The lower bound; `f32::NEG_INFINITY` for none.
        min: f32,
        /// The upper bound; `f32::INFINITY` for none.
        max: f32,
    },
}

/// The names of the integer kernels that `isa` allows, with their tiles (rows, columns), strongest first.
pub fn kernels_i8(isa: Isa) -> Vec<(&'static str, (usize, usize))> {
    KERNELS.iter().filter(|v| v.isa <= isa.level()).map(|v| (v.name, (v.run.mr, v.run.nr()))).collect()
}

/// The kernel for `isa`.
pub(crate) fn micro_for(isa: Isa) -> &'static Variant<Micro> {
    pick(KERNELS, isa)
}

/// Multiplies `m` rows of `a` (each `k` long, at distance `lda`) with a packed operand; see the module and [`OutI8`].
///
/// # Panics
/// If a slice is shorter than its rows, a row distance is less than its row, or the operand was packed for another output.
pub fn gemm_i8(pool: &ThreadPool, a: &[i8], m: usize, lda: usize, packed: PackedI8Ref<'_>, out: OutI8<'_>) {
    let spec = packed.spec;
    assert_eq!(spec.taps, 1, "packed for a convolution");
    multiply(pool, &Matrix::new(a, m, spec.kc, lda, QUAD), m, packed, out);
}

/// A 2-D convolution over NHWC with filters packed by [`PackI8::conv`]. Pixels outside the input count as the zero point of
/// the input (the one of packing, plus the row zero point of the image for [`OutI8::F32`]); that is, as real 0.
///
/// # Panics
/// If the shape is inconsistent, a slice too short, the filters were packed for another convolution, the zero point of the
/// input is not in -128..=127, or row zero points do not come one per image.
pub fn conv2d_i8(pool: &ThreadPool, shape: &ConvShape, input: &[i8], packed: PackedI8Ref<'_>, out: OutI8<'_>) {
    shape.check();
    let spec = packed.spec;
    assert!((spec.taps, spec.kc) == shape.taps() && spec.n == shape.out_c, "filters packed for another convolution");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    let reach = spec.kc.next_multiple_of(QUAD);
    let byte = |z: i32| i8::try_from(z).expect("zero point outside of i8");
    with_scratch(|s| {
        let pad = match &out {
            OutI8::F32 { row_zero_point: Some(z), rows_per_scale, .. } => {
                assert!(
                    z.len() >= shape.batch && *rows_per_scale == shape.out_h * shape.out_w,
                    "one zero point per image"
                );
                let pad = s.extra.typed::<i8>(reach * shape.batch);
                for (row, &z) in pad.chunks_exact_mut(reach.max(1)).zip(*z) {
                    row.fill(byte(spec.zero_a.wrapping_add(z)));
                }
                pad
            }
            _ => {
                let pad = s.extra.typed::<i8>(reach);
                pad.fill(byte(spec.zero_a));
                pad
            }
        };
        multiply(pool, &Windows::new(shape, input, pad, QUAD), shape.rows(), packed, out);
    });
}

/// The output of all tasks.
enum Sink<'a> {
    I32(Shared<'a, i32>, usize),
    I8(Shared<'a, i8>, usize, epilogue::Bytes),
    F32(Shared<'a, f32>, usize, &'a [f32], Option<&'a [i32]>, usize, (bool, f32, f32)),
}

impl<'a> Sink<'a> {
    /// # Panics
    /// If `out` is too short for `m` rows of `spec.n`, or belongs to another kind of packing.
    fn new(out: OutI8<'a>, m: usize, spec: &PackI8) -> Sink<'a> {
        let check = |len: usize, ldc: usize| {
            assert!(ldc >= spec.n || m == 1, "output row stride {ldc} is less than {} columns", spec.n);
            let span = (m - 1).checked_mul(ldc).and_then(|x| x.checked_add(spec.n));
            assert!(span.is_some_and(|s| s <= len), "output too short");
        };
        match out {
            OutI8::I32 { out, ldc } => {
                check(out.len(), ldc);
                Sink::I32(Shared::new(out), ldc)
            }
            OutI8::I8 { out, ldc, zero_point, min, max } => {
                check(out.len(), ldc);
                assert!(spec.kind == pack::Kind::Requant, "operand packed without multipliers");
                assert!(-128 <= min && min <= max && max <= 127, "bounds of the output");
                Sink::I8(Shared::new(out), ldc, epilogue::Bytes { zero_point, min, max })
            }
            OutI8::F32 { out, ldc, row_scale, row_zero_point, rows_per_scale, columns_first, min, max } => {
                check(out.len(), ldc);
                assert!(spec.kind == pack::Kind::Float, "operand packed without scales");
                let groups = m.div_ceil(rows_per_scale.max(1));
                assert!(rows_per_scale > 0 && row_scale.len() >= groups, "one scale per group of rows");
                assert!(row_zero_point.is_none_or(|z| z.len() >= groups), "one zero point per group of rows");
                Sink::F32(Shared::new(out), ldc, row_scale, row_zero_point, rows_per_scale, (columns_first, min, max))
            }
        }
    }
}

fn multiply(pool: &ThreadPool, rows: &dyn Rows<i8>, m: usize, packed: PackedI8Ref<'_>, out: OutI8<'_>) {
    let spec = packed.spec;
    if m == 0 || spec.n == 0 {
        return;
    }
    let sink = Sink::new(out, m, &spec);
    let micro = spec.micro.run;
    let finish = epilogue::Finish::new(spec.isa, micro.lanes);
    let job = Job {
        m,
        mr: micro.mr,
        panels: spec.panels(),
        panel_bytes: spec.panel_len() * 4,
        taps: spec.taps,
        kc: spec.kc,
        n: spec.n,
    };
    let correction = spec.zero_w.wrapping_add(micro.offset);
    drive(pool, &job, rows, &|b: Block<'_>| {
        let mut row_term = [0i32; 16];
        let mut row_zero = [0i32; 16];
        let mut row_scale = [0f32; 16];
        if correction != 0 {
            // SAFETY: the kernel was picked through an `Isa`, and `Rows` gave addresses good for `kc` bytes.
            unsafe { (micro.row_sums)(b.mr, &b.ptrs[..spec.taps * b.mr], spec.kc, &mut row_term) };
            row_term.iter_mut().for_each(|t| *t = t.wrapping_mul(correction).wrapping_neg());
        }
        if let Sink::F32(_, _, scales, zeros, group, _) = &sink {
            for r in 0..b.mr {
                let g = (b.row + r) / group;
                row_scale[r] = scales[g];
                if let Some(z) = zeros {
                    row_zero[r] = z[g];
                    let k_za_zw = (spec.k() as i32).wrapping_mul(z[g]).wrapping_mul(spec.zero_w);
                    row_term[r] = row_term[r].wrapping_add(k_za_zw);
                }
            }
        }
        let mut tile = Tile([0; MAX_TILE]);
        let first = b.panels.start;
        for p in b.panels {
            let col = p * micro.nr();
            let cols = (spec.n - col).min(micro.nr());
            let panel = &packed.data[p * spec.panel_len()..];
            let vectors = cols.div_ceil(micro.lanes);
            let width = vectors * micro.lanes;
            let (header, weights) = panel.split_at(pack::HEADER * width);
            let dots = Dots {
                ptrs: b.ptrs.as_ptr(),
                ahead: if p == first { b.ahead } else { b.ptrs[0] } as *const u8,
                taps: spec.taps,
                quads: spec.kc.div_ceil(QUAD),
                start: header[pack::BIAS * width..].as_ptr(),
                panel: weights.as_ptr(),
                vectors,
                tile: tile.0.as_mut_ptr(),
            };
            // SAFETY: the kernel was picked through an `Isa`; `Rows` gave addresses good for whole groups of four; the panel
            // is complete (checked when the operand was made); the tile holds `mr · width <= MAX_TILE` sums.
            unsafe { (micro.dots)(b.mr, &dots) };
            let t = epilogue::Sums {
                tile: &tile.0[..b.mr * width],
                width,
                cols,
                header,
                row_term: &row_term[..b.mr],
                row_zero: &row_zero,
                row_scale: &row_scale,
            };
            // SAFETY: rows and columns of the tile are inside the output by the check in `Sink::new`, and no other task
            // writes them; the epilogue was picked through an `Isa`.
            unsafe {
                match &sink {
                    Sink::I32(out, ldc) => (finish.raw)(&t, out.at(b.row * ldc + col), *ldc),
                    Sink::I8(out, ldc, bytes) => finish.bytes(&t, &spec, bytes, out.at(b.row * ldc + col), *ldc),
                    Sink::F32(out, ldc, _, zeros, _, range) => {
                        (finish.float)(&t, zeros.is_some(), *range, out.at(b.row * ldc + col), *ldc);
                    }
                }
            }
        }
    });
}

/// Sums on a cache line.
#[repr(align(64))]
struct Tile([i32; MAX_TILE]);
