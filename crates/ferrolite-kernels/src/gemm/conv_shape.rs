//! The shape of a 2-D convolution.

/// A 2-D convolution over NHWC. Output pixel (y, x) sees input rows `y · stride.0 + ky · dilation.0 - pad_top`; rows and
/// columns outside the input count as the padding value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub in_h: usize,
    /// Input columns.
    pub in_w: usize,
    /// Input channels that the filter sees.
    pub in_c: usize,
    /// Elements from an input pixel to the next; at least `in_c` (more for one group of a grouped convolution).
    pub in_stride: usize,
    /// Output rows.
    pub out_h: usize,
    /// Output columns.
    pub out_w: usize,
    /// Output channels.
    pub out_c: usize,
    /// Elements from an output pixel to the next; at least `out_c`.
    pub out_stride: usize,
    /// Filter rows.
    pub k_h: usize,
    /// Filter columns.
    pub k_w: usize,
    /// Stride (rows, columns).
    pub stride: (usize, usize),
    /// Dilation (rows, columns); 1 is dense.
    pub dilation: (usize, usize),
    /// Padding rows above.
    pub pad_top: usize,
    /// Padding columns to the left.
    pub pad_left: usize,
}

impl ConvShape {
    /// A convolution with stride 1, no dilation and no padding (`out = in - k + 1`).
    ///
    /// # Panics
    /// If the filter is greater than the input.
    pub fn new(batch: usize, in_hwc: [usize; 3], k_hw: [usize; 2], out_c: usize) -> ConvShape {
        let [in_h, in_w, in_c] = in_hwc;
        let [k_h, k_w] = k_hw;
        assert!(k_h <= in_h && k_w <= in_w, "the filter is greater than the input");
        ConvShape {
            batch,
            in_h,
            in_w,
            in_c,
            in_stride: in_c,
            out_h: in_h + 1 - k_h,
            out_w: in_w + 1 - k_w,
            out_c,
            out_stride: out_c,
            k_h,
            k_w,
            stride: (1, 1),
            dilation: (1, 1),
            pad_top: 0,
            pad_left: 0,
        }
    }

    /// The convolution that computes the output rows `rows` of a single image from the input rows that they depend on, which
    /// are those from `rows.start · stride.0 - pad_top` on, as far as they are inside the image.
    pub fn band(&self, rows: std::ops::Range<usize>) -> ConvShape {
        let reach = (self.k_h.max(1) - 1) * self.dilation.0 + 1;
        let first = rows.start * self.stride.0;
        let end = ((rows.end.max(1) - 1) * self.stride.0 + reach).saturating_sub(self.pad_top).min(self.in_h);
        let in_h = end - first.saturating_sub(self.pad_top).min(end);
        ConvShape { in_h, out_h: rows.len(), pad_top: self.pad_top.saturating_sub(first), ..*self }
    }

    /// Output pixels of the whole batch: the rows of the implied matrix product.
    pub fn rows(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }

    /// `(taps, kc)` by which the filter must be packed for this convolution. Where the pixels of a filter row lie side by side
    /// in the input, the whole row is one tap.
    pub fn taps(&self) -> (usize, usize) {
        if self.merged() { (self.k_h, self.k_w * self.in_c) } else { (self.k_h * self.k_w, self.in_c) }
    }

    /// Whether every output pixel sees the input pixel of the same place and nothing else.
    pub(crate) fn is_matrix(&self) -> bool {
        let same = (self.out_h, self.out_w) == (self.in_h, self.in_w) && self.stride == (1, 1);
        same && (self.k_h, self.k_w, self.pad_top, self.pad_left) == (1, 1, 0, 0)
    }

    pub(crate) fn merged(&self) -> bool {
        self.dilation.1 == 1 && self.in_stride == self.in_c
    }

    /// # Panics
    /// If a stride, a dilation or a side of the filter is 0, a pixel stride is too small or a product overflows.
    pub(crate) fn check(&self) {
        assert!(self.stride.0 > 0 && self.stride.1 > 0 && self.dilation.0 > 0 && self.dilation.1 > 0);
        assert!(self.k_h > 0 && self.k_w > 0, "a filter without taps");
        assert!(self.in_stride >= self.in_c && self.out_stride >= self.out_c);
        let product =
            |d: &[usize]| d.iter().try_fold(1usize, |p, &x| p.checked_mul(x)).filter(|&p| p <= isize::MAX as usize);
        let sizes = [
            product(&[self.batch, self.in_h, self.in_w, self.in_stride]),
            product(&[self.batch, self.out_h, self.out_w, self.out_stride]),
            product(&[self.k_h, self.k_w, self.in_c, self.out_c.max(1)]),
            product(&[self.out_h, self.stride.0]).and_then(|o| product(&[self.k_h, self.dilation.0])?.checked_add(o)),
            product(&[self.out_w, self.stride.1]).and_then(|o| product(&[self.k_w, self.dilation.1])?.checked_add(o)),
        ];
        assert!(sizes.iter().all(Option::is_some), "the shape of the convolution overflows");
        assert!(self.pad_top <= isize::MAX as usize / 4 && self.pad_left <= isize::MAX as usize / 4);
    }

    /// Elements of the input from its first to its last used one.
    pub(crate) fn input_len(&self) -> usize {
        span(self.batch * self.in_h * self.in_w, self.in_stride, self.in_c)
    }

    /// Elements of the output from its first to its last used one.
    pub(crate) fn output_len(&self) -> usize {
        span(self.rows(), self.out_stride, self.out_c)
    }
}

/// Elements that `rows` rows of `width` span at distance `stride`.
pub(crate) fn span(rows: usize, stride: usize, width: usize) -> usize {
    if rows == 0 {
        0
    } else {
        (rows - 1).checked_mul(stride).and_then(|s| s.checked_add(width)).expect("size overflows")
    }
}
