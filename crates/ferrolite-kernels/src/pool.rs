//! A small thread pool: spin, then park; the caller takes part.
//!
//! One job at a time. A job is a function and a number of tasks; whoever is inside the job claims task numbers from one
//! counter until none is left. `state` holds `epoch << 32 | OPEN | workers inside`: a worker may touch the job only after it
//! has entered by a compare-and-swap on an open state, and the caller returns only after it has closed the job and everybody
//! has left, so that the borrowed function outlives every use. A worker that is asleep and comes too late finds the job
//! closed and costs nothing.
#![allow(unsafe_code)]

use crate::fpenv;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
/// How long an idle worker spins for the next job before it parks.
const SPIN: Duration = Duration::from_micros(60);

thread_local! {
    /// Set while this thread executes a task of any pool: a nested call runs inline.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    run: *const Task<'static>,
    tasks: usize,
    fp: fpenv::Mode,
}

struct Shared {
    state: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    sleepers: AtomicUsize,
    gate: Mutex<()>,
    bell: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    quit: AtomicBool,
}

// SAFETY: `job` is written only by the caller that holds `ThreadPool::turn` while the state is closed with nobody inside, and
// read only by threads that have entered an open state (acquire after the caller's release). The function in it is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the raw pointer is dereferenced only between entering and leaving a job.
unsafe impl Send for Shared {}

/// A fixed set of threads that executes one data-parallel job at a time. Results never depend on the number of threads as
/// far as the pool is concerned: every task runs exactly once.
pub struct ThreadPool {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More threads than this only wait for each other.
pub const MAX_THREADS: usize = 256;

impl ThreadPool {
    /// A pool of `threads` threads, the caller included (0 counts as 1): it starts `threads - 1` workers. When the system
    /// refuses to start one, the pool goes on with those that it has. There are never more than [`MAX_THREADS`].
    pub fn new(threads: usize) -> ThreadPool {
        let threads = threads.min(MAX_THREADS);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            sleepers: AtomicUsize::new(0),
            gate: Mutex::new(()),
            bell: Condvar::new(),
            panic: Mutex::new(None),
            quit: AtomicBool::new(false),
        });
        let spawn = |i: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("ferrolite-{i}")).spawn(move || shared.work())
        };
        let workers = (1..threads.max(1)).map_while(|i| spawn(i).ok()).collect();
        ThreadPool { shared, turn: Mutex::new(()), workers }
    }

    /// How many threads take part in a job, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(0)`, …, `f(tasks - 1)`, each once, on any of the threads and in any order, and returns when all are done.
    ///
    /// Runs inline, in order, when the pool has one thread, when there is at most one task, when called from inside a task,
    /// or when another caller is using the pool. The caller's flush-denormals mode holds in every task.
    ///
    /// # Panics
    /// If a task panics, tasks that were not started are dropped and the first panic goes on in the caller.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() || BUSY.get() {
            return (0..tasks).for_each(f);
        }
        let Ok(turn) = self.turn.try_lock().or_else(|e| match e {
            std::sync::TryLockError::Poisoned(p) => Ok(p.into_inner()),
            std::sync::TryLockError::WouldBlock => Err(()),
        }) else {
            return (0..tasks).for_each(f);
        };
        let s = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is used by threads inside the job, and this function leaves only
        // after closing the job and seeing nobody inside.
        let run = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(f) };
        // SAFETY: we hold `turn` and the state is closed with nobody inside, so nobody else looks at `job`.
        unsafe { *s.job.get() = Some(Job { run, tasks, fp: fpenv::Mode::current() }) };
        s.next.store(0, Relaxed);
        let epoch = (s.state.load(Relaxed) >> 32).wrapping_add(1);
        s.state.store(epoch << 32 | OPEN, SeqCst);
        if s.sleepers.load(SeqCst) > 0 {
            drop(lock(&s.gate));
            s.bell.notify_all();
        }
        s.claim(f, tasks);
        s.state.fetch_and(!OPEN, AcqRel);
        let mut spins = 0u32;
        while s.state.load(Acquire) & INSIDE != 0 {
            // A worker is finishing its last task; it may have lost its core, so give ours away now and then.
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(4096) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let panic = lock(&s.panic).take();
        drop(turn);
        if let Some(p) = panic {
            resume_unwind(p);
        }
    }

    /// Like [`ThreadPool::run`], over the ranges of [`chunks`]: `f` gets each range once.
    pub fn run_chunks(&self, total: usize, grain: usize, f: &(dyn Fn(std::ops::Range<usize>) + Sync)) {
        let n = chunks(total, grain, self.threads());
        self.run(n, &|i| f(chunk(total, n, i)));
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.quit.store(true, SeqCst);
        drop(lock(&self.shared.gate));
        self.shared.bell.notify_all();
        for w in self.workers.drain(..) {
            // A worker catches every panic of a task, so joining cannot fail; if it did, there is nobody to tell.
            let _ = w.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads()).finish()
    }
}

