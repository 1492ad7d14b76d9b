//! Bilinear interpolation of NHWC images.
//!
//! An output row mixes two input rows, then every output pixel two pixels of that mixture. Floats (f32, and u8, which is
//! interpolated in float) keep the two rows apart until the end, so that the terms are multiplied and added in the order of
//! the definition and give its bits; i8 is exact in 32 bits in any order.
#![allow(unsafe_code)]

use crate::isa::{Isa, pick};
use crate::mem::{Pod, Shared, with_scratch};
use crate::pool::ThreadPool;
use crate::simd::{F32v, I32v};
use std::ops::Range;

/// Where an output coordinate lies between two input coordinates; `at` counts from `low`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between<A> {
    /// One neighbour.
    pub low: usize,
    /// The other one.
    pub high: usize,
    /// The weight of `high`; `low` has the rest of 1 (of 1024 for integers).
    pub at: A,
}

/// Channels below which lanes are output elements rather than channels of a pixel.
const FEW: usize = 8;
/// Elements that vectors may read past the end of a row.
const SLACK: usize = 16;

/// A planned interpolation with weights of type `A`: f32, or i32 in units of 1/1024.
#[derive(Clone, Debug)]
pub struct Bilinear<A> {
    h: usize,
    w: usize,
    c: usize,
    rows: Vec<Between<A>>,
    columns: Columns<A>,
    out_w: usize,
}

/// Per output pixel, or per output element where there are few channels (padded to whole vectors).
#[derive(Clone, Debug)]
struct Columns<A> {
    /// Elements of the mixed row.
    low: Vec<i32>,
    high: Vec<i32>,
    at: Vec<A>,
}

/// The arguments of a row.
#[derive(Clone, Copy)]
pub(crate) struct Line<A> {
    low: *const i32,
    high: *const i32,
    at: *const A,
    /// Pixels, and channels of each.
    pixels: usize,
    c: usize,
    /// Elements of an input row.
    n: usize,
    y: A,
}

impl<A: Pod> Bilinear<A> {
    /// Plans the interpolation of images of `h × w` pixels with `c` channels. `None` if a row has too many elements, or a
    /// coordinate is outside of the image.
    pub fn new((h, w, c): (usize, usize, usize), rows: Vec<Between<A>>, columns: &[Between<A>]) -> Option<Bilinear<A>> {
        let inside = |b: &Between<A>, n: usize| b.low < n && b.high < n;
        let fits = w.checked_mul(c)? < i32::MAX as usize / 2 && rows.iter().all(|b| inside(b, h));
        if c == 0 || !fits || !columns.iter().all(|b| inside(b, w)) {
            return None;
        }
        let per = if c < FEW { c } else { 1 };
        let (mut low, mut high, mut at) = (Vec::new(), Vec::new(), Vec::new());
        for b in columns {
            for i in 0..per {
                low.push((b.low * c + i) as i32);
                high.push((b.high * c + i) as i32);
                at.push(b.at);
            }
        }
        let padded = low.len() + SLACK;
        low.resize(padded, 0);
        high.resize(padded, 0);
        at.resize(padded, A::default());
        Some(Bilinear { h, w, c, rows, columns: Columns { low, high, at }, out_w: columns.len() })
    }

    /// Runs `body` for every output row, with a buffer of `buffers` rows.
    fn run<T: Copy + Sync, O: Send + Sync>(
        &self,
        pool: &ThreadPool,
        x: &[T],
        out: &mut [O],
        buffers: usize,
        body: unsafe fn(Line<A>, *const T, *const T, *mut A, *mut O),
    ) where
        A: Sync,
    {
        let (image, row) = (self.h * self.w * self.c, self.out_w * self.c);
        let per_image = self.rows.len() * row;
        if per_image == 0 || out.is_empty() {
            return;
        }
        assert!(out.len().is_multiple_of(per_image) && x.len() == out.len() / per_image * image, "sizes of the images");
        let n = self.w * self.c;
        let shared = Shared::new(&mut *out);
        pool.run_chunks(shared.len() / row, (8 << 10) / row + 1, &|range: Range<usize>| {
            with_scratch(|s| {
                let buffer = s.extra.typed::<A>((n + SLACK) * buffers);
                for r in range {
                    let (b, y) = (r / self.rows.len(), self.rows[r % self.rows.len()]);
                    let line = Line {
                        low: self.columns.low.as_ptr(),
                        high: self.columns.high.as_ptr(),
                        at: self.columns.at.as_ptr(),
                        pixels: self.out_w,
                        c: self.c,
                        n,
                        y: y.at,
                    };
                    let image = &x[b * image..][..image];
                    let (low, high) = (&image[y.low * n..][..n], &image[y.high * n..][..n]);
                    // SAFETY: picked through an `Isa`; both rows have `n` elements, the buffer has `SLACK` more, the
                    // tables lead inside the row, and this task alone writes the output row.
                    unsafe { body(line, low.as_ptr(), high.as_ptr(), buffer.as_mut_ptr(), shared.at(r * row)) };
                }
            });
        });
    }
}

