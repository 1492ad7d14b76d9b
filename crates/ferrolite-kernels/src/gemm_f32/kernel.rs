//! The inner block: a tile of rows × vectors of accumulators in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::Micro;
use crate::isa::{Level, Variant};
use crate::simd::{F32v, prefetch};

/// The arguments of a kernel: a block of rows, times one column panel after the other.
pub(crate) struct Tile {
    /// `ptrs[tap · rows + row]`: addresses of `kc` floats.
    pub(crate) ptrs: *const usize,
    /// Weights that are wanted soon, `soon_len` bytes, then the next rows: a line is asked for with every step of k.
    pub(crate) soon: *const u8,
    pub(crate) soon_len: usize,
    pub(crate) ahead: *const u8,
    pub(crate) taps: usize,
    pub(crate) kc: usize,
    /// The first packed panel, biases first, and floats from a panel to the next.
    pub(crate) panel: *const f32,
    pub(crate) panel_len: usize,
    pub(crate) to: Out,
}

/// Where the results of a block of rows go, and how.
#[derive(Clone, Copy)]
pub(crate) struct Out {
    /// Columns to store, at least 1; the last panel is as wide as the vectors that it needs.
    pub(crate) cols: usize,
    pub(crate) out: *mut f32,
    pub(crate) ldc: usize,
    /// Laid out like `out`, or null.
    pub(crate) add: *const f32,
    pub(crate) min: f32,
    pub(crate) max: f32,
}

/// How many weights in front of those at hand few rows ask for: they take weights as fast as the second-level cache has them.
const THIN_AHEAD: usize = 512;

/// A kernel for a block of 1 to `mr` rows.
pub(crate) type TileFn = unsafe fn(rows: usize, &Tile);

/// A tile: its panel, its first column, and what to prefetch.
#[derive(Clone, Copy)]
struct At {
    panel: *const f32,
    col: usize,
    ahead: *const u8,
}

/// Every panel of a block of rows.
#[inline(always)]
unsafe fn block<V: F32v, const MR: usize, const NV: usize, const THIN: bool>(t: &Tile) {
    // SAFETY: the caller's contract; a panel is as wide as the vectors that its columns need.
    unsafe {
        let mut at = At { panel: t.panel, col: 0, ahead: t.ahead };
        let mut asked = 0;
        while at.col < t.to.cols {
            if asked < t.soon_len {
                at.ahead = t.soon.wrapping_add(asked);
                asked += t.taps * t.kc * 64;
            }
            match (THIN, NV > 1 && t.to.cols - at.col <= V::N) {
                (true, true) => thin::<V, MR, 1>(t, at),
                (true, false) => thin::<V, MR, NV>(t, at),
                (false, true) => tile::<V, MR, 1>(t, at),
                (false, false) => tile::<V, MR, NV>(t, at),
            }
            // The rows of this block: they are in the cache and may stay there.
            let ahead = *t.ptrs as *const u8;
            at = At { panel: at.panel.wrapping_add(t.panel_len), col: at.col + NV * V::N, ahead };
        }
    }
}

/// One step of k: what each row has there, times the weights of the columns.
#[inline(always)]
unsafe fn step<V: F32v, const MR: usize, const NV: usize>(
    a: &[*const f32; MR],
    k: usize,
    weights: *const f32,
    acc: &mut [[V; NV]; MR],
) {
    // SAFETY: the addresses are good for `k + 1` floats, `weights` for NV vectors.
    unsafe {
        let mut w = [V::splat(0.0); NV];
        for (v, w) in w.iter_mut().enumerate() {
            *w = V::load(weights.add(v * V::N));
        }
        for r in 0..MR {
            let x = V::splat(*a[r].add(k));
            for v in 0..NV {
                acc[r][v] = x.fma(w[v], acc[r][v]);
            }
        }
    }
}

/// One tile: the sums of a row run through k in order.
#[inline(always)]
unsafe fn tile<V: F32v, const MR: usize, const NV: usize>(t: &Tile, at: At) {
    let width = NV * V::N;
    // SAFETY: the panel holds `width · (1 + taps · kc)` floats, `ptrs` MR addresses per tap, each good for `kc` floats.
    unsafe {
        let mut acc = [[V::splat(0.0); NV]; MR];
        let mut b = at.panel;
        for v in 0..NV {
            let bias = V::load(b.add(v * V::N));
            for row in &mut acc {
                row[v] = bias;
            }
        }
        b = b.add(width);
        let mut ahead = at.ahead;
        let mut p = t.ptrs;
        for _ in 0..t.taps {
            let mut a = [std::ptr::null::<f32>(); MR];
            for (r, a) in a.iter_mut().enumerate() {
                *a = *p.add(r) as *const f32;
            }
            p = p.add(MR);
            let mut from = 0;
            // With one vector a step has hardly more products than loads: an address that no register holds is loaded once
            // in four steps.
            while NV == 1 && from + 4 <= t.kc {
                for u in 0..4 {
                    step::<V, MR, NV>(&a, from + u, b.add(u * width), &mut acc);
                }
                prefetch(ahead);
                prefetch(ahead.wrapping_add(128));
                ahead = ahead.wrapping_add(256);
                b = b.add(4 * width);
                from += 4;
            }
            for k in from..t.kc {
                prefetch(ahead);
                ahead = ahead.wrapping_add(64);
                step::<V, MR, NV>(&a, k, b, &mut acc);
                b = b.add(width);
            }
        }
        store::<V, MR, NV>(&t.to, at.col, acc);
    }
}

