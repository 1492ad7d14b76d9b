//! Measuring how fast a model runs.

use crate::{Error, inputs};
use ferrolite_model::Model;
use ferrolite_runtime::{Interpreter, Options};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchOptions {
    /// Time spent on runs that are not counted, so that caches and clocks settle.
    pub warm_up: Duration,
    /// Time spent on counted runs, where `runs` is not given.
    pub time: Duration,
    /// Number of counted runs.
    pub runs: Option<usize>,
    /// Also measure each step; done apart, since it costs time itself.
    pub profile: bool,
    /// Seed of the random inputs.
    pub seed: u64,
}

impl Default for BenchOptions {
    fn default() -> Self {
        BenchOptions {
            warm_up: Duration::from_millis(300),
            time: Duration::from_secs(2),
            runs: None,
            profile: false,
            seed: 1,
        }
    }
}

/// What was measured. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Threads that shared the work.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Planning: shapes, packing of weights, placing of memory.
    pub plan_us: f64,
    /// The first run.
    pub first_us: f64,
    /// Counted runs.
    pub runs: usize,
    /// Statistics of the counted runs.
    pub latency_us: Statistics,
    /// Peak memory of computed tensors and scratch.
    pub arena_bytes: usize,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// Billions of multiply-accumulates in a second, at the median.
    pub gmacs_per_second: f64,
    /// Steps, most time first; empty when they were not asked for.
    pub steps: Vec<StepTime>,
}

/// Statistics of times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// The shortest.
    pub min: f64,
    /// Half are shorter.
    pub median: f64,
    /// Nine of ten are shorter.
    pub p90: f64,
    /// The longest.
    pub max: f64,
    /// The average.
    pub mean: f64,
}

/// Time of one step of the plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTime {
    /// Index of its first node.
    pub node: usize,
    /// Operator, several with `+` where they run as one.
    pub operator: String,
    /// Name of the kernel.
    pub kernel: String,
    /// Name of the tensor that it computes.
    pub output: String,
    /// Average time of one run.
    pub time_us: f64,
    /// Part of the time of all steps, 0..1.
    pub share: f64,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// Billions of multiply-accumulates in a second.
    pub gmacs_per_second: f64,
}

impl Statistics {
    /// Statistics of some times; all 0 without any.
    pub fn of(times: &[Duration]) -> Statistics {
        let mut us: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        us.sort_by(f64::total_cmp);
        let [min, .., max] = us[..] else {
            let only = us.first().copied().unwrap_or_default();
            return Statistics { min: only, median: only, p90: only, max: only, mean: only };
        };
        let at = |part: f64| us[((us.len() - 1) as f64 * part).round() as usize];
        let middle = us.len() / 2;
        let median = if us.len().is_multiple_of(2) { (us[middle - 1] + us[middle]) / 2.0 } else { us[middle] };
        Statistics { min, median, p90: at(0.9), max, mean: us.iter().sum::<f64>() / us.len() as f64 }
    }
}

fn giga_per_second(macs: u64, us: f64) -> f64 {
    if us > 0.0 { macs as f64 / us / 1e3 } else { 0.0 }
}

/// Measures a model on random inputs.
///
/// # Errors
/// When the model cannot be planned or run.
pub fn bench(model: impl Into<Arc<Model>>, options: Options, bench: &BenchOptions) -> Result<BenchReport, Error> {
    let isa = options.isa.name().to_owned();
    let start = Instant::now();
    let mut interpreter = Interpreter::with_options(model, options)?;
    let plan = start.elapsed();
    inputs::fill_random(&mut interpreter, bench.seed)?;
    let timed = |interpreter: &mut Interpreter| -> Result<Duration, Error> {
        let start = Instant::now();
        interpreter.invoke()?;
        Ok(start.elapsed())
    };
    let first = timed(&mut interpreter)?;
    let start = Instant::now();
    while start.elapsed() < bench.warm_up {
        timed(&mut interpreter)?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while bench.runs.map_or(times.is_empty() || start.elapsed() < bench.time, |runs| times.len() < runs.max(1)) {
        times.push(timed(&mut interpreter)?);
    }
    let latency = Statistics::of(&times);
    interpreter.set_profiling(true);
    // The profile also counts the multiply-accumulates, so one run of it is always made.
    let profiled = if bench.profile { times.len().clamp(1, 1000) } else { 1 };
    for _ in 0..profiled {
        timed(&mut interpreter)?;
    }
    let profile = interpreter.profile();
    let macs = profile.iter().map(|step| step.macs).sum();
    let total: f64 = profile.iter().map(|step| step.time.as_secs_f64()).sum();
    let mut steps: Vec<StepTime> = Vec::new();
    for step in profile.into_iter().filter(|_| bench.profile) {
        let time_us = step.time.as_secs_f64() * 1e6 / step.calls.max(1) as f64;
        steps.push(StepTime {
            node: step.node,
            operator: step.op,
            kernel: step.kernel,
            output: step.output,
            time_us,
            share: if total > 0.0 { step.time.as_secs_f64() / total } else { 0.0 },
            macs: step.macs,
            gmacs_per_second: giga_per_second(step.macs, time_us),
        });
    }
    steps.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
    Ok(BenchReport {
        threads: interpreter.threads(),
        isa,
        plan_us: plan.as_secs_f64() * 1e6,
        first_us: first.as_secs_f64() * 1e6,
        runs: times.len(),
        latency_us: latency,
        arena_bytes: interpreter.arena_bytes(),
        macs,
        gmacs_per_second: giga_per_second(macs, latency.median),
        steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_known_times() {
        let times: Vec<_> = (1..=10).rev().map(Duration::from_micros).collect();
        let s = Statistics::of(&times);
        assert_eq!((s.min, s.max), (1.0, 10.0));
        assert!((s.median - 5.5).abs() < 1e-9 && (s.p90 - 9.0).abs() < 1e-9 && (s.mean - 5.5).abs() < 1e-9);
        assert_eq!(Statistics::of(&[]), Statistics::default());
    }
}