/// Calls `$part(offset in a pixel, lanes)` for vectors of a pixel.
macro_rules! lanes {
    ($c:expr, $n:expr, |$i:ident, $left:ident| $part:expr) => {
        let mut $i = 0;
        while $i < $c {
            let $left = ($c - $i).min($n);
            $part;
            $i += $n;
        }
    };
}

/// A pixel type that is interpolated in float.
trait Real: Copy {
    unsafe fn load<V: I32v>(p: *const Self, n: usize) -> V::F;
    unsafe fn store<V: I32v>(v: V::F, p: *mut Self, n: usize);
}

impl Real for f32 {
    #[inline(always)]
    unsafe fn load<V: I32v>(p: *const f32, n: usize) -> V::F {
        // SAFETY: the contract of the vector traits.
        unsafe { if n == V::N { V::F::load(p) } else { V::F::load_n(p, n) } }
    }
    #[inline(always)]
    unsafe fn store<V: I32v>(v: V::F, p: *mut f32, n: usize) {
        // SAFETY: the contract of the vector traits.
        unsafe { if n == V::N { v.store(p) } else { v.store_n(p, n) } }
    }
}

impl Real for u8 {
    #[inline(always)]
    unsafe fn load<V: I32v>(p: *const u8, n: usize) -> V::F {
        // SAFETY: the contract of the vector traits.
        unsafe { if n == V::N { V::load_u8(p).to_f32() } else { V::load_u8_n(p, n).to_f32() } }
    }
    #[inline(always)]
    unsafe fn store<V: I32v>(v: V::F, p: *mut u8, n: usize) {
        // SAFETY: the contract of the vector traits; the bounds make every lane a byte (and NaN, which cannot be, 0).
        unsafe {
            let half = v.add(V::F::splat(0.5)).max(V::F::splat(0.0)).min(V::F::splat(255.0));
            V::from_f32(half).store_u8_n(p, n);
        }
    }
}

#[inline(always)]
unsafe fn real<V: I32v, T: Real>(l: Line<f32>, low: *const T, high: *const T, buffer: *mut f32, out: *mut T) {
    // SAFETY: see `Bilinear::run`.
    unsafe {
        let (p, q) = (buffer, buffer.add(l.n + SLACK));
        let (a, b) = (V::F::splat(1.0 - l.y), V::F::splat(l.y));
        lanes!(l.n, V::N, |i, left| {
            T::load::<V>(low.add(i), left).mul(a).store(p.add(i));
            T::load::<V>(high.add(i), left).mul(b).store(q.add(i));
        });
        let one = V::F::splat(1.0);
        let blend = |corners: [V::F; 4], x: V::F| {
            let rest = one.sub(x);
            let [ll, hl, lh, hh] = corners;
            ll.mul(rest).add(hl.mul(rest)).add(lh.mul(x)).add(hh.mul(x))
        };
        if l.c < FEW {
            lanes!(l.pixels * l.c, V::N, |i, left| {
                let (lo, hi) = (l.low.add(i), l.high.add(i));
                let corners = [V::gather_f32(p, lo), V::gather_f32(q, lo), V::gather_f32(p, hi), V::gather_f32(q, hi)];
                T::store::<V>(blend(corners, V::F::load(l.at.add(i))), out.add(i), left);
            });
            return;
        }
        for pixel in 0..l.pixels {
            let (lo, hi) = (*l.low.add(pixel) as usize, *l.high.add(pixel) as usize);
            let (x, out) = (V::F::splat(*l.at.add(pixel)), out.add(pixel * l.c));
            lanes!(l.c, V::N, |i, left| {
                let (lo, hi) = (lo + i, hi + i);
                let corners =
                    [V::F::load(p.add(lo)), V::F::load(q.add(lo)), V::F::load(p.add(hi)), V::F::load(q.add(hi))];
                T::store::<V>(blend(corners, x), out.add(i), left);
            });
        }
    }
}

#[inline(always)]
unsafe fn real_f32<V: I32v>(l: Line<f32>, low: *const f32, high: *const f32, buffer: *mut f32, out: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { real::<V, f32>(l, low, high, buffer, out) }
}
crate::simd::isa_table!(
    RESIZE_F32 = I "resize_bilinear_f32"
    real_f32(l: Line<f32>, low: *const f32, high: *const f32, buffer: *mut f32, out: *mut f32)
);

