//! How near steps come to what the machine can do at most: the roofline model.
//!
//! A step takes at least its multiply-accumulates / the peak of its kind of numbers, and at least its bytes / the bandwidth
//! of what can hold them. The greater of the two bounds it; that time / the measured time is its share of the roofline.

use crate::bench::StepTime;
use ferrolite_kernels::{Isa, ThreadPool};
use ferrolite_runtime::NodeProfile;
use serde::Serialize;

/// Operators that read only as much of their inputs as they write.
const PARTIAL: &[&str] = &["GATHER", "GATHER_ND", "EMBEDDING_LOOKUP", "SLICE", "STRIDED_SLICE", "DYNAMIC_UPDATE_SLICE"];

/// What a machine can do at most, measured: all threads together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peaks {
    /// Billions of multiply-accumulates of float32 in a second.
    pub f32_gmacs_per_second: f64,
    /// Billions of multiply-accumulates of int8 in a second.
    pub i8_gmacs_per_second: f64,
    /// Speed of reading from ranges of memory, small ones (which caches hold) first.
    pub bandwidth: Vec<Bandwidth>,
}

/// Speed of reading from a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    /// Bytes of the range.
    pub bytes: usize,
    /// Billions of bytes in a second.
    pub gbytes_per_second: f64,
}

/// What bounds a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Its multiply-accumulates.
    Compute,
    /// Its bytes.
    Memory,
}

/// Steps against what the machine can do at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofline {
    /// Billions of operations in a second, two per multiply-accumulate.
    pub gops_per_second: f64,
    /// Billions of bytes moved in a second.
    pub gbytes_per_second: f64,
    /// Operations per byte: the arithmetic intensity.
    pub intensity: f64,
    /// Part of the peak of multiply-accumulates that is reached, 0..1.
    pub share_of_peak: f64,
    /// What bounds them; for several steps, what bounds most of the least time.
    pub bound: Bound,
    /// Least time / measured time: 1 where the machine allows no more.
    pub share: f64,
}

/// What a step has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Whether of integers.
    pub is_integer: bool,
    /// Bytes read and written.
    pub bytes: u64,
}

impl Work {
    /// That of a profiled step.
    pub fn of(step: &NodeProfile) -> Work {
        let is_partial = PARTIAL.contains(&step.op.as_str());
        let read = if is_partial { step.bytes_read.min(step.bytes_written) } else { step.bytes_read };
        Work { macs: step.macs, is_integer: step.is_integer, bytes: read + step.bytes_written }
    }
}

impl Peaks {
    /// Measures for about a second.
    pub fn measure(threads: usize, isa: Isa) -> Peaks {
        let peaks = ferrolite_kernels::Peaks::measure(&ThreadPool::new(threads), isa);
        let bandwidth =
            peaks.bandwidth.iter().map(|&(bytes, speed)| Bandwidth { bytes, gbytes_per_second: speed / 1e9 });
        Peaks {
            f32_gmacs_per_second: peaks.f32_macs / 1e9,
            i8_gmacs_per_second: peaks.i8_macs / 1e9,
            bandwidth: bandwidth.collect(),
        }
    }

    /// Billions of bytes in a second from the smallest measured range that holds so many bytes.
    pub fn bandwidth_of(&self, bytes: u64) -> f64 {
        let holds = self.bandwidth.iter().find(|range| range.bytes as u64 >= bytes);
        holds.or(self.bandwidth.last()).map_or(f64::INFINITY, |range| range.gbytes_per_second)
    }

    /// Least time of some work in microseconds: for its multiply-accumulates, and for its bytes.
    fn least_us(&self, work: &Work) -> (f64, f64) {
        let peak = if work.is_integer { self.i8_gmacs_per_second } else { self.f32_gmacs_per_second };
        (work.macs as f64 / (1e3 * peak), work.bytes as f64 / (1e3 * self.bandwidth_of(work.bytes)))
    }
}

impl Roofline {
    /// Steps that took some time together.
    pub fn new(peaks: &Peaks, steps: &[Work], time_us: f64) -> Roofline {
        let (mut compute, mut memory, mut computing) = (0.0, 0.0, 0.0);
        for (macs, bytes) in steps.iter().map(|work| peaks.least_us(work)) {
            *(if macs >= bytes { &mut compute } else { &mut memory }) += macs.max(bytes);
            computing += macs;
        }
        let (macs, bytes) = steps.iter().fold((0.0, 0.0), |(m, b), w| (m + w.macs as f64, b + w.bytes as f64));
        let per_us = |amount: f64| if time_us > 0.0 { amount / time_us } else { 0.0 };
        Roofline {
            gops_per_second: per_us(2.0 * macs) / 1e3,
            gbytes_per_second: per_us(bytes) / 1e3,
            intensity: if bytes > 0.0 { 2.0 * macs / bytes } else { 0.0 },
            share_of_peak: per_us(computing),
            bound: if compute >= memory { Bound::Compute } else { Bound::Memory },
            share: per_us(compute + memory),
        }
    }

    /// Measured steps together.
    pub fn of_steps<'a>(peaks: &Peaks, steps: impl IntoIterator<Item = &'a StepTime>) -> Roofline {
        let work = |step: &StepTime| Work { macs: step.macs, is_integer: step.is_integer, bytes: step.bytes };
        let (work, times): (Vec<Work>, Vec<f64>) = steps.into_iter().map(|step| (work(step), step.time_us)).unzip();
        Roofline::new(peaks, &work, times.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greater_of_both_times_bounds() {
        let range = |bytes, gbytes_per_second| Bandwidth { bytes, gbytes_per_second };
        let peaks = Peaks {
            f32_gmacs_per_second: 100.0,
            i8_gmacs_per_second: 400.0,
            bandwidth: vec![range(1_000, 200.0), range(1_000_000, 10.0)],
        };
        // 10 µs of multiply-accumulates, 0.005 µs of bytes.
        let busy = Work { macs: 1_000_000, is_integer: false, bytes: 1_000 };
        // Bytes of 20 µs, from memory.
        let wide = Work { macs: 100_000, is_integer: true, bytes: 200_000 };
        let one = Roofline::new(&peaks, &[busy], 20.0);
        assert_eq!((one.gops_per_second, one.intensity, one.bound), (100.0, 2000.0, Bound::Compute));
        assert_eq!((one.share, one.share_of_peak), (0.5, 0.5));
        let one = Roofline::new(&peaks, &[wide], 40.0);
        assert_eq!((one.gbytes_per_second, one.bound, one.share), (5.0, Bound::Memory, 0.5));
        let both = Roofline::new(&peaks, &[busy, wide], 60.0);
        assert_eq!((both.bound, both.share), (Bound::Memory, 0.5));
        assert_eq!(Roofline::new(&peaks, &[], 0.0).share, 0.0);
    }
}
