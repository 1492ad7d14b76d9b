//! Products on AMX: 32 rows at a time by tiles, a few rows by VNNI on the same packing.
#![allow(unsafe_code)]

use super::amx::{self, SIDE, Tiles};
use super::avx512::copy_row;
use super::pack::{BIAS, PackI8, PackedI8Ref};
use super::sink::{Panel, Sink};
use super::{Dots, MAX_TILE, QUAD, Tile, UNIT};
use crate::gemm::drive::{Block, Job, drive};
use crate::gemm::rows::Rows;
use crate::mem::with_scratch;
use crate::pool::ThreadPool;

/// Up to this number of rows weights are what takes time, and a tile would be nearly empty.
pub(super) const FEW: usize = 4;
/// Multiply-adds below which another task is not worth waking a thread.
const TASK_MACS: usize = 100_000;

/// Rows in tiles: row `i` of this are rows `16 · i..` of the other.
struct Tall<'a> {
    rows: &'a dyn Rows<i8>,
    m: usize,
}

impl Rows<i8> for Tall<'_> {
    fn patch_len(&self, mr: usize) -> usize {
        self.rows.patch_len(mr * SIDE)
    }

    fn fill(&self, first: usize, mr: usize, ptrs: &mut [usize], patch: &mut [i8]) {
        let first = first * SIDE;
        self.rows.fill(first, (mr * SIDE).min(self.m - first), ptrs, patch);
    }
}

pub(super) fn multiply(pool: &ThreadPool, rows: &dyn Rows<i8>, m: usize, packed: PackedI8Ref<'_>, sink: &Sink<'_>) {
    if m <= FEW {
        return few(pool, rows, m, packed, sink);
    }
    let spec = packed.spec;
    let job = Job {
        m: m.div_ceil(SIDE),
        mr: 2,
        panels: spec.panels(),
        panel_bytes: spec.panel_len() * 4,
        taps: spec.taps * SIDE,
        kc: spec.kc,
        n: spec.n,
    };
    drive(pool, &job, &Tall { rows, m }, &|b: Block<'_>| {
        let (row, mr) = (b.row * SIDE, (b.mr * SIDE).min(m - b.row * SIDE));
        let ptrs = &b.ptrs[..spec.taps * mr];
        let terms = sink.terms(ptrs, row, mr);
        with_scratch(|s| {
            s.ptrs.resize(2 * spec.units());
            let (units, _) = s.ptrs.as_mut_slice().as_chunks_mut::<2>();
            let height = mr.div_ceil(SIDE);
            let stride = pitch(&spec);
            let gathered = s.patch.typed::<i8>(2 * SIDE * stride);
            let mut strides = [0; 2];
            for (t, copies) in gathered.chunks_exact_mut(SIDE * stride).enumerate().take(height) {
                let (from, n) = (t * SIDE, (mr - t * SIDE).min(SIDE));
                strides[t] = find(&spec, ptrs, (from, n, mr), copies, units, t);
            }
            let mut tile = std::mem::MaybeUninit::<Tile>::uninit();
            // SAFETY: the operand was packed for AMX through an `Isa`.
            let tiles = unsafe { Tiles::new() };
            for p in b.panels {
                let panel = Panel::new(&packed, p);
                let block = amx::Block {
                    rows: units.as_ptr(),
                    strides,
                    units: spec.units(),
                    start: panel.header[BIAS * panel.width..].as_ptr(),
                    panel: panel.weights.as_ptr(),
                    tile: tile.as_mut_ptr().cast(),
                };
                // SAFETY: `find` gave addresses good for 16 rows of 64 bytes in each unit; the panel is complete (checked when
                // the operand was made); the tile has room for 32 rows of 32 sums, and the block writes those that are read.
                // No other task writes these rows and columns of the output.
                unsafe {
                    amx::dots(&tiles, height, panel.width / SIDE, &block);
                    let sums = std::slice::from_raw_parts(tile.as_ptr().cast::<i32>(), mr * panel.width);
                    sink.store(sums, &panel, row, &terms);
                }
            }
        });
    });
}

/// Bytes between gathered rows: not a multiple of a great power of two, whose rows would share few places of a cache.
fn pitch(spec: &PackI8) -> usize {
    let row = spec.units() * UNIT;
    if row.is_multiple_of(512) { row + UNIT } else { row }
}