/// One tile of few rows: four interleaved sums per result, so that the latency of an addition does not bound the speed.
#[inline(always)]
unsafe fn thin<V: F32v, const MR: usize, const NV: usize>(t: &Tile, at: At) {
    const U: usize = 4;
    let width = NV * V::N;
    // SAFETY: as in `tile`.
    unsafe {
        let mut acc = [[[V::splat(0.0); NV]; MR]; U];
        let mut b = at.panel;
        for v in 0..NV {
            let bias = V::load(b.add(v * V::N));
            for row in &mut acc[0] {
                row[v] = bias;
            }
        }
        b = b.add(width);
        let mut p = t.ptrs;
        for _ in 0..t.taps {
            let mut a = [std::ptr::null::<f32>(); MR];
            for (r, a) in a.iter_mut().enumerate() {
                *a = *p.add(r) as *const f32;
            }
            p = p.add(MR);
            let mut k = 0;
            while k + U <= t.kc {
                for line in 0..U * width / 16 {
                    prefetch(b.wrapping_add(THIN_AHEAD + line * 16).cast());
                }
                for (u, acc) in acc.iter_mut().enumerate() {
                    for v in 0..NV {
                        let w = V::load(b.add(u * width + v * V::N));
                        for r in 0..MR {
                            acc[r][v] = V::splat(*a[r].add(k + u)).fma(w, acc[r][v]);
                        }
                    }
                }
                b = b.add(U * width);
                k += U;
            }
            while k < t.kc {
                for v in 0..NV {
                    let w = V::load(b.add(v * V::N));
                    for r in 0..MR {
                        acc[0][r][v] = V::splat(*a[r].add(k)).fma(w, acc[0][r][v]);
                    }
                }
                b = b.add(width);
                k += 1;
            }
        }
        let mut sum = [[V::splat(0.0); NV]; MR];
        for r in 0..MR {
            for v in 0..NV {
                sum[r][v] = acc[0][r][v].add(acc[1][r][v]).add(acc[2][r][v].add(acc[3][r][v]));
            }
        }
        store::<V, MR, NV>(&t.to, at.col, sum);
    }
}

/// Adds, clamps and stores: step by step, since most tiles need few of them.
#[inline(always)]
pub(super) unsafe fn store<V: F32v, const MR: usize, const NV: usize>(to: &Out, col: usize, mut acc: [[V; NV]; MR]) {
    let cols = to.cols - col;
    let whole = cols >= NV * V::N;
    let last = if whole { V::N } else { cols - (NV - 1) * V::N };
    // SAFETY: MR rows of `cols` floats at distance `ldc` are inside `out`, and inside `add` unless that is null.
    unsafe {
        if !to.add.is_null() {
            for r in 0..MR {
                let add = to.add.add(r * to.ldc + col);
                for v in 0..NV {
                    let n = if v + 1 == NV { last } else { V::N };
                    acc[r][v] = acc[r][v].add(V::load_n(add.add(v * V::N), n));
                }
            }
        }
        if to.min > f32::NEG_INFINITY {
            let lo = V::splat(to.min);
            acc.iter_mut().flatten().for_each(|x| *x = lo.max(*x));
        }
        if to.max < f32::INFINITY {
            let hi = V::splat(to.max);
            acc.iter_mut().flatten().for_each(|x| *x = hi.min(*x));
        }
        for r in 0..MR {
            let out = to.out.add(r * to.ldc + col);
            for v in 0..NV {
                if whole || v + 1 < NV {
                    acc[r][v].store(out.add(v * V::N));
                } else {
                    acc[r][v].store_n(out.add(v * V::N), last);
                }
            }
        }
    }
}

/// A [`TileFn`] of one instruction set: picks the body by rows.
macro_rules! tile_fn {
    ($name:ident, $vec:ty, [$($feature:literal)?], thin [$($t:literal)*], wide [$($r:literal)*], vectors $nv:literal) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name(rows: usize, t: &Tile) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn body<const MR: usize, const THIN: bool>(t: &Tile) {
                // SAFETY: the caller's contract.
                unsafe { block::<$vec, MR, $nv, THIN>(t) }
            }
            let f = match rows {
                $($t => body::<$t, true>,)*
                $($r => body::<$r, false>,)*
                _ => unreachable!("tile of {rows} rows"),
            };
            // SAFETY: the caller's contract; `f` stores `rows` rows.
            unsafe { f(t) }
        }
    };
}

tile_fn!(portable_4x8, crate::simd::portable::F32x8, [], thin [], wide [1 2 3 4], vectors 1);
#[cfg(target_arch = "x86_64")]
tile_fn!(avx2_6x16, crate::simd::avx2::F32x8, ["avx2,fma,f16c"], thin [1], wide [2 3 4 5 6], vectors 2);
#[cfg(target_arch = "x86_64")]
tile_fn!(
    avx512_14x32, crate::simd::avx512::F32x16, ["avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"],
    thin [1 2], wide [3 4 5 6 7 8 9 10 11 12 13 14], vectors 2
);

pub(super) static KERNELS: &[Variant<Micro>] = &[
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "gemm_f32_14x32_avx512",
        isa: Level::Avx512,
        run: Micro { mr: 14, lanes: 16, vectors: 2, tile: avx512_14x32 },
    },
    #[cfg(target_arch = "x86_64")]
    Variant {
        name: "gemm_f32_6x16_avx2",
        isa: Level::Avx2,
        run: Micro { mr: 6, lanes: 8, vectors: 2, tile: avx2_6x16 },
    },
    Variant {
        name: "gemm_f32_4x8_portable",
        isa: Level::Portable,
        run: Micro { mr: 4, lanes: 8, vectors: 1, tile: portable_4x8 },
    },
];
