//! The inner block of AVX-512 VNNI. The unsigned operand of `vpdpbusd` is the weights (plus 128), the signed one the
//! activations as they are, so that these can be broadcast straight from memory.
#![allow(unsafe_code)]
// Every function is unsafe under one contract: AVX-512 with VNNI, addresses good for whole groups, a complete panel and tile.
#![allow(unsafe_op_in_unsafe_fn)]

use super::{Dots, QUAD};
use std::arch::x86_64::*;

macro_rules! by_rows {
    ($rows:ident, $d:ident, $nv:literal: $($r:literal)*) => {
        match $rows {
            $($r => block::<$r, $nv>($d),)*
            _ => unreachable!("tile of {} rows", $rows),
        }
    };
}

/// See [`super::Micro::dots`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn dots(rows: usize, d: &Dots) {
    if d.vectors == 1 {
        by_rows!(rows, d, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    } else {
        by_rows!(rows, d, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn block<const MR: usize, const NV: usize>(d: &Dots) {
    let mut acc = [[_mm512_setzero_si512(); NV]; MR];
    // Few rows: two sums per result hide the latency.
    let mut odd = [[_mm512_setzero_si512(); NV]; MR];
    let mut b = d.panel;
    let mut p = d.ptrs;
    for _ in 0..d.taps {
        let mut a = [std::ptr::null::<i32>(); MR];
        for (r, a) in a.iter_mut().enumerate() {
            *a = *p.add(r) as *const i32;
        }
        p = p.add(MR);
        let mut q = 0;
        if MR <= 4 {
            while q + 2 <= d.quads {
                for v in 0..NV {
                    let w0 = _mm512_loadu_si512(b.add(v * 16).cast());
                    let w1 = _mm512_loadu_si512(b.add((NV + v) * 16).cast());
                    for r in 0..MR {
                        let x0 = _mm512_set1_epi32(a[r].add(q).read_unaligned());
                        let x1 = _mm512_set1_epi32(a[r].add(q + 1).read_unaligned());
                        acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], w0, x0);
                        odd[r][v] = _mm512_dpbusd_epi32(odd[r][v], w1, x1);
                    }
                }
                b = b.add(NV * 32);
                q += 2;
            }
        }
        while q < d.quads {
            let mut w = [_mm512_setzero_si512(); NV];
            for (v, w) in w.iter_mut().enumerate() {
                *w = _mm512_loadu_si512(b.add(v * 16).cast());
            }
            b = b.add(NV * 16);
            for r in 0..MR {
                let x = _mm512_set1_epi32(a[r].add(q).read_unaligned());
                for v in 0..NV {
                    acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], w[v], x);
                }
            }
            q += 1;
        }
    }
    for r in 0..MR {
        for v in 0..NV {
            let mut sum = acc[r][v];
            if MR <= 4 {
                sum = _mm512_add_epi32(sum, odd[r][v]);
            }
            _mm512_storeu_si512(d.tile.add((r * NV + v) * 16).cast(), sum);
        }
    }
}

/// See [`super::Micro::row_sums`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn row_sums(rows: usize, ptrs: &[usize], kc: usize, sums: &mut [i32]) {
    let ones = _mm512_set1_epi8(1);
    let (whole, rest) = (kc / 64 * 64, (1u64 << (kc % 64)) - 1);
    for (r, sum) in sums[..rows].iter_mut().enumerate() {
        let mut acc = _mm512_setzero_si512();
        for p in ptrs[r..].iter().step_by(rows) {
            let p = *p as *const i8;
            let mut k = 0;
            while k < whole {
                acc = _mm512_dpbusd_epi32(acc, ones, _mm512_loadu_si512(p.add(k).cast()));
                k += 64;
            }
            if rest != 0 {
                acc = _mm512_dpbusd_epi32(acc, ones, _mm512_maskz_loadu_epi8(rest, p.add(k)));
            }
        }
        *sum = _mm512_reduce_add_epi32(acc);
    }
}

const _: () = assert!(QUAD == 4, "a group is one 32-bit lane");
