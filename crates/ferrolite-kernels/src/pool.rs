//! A small thread pool: spin, then park; the caller takes part.
//!
//! One job at a time. A job is a function and a number of tasks. Every thread has a share of them, neighbours in one piece,
//! so that from layer to layer it finds the rows of its neighbourhood in its own cache; it claims from its share first and
//! then helps the others. `state` holds `epoch << 32 | OPEN | workers inside`: a worker may touch the job only after it
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
/// The same while somebody has called [`ThreadPool::attend`].
const ATTENDING_SPIN: Duration = Duration::from_millis(2);

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

/// Keeps what different threads write out of each other's cache lines (which are fetched in pairs).
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    state: Apart<AtomicU64>,
    /// The next task of each thread's share.
    next: Box<[Apart<AtomicUsize>]>,
    job: Apart<UnsafeCell<Option<Job>>>,
    sleepers: AtomicUsize,
    /// Callers that will start jobs soon.
    attending: AtomicUsize,
    gate: Mutex<()>,
    bell: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    has_panicked: AtomicBool,
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
            state: Apart(AtomicU64::new(0)),
            next: (0..threads.max(1)).map(|_| Apart(AtomicUsize::new(0))).collect(),
            job: Apart(UnsafeCell::new(None)),
            sleepers: AtomicUsize::new(0),
            attending: AtomicUsize::new(0),
            gate: Mutex::new(()),
            bell: Condvar::new(),
            panic: Mutex::new(None),
            has_panicked: AtomicBool::new(false),
            quit: AtomicBool::new(false),
        });
        let spawn = |i: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("ferrolite-{i}")).spawn(move || shared.work(i))
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
        unsafe { *s.job.0.get() = Some(Job { run, tasks, fp: fpenv::Mode::current() }) };
        let shares = s.shares(tasks);
        for (i, next) in s.next.iter().enumerate().take(shares) {
            next.0.store(chunk(tasks, shares, i).start, Relaxed);
        }
        let epoch = (s.state.0.load(Relaxed) >> 32).wrapping_add(1);
        s.state.0.store(epoch << 32 | OPEN, SeqCst);
        s.wake();
        s.claim(0, f, tasks);
        s.state.0.fetch_and(!OPEN, AcqRel);
        let mut spins = 0u32;
        while s.state.0.load(Acquire) & INSIDE != 0 {
            // A worker is finishing its last task; it may have lost its core, so give ours away now and then.
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(4096) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        // Whoever has panicked has left, which we have seen.
        let panic = if s.has_panicked.load(Relaxed) {
            s.has_panicked.store(false, Relaxed);
            lock(&s.panic).take()
        } else {
            None
        };
        drop(turn);
        if let Some(p) = panic {
            resume_unwind(p);
        }
    }

    /// Announces that jobs will come until the guard is dropped: workers wake up now and go on waiting for the next job
    /// through gaps of a millisecond, so that no job has to wake them.
    pub fn attend(&self) -> Attention<'_> {
        if !self.workers.is_empty() {
            self.shared.attending.fetch_add(1, SeqCst);
            self.shared.wake();
        }
        Attention(self)
    }

    /// Like [`ThreadPool::run`], over the ranges of [`chunks`]: `f` gets each range once.
    pub fn run_chunks(&self, total: usize, grain: usize, f: &(dyn Fn(std::ops::Range<usize>) + Sync)) {
        let n = chunks(total, grain, self.threads());
        self.run(n, &|i| f(chunk(total, n, i)));
    }
}

/// See [`ThreadPool::attend`].
#[must_use = "workers attend until the guard is dropped"]
pub struct Attention<'a>(&'a ThreadPool);

impl Drop for Attention<'_> {
    fn drop(&mut self) {
        if !self.0.workers.is_empty() {
            self.0.shared.attending.fetch_sub(1, Relaxed);
        }
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
    /// Into how many shares a job is cut.
    fn shares(&self, tasks: usize) -> usize {
        self.next.len().min(tasks)
    }

    /// Wakes workers that are asleep.
    fn wake(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            drop(lock(&self.gate));
            self.bell.notify_all();
        }
    }

    /// Executes tasks until none is left to claim: first those of share `me`, then those of the others.
    fn claim(&self, me: usize, f: &Task<'_>, tasks: usize) {
        BUSY.set(true);
        let shares = self.shares(tasks);
        let done = catch_unwind(AssertUnwindSafe(|| {
            for share in (0..shares).map(|i| (me + i) % shares) {
                let (next, end) = (&self.next[share].0, chunk(tasks, shares, share).end);
                // Looked at before it is claimed: reading leaves the line with its owner.
                while next.load(Relaxed) < end {
                    let i = next.fetch_add(1, Relaxed);
                    if i < end {
                        f(i);
                    }
                }
            }
        }));
        BUSY.set(false);
        if let Err(p) = done {
            self.next.iter().for_each(|next| next.0.store(tasks, Relaxed));
            lock(&self.panic).get_or_insert(p);
            self.has_panicked.store(true, Relaxed);
        }
    }

    /// The life of a worker.
    fn work(&self, me: usize) {
        let mut seen = 0;
        while let Some(epoch) = self.enter(seen) {
            seen = epoch;
            // SAFETY: we are inside an open job, so its writer has finished and will not return before we leave.
            let job = unsafe { *self.job.0.get() };
            if let Some(job) = job {
                let fp = job.fp.enter();
                // SAFETY: as above, the function outlives our stay.
                self.claim(me, unsafe { &*job.run }, job.tasks);
                drop(fp);
            }
            self.state.0.fetch_sub(1, Release);
        }
    }

    /// Waits for a job other than `seen` that is open, and enters it. `None` when the pool is dropped.
    fn enter(&self, seen: u64) -> Option<u64> {
        let try_enter = || {
            let mut s = self.state.0.load(Acquire);
            while s & OPEN != 0 && s >> 32 != seen {
                match self.state.0.compare_exchange_weak(s, s + 1, AcqRel, Acquire) {
                    Ok(_) => return Some(s >> 32),
                    Err(now) => s = now,
                }
            }
            None
        };
        loop {
            let start = Instant::now();
            let is_patient = || start.elapsed() < if self.attending.load(Relaxed) > 0 { ATTENDING_SPIN } else { SPIN };
            let mut spins = 0u32;
            while !spins.is_multiple_of(64) || spins == 0 || is_patient() {
                if let Some(e) = try_enter() {
                    return Some(e);
                }
                if self.quit.load(Relaxed) {
                    return None;
                }
                spins = spins.wrapping_add(1);
                std::hint::spin_loop();
            }
            let gate = lock(&self.gate);
            self.sleepers.fetch_add(1, SeqCst);
            // After `sleepers` is raised: either the caller sees a sleeper and rings, or we see its open state.
            std::sync::atomic::fence(SeqCst);
            let entered = try_enter();
            if entered.is_none() && !self.quit.load(SeqCst) {
                drop(self.bell.wait(gate).unwrap_or_else(PoisonError::into_inner));
            }
            self.sleepers.fetch_sub(1, SeqCst);
            if entered.is_some() {
                return entered;
            }
        }
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
                let _attention = (round % 100 > 95).then(|| pool.attend());
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