/// Writes where the units of `n` rows from row `from` of `mr` are, as element `t` of each pair, and returns the distance of
/// rows: in place where rows are equally far apart in every tap, else in `copies`.
fn find(
    spec: &PackI8,
    ptrs: &[usize],
    (from, n, mr): (usize, usize, usize),
    copies: &mut [i8],
    units: &mut [[usize; 2]],
    t: usize,
) -> usize {
    if n == SIDE && spec.k() > 0 && (spec.taps == 1 || spec.kc.is_multiple_of(UNIT)) {
        let stride = ptrs[from + 1].wrapping_sub(ptrs[from]);
        let even = |tap: &[usize]| {
            let rows = &tap[from..from + SIDE];
            rows.iter().zip(&rows[1..]).fold(true, |even, (a, b)| even & (b.wrapping_sub(*a) == stride))
        };
        if ptrs.chunks_exact(mr).all(even) {
            let per_tap = spec.units() / spec.taps;
            for (tap, units) in ptrs.chunks_exact(mr).zip(units.chunks_mut(per_tap)) {
                units.iter_mut().enumerate().for_each(|(i, unit)| unit[t] = tap[from] + i * UNIT);
            }
            return stride;
        }
    }
    let stride = pitch(spec);
    for (r, copy) in copies.chunks_exact_mut(stride).enumerate().take(n) {
        gather(spec, ptrs[from + r..].iter().step_by(mr), copy, 0);
    }
    units.iter_mut().enumerate().for_each(|(i, unit)| unit[t] = copies.as_ptr() as usize + i * UNIT);
    stride
}

/// Copies a row, whose taps are at `ptrs`, without gaps.
fn gather<'a>(spec: &PackI8, ptrs: impl Iterator<Item = &'a usize>, to: &mut [i8], flip: i8) {
    for (tap, p) in ptrs.enumerate() {
        let at = tap * spec.kc;
        let room = &mut to[at..];
        if room.len() >= spec.kc.next_multiple_of(UNIT) {
            // SAFETY: the operand was packed for AMX through an `Isa`; `Rows` gave addresses good for whole units; there is
            // room for whole units, the last of which the next tap overwrites.
            unsafe { copy_row(*p as *const i8, room.as_mut_ptr(), spec.kc, flip) };
        } else {
            // SAFETY: `Rows` gave addresses good for `kc` bytes.
            let from = unsafe { std::slice::from_raw_parts(*p as *const i8, spec.kc) };
            room.iter_mut().zip(from).for_each(|(to, from)| *to = from ^ flip);
        }
    }
}

/// Products of at most [`FEW`] rows.
fn few(pool: &ThreadPool, rows: &dyn Rows<i8>, m: usize, packed: PackedI8Ref<'_>, sink: &Sink<'_>) {
    let spec = packed.spec;
    let micro = spec.micro.run;
    with_scratch(|s| {
        s.ptrs.resize(spec.taps * m);
        let ptrs = s.ptrs.as_mut_slice();
        rows.fill(0, m, ptrs, s.patch.typed(rows.patch_len(m)));
        let terms = sink.terms(ptrs, 0, m);
        // Room for a tap whose last unit is cut by nothing behind it.
        let stride = (spec.units() + 1) * UNIT;
        let flipped = s.extra.typed::<i8>(m * stride);
        let mut flipped_rows = [0; FEW];
        for ((r, copy), at) in flipped.chunks_exact_mut(stride).enumerate().zip(&mut flipped_rows) {
            gather(&spec, ptrs[r..].iter().step_by(m), copy, -128);
            *at = copy.as_ptr() as usize;
        }
        let per_panel = (m * spec.k() * micro.nr()).max(1);
        pool.run_chunks(spec.panels(), TASK_MACS / per_panel + 1, &|panels| {
            let mut tile = std::mem::MaybeUninit::<Tile>::uninit();
            for p in panels {
                let panel = Panel::new(&packed, p);
                let dots = Dots {
                    ptrs: flipped_rows.as_ptr(),
                    ahead: std::ptr::null(),
                    taps: 1,
                    quads: spec.k().div_ceil(QUAD),
                    start: panel.header[BIAS * panel.width..].as_ptr(),
                    panel: panel.weights.as_ptr(),
                    vectors: panel.width / micro.lanes,
                    tile: tile.as_mut_ptr().cast(),
                };
                // SAFETY: the kernel was picked through an `Isa`; the copied rows are good for whole units; the panel is
                // complete; the tile has room, and the kernel writes the sums that are read. No other task writes these
                // columns of the output.
                unsafe {
                    (micro.dots)(m, &dots);
                    let sums = std::slice::from_raw_parts(tile.as_ptr().cast::<i32>(), m * panel.width);
                    sink.store(sums, &panel, 0, &terms);
                }
            }
        });
    });
}

const _: () = assert!(MAX_TILE >= 2 * SIDE * 2 * SIDE);
