//! What this machine can do at most: multiply-accumulates and bytes in a second, measured.
//!
//! There is no table of CPUs: peaks are what independent chains of the instructions reach that kernels use, and what a loop of
//! loads reads. Every thread of a pool does the same at the same time, so that shared cores and caches count as they are.
#![allow(unsafe_code)]

use crate::isa::{Isa, Level, Variant, pick};
use crate::pool::ThreadPool;
use crate::simd::{F32v, I32v, isa_table};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Chains of dependent instructions that run side by side: enough to hide the latency of two multipliers, few enough for
/// sixteen registers where a vector takes two.
const CHAINS: usize = 8;
/// Those of products of bytes, whose latency is longer, or which are two instructions.
const DOT_CHAINS: usize = 12;
/// Steps of every chain in a call.
const STEPS: usize = 50_000;
/// Time spent on each figure, of which the best call counts.
const TIME: Duration = Duration::from_millis(100);

/// What a machine can do at most, all threads of a pool together.
#[derive(Clone, Debug, PartialEq)]
pub struct Peaks {
    /// Fused multiply-adds of f32 in a second.
    pub f32_macs: f64,
    /// Multiply-accumulates of i8 into i32 in a second.
    pub i8_macs: f64,
    /// Bytes read in a second from a range of so many bytes, small ranges (which caches hold) first.
    pub bandwidth: Vec<(usize, f64)>,
}

impl Peaks {
    /// Measures for about a second, with the instructions that `isa` allows.
    pub fn measure(pool: &ThreadPool, isa: Isa) -> Peaks {
        let sizes = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20];
        Peaks {
            f32_macs: peak_f32(pool, isa),
            i8_macs: peak_i8(pool, isa),
            bandwidth: sizes.map(|bytes| (bytes, bandwidth(pool, isa, bytes))).to_vec(),
        }
    }
}

/// Fused multiply-adds of f32 in a second, on all threads of the pool.
pub fn peak_f32(pool: &ThreadPool, isa: Isa) -> f64 {
    let chains = pick(FMA_F32, isa).run;
    // SAFETY: `pick` gives what `isa` proves that the CPU has.
    let seconds = best(pool, &|_| _ = black_box(unsafe { chains(black_box(0.999)) }));
    (pool.threads() * STEPS * CHAINS * lanes_f32(isa)) as f64 / seconds
}

/// Multiply-accumulates of i8 into i32 in a second, on all threads of the pool.
pub fn peak_i8(pool: &ThreadPool, isa: Isa) -> f64 {
    let (macs, chains) = pick(DOT_I8, isa).run;
    // SAFETY: `pick` gives what `isa` proves that the CPU has.
    let seconds = best(pool, &|_| _ = black_box(unsafe { chains(black_box(3)) }));
    (pool.threads() * STEPS * macs) as f64 / seconds
}

/// Bytes in a second that all threads of the pool read from a range, each from a part of its own.
fn bandwidth(pool: &ThreadPool, isa: Isa, bytes: usize) -> f64 {
    let read = pick(READ, isa).run;
    // Whole rounds of the loop.
    let part = (bytes / 4 / pool.threads()).next_multiple_of(8 * 16);
    let data = vec![1f32; part * pool.threads()];
    // Small ranges are read several times, so that starting the threads does not count.
    let times = (1 << 21) / bytes + 1;
    let seconds = best(pool, &|thread| {
        for _ in 0..times {
            let own = &data[thread * part..][..part];
            // SAFETY: `pick` gives what `isa` proves that the CPU has; the slice is good for its length.
            black_box(unsafe { read(black_box(own.as_ptr()), own.len()) });
        }
    });
    (4 * part * pool.threads() * times) as f64 / seconds
}

/// The best time of one call per thread.
fn best(pool: &ThreadPool, f: &(dyn Fn(usize) + Sync)) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < TIME {
        let call = Instant::now();
        pool.run(pool.threads(), f);
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

fn lanes_f32(isa: Isa) -> usize {
    if isa.level() >= Level::Avx512 { 16 } else { 8 }
}

isa_table!(
    /// Chains of fused multiply-adds.
    FMA_F32 = F "fma_f32" fma_f32 (x: f32) -> f32
);

#[inline(always)]
unsafe fn fma_f32<V: F32v>(x: f32) -> f32 {
    // SAFETY: the contract of the vector traits.
    unsafe {
        let mut acc = [V::splat(0.0); CHAINS];
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc = V::splat(i as f32);
        }
        let x = V::splat(x);
        for _ in 0..STEPS {
            for acc in &mut acc {
                *acc = acc.fma(x, x);
            }
        }
        acc.into_iter().fold(V::splat(0.0), |a, b| a.add(b)).sum()
    }
}

