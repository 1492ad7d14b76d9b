//! The loop over blocks of a matrix product: which rows and column panels make a task, and in which order a task goes.

use super::rows::Rows;
use crate::mem::{Pod, with_scratch};
use crate::pool::{ThreadPool, chunk};
use std::ops::Range;

/// Column panels are taken in groups of about this many bytes, so that a group stays in the second-level cache while the rows
/// stream past it.
const GROUP_BYTES: usize = 512 << 10;
/// The same where the rows stay there too: smaller groups leave more of the weights to be fetched while others are used.
const SMALL_GROUP_BYTES: usize = 128 << 10;
/// Rows of so many bytes stay in the second-level cache.
const ROWS_STAY_BYTES: usize = 768 << 10;
/// Rows are cut rather than columns unless the weights take so many times their bytes: the next operator then finds on each
/// thread the lines that the thread has written.
const WEIGHTS_PER_ROWS: usize = 3;
/// Bytes of multiply-adds below which another task is not worth handing to a thread: a microsecond or more of work, in which
/// a kernel takes about as many bytes whatever their type.
const TASK_BYTES: usize = 600_000;
/// Addresses of a product so small that it goes without tasks and scratch.
const FEW: usize = 16;

/// The work of one product.
pub(crate) struct Job {
    /// Rows, and the greatest block of rows that the kernel takes.
    pub(crate) m: usize,
    pub(crate) mr: usize,
    /// Column panels, and bytes of a packed panel.
    pub(crate) panels: usize,
    pub(crate) panel_bytes: usize,
    /// Taps and elements per tap.
    pub(crate) taps: usize,
    pub(crate) kc: usize,
    /// Columns.
    pub(crate) n: usize,
}

/// A block of rows.
pub(crate) struct Block<'a> {
    /// The first row.
    pub(crate) row: usize,
    /// How many rows.
    pub(crate) mr: usize,
    /// `ptrs[tap · mr + row]`: addresses of the rows.
    pub(crate) ptrs: &'a [usize],
    /// Where the rows of the next block begin, or any address: worth prefetching, never read.
    pub(crate) ahead: usize,
    /// The column panels to multiply with.
    pub(crate) panels: Range<usize>,
    /// Bytes of the packed operand that later blocks of this task begin with: this block's share of what is worth
    /// prefetching.
    pub(crate) soon: Range<usize>,
}

/// How a product is cut into `tasks` or some more: the parts of its rows and those of its columns. `rows` and `cols` are how
/// many blocks and panels there are, and their bytes.
pub(crate) fn cut(threads: usize, tasks: usize, rows: (usize, usize), cols: (usize, usize)) -> (usize, usize) {
    if threads == 1 || tasks <= 1 {
        return (1, 1);
    }
    let tasks = tasks.next_multiple_of(threads);
    // Parts that threads can share evenly, or nearly.
    let is_even = |parts: usize| parts.is_multiple_of(threads) || parts >= 4 * threads;
    let by_rows = match cols.1 <= rows.1.saturating_mul(WEIGHTS_PER_ROWS) {
        false if cols.1 <= GROUP_BYTES => is_even(rows.0) && !is_even(cols.0),
        true if rows.1 <= GROUP_BYTES => is_even(rows.0) || !is_even(cols.0),
        by_rows => by_rows,
    };
    let (rows, cols) = (rows.0, cols.0);
    if by_rows {
        let r = rows.min(tasks);
        (r, cols.min(tasks.div_ceil(r)))
    } else {
        let c = cols.min(tasks);
        (rows.min(tasks.div_ceil(c)), c)
    }
}

/// Calls `block` for every block of rows with every column panel, in parallel. How rows are cut into blocks depends on `m` and
/// `mr` only, so that a result does not depend on the number of threads.
pub(crate) fn drive<T: Pod>(pool: &ThreadPool, job: &Job, rows: &dyn Rows<T>, block: &(dyn Fn(Block<'_>) + Sync)) {
    if job.m == 0 || job.n == 0 {
        return;
    }
    let blocks = job.m.div_ceil(job.mr);
    let (rows_each, rows_left) = (job.m / blocks, job.m % blocks);
    let k = job.taps * job.kc;
    let tasks = if pool.threads() == 1 {
        1
    } else {
        (job.m.saturating_mul(job.n).saturating_mul(k * size_of::<T>()) / TASK_BYTES).clamp(1, pool.threads() * 8)
    };
    // What taps share counts once.
    let (a_bytes, b_bytes) = (job.m * job.kc * size_of::<T>(), job.panels * job.panel_bytes);
    let (row_tasks, col_tasks) = cut(pool.threads(), tasks, (blocks, a_bytes), (job.panels, b_bytes));
    // Bytes are multiplied so fast that it would cost to find their rows more often.
    let small = a_bytes <= ROWS_STAY_BYTES && size_of::<T>() > 1;
    let group = (if small { SMALL_GROUP_BYTES } else { GROUP_BYTES } / job.panel_bytes.max(1)).max(1);
    if blocks == 1 && tasks == 1 && job.panels <= group && job.taps * job.m <= FEW && rows.patch_len(job.m) == 0 {
        let mut ptrs = [0; FEW];
        let ptrs = &mut ptrs[..job.taps * job.m];
        rows.fill(0, job.m, ptrs, &mut []);
        return block(Block { row: 0, mr: job.m, ahead: ptrs[0], ptrs, panels: 0..job.panels, soon: 0..0 });
    }
    let patch_len = rows.patch_len(job.mr);
    pool.run(row_tasks * col_tasks, &|task| {
        let mine = chunk(blocks, row_tasks, task / col_tasks);
        let cols = chunk(job.panels, col_tasks, task % col_tasks);
        with_scratch(|s| {
            s.ptrs.resize(job.taps * job.mr);
            let ptrs = s.ptrs.as_mut_slice();
            let patch = s.patch.typed::<T>(patch_len);
            let mut from = cols.start;
            while from < cols.end {
                let to = (from + group).min(cols.end);
                let next = to * job.panel_bytes..(to + group).min(cols.end) * job.panel_bytes;
                let share = next.len().div_ceil(mine.len()).next_multiple_of(64);
                for (turn, i) in mine.clone().enumerate() {
                    // What `chunk` says.
                    let start = i * rows_each + i.min(rows_left);
                    let r = start..start + rows_each + usize::from(i < rows_left);
                    rows.fill(r.start, r.len(), ptrs, patch);
                    let ahead = rows.ahead(r.end).unwrap_or(ptrs[0]);
                    let soon = (next.start + turn * share).min(next.end);
                    let soon = soon..(soon + share).min(next.end);
                    block(Block { row: r.start, mr: r.len(), ptrs, ahead, panels: from..to, soon });
                }
                from = to;
            }
        });
    });
}