impl Shared {
    /// Executes tasks until none is left to claim.
    fn claim(&self, f: &Task<'_>, tasks: usize) {
        BUSY.set(true);
        let done = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, Relaxed);
                if i >= tasks {
                    break;
                }
                f(i);
            }
        }));
        BUSY.set(false);
        if let Err(p) = done {
            self.next.store(tasks, Relaxed);
            lock(&self.panic).get_or_insert(p);
        }
    }

    /// The life of a worker.
    fn work(&self) {
        let mut seen = 0;
        while let Some(epoch) = self.enter(seen) {
            seen = epoch;
            // SAFETY: we are inside an open job, so its writer has finished and will not return before we leave.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                let fp = job.fp.enter();
                // SAFETY: as above, the function outlives our stay.
                self.claim(unsafe { &*job.run }, job.tasks);
                drop(fp);
            }
            self.state.fetch_sub(1, Release);
        }
    }

    /// Waits for a job other than `seen` that is open, and enters it. `None` when the pool is dropped.
    fn enter(&self, seen: u64) -> Option<u64> {
        let try_enter = || {
            let mut s = self.state.load(Acquire);
            while s & OPEN != 0 && s >> 32 != seen {
                match self.state.compare_exchange_weak(s, s + 1, AcqRel, Acquire) {
                    Ok(_) => return Some(s >> 32),
                    Err(now) => s = now,
                }
            }
            None
        };
        let start = Instant::now();
        let mut spins = 0u32;
        while !spins.is_multiple_of(64) || spins == 0 || start.elapsed() < SPIN {
            if let Some(e) = try_enter() {
                return Some(e);
            }
            if self.quit.load(Relaxed) {
                return None;
            }
            spins = spins.wrapping_add(1);
            std::hint::spin_loop();
        }
        let mut gate = lock(&self.gate);
        self.sleepers.fetch_add(1, SeqCst);
        let entered = loop {
            if self.quit.load(SeqCst) {
                break None;
            }
            // After `sleepers` is raised: either the caller sees a sleeper and rings, or we see its open state.
            std::sync::atomic::fence(SeqCst);
            if let Some(e) = try_enter() {
                break Some(e);
            }
            gate = self.bell.wait(gate).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, SeqCst);
        entered
    }
}

/// Into how many tasks to cut `total` items so that each has at least `grain` of them: at most four tasks per thread (the
/// faster thread then takes more of them), one task for one thread, 0 for nothing to do.
pub fn chunks(total: usize, grain: usize, threads: usize) -> usize {
    if threads <= 1 {
        return total.min(1);
    }
    (total / grain.max(1)).clamp(1, threads * 4).min(total)
}

/// The `i`-th of `n` ranges that cut `0..total` into nearly equal parts.
pub fn chunk(total: usize, n: usize, i: usize) -> std::ops::Range<usize> {
    let (q, r) = (total / n, total % n);
    let start = i * q + i.min(r);
    start..start + q + usize::from(i < r)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 5] {
            let pool = ThreadPool::new(threads);
            for round in 0..300 {
                let tasks = round % 17;
                let hits: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
                pool.run(tasks, &|i| {
                    hits[i].fetch_add(1, Relaxed);
                });
                assert!(hits.iter().all(|h| h.load(Relaxed) == 1));
                if round % 100 == 99 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = ThreadPool::new(3);
        for bad in 0..12 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(12, &|i| assert!(i != bad, "task {i}"));
            }));
            assert!(caught.is_err());
            let sum = AtomicUsize::new(0);
            pool.run(10, &|i| {
                sum.fetch_add(i, Relaxed);
            });
            assert_eq!(sum.load(Relaxed), 45);
        }
    }

    #[test]
    fn nested_and_concurrent_callers() {
        let pool = ThreadPool::new(2);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..50 {
                        pool.run(4, &|_| {
                            pool.run(3, &|i| {
                                sum.fetch_add(i, Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(Relaxed), 3 * 50 * 4 * 3);
    }

    #[test]
    fn chunks_cover_everything() {
        for total in 0..40 {
            for grain in [0, 1, 3, 50] {
                for threads in [1, 2, 4] {
                    let n = chunks(total, grain, threads);
                    assert_eq!(n == 0, total == 0);
                    let mut at = 0;
                    for i in 0..n {
                        let r = chunk(total, n, i);
                        assert_eq!(r.start, at);
                        assert!(!r.is_empty());
                        at = r.end;
                    }
                    assert_eq!(at, total);
                }
            }
        }
    }
}