isa_table!(
    /// The sum of a whole number of 128 floats.
    READ = F "read_f32" read_f32 (p: *const f32, n: usize) -> f32
);

#[inline(always)]
unsafe fn read_f32<V: F32v>(p: *const f32, n: usize) -> f32 {
    // SAFETY: `p` is good for `n` floats.
    unsafe {
        let mut acc = [V::splat(0.0); 8];
        for at in (0..n / (8 * V::N)).map(|i| i * 8 * V::N) {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = acc.add(V::load(p.add(at + i * V::N)));
            }
        }
        acc.into_iter().fold(V::splat(0.0), |a, b| a.add(b)).sum()
    }
}

/// Multiply-accumulates of a step of all chains, and the chains.
type Dot = (usize, unsafe fn(i32) -> i32);

/// Chains of the products of bytes that the integer kernels are made of.
static DOT_I8: &[Variant<Dot>] = &[
    #[cfg(target_arch = "x86_64")]
    Variant { name: "dot_i8_amx", isa: Level::Amx, run: (4 * 16 * 16 * 64, x86::amx) },
    #[cfg(target_arch = "x86_64")]
    Variant { name: "dot_i8_avx512vnni", isa: Level::Avx512Vnni, run: (64 * DOT_CHAINS, x86::vnni) },
    #[cfg(target_arch = "x86_64")]
    Variant { name: "dot_i8_avx2", isa: Level::Avx2, run: (16 * DOT_CHAINS, x86::avx2) },
    Variant { name: "dot_i8_portable", isa: Level::Portable, run: (8 * CHAINS, portable) },
];

unsafe fn portable(x: i32) -> i32 {
    type V = crate::simd::portable::I32x8;
    // SAFETY: portable code runs everywhere; the array holds a vector.
    unsafe {
        let mut acc = [V::splat(1); CHAINS];
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc = V::splat(i as i32);
        }
        let x = V::splat(x);
        for _ in 0..STEPS {
            for acc in &mut acc {
                *acc = acc.mul(x).add(x);
            }
        }
        let mut out = [0; 8];
        acc.into_iter().fold(V::splat(0), |a, b| a.add(b)).store(out.as_mut_ptr());
        out[0]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{DOT_CHAINS, STEPS};
    use crate::gemm_i8::amx::Tiles;
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// Four tiles of sums are as many as two tiles of each operand make.
    pub(super) unsafe fn amx(_: i32) -> i32 {
        // SAFETY: the process may use AMX.
        let tiles = unsafe { Tiles::new() };
        // SAFETY: the tiles are configured; the compiler uses none of its own.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                "2:",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 2b",
                steps = inout(reg) STEPS => _,
                options(nomem, nostack)
            );
        }
        drop(tiles);
        0
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    pub(super) fn vnni(x: i32) -> i32 {
        let mut acc = [_mm512_setzero_si512(); DOT_CHAINS];
        let x = _mm512_set1_epi32(x);
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc = _mm512_set1_epi32(i as i32);
        }
        for _ in 0..STEPS {
            for acc in &mut acc {
                *acc = _mm512_dpbusd_epi32(*acc, x, x);
            }
        }
        _mm512_reduce_add_epi32(acc.into_iter().fold(x, |a, b| _mm512_add_epi32(a, b)))
    }

    /// Bytes widened to 16 bits, whose products in pairs are exact. The second operand changes, so that none is left out.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(x: i32) -> i32 {
        let mut acc = [_mm256_setzero_si256(); DOT_CHAINS];
        let x = _mm256_set1_epi32(x);
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc = _mm256_set1_epi32(i as i32);
        }
        for _ in 0..STEPS {
            for acc in &mut acc {
                *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(*acc, x));
            }
        }
        let sum = acc.into_iter().fold(x, |a, b| _mm256_add_epi32(a, b));
        _mm256_extract_epi32::<0>(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_is_measured() {
        let pool = ThreadPool::new(2);
        for isa in Isa::available() {
            assert!(peak_f32(&pool, isa) > 0.0 && peak_i8(&pool, isa) > 0.0 && bandwidth(&pool, isa, 1000) > 0.0);
        }
    }
}
