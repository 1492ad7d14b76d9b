//! Maximum and average pooling over NHWC. `in_c` and `out_c` of the shape are equal; padding takes no part.
#![allow(unsafe_code)]

use crate::gemm::ConvShape;
use crate::isa::{Isa, Level, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::{Bytes, F32v, I32v};
use std::ops::Range;

/// One output row.
pub(crate) struct Row<'a, T> {
    shape: &'a ConvShape,
    /// The image.
    input: *const T,
    /// The output row.
    out: *mut T,
    /// The filter rows that are inside the image, and the columns of the output whose windows are inside from left to right.
    ky: Range<usize>,
    whole: Range<usize>,
    /// The number of the image's pixel where the first of those rows starts.
    top: isize,
}

impl<T> Row<'_, T> {
    /// The elements that the window of column `x` sees first, its rows and columns, and the distances between them.
    #[inline(always)]
    fn window(&self, x: usize) -> (*const T, [usize; 2], [usize; 2]) {
        let s = self.shape;
        let kx = if self.whole.contains(&x) { 0..s.k_w } else { s.cols_inside(x) };
        let ix = s.left(x) + (kx.start * s.dilation.1) as isize;
        // Wrapping, since of an empty window nothing is read.
        let at = self.top.wrapping_add(ix).wrapping_mul(s.in_stride as isize);
        let steps = [s.dilation.0 * s.in_w * s.in_stride, s.dilation.1 * s.in_stride];
        (self.input.wrapping_offset(at), [self.ky.len(), kx.len()], steps)
    }
}

/// Calls `$group` with the column, its window and a channel for every group of four vectors of channels, `$one` for single
/// ones with their lanes.
macro_rules! by_channels {
    ($r:ident, $lanes:expr, |$x:ident, $w:ident, $c:ident| $group:expr, |$n:ident| $one:expr) => {
        for $x in 0..$r.shape.out_w {
            let $w = $r.window($x);
            let mut $c = 0;
            while $c + 4 * $lanes <= $r.shape.out_c {
                $group;
                $c += 4 * $lanes;
            }
            while $c < $r.shape.out_c {
                let $n = ($r.shape.out_c - $c).min($lanes);
                $one;
                $c += $n;
            }
        }
    };
}

/// The fold of `U` vectors over a window, the last of them `n` lanes long.
#[inline(always)]
unsafe fn fold_f32<V: F32v, const U: usize>(
    (first, [rows, cols], [line, step]): (*const f32, [usize; 2], [usize; 2]),
    c: usize,
    n: usize,
    max: bool,
) -> [V; U] {
    // SAFETY: the window is inside the image, channels inside a pixel.
    unsafe {
        let mut acc = [V::splat(if max { f32::NEG_INFINITY } else { 0.0 }); U];
        let mut row = first.wrapping_add(c);
        for _ in 0..rows {
            let mut p = row;
            for _ in 0..cols {
                for (u, a) in acc.iter_mut().enumerate() {
                    let p = p.wrapping_add(u * V::N);
                    let v = if n == V::N { V::load(p) } else { V::load_n(p, n) };
                    *a = if max { v.max(*a) } else { a.add(v) };
                }
                p = p.wrapping_add(step);
            }
            row = row.wrapping_add(line);
        }
        acc
    }
}

/// The fold of `count` elements as a result.
#[inline(always)]
unsafe fn finish_f32<V: F32v>(a: V, count: usize, max: bool, range: (f32, f32)) -> V {
    // SAFETY: the contract of the vector traits.
    unsafe {
        let a = if max { a } else { a.div(V::splat(count.max(1) as f32)) };
        a.clamp(V::splat(range.0), V::splat(range.1))
    }
}