#[inline(always)]
unsafe fn real_u8<V: I32v>(l: Line<f32>, low: *const u8, high: *const u8, buffer: *mut f32, out: *mut u8) {
    // SAFETY: the caller's contract.
    unsafe { real::<V, u8>(l, low, high, buffer, out) }
}
crate::simd::isa_table!(
    RESIZE_U8 = I "resize_bilinear_u8"
    real_u8(l: Line<f32>, low: *const u8, high: *const u8, buffer: *mut f32, out: *mut u8)
);

#[inline(always)]
unsafe fn int_i8<V: I32v>(l: Line<i32>, low: *const i8, high: *const i8, buffer: *mut i32, out: *mut i8) {
    // SAFETY: see `Bilinear::run`.
    unsafe {
        let (a, b) = (V::splat(1024i32.wrapping_sub(l.y)), V::splat(l.y));
        let load = |p: *const i8, n: usize| if n == V::N { V::load_i8(p) } else { V::load_i8_n(p, n) };
        lanes!(l.n, V::N, |i, left| {
            load(low.add(i), left).mul(a).add(load(high.add(i), left).mul(b)).store(buffer.add(i));
        });
        let (all, twenty) = (V::splat(1024), V::splat(20));
        let (least, most) = (V::splat(-128), V::splat(127));
        let blend = |low: V, high: V, x: V| {
            let sum = low.mul(all.sub(x)).add(high.mul(x));
            sum.shr_round(twenty).max(least).min(most)
        };
        if l.c < FEW {
            lanes!(l.pixels * l.c, V::N, |i, left| {
                let (lo, hi) = (V::gather(buffer, l.low.add(i)), V::gather(buffer, l.high.add(i)));
                blend(lo, hi, V::load(l.at.add(i))).store_i8_n(out.add(i), left);
            });
            return;
        }
        for pixel in 0..l.pixels {
            let (lo, hi) = (*l.low.add(pixel) as usize, *l.high.add(pixel) as usize);
            let (x, out) = (V::splat(*l.at.add(pixel)), out.add(pixel * l.c));
            lanes!(l.c, V::N, |i, left| {
                blend(V::load(buffer.add(lo + i)), V::load(buffer.add(hi + i)), x).store_i8_n(out.add(i), left);
            });
        }
    }
}
crate::simd::isa_table!(
    RESIZE_I8 = I "resize_bilinear_i8"
    int_i8(l: Line<i32>, low: *const i8, high: *const i8, buffer: *mut i32, out: *mut i8)
);

impl Bilinear<f32> {
    /// Interpolates; `(low, low) · (1 − y) · (1 − x) + (high, low) · y · (1 − x) + …`, summed in the order (y, x) = low low,
    /// high low, low high, high high.
    ///
    /// # Panics
    /// If the slices are not whole images of the planned sizes, as many of each.
    pub fn run_f32(&self, pool: &ThreadPool, isa: Isa, x: &[f32], out: &mut [f32]) {
        self.run(pool, x, out, 2, pick(RESIZE_F32, isa).run);
    }

    /// As [`Bilinear::run_f32`] on bytes; 0.5 is added and the fraction cut off.
    ///
    /// # Panics
    /// As [`Bilinear::run_f32`].
    pub fn run_u8(&self, pool: &ThreadPool, isa: Isa, x: &[u8], out: &mut [u8]) {
        self.run(pool, x, out, 2, pick(RESIZE_U8, isa).run);
    }
}

impl Bilinear<i32> {
    /// Whether no sum of an image of bytes leaves 32 bits.
    pub fn is_exact(&self) -> bool {
        let reach = |at: &i32| (1024 - i64::from(*at)).abs() + i64::from(*at).abs();
        let y = self.rows.iter().map(|b| reach(&b.at)).max().unwrap_or(0);
        let x = self.columns.at.iter().map(reach).max().unwrap_or(0);
        x.checked_mul(y).and_then(|n| n.checked_mul(128)).is_some_and(|n| n < i64::from(i32::MAX))
    }

    /// As [`Bilinear::run_f32`] in fixed point: the sum, which has 20 fraction bits, is rounded half away from zero.
    ///
    /// # Panics
    /// As [`Bilinear::run_f32`].
    pub fn run_i8(&self, pool: &ThreadPool, isa: Isa, x: &[i8], out: &mut [i8]) {
        self.run(pool, x, out, 1, pick(RESIZE_I8, isa).run);
    }
}
