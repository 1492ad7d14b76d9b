//! Products on AMX: 32 rows at a time by tiles, a few rows by VNNI on the same packing.
#![allow(unsafe_code)]

use super::amx::{self, SIDE, Tiles};
use super::avx512::gather;
use super::pack::{BIAS, PackI8, PackedI8Ref};
use super::sink::{Panel, Sink, Terms};
use super::{Dots, MAX_TILE, QUAD, Tile, UNIT};
use crate::gemm::drive::cut;
use crate::gemm::rows::Rows;
use crate::mem::with_scratch;
use crate::pool::{ThreadPool, chunk};
use std::mem::MaybeUninit;

/// Up to this number of rows weights are what takes time, and a tile would be nearly empty.
pub(super) const FEW: usize = 4;
/// Rows of a block: two tiles.
const BLOCK: usize = 2 * SIDE;
/// Column panels are taken in groups of about this many bytes, so that a group stays in the second-level cache while the rows
/// stream past it.
const GROUP_BYTES: usize = 512 << 10;
/// Work in multiply-adds below which another task is not worth waking a thread, and what storing a result costs in the same
/// unit.
const TASK_WORK: usize = 4 << 20;
const STORE_WORK: usize = 256;

pub(super) fn multiply(pool: &ThreadPool, rows: &dyn Rows<i8>, m: usize, packed: PackedI8Ref<'_>, sink: &Sink<'_>) {
    if m <= FEW {
        return few(pool, rows, m, packed, sink);
    }
    let spec = packed.spec;
    let (blocks, panels, panel_bytes) = (m.div_ceil(BLOCK), spec.panels(), spec.panel_len() * 4);
    let work = m.saturating_mul(spec.n).saturating_mul(spec.k().saturating_add(STORE_WORK));
    let tasks = if pool.threads() == 1 { 1 } else { (work / TASK_WORK).clamp(1, pool.threads() * 4) };
    let (row_tasks, col_tasks) =
        cut(pool.threads(), tasks, (blocks, m.saturating_mul(spec.k())), (panels, panels * panel_bytes));
    let group = (GROUP_BYTES / panel_bytes).max(1);
    pool.run(row_tasks * col_tasks, &|task| {
        let mine = chunk(blocks, row_tasks, task / col_tasks);
        let cols = chunk(panels, col_tasks, task % col_tasks);
        with_scratch(|s| {
            s.ptrs.resize(spec.taps * BLOCK + 2 * spec.units());
            let (ptrs, units) = s.ptrs.as_mut_slice().split_at_mut(spec.taps * BLOCK);
            let units = units.as_chunks_mut::<2>().0;
            let patch = s.patch.typed::<i8>(rows.patch_len(BLOCK));
            let copies = s.extra.typed::<i8>(BLOCK * pitch(&spec) + UNIT);
            // SAFETY: the operand was packed for AMX through an `Isa`.
            let mut pipe = Pipe::new(unsafe { Tiles::new() }, sink);
            for from in cols.clone().step_by(group) {
                for i in mine.clone() {
                    let (row, mr) = (i * BLOCK, (m - i * BLOCK).min(BLOCK));
                    rows.fill(row, mr, ptrs, patch);
                    let ptrs = &ptrs[..spec.taps * mr];
                    pipe.rows(row, sink.terms(ptrs, row, mr));
                    let height = mr.div_ceil(SIDE);
                    let mut strides = [0; 2];
                    for (t, stride) in strides.iter_mut().enumerate().take(height) {
                        *stride = find(&spec, ptrs, mr, t, copies, units);
                    }
                    for p in from..(from + group).min(cols.end) {
                        pipe.push(Panel::new(&packed, p), units, strides, height);
                    }
                }
            }
            pipe.finish();
        });
    });
}

/// Stores the sums of a block while the tiles work on the next one.
struct Pipe<'a> {
    tiles: Tiles,
    sink: &'a Sink<'a>,
    sums: [MaybeUninit<Tile>; 2],
    /// The rows of this block and of the one before, of which a panel may still wait.
    rows: [(usize, Terms); 2],
    block: usize,
    /// What the sums of `sums[turn]` belong to: a panel, and which of the rows.
    waiting: Option<(Panel<'a>, usize)>,
    turn: usize,
}

