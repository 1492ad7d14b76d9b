//! The inner block: a tile of rows × vectors of accumulators in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::Micro;
use crate::isa::{Level, Variant};
use crate::simd::{F32v, prefetch};

/// The arguments of a tile kernel.
pub(crate) struct Tile {
    /// `ptrs[tap · rows + row]`: addresses of `kc` floats.
    pub(crate) ptrs: *const usize,
    /// Memory that is wanted soon: a line of it is asked for with every step of k.
    pub(crate) ahead: *const u8,
    pub(crate) taps: usize,
    pub(crate) kc: usize,
    /// The packed panel, biases first.
    pub(crate) panel: *const f32,
    /// Columns to store, at least 1; the panel is as wide as the vectors that they need.
    pub(crate) cols: usize,
    pub(crate) out: *mut f32,
    pub(crate) ldc: usize,
    /// Laid out like `out`, or null.
    pub(crate) add: *const f32,
    pub(crate) min: f32,
    pub(crate) max: f32,
}

/// A kernel for a tile of 1 to `mr` rows.
pub(crate) type TileFn = unsafe fn(rows: usize, &Tile);

/// One tile: the sums of a row run through k in order.
#[inline(always)]
unsafe fn tile<V: F32v, const MR: usize, const NV: usize>(t: &Tile) {
    let width = NV * V::N;
    // SAFETY: the panel holds `width · (1 + taps · kc)` floats, `ptrs` MR addresses per tap, each good for `kc` floats.
    unsafe {
        let mut acc = [[V::splat(0.0); NV]; MR];
        let mut b = t.panel;
        for v in 0..NV {
            let bias = V::load(b.add(v * V::N));
            for row in &mut acc {
                row[v] = bias;
            }
        }
        b = b.add(width);
        let mut p = t.ptrs;
        let mut ahead = t.ahead;
        for _ in 0..t.taps {
            let mut a = [std::ptr::null::<f32>(); MR];
            for (r, a) in a.iter_mut().enumerate() {
                *a = *p.add(r) as *const f32;
            }
            p = p.add(MR);
            for k in 0..t.kc {
                prefetch(ahead);
                ahead = ahead.wrapping_add(64);
                let mut w = [V::splat(0.0); NV];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = V::load(b.add(v * V::N));
                }
                b = b.add(width);
                for r in 0..MR {
                    let x = V::splat(*a[r].add(k));
                    for v in 0..NV {
                        acc[r][v] = x.fma(w[v], acc[r][v]);
                    }
                }
            }
        }
        store::<V, MR, NV>(t, &acc);
    }
}

/// One tile of few rows: four interleaved sums per result, so that the latency of an addition does not bound the speed.
#[inline(always)]
unsafe fn thin<V: F32v, const MR: usize, const NV: usize>(t: &Tile) {
    const U: usize = 4;
    let width = NV * V::N;
    // SAFETY: as in `tile`.
    unsafe {
        let mut acc = [[[V::splat(0.0); NV]; MR]; U];
        let mut b = t.panel;
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
        store::<V, MR, NV>(t, &sum);
    }
}

#[inline(always)]
unsafe fn store<V: F32v, const MR: usize, const NV: usize>(t: &Tile, acc: &[[V; NV]; MR]) {
    // SAFETY: MR rows of `cols` floats at distance `ldc` are inside `out`, and inside `add` unless that is null.
    unsafe {
        let (lo, hi) = (V::splat(t.min), V::splat(t.max));
        let whole = t.cols == NV * V::N;
        for r in 0..MR {
            let out = t.out.add(r * t.ldc);
            for v in 0..NV {
                let mut x = acc[r][v];
                let at = v * V::N;
                if whole {
                    if !t.add.is_null() {
                        x = x.add(V::load(t.add.add(r * t.ldc + at)));
                    }
                    x.clamp(lo, hi).store(out.add(at));
                } else {
                    let n = t.cols.saturating_sub(at).min(V::N);
                    if !t.add.is_null() {
                        x = x.add(V::load_n(t.add.add(r * t.ldc + at), n));
                    }
                    x.clamp(lo, hi).store_n(out.add(at), n);
                }
            }
        }
    }
}

/// A [`TileFn`] of one instruction set: picks the body by rows and by the vectors that the columns need.
macro_rules! tile_fn {
    ($name:ident, $vec:ty, [$($feature:literal)?], thin [$($t:literal)*], wide [$($r:literal)*], vectors [$($v:literal)*]) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $name(rows: usize, t: &Tile) {
            $(#[target_feature(enable = $feature)])?
            #[allow(dead_code)]
            unsafe fn few<const MR: usize, const NV: usize>(t: &Tile) {
                // SAFETY: the caller's contract.
                unsafe { thin::<$vec, MR, NV>(t) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn many<const MR: usize, const NV: usize>(t: &Tile) {
                // SAFETY: the caller's contract.
                unsafe { tile::<$vec, MR, NV>(t) }
            }
            #[inline(always)]
            fn by_rows<const NV: usize>(rows: usize) -> unsafe fn(&Tile) {
                match rows {
                    $($t => few::<$t, NV>,)*
                    $($r => many::<$r, NV>,)*
                    _ => unreachable!("tile of {rows} rows"),
                }
            }
            let f = match t.cols.div_ceil(<$vec as F32v>::N) {
                $($v => by_rows::<$v>(rows),)*
                v => unreachable!("tile of {v} vectors"),
            };
            // SAFETY: the caller's contract; `f` stores `rows` rows of at most that many vectors.
            unsafe { f(t) }
        }
    };
}

tile_fn!(portable_4x8, crate::simd::portable::F32x8, [], thin [], wide [1 2 3 4], vectors [1]);
#[cfg(target_arch = "x86_64")]
tile_fn!(avx2_6x16, crate::simd::avx2::F32x8, ["avx2,fma,f16c"], thin [1], wide [2 3 4 5 6], vectors [1 2]);
#[cfg(target_arch = "x86_64")]
tile_fn!(
    avx512_14x32, crate::simd::avx512::F32x16, ["avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"],
    thin [1 2], wide [3 4 5 6 7 8 9 10 11 12 13 14], vectors [1 2]
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
