//! Where the windows of a convolution or a pooling meet the input.

use super::ConvShape;
use std::ops::Range;

/// The taps of one window along one axis that are inside `0..size`; the first tap sees `start`.
#[inline]
pub(crate) fn taps_inside(start: isize, dilation: usize, taps: usize, size: usize) -> Range<usize> {
    let (dilation, taps_i) = (dilation as isize, taps as isize);
    let first = if start >= 0 { 0 } else { (-start + dilation - 1) / dilation };
    let end = if start >= size as isize { 0 } else { (size as isize - 1 - start) / dilation + 1 };
    let (first, end) = (first.min(taps_i), end.min(taps_i));
    first as usize..end.max(first) as usize
}

impl ConvShape {
    /// The input row that tap 0 of output row `y` sees.
    #[inline]
    pub(crate) fn top(&self, y: usize) -> isize {
        (y * self.stride.0) as isize - self.pad_top as isize
    }

    /// The input column that tap 0 of output column `x` sees.
    #[inline]
    pub(crate) fn left(&self, x: usize) -> isize {
        (x * self.stride.1) as isize - self.pad_left as isize
    }

    /// The filter rows of output row `y` that are inside the input.
    #[inline]
    pub(crate) fn rows_inside(&self, y: usize) -> Range<usize> {
        taps_inside(self.top(y), self.dilation.0, self.k_h, self.in_h)
    }

    /// The filter columns of output column `x` that are inside the input.
    #[inline]
    pub(crate) fn cols_inside(&self, x: usize) -> Range<usize> {
        taps_inside(self.left(x), self.dilation.1, self.k_w, self.in_w)
    }

    /// The output columns whose windows are inside the input from left to right.
    pub(crate) fn whole_columns(&self) -> Range<usize> {
        let first = self.pad_left.div_ceil(self.stride.1).min(self.out_w);
        let reach = (self.k_w.max(1) - 1) * self.dilation.1 + 1;
        let end = match (self.in_w + self.pad_left).checked_sub(reach) {
            Some(last) => (last / self.stride.1 + 1).min(self.out_w),
            None => 0,
        };
        first..end.max(first)
    }
}

#[cfg(test)]
mod tests {
    use crate::testutil::Rng;

    #[test]
    fn windows_by_counting() {
        let mut r = Rng::new(6);
        for _ in 0..500 {
            let s = crate::gemm_f32::tests::random_shape(&mut r);
            for x in 0..s.out_w {
                let inside: Vec<usize> = (0..s.k_w)
                    .filter(|k| {
                        let at = s.left(x) + (k * s.dilation.1) as isize;
                        at >= 0 && at < s.in_w as isize
                    })
                    .collect();
                let got: Vec<usize> = s.cols_inside(x).collect();
                assert_eq!(got, inside, "{s:?} {x}");
                assert_eq!(s.whole_columns().contains(&x), inside.len() == s.k_w, "{s:?} {x}");
            }
        }
    }
}
