//! Sharing a loop over an output slice between threads.

use ferrolite_kernels::ThreadPool;
use ferrolite_kernels::pool::{chunk, chunks};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes to copy below which another task is not worth waking a thread.
pub const GRAIN_BYTES: usize = 16 << 10;

/// Cuts `out`, which holds items of `width` elements, into ranges of at least `grain` items, and calls `f` with each range
/// and its part of `out`.
pub fn for_items<T: Send>(
    pool: &ThreadPool,
    out: &mut [T],
    width: usize,
    grain: usize,
    f: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    let items = out.len().checked_div(width).unwrap_or(0);
    let n = chunks(items, grain.max(1), pool.threads());
    if n <= 1 {
        return f(0..items, &mut out[..items * width]);
    }
    let mut rest = out;
    let parts: SmallVec<[Mutex<&mut [T]>; 32]> = (0..n)
        .map(|i| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(chunk(items, n, i).len() * width);
            rest = tail;
            Mutex::new(part)
        })
        .collect();
    // Each lock is taken once.
    pool.run(n, &|i| f(chunk(items, n, i), &mut parts[i].lock().unwrap_or_else(PoisonError::into_inner)));
}
