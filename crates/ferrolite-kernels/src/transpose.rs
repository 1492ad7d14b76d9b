//! Transposition of matrices of 32-bit elements.
#![allow(unsafe_code)]

use crate::isa::{Isa, Level, Variant, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;

/// Transposes a block: `dst[c · ld_dst + r] = src[r · ld_src + c]` for `rows × cols`.
type BlockFn = unsafe fn(src: *const f32, ld_src: usize, rows: usize, cols: usize, dst: *mut f32, ld_dst: usize);

pub(crate) static KERNELS: &[Variant<BlockFn>] = &[
    #[cfg(target_arch = "x86_64")]
    Variant { name: "transpose_f32_16x16_avx512", isa: Level::Avx512, run: x86::avx512 },
    #[cfg(target_arch = "x86_64")]
    Variant { name: "transpose_f32_8x8_avx2", isa: Level::Avx2, run: x86::avx2 },
    Variant { name: "transpose_f32_portable", isa: Level::Portable, run: portable },
];

/// `dst[c][r] = src[r][c]`: `src` is `rows × cols`, row-major and dense, `dst` is `cols × rows`.
///
/// # Panics
/// If a slice is shorter than `rows · cols`.
pub fn transpose_f32(pool: &ThreadPool, isa: Isa, src: &[f32], rows: usize, cols: usize, dst: &mut [f32]) {
    let len = rows.checked_mul(cols).expect("size overflows");
    let (src, dst) = (&src[..len], &mut dst[..len]);
    let run = pick(KERNELS, isa).run;
    let out = Shared::new(dst);
    // Stripes of 64 columns are stripes of whole rows of the result.
    let stripes = cols.div_ceil(64);
    pool.run_chunks(stripes, (1 << 15) / (rows.max(1) * 64) + 1, &|range| {
        let (from, to) = (range.start * 64, (range.end * 64).min(cols));
        // SAFETY: the kernel was picked through an `Isa`; source and destination blocks are inside the slices, and the rows
        // `from..to` of the result belong to this task.
        unsafe { run(src.as_ptr().add(from), cols, rows, to - from, out.at(from * rows), rows) };
    });
}

/// `dst[c · ld_dst + r] = src[r · ld_src + c]` for `rows × cols` of a greater matrix; the rest of `dst` is left alone.
///
/// # Panics
/// If a slice is too short or a row distance less than its row.
pub fn transpose_into(isa: Isa, src: &[f32], ld_src: usize, rows: usize, cols: usize, dst: &mut [f32], ld_dst: usize) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(ld_src >= cols && ld_dst >= rows);
    assert!((rows - 1).checked_mul(ld_src).and_then(|s| s.checked_add(cols)).is_some_and(|l| l <= src.len()));
    assert!((cols - 1).checked_mul(ld_dst).and_then(|s| s.checked_add(rows)).is_some_and(|l| l <= dst.len()));
    // SAFETY: the kernel was picked through an `Isa`, and both blocks are inside their slices.
    unsafe { (pick(KERNELS, isa).run)(src.as_ptr(), ld_src, rows, cols, dst.as_mut_ptr(), ld_dst) };
}

/// [`transpose_into`] of integers.
pub(crate) fn transpose_i32(
    isa: Isa,
    src: &[i32],
    ld_src: usize,
    rows: usize,
    cols: usize,
    dst: &mut [i32],
    ld_dst: usize,
) {
    // SAFETY: both types have the same layout, every bit pattern is a value of either, and they are only moved.
    let (src, dst) = unsafe {
        (
            std::slice::from_raw_parts(src.as_ptr().cast::<f32>(), src.len()),
            std::slice::from_raw_parts_mut(dst.as_mut_ptr().cast::<f32>(), dst.len()),
        )
    };
    transpose_into(isa, src, ld_src, rows, cols, dst, ld_dst);
}

/// Bytes as words of four, where they are aligned and whole.
pub(crate) fn as_words(bytes: &[i8]) -> Option<&[i32]> {
    // SAFETY: every bit pattern is an `i32`.
    let (before, words, after) = unsafe { bytes.align_to::<i32>() };
    (before.is_empty() && after.is_empty()).then_some(words)
}

