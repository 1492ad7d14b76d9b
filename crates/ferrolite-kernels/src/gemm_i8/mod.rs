//! Matrix product and convolution of i8 with packed weights, exact in 32 bits, with exact epilogues.
//!
//! `acc[m][n] = Σ_k (a[m][k] - za) · (w[k][n] - zw) + bias[n]`, wrapping in i32 like the reference. It is computed as
//! `Σ a·w - zw·Σ a - za·Σ w + k·za·zw`: the inner block sums `a·u` with `u = w + offset` (the offset is 128 for VNNI, whose one
//! operand is unsigned, and 0 elsewhere), sums of rows of `a` are made once per block of rows and only if `zw + offset` is not
//! 0, and sums of columns are made by packing.
//!
//! Unsigned data: xor the bytes with 0x80 and take 128 off the zero point; this holds for activations and weights.
//!
//! A panel of a packed operand is six rows of `width` i32 ([`pack::HEADER`]), then for every tap its elements in groups of
//! four: `width` times 4 bytes. An incomplete group is filled with bytes that multiply by 0.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod epilogue;
mod pack;
mod portable;
mod sink;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use crate::gemm::ConvShape;
use crate::gemm::drive::{Block, Job, drive};
use crate::gemm::rows::{Matrix, Rows, Windows};
use crate::isa::{Isa, Level, Variant, pick};
use crate::mem::with_scratch;
use crate::pool::ThreadPool;
pub use pack::{ColumnsI8, PackI8, PackedI8, PackedI8Ref};
use sink::{Panel, Sink};

/// Elements of depth that the inner block takes at once.
pub(crate) const QUAD: usize = 4;
/// Elements of depth that a tile takes at once.
pub(crate) const UNIT: usize = 64;
/// The greatest tile in rows and in results.
const MAX_ROWS: usize = 32;
const MAX_TILE: usize = MAX_ROWS * 32;

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
    /// Whether products of more rows go by tiles: see [`tiles`]. The taps of a column are then packed without gaps, filled
    /// up with zeros to a multiple of [`UNIT`].
    pub(crate) tiles: bool,
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
        name: "gemm_i8_32x32_amx",
        isa: Level::Amx,
        run: Micro {
            mr: tiles::FEW,
            lanes: 16,
            vectors: 2,
            offset: 0,
            tiles: true,
            dots: avx512::dots_flipped,
            row_sums: avx512::row_sums,
        },
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "gemm_i8_14x32_avx512vnni",
        isa: Level::Avx512Vnni,
        run: Micro {
            mr: 14,
            lanes: 16,
            vectors: 2,
            offset: 128,
            tiles: false,
            dots: avx512::dots,
            row_sums: avx512::row_sums,
        },
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "gemm_i8_6x8_avx2",
        isa: Level::Avx2,
        run: Micro {
            mr: 6,
            lanes: 8,
            vectors: 1,
            offset: 0,
            tiles: false,
            dots: avx2::dots,
            row_sums: portable::row_sums,
        },
    },
    Variant {
        name: "gemm_i8_4x8_portable",
        isa: Level::Portable,
        run: Micro {
            mr: 4,
            lanes: 8,
            vectors: 1,
            offset: 0,
            tiles: false,
            dots: portable::dots,
            row_sums: portable::row_sums,
        },
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
    /// with [`ColumnsI8::Requant`]; for those packed with [`ColumnsI8::Real`], `clamp(round(acc · factor[n]) + zero_point, min,
    /// max)` in double precision, halves away from zero.
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
    multiply(pool, &Matrix::new(a, m, spec.kc, lda, spec.granule()), m, packed, out);
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
    if shape.is_matrix() {
        let rows = Matrix::new(input, shape.rows(), spec.kc, shape.in_stride, spec.granule());
        return multiply(pool, &rows, shape.rows(), packed, out);
    }
    let reach = spec.kc.next_multiple_of(spec.granule());
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
        multiply(pool, &Windows::new(shape, input, pad, spec.granule()), shape.rows(), packed, out);
    });
}

fn multiply(pool: &ThreadPool, rows: &dyn Rows<i8>, m: usize, packed: PackedI8Ref<'_>, out: OutI8<'_>) {
    let spec = packed.spec;
    if m == 0 || spec.n == 0 {
        return;
    }
    let sink = Sink::new(out, m, &spec);
    let micro = spec.micro.run;
    #[cfg(target_arch = "x86_64")]
    if micro.tiles {
        return tiles::multiply(pool, rows, m, packed, &sink);
    }
    let job = Job {
        m,
        mr: micro.mr,
        panels: spec.panels(),
        panel_bytes: spec.panel_len() * 4,
        taps: spec.taps,
        kc: spec.kc,
        n: spec.n,
    };
    drive(pool, &job, rows, &|b: Block<'_>| {
        let terms = sink.terms(&b.ptrs[..spec.taps * b.mr], b.row, b.mr);
        let mut tile = std::mem::MaybeUninit::<Tile>::uninit();
        let first = b.panels.start;
        for p in b.panels {
            let panel = Panel::new(&packed, p);
            let dots = Dots {
                ptrs: b.ptrs.as_ptr(),
                ahead: if p == first { b.ahead } else { b.ptrs[0] } as *const u8,
                taps: spec.taps,
                quads: spec.kc.div_ceil(QUAD),
                start: panel.header[pack::BIAS * panel.width..].as_ptr(),
                panel: panel.weights.as_ptr(),
                vectors: if panel.width > micro.lanes { 2 } else { 1 },
                tile: tile.as_mut_ptr().cast(),
            };
            // SAFETY: the kernel was picked through an `Isa`; `Rows` gave addresses good for whole groups of four; the panel
            // is complete (checked when the operand was made); the tile has room for `mr · width <= MAX_TILE` sums, which the
            // kernel writes. No other task writes these rows and columns of the output.
            unsafe {
                (micro.dots)(b.mr, &dots);
                let sums = std::slice::from_raw_parts(tile.as_ptr().cast::<i32>(), b.mr * panel.width);
                sink.store(sums, &panel, b.row, &terms);
            }
        }
    });
}

/// Room for sums on a cache line.
#[repr(align(64))]
struct Tile(#[expect(dead_code, reason = "used by address")] [i32; MAX_TILE]);