#[inline(always)]
unsafe fn float<V: F32v>(r: &Row<'_, f32>, max: bool, range: (f32, f32)) {
    // SAFETY: the output row is as long as the shape says.
    unsafe {
        by_channels!(
            r,
            V::N,
            |x, w, c| {
                let to = r.out.add(x * r.shape.out_stride + c);
                for (u, a) in fold_f32::<V, 4>(w, c, V::N, max).into_iter().enumerate() {
                    finish_f32(a, w.1[0] * w.1[1], max, range).store(to.add(u * V::N));
                }
            },
            |n| {
                let [a] = fold_f32::<V, 1>(w, c, n, max);
                finish_f32(a, w.1[0] * w.1[1], max, range).store_n(r.out.add(x * r.shape.out_stride + c), n);
            }
        );
    }
}
crate::simd::isa_table!(FLOAT = F "pool2d_f32" float(r: &Row<'_, f32>, max: bool, range: (f32, f32)));

/// The sums of `U` vectors over a window, the last of them `n` lanes long.
#[inline(always)]
unsafe fn sum_bytes<V: I32v, const U: usize>(
    (first, [rows, cols], [line, step]): (*const u8, [usize; 2], [usize; 2]),
    c: usize,
    n: usize,
    signed: bool,
) -> [V; U] {
    // SAFETY: the window is inside the image, channels inside a pixel.
    unsafe {
        let mut acc = [V::splat(0); U];
        let mut row = first.wrapping_add(c);
        for _ in 0..rows {
            let mut p = row;
            for _ in 0..cols {
                for (u, a) in acc.iter_mut().enumerate() {
                    let p = p.wrapping_add(u * V::N);
                    *a = a.add(match (signed, n == V::N) {
                        (true, true) => V::load_i8(p.cast()),
                        (true, false) => V::load_i8_n(p.cast(), n),
                        (false, true) => V::load_u8(p),
                        (false, false) => V::load_u8_n(p, n),
                    });
                }
                p = p.wrapping_add(step);
            }
            row = row.wrapping_add(line);
        }
        acc
    }
}

/// sum / count, half away from zero: (|sum| + count / 2) / count, cut off. Half more keeps the quotient 0.5 / count away from
/// whole numbers; being at most 256, it errs in floats by less than 2^-15, and the count is below 2^14.
#[inline(always)]
unsafe fn mean<V: I32v>(sum: V, count: usize) -> V {
    // SAFETY: the contract of the vector traits.
    unsafe {
        let magnitude = sum.max(V::splat(0).sub(sum)).add(V::splat((count / 2) as i32));
        let q = V::from_f32(magnitude.to_f32().add(V::F::splat(0.5)).mul(V::F::splat(1.0 / count as f32)));
        // The sign of the sum: -1, 0 or 1.
        q.mul(sum.max(V::splat(-1)).min(V::splat(1)))
    }
}

#[inline(always)]
unsafe fn average<V: I32v>(r: &Row<'_, u8>, signed: bool, range: (i32, i32)) {
    // Unsigned bytes are stored as signed ones, flipped.
    let (offset, flip) = if signed { (0, 0) } else { (128, 0x80) };
    let how = Bytes { zero: -offset, min: range.0 - offset, max: range.1 - offset, flip };
    // SAFETY: the output row is as long as the shape says.
    unsafe {
        by_channels!(
            r,
            V::N,
            |x, w, c| {
                let count = (w.1[0] * w.1[1]).max(1);
                let [a, b, d, e] = sum_bytes::<V, 4>(w, c, V::N, signed);
                let q = [mean(a, count), mean(b, count), mean(d, count), mean(e, count)];
                V::store_bytes(q, &how, r.out.add(x * r.shape.out_stride + c), V::N, 4, V::N);
            },
            |n| {
                let [a] = sum_bytes::<V, 1>(w, c, n, signed);
                let q = [mean(a, (w.1[0] * w.1[1]).max(1)); 4];
                V::store_bytes(q, &how, r.out.add(x * r.shape.out_stride + c), 0, 1, n);
            }
        );
    }
}
crate::simd::isa_table!(AVERAGE = I "avg_pool2d_8bit" average(r: &Row<'_, u8>, signed: bool, range: (i32, i32)));

/// Folds whole pixels into the output: loops over bytes, which the compiler turns into vectors of them.
#[inline(always)]
unsafe fn greatest<T: Copy + Ord>(r: &Row<'_, T>, least: T, range: (T, T)) {
    let (c, stride) = (r.shape.out_c, r.shape.out_stride);
    for x in 0..r.shape.out_w {
        let (first, [rows, cols], [line, step]) = r.window(x);
        // SAFETY: windows are inside the image, and the output row is as long as the shape says.
        unsafe {
            let out = std::slice::from_raw_parts_mut(r.out.add(x * stride), c);
            out.fill(least);
            for ky in 0..rows {
                for kx in 0..cols {
                    let pixel = std::slice::from_raw_parts(first.wrapping_add(ky * line + kx * step), c);
                    out.iter_mut().zip(pixel).for_each(|(o, p)| *o = (*o).max(*p));
                }
            }
            out.iter_mut().for_each(|o| *o = (*o).max(range.0).min(range.1));
        }
    }
}

#[inline(always)]
unsafe fn max<V: I32v>(r: &Row<'_, u8>, signed: bool, (low, high): (i32, i32)) {
    // SAFETY: the caller's contract; bytes of either sign are bytes.
    unsafe {
        if signed {
            let (input, out, ky, whole) = (r.input.cast(), r.out.cast(), r.ky.clone(), r.whole.clone());
            let r = Row { shape: r.shape, input, out, ky, whole, top: r.top };
            greatest(&r, i8::MIN, (low as i8, high as i8));
        } else {
            greatest(r, u8::MIN, (low as u8, high as u8));
        }
    }
}
crate::simd::isa_table!(MAX = I "max_pool2d_8bit" max(r: &Row<'_, u8>, signed: bool, range: (i32, i32)));

/// Runs `f` over every output row.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
fn rows<T: Copy + Send + Sync>(
    pool: &ThreadPool,
    shape: &ConvShape,
    input: &[T],
    out: &mut [T],
    f: &(dyn Fn(&Row<'_, T>) + Sync),
) {
    shape.check();
    assert_eq!(shape.in_c, shape.out_c, "channels");
    assert!(input.len() >= shape.input_len() && out.len() >= shape.output_len(), "input or output too short");
    if shape.rows() == 0 || shape.out_c == 0 {
        return;
    }
    let grain = 20_000 / (shape.out_w * shape.out_c * shape.k_h * shape.k_w).max(1) + 1;
    let shared = Shared::new(out);
    let whole = shape.whole_columns();
    pool.run_chunks(shape.batch * shape.out_h, grain, &|rows: Range<usize>| {
        for row in rows {
            let y = row % shape.out_h;
            let ky = shape.rows_inside(y);
            let line = shape.top(y) + (ky.start * shape.dilation.0) as isize;
            let image = row / shape.out_h * shape.in_h * shape.in_w * shape.in_stride;
            f(&Row {
                shape,
                input: input[image.min(input.len())..].as_ptr(),
                out: shared.at(row * shape.out_w * shape.out_stride),
                ky,
                whole: whole.clone(),
                top: line.wrapping_mul(shape.in_w as isize),
            });
        }
    });
}

/// Half a vector that is whole is better than a whole one that is masked.
fn lanes_for(isa: Isa, shape: &ConvShape) -> Isa {
    if shape.out_c <= 8 { isa.at_most(Level::Avx2) } else { isa }
}

/// The greatest element of every window, clamped; negative infinity (clamped) where a window is outside the input.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn max_pool2d_f32(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    out: &mut [f32],
    range: (f32, f32),
) {
    let run = pick(FLOAT, lanes_for(isa, shape)).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, true, range) });
}

/// The sum of the elements of every window that are inside the input, by their number, clamped; 0 where there is none.
///
/// # Panics
/// If the shape is inconsistent or a slice too short.
pub fn avg_pool2d_f32(
    pool: &ThreadPool,
    isa: Isa,
    shape: &ConvShape,
    input: &[f32],
    out: &mut [f32],
    range: (f32, f32),
) {
    let run = pick(FLOAT, lanes_for(isa, shape)).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, false, range) });
}

/// # Panics
/// If the range is not one of the bytes.
fn check_range(signed: bool, range: (i32, i32)) {
    let byte = if signed { -128..=127 } else { 0..=255 };
    assert!(byte.contains(&range.0) && range.0 <= range.1 && byte.contains(&range.1), "bounds of the output");
}

/// As [`max_pool2d_f32`], of bytes (of i8 if `signed`, else of u8); the least byte, clamped, where a window is outside the
/// input. `range` is inside the type's.
///
/// # Panics
/// If the shape is inconsistent, a slice too short or the range outside of the bytes.
pub fn max_pool2d_8bit(
    pool: &ThreadPool,
    isa: Isa,
    signed: bool,
    shape: &ConvShape,
    input: &[u8],
    out: &mut [u8],
    range: (i32, i32),
) {
    check_range(signed, range);
    let run = pick(MAX, isa).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, signed, range) });
}

