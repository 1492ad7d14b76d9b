//! Where finished tiles go.
#![allow(unsafe_code)]

use super::epilogue::{Bytes, Finish, Sums};
use super::pack::{HEADER, Kind, PackI8, PackedI8Ref};
use super::{MAX_ROWS, OutI8};
use crate::mem::Shared;

/// A panel of a packed operand.
pub(super) struct Panel<'a> {
    /// The first column.
    pub(super) col: usize,
    /// Columns with a meaning, and with those that fill the last vector.
    pub(super) cols: usize,
    pub(super) width: usize,
    pub(super) header: &'a [i32],
    pub(super) weights: &'a [i32],
}

impl<'a> Panel<'a> {
    pub(super) fn new(packed: &PackedI8Ref<'a>, p: usize) -> Panel<'a> {
        let (spec, micro) = (&packed.spec, &packed.spec.micro.run);
        let col = p * micro.nr();
        let cols = (spec.n - col).min(micro.nr());
        // A multiple of the lanes, which are a power of two.
        let width = (cols + micro.lanes - 1) & !(micro.lanes - 1);
        let (header, weights) = packed.data[p * spec.panel_len()..].split_at(HEADER * width);
        Panel { col, cols, width, header, weights }
    }
}

/// What belongs to the rows of a tile.
#[derive(Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) rows: usize,
    /// Whether scale and zero point are the same for all rows.
    uniform: bool,
    /// Added to every sum of a row, unless all are 0.
    add: Option<[i32; MAX_ROWS]>,
    zero: [i32; MAX_ROWS],
    scale: [f32; MAX_ROWS],
}

/// Output, epilogue and the operand's spec.
pub(super) struct Sink<'a> {
    spec: PackI8,
    finish: Finish,
    to: To<'a>,
}

/// The output of all tasks.
enum To<'a> {
    I32(Shared<'a, i32>, usize),
    I8(Shared<'a, i8>, usize, Bytes),
    F32(Shared<'a, f32>, usize, &'a [f32], Option<&'a [i32]>, usize, (bool, f32, f32)),
}

impl<'a> To<'a> {
    /// # Panics
    /// If `out` is too short for `m` rows of `spec.n`, or belongs to another kind of packing.
    fn new(out: OutI8<'a>, m: usize, spec: &PackI8) -> To<'a> {
        let check = |len: usize, ldc: usize| {
            assert!(ldc >= spec.n || m == 1, "output row stride {ldc} is less than {} columns", spec.n);
            let span = (m - 1).checked_mul(ldc).and_then(|x| x.checked_add(spec.n));
            assert!(span.is_some_and(|s| s <= len), "output too short");
        };
        match out {
            OutI8::I32 { out, ldc } => {
                check(out.len(), ldc);
                To::I32(Shared::new(out), ldc)
            }
            OutI8::I8 { out, ldc, zero_point, min, max } => {
                check(out.len(), ldc);
                assert!(matches!(spec.kind, Kind::Requant | Kind::Real), "operand packed without multipliers");
                assert!(-128 <= min && min <= max && max <= 127, "bounds of the output");
                To::I8(Shared::new(out), ldc, Bytes { zero_point, min, max })
            }
            OutI8::F32 { out, ldc, row_scale, row_zero_point, rows_per_scale, columns_first, min, max } => {
                check(out.len(), ldc);
                assert!(spec.kind == Kind::Float, "operand packed without scales");
                let groups = m.div_ceil(rows_per_scale.max(1));
                assert!(rows_per_scale > 0 && row_scale.len() >= groups, "one scale per group of rows");
                assert!(row_zero_point.is_none_or(|z| z.len() >= groups), "one zero point per group of rows");
                To::F32(Shared::new(out), ldc, row_scale, row_zero_point, rows_per_scale, (columns_first, min, max))
            }
        }
    }
}

impl<'a> Sink<'a> {
    /// # Panics
    /// If `out` is too short for `m` rows of `spec.n`, or belongs to another kind of packing.
    pub(super) fn new(out: OutI8<'a>, m: usize, spec: &PackI8) -> Sink<'a> {
        let finish = Finish::new(spec.isa, spec.micro.run.lanes);
        Sink { spec: *spec, finish, to: To::new(out, m, spec) }
    }

    /// What belongs to `rows` rows from `row` on, with addresses as [`crate::gemm::rows::Rows`] gives them.
    pub(super) fn terms(&self, ptrs: &[usize], row: usize, rows: usize) -> Terms {
        let (spec, micro) = (&self.spec, &self.spec.micro.run);
        let mut t = Terms { rows, uniform: false, add: None, zero: [0; MAX_ROWS], scale: [0.0; MAX_ROWS] };
        let correction = spec.zero_w.wrapping_add(micro.offset);
        if correction != 0 {
            let sums = t.add.insert([0; MAX_ROWS]);
            // SAFETY: the kernel was picked through an `Isa`, and `Rows` gave addresses good for `kc` bytes.
            unsafe { (micro.row_sums)(rows, ptrs, spec.kc, sums) };
            sums.iter_mut().for_each(|s| *s = s.wrapping_mul(correction).wrapping_neg());
        }
        if let To::F32(_, _, scales, zeros, group, _) = &self.to {
            let first = row / group;
            t.uniform = rows > 0 && (row + rows - 1) / group == first;
            for r in 0..rows {
                let g = if t.uniform { first } else { (row + r) / group };
                t.scale[r] = scales[g];
                if let Some(z) = zeros {
                    t.zero[r] = z[g];
                    if spec.zero_w != 0 {
                        let k_za_zw = (spec.k() as i32).wrapping_mul(z[g]).wrapping_mul(spec.zero_w);
                        let add = &mut t.add.get_or_insert([0; MAX_ROWS])[r];
                        *add = add.wrapping_add(k_za_zw);
                    }
                }
            }
        }
        t
    }

    /// Stores a finished tile of `panel`, biases included, whose first row is `row`.
    ///
    /// # Safety
    /// No other task writes these rows and columns at the same time.
    pub(super) unsafe fn store(&self, tile: &[i32], panel: &Panel<'_>, row: usize, terms: &Terms) {
        let sums = Sums {
            tile: &tile[..terms.rows * panel.width],
            width: panel.width,
            cols: panel.cols,
            header: panel.header,
            rows: terms.rows,
            uniform: terms.uniform,
            row_term: terms.add.as_ref(),
            row_zero: &terms.zero,
            row_scale: &terms.scale,
        };
        let col = panel.col;
        // SAFETY: rows and columns of the tile are inside the output by the check in `To::new`; the epilogue was picked through
        // an `Isa`; the rest is the caller's promise.
        unsafe {
            match &self.to {
                To::I32(out, ldc) => (self.finish.raw)(&sums, out.at(row * ldc + col), *ldc),
                To::I8(out, ldc, bytes) => {
                    self.finish.bytes(&sums, &self.spec, bytes, out.at(row * ldc + col), *ldc);
                }
                To::F32(out, ldc, _, zeros, _, range) => {
                    let how = (zeros.is_some(), self.spec.narrow, *range);
                    (self.finish.float)(&sums, how, out.at(row * ldc + col), *ldc);
                }
            }
        }
    }
}
