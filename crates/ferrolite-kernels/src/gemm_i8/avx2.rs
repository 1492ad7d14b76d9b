//! The inner block of AVX2: both operands are sign-extended to 16 bits, so that `vpmaddwd` is exact (`vpmaddubsw` saturates).
#![allow(unsafe_code, clippy::needless_range_loop)]
// Every function is unsafe under one contract: AVX2, addresses good for whole groups, a complete panel and tile.
#![allow(unsafe_op_in_unsafe_fn)]

use super::{Dots, QUAD};
use std::arch::x86_64::*;

/// See [`super::Micro::dots`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dots(rows: usize, d: &Dots) {
    match rows {
        1 => block::<1>(d),
        2 => block::<2>(d),
        3 => block::<3>(d),
        4 => block::<4>(d),
        5 => block::<5>(d),
        6 => block::<6>(d),
        _ => unreachable!("tile of {rows} rows"),
    }
}

#[target_feature(enable = "avx2")]
unsafe fn block<const MR: usize>(d: &Dots) {
    // A 32-bit lane of an accumulator is half of the sum of a column: four columns per register.
    let mut acc = [[_mm256_setzero_si256(); 2]; MR];
    let mut b = d.panel.cast::<i8>();
    let mut p = d.ptrs;
    for _ in 0..d.taps {
        let mut a = [std::ptr::null::<i8>(); MR];
        for (r, a) in a.iter_mut().enumerate() {
            *a = *p.add(r) as *const i8;
        }
        p = p.add(MR);
        for q in 0..d.quads {
            let w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.cast()));
            let w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.add(16).cast()));
            b = b.add(32);
            for r in 0..MR {
                let x = _mm_set1_epi32(a[r].add(q * QUAD).cast::<i32>().read_unaligned());
                let x = _mm256_cvtepi8_epi16(x);
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(w0, x));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(w1, x));
            }
        }
    }
    let start = _mm256_loadu_si256(d.start.cast());
    for r in 0..MR {
        let pairs = _mm256_hadd_epi32(acc[r][0], acc[r][1]);
        let sums = _mm256_add_epi32(start, _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs));
        _mm256_storeu_si256(d.tile.add(r * 8).cast(), sums);
    }
}