unsafe fn portable(src: *const f32, ld_src: usize, rows: usize, cols: usize, dst: *mut f32, ld_dst: usize) {
    for r0 in (0..rows).step_by(8) {
        for c in 0..cols {
            for r in r0..(r0 + 8).min(rows) {
                // SAFETY: `r < rows` and `c < cols`, which the caller has checked against both blocks.
                unsafe { *dst.add(c * ld_dst + r) = *src.add(r * ld_src + c) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    // Every function is unsafe under one contract (the instruction set, and blocks inside the matrices).
    #![allow(unsafe_op_in_unsafe_fn)]
    use super::portable;
    use std::arch::x86_64::*;

    /// Walks over square blocks of `$n`, leaving the edges to the portable loop.
    macro_rules! blocks {
        ($n:literal, $block:ident, $src:ident, $ld_src:ident, $rows:ident, $cols:ident, $dst:ident, $ld_dst:ident) => {{
            let (r_end, c_end) = ($rows / $n * $n, $cols / $n * $n);
            for r in (0..r_end).step_by($n) {
                for c in (0..c_end).step_by($n) {
                    $block($src.add(r * $ld_src + c), $ld_src, $dst.add(c * $ld_dst + r), $ld_dst);
                }
            }
            portable($src.add(c_end), $ld_src, r_end, $cols - c_end, $dst.add(c_end * $ld_dst), $ld_dst);
            portable($src.add(r_end * $ld_src), $ld_src, $rows - r_end, $cols, $dst.add(r_end), $ld_dst);
        }};
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(src: *const f32, ld_src: usize, rows: usize, cols: usize, dst: *mut f32, ld_dst: usize) {
        blocks!(8, block8, src, ld_src, rows, cols, dst, ld_dst)
    }

    #[target_feature(enable = "avx512f,avx512dq,avx2")]
    pub(super) unsafe fn avx512(
        src: *const f32,
        ld_src: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
        ld_dst: usize,
    ) {
        blocks!(16, block16, src, ld_src, rows, cols, dst, ld_dst)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn block8(src: *const f32, ld_src: usize, dst: *mut f32, ld_dst: usize) {
        // Rows r and r + 4 share a register, so that two rounds of unpacking finish the transposition.
        let mut x = [_mm256_setzero_ps(); 8];
        for i in 0..4 {
            for h in 0..2 {
                let lo = _mm_loadu_ps(src.add(i * ld_src + h * 4));
                let hi = _mm_loadu_ps(src.add((i + 4) * ld_src + h * 4));
                x[h * 4 + i] = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(lo), hi);
            }
        }
        for h in 0..2 {
            let [a, b, c, d] = [x[h * 4], x[h * 4 + 1], x[h * 4 + 2], x[h * 4 + 3]];
            let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let out = [
                _mm256_shuffle_ps::<0x44>(ab0, cd0),
                _mm256_shuffle_ps::<0xEE>(ab0, cd0),
                _mm256_shuffle_ps::<0x44>(ab1, cd1),
                _mm256_shuffle_ps::<0xEE>(ab1, cd1),
            ];
            for (j, o) in out.into_iter().enumerate() {
                _mm256_storeu_ps(dst.add((h * 4 + j) * ld_dst), o);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx2")]
    unsafe fn block16(src: *const f32, ld_src: usize, dst: *mut f32, ld_dst: usize) {
        // A register holds a quarter row of four rows: r, r + 4, r + 8, r + 12.
        for q in 0..4 {
            let mut x = [_mm512_setzero_ps(); 4];
            for (i, x) in x.iter_mut().enumerate() {
                let row = |j: usize| _mm_loadu_ps(src.add((i + 4 * j) * ld_src + q * 4));
                let v = _mm512_castps128_ps512(row(0));
                let v = _mm512_insertf32x4::<1>(v, row(1));
                let v = _mm512_insertf32x4::<2>(v, row(2));
                *x = _mm512_insertf32x4::<3>(v, row(3));
            }
            let [a, b, c, d] = x;
            let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let out = [
                _mm512_shuffle_ps::<0x44>(ab0, cd0),
                _mm512_shuffle_ps::<0xEE>(ab0, cd0),
                _mm512_shuffle_ps::<0x44>(ab1, cd1),
                _mm512_shuffle_ps::<0xEE>(ab1, cd1),
            ];
            for (j, o) in out.into_iter().enumerate() {
                _mm512_storeu_ps(dst.add((q * 4 + j) * ld_dst), o);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::Rng;

    #[test]
    fn transposes_every_size() {
        let mut r = Rng::new(5);
        let pool = ThreadPool::new(2);
        for isa in Isa::available() {
            for (rows, cols) in [(1, 1), (16, 16), (17, 33), (8, 5), (3, 200), (130, 70), (300, 300), (0, 4)] {
                let src = r.f32s(rows * cols);
                let mut dst = vec![0.0; rows * cols];
                transpose_f32(&pool, isa, &src, rows, cols, &mut dst);
                for i in 0..rows * cols {
                    assert_eq!(dst[i % cols * rows + i / cols], src[i]);
                }
            }
        }
    }
}