impl<'a> Pipe<'a> {
    fn new(tiles: Tiles, sink: &'a Sink<'a>) -> Pipe<'a> {
        let sums = [MaybeUninit::uninit(), MaybeUninit::uninit()];
        Pipe { tiles, sink, sums, rows: [(0, Terms::default()); 2], block: 0, waiting: None, turn: 0 }
    }

    /// Begins a block of rows, the first of which is `row`.
    fn rows(&mut self, row: usize, terms: Terms) {
        self.block = 1 - self.block;
        self.rows[self.block] = (row, terms);
    }

    /// Multiplies the rows, `height` tiles of them, with `panel`.
    #[inline(always)]
    fn push(&mut self, panel: Panel<'a>, units: &[[usize; 2]], strides: [usize; 2], height: usize) {
        let next = 1 - self.turn;
        let block = amx::Block {
            rows: units.as_ptr(),
            strides,
            units: units.len(),
            start: panel.header[BIAS * panel.width..].as_ptr(),
            panel: panel.weights.as_ptr(),
            tile: self.sums[next].as_mut_ptr().cast(),
        };
        // SAFETY: `find` gave addresses good for 16 rows of 64 bytes in each unit; the panel is complete (checked when the
        // operand was made); there is room for 32 rows of 32 sums.
        unsafe { amx::dots(&self.tiles, height, panel.width / SIDE, &block) };
        self.finish();
        self.turn = next;
        self.waiting = Some((panel, self.block));
    }

    /// Stores what waits.
    #[inline(always)]
    fn finish(&mut self) {
        if let Some((panel, block)) = self.waiting.take() {
            let (row, terms) = &self.rows[block];
            // SAFETY: `push` had these sums written. No other task writes these rows and columns of the output.
            unsafe {
                let len = terms.rows * panel.width;
                let sums = std::slice::from_raw_parts(self.sums[self.turn].as_ptr().cast::<i32>(), len);
                self.sink.store(sums, &panel, *row, terms);
            }
        }
    }
}

/// Bytes between gathered rows: not a multiple of a great power of two, whose rows would share few places of a cache.
fn pitch(spec: &PackI8) -> usize {
    let row = spec.units() * UNIT;
    if row.is_multiple_of(512) { row + UNIT } else { row }
}

/// Writes where the units of tile `t` of `mr` rows are, as element `t` of each pair, and returns the distance of rows: in
/// place where rows are equally far apart in every tap, else in `copies`.
fn find(spec: &PackI8, ptrs: &[usize], mr: usize, t: usize, copies: &mut [i8], units: &mut [[usize; 2]]) -> usize {
    let (from, n) = (t * SIDE, (mr - t * SIDE).min(SIDE));
    if n == SIDE && spec.k() > 0 && (spec.taps == 1 || spec.kc.is_multiple_of(UNIT)) {
        let stride = ptrs[from + 1].wrapping_sub(ptrs[from]);
        let even = |tap: &[usize]| {
            let rows = &tap[from..from + SIDE];
            rows.iter().zip(&rows[1..]).fold(true, |even, (a, b)| even & (b.wrapping_sub(*a) == stride))
        };
        if ptrs.chunks_exact(mr).all(even) {
            let per_tap = units.len() / spec.taps;
            for (tap, units) in ptrs.chunks_exact(mr).zip(units.chunks_mut(per_tap)) {
                units.iter_mut().enumerate().for_each(|(i, unit)| unit[t] = tap[from] + i * UNIT);
            }
            return stride;
        }
    }
    let stride = pitch(spec);
    let copies = &mut copies[from * stride..][..SIDE * stride + UNIT];
    // SAFETY: the operand was packed for AMX through an `Isa`; `Rows` gave addresses good for whole units; there is room for
    // the rows and a unit.
    unsafe { gather(ptrs[from..].as_ptr(), (n, spec.taps, mr), spec.kc, copies.as_mut_ptr(), stride, 0) };
    units.iter_mut().enumerate().for_each(|(i, unit)| unit[t] = copies.as_ptr() as usize + i * UNIT);
    stride
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
        let stride = spec.units() * UNIT;
        let copies = s.extra.typed::<i8>(m * stride + UNIT);
        // SAFETY: as in `find`. Activations plus 128: signs flipped.
        unsafe { gather(ptrs.as_ptr(), (m, spec.taps, m), spec.kc, copies.as_mut_ptr(), stride, -128) };
        let copies = copies.as_ptr() as usize;
        let addresses: [usize; FEW] = std::array::from_fn(|r| copies + r * stride);
        let per_panel = (m * spec.k() * micro.nr()).max(1);
        pool.run_chunks(spec.panels(), TASK_WORK / 32 / per_panel + 1, &|panels| {
            let mut tile = MaybeUninit::<Tile>::uninit();
            for p in panels {
                let panel = Panel::new(&packed, p);
                let dots = Dots {
                    ptrs: addresses.as_ptr(),
                    ahead: std::ptr::null(),
                    taps: 1,
                    quads: spec.k().div_ceil(QUAD),
                    start: panel.header[BIAS * panel.width..].as_ptr(),
                    panel: panel.weights.as_ptr(),
                    vectors: panel.width / SIDE,
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

const _: () = assert!(MAX_TILE >= BLOCK * 2 * SIDE);
