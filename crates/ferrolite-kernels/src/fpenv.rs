//! Flushing of denormal numbers to zero, per thread.
//!
//! Denormals cost a hundred cycles each on many CPUs, and Adam's moments decay into them. Inference leaves the mode alone.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// The flush-denormals mode of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(bool);

/// While alive, this thread flushes denormal results and operands to zero; dropping it restores what was before. Jobs of a
/// [`crate::ThreadPool`] that are started under the guard flush in every worker.
#[derive(Debug)]
#[must_use = "the mode ends when the guard is dropped"]
pub struct FlushDenormals {
    before: bool,
    /// The mode belongs to one thread.
    _not_send: PhantomData<*const ()>,
}

/// Switches this thread to flushing denormals to zero (x86-64: FTZ and DAZ; AArch64: FZ; elsewhere nothing happens).
pub fn flush_denormals() -> FlushDenormals {
    Mode(true).enter()
}

impl Mode {
    /// The mode of this thread.
    pub(crate) fn current() -> Mode {
        Mode(get())
    }

    /// Sets this thread to the mode until the guard is dropped.
    pub(crate) fn enter(self) -> FlushDenormals {
        let before = get();
        if before != self.0 {
            set(self.0);
        }
        FlushDenormals { before, _not_send: PhantomData }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        if get() != self.before {
            set(self.before);
        }
    }
}

#[cfg(target_arch = "x86_64")]
const BITS: u32 = 0x8040;

#[cfg(target_arch = "x86_64")]
fn mxcsr() -> u32 {
    let mut v = 0u32;
    // SAFETY: stores the control register into `v`; SSE is part of x86-64.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut v, options(nostack, preserves_flags)) };
    v
}

#[cfg(target_arch = "x86_64")]
fn get() -> bool {
    mxcsr() & BITS == BITS
}

#[cfg(target_arch = "x86_64")]
fn set(on: bool) {
    let v = if on { mxcsr() | BITS } else { mxcsr() & !BITS };
    // SAFETY: only the two denormal bits change: no exception is unmasked and the rounding mode stays. Results of float
    // operations on denormals differ while it is set, which is what the caller asked for.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &v, options(nostack, readonly)) };
}

#[cfg(target_arch = "aarch64")]
const BITS: u64 = 1 << 24;

#[cfg(target_arch = "aarch64")]
fn fpcr() -> u64 {
    let v: u64;
    // SAFETY: reads the float control register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) v, options(nomem, nostack, preserves_flags)) };
    v
}

#[cfg(target_arch = "aarch64")]
fn get() -> bool {
    fpcr() & BITS != 0
}

#[cfg(target_arch = "aarch64")]
fn set(on: bool) {
    let v = if on { fpcr() | BITS } else { fpcr() & !BITS };
    // SAFETY: only the flush-to-zero bit changes.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) v, options(nomem, nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn get() -> bool {
    false
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set(_on: bool) {}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn guard_flushes_here_and_in_workers_and_restores() {
        let tiny = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        assert!(tiny() > 0.0);
        let pool = crate::ThreadPool::new(2);
        {
            let _g = flush_denormals();
            assert_eq!(tiny(), 0.0);
            pool.run(64, &|_| {
                std::thread::sleep(std::time::Duration::from_micros(20));
                assert_eq!(tiny(), 0.0);
            });
        }
        assert!(tiny() > 0.0);
        pool.run(64, &|_| assert!(tiny() > 0.0));
    }
}