/// As [`avg_pool2d_f32`], of bytes (of i8 if `signed`, else of u8): `(sum ± count / 2) / count`, that is half away from zero.
/// `range` is inside the type's.
///
/// # Panics
/// If the shape is inconsistent, a slice too short, the range outside of the bytes, or the window has 2^14 elements or more.
pub fn avg_pool2d_8bit(
    pool: &ThreadPool,
    isa: Isa,
    signed: bool,
    shape: &ConvShape,
    input: &[u8],
    out: &mut [u8],
    range: (i32, i32),
) {
    check_range(signed, range);
    assert!(shape.k_h.min(shape.in_h) * shape.k_w.min(shape.in_w) < 1 << 14, "window too great");
    let run = pick(AVERAGE, isa).run;
    // SAFETY: picked through an `Isa`; `rows` has checked the lengths, and rows do not overlap.
    rows(pool, shape, input, out, &|r| unsafe { run(r, signed, range) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm_f32::tests::random_shape;
    use crate::testutil::Rng;

    fn window(s: &ConvShape, row: usize, c: usize) -> Vec<usize> {
        let (x, y, b) = (row % s.out_w, row / s.out_w % s.out_h, row / (s.out_w * s.out_h));
        let mut v = Vec::new();
        for t in 0..s.k_h * s.k_w {
            let iy = (y * s.stride.0 + t / s.k_w * s.dilation.0).wrapping_sub(s.pad_top);
            let ix = (x * s.stride.1 + t % s.k_w * s.dilation.1).wrapping_sub(s.pad_left);
            if iy < s.in_h && ix < s.in_w {
                v.push(((b * s.in_h + iy) * s.in_w + ix) * s.in_stride + c);
            }
        }
        v
    }

    #[test]
    fn pools_equal_the_definition() {
        let mut r = Rng::new(51);
        let pool = ThreadPool::new(2);
        for round in 0..60 {
            let mut s = random_shape(&mut r);
            if round % 2 == 0 {
                s.in_c = r.usize(1, 50);
                s.in_stride = s.in_c;
            }
            (s.out_c, s.out_stride) = (s.in_c, s.in_c + round % 3);
            let f = r.f32s(s.input_len());
            let b: Vec<u8> = r.i8s(s.input_len()).into_iter().map(|x| x as u8).collect();
            let signed = round % 3 != 0;
            let value = |x: u8| if signed { i32::from(x as i8) } else { i32::from(x) };
            for isa in Isa::available() {
                let n = s.output_len();
                let (mut fm, mut fa, mut bm, mut ba) = (vec![0.0; n], vec![0.0; n], vec![0u8; n], vec![0u8; n]);
                max_pool2d_f32(&pool, isa, &s, &f, &mut fm, (-0.5, 0.9));
                avg_pool2d_f32(&pool, isa, &s, &f, &mut fa, (-0.2, 0.3));
                let offset = if signed { 0 } else { 128 };
                max_pool2d_8bit(&pool, isa, signed, &s, &b, &mut bm, (offset - 20, offset + 120));
                avg_pool2d_8bit(&pool, isa, signed, &s, &b, &mut ba, (offset - 128, offset + 100));
                for row in 0..s.rows() {
                    for c in 0..s.out_c {
                        let (w, at) = (window(&s, row, c), row * s.out_stride + c);
                        let max = w.iter().map(|i| f[*i]).fold(f32::NEG_INFINITY, f32::max);
                        assert_eq!(fm[at], max.clamp(-0.5, 0.9));
                        let count = w.len().max(1) as i32;
                        let mean = w.iter().map(|i| f[*i]).sum::<f32>() / count as f32;
                        assert!((fa[at] - mean.clamp(-0.2, 0.3)).abs() < 1e-6);
                        let max = w.iter().map(|i| value(b[*i])).max().unwrap_or(offset - 128);
                        assert_eq!(value(bm[at]), max.clamp(offset - 20, offset + 120));
                        let sum: i32 = w.iter().map(|i| value(b[*i])).sum();
                        let mean = if sum > 0 { (sum + count / 2) / count } else { (sum - count / 2) / count };
                        assert_eq!(value(ba[at]), mean.clamp(offset - 128, offset + 100));
                    }
                }
            }
        }
    }
}
