//! Measuring how fast a model runs.

use crate::roofline::{Peaks, Roofline, Work};
use crate::{Error, inputs};
use ferrolite_model::Model;
use ferrolite_runtime::{Interpreter, NodeProfile, Options};
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// Also measure what the machine can do at most, and compare each step with that; needs `profile`.
    pub roofline: bool,
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
            roofline: false,
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
    /// What the machine can do at most, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peaks: Option<Peaks>,
    /// All steps against what the machine can do at most, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
    /// Kinds of steps, most time first; empty when they were not asked for.
    pub operators: Vec<OperatorTime>,
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

/// Time of all steps of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorTime {
    /// Operator, several with `+` where they run as one.
    pub operator: String,
    /// Number of steps.
    pub count: usize,
    /// Average time of one run of all of them.
    pub time_us: f64,
    /// Part of the time of all steps, 0..1.
    pub share: f64,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// Billions of multiply-accumulates in a second.
    pub gmacs_per_second: f64,
    /// Against what the machine can do at most, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
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
    /// Bytes of what it reads and writes: inputs, constants, outputs.
    pub bytes: u64,
    /// Whether integers are multiplied.
    pub is_integer: bool,
    /// Against what the machine can do at most, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
}

impl StepTime {
    fn new(step: NodeProfile, total: f64, peaks: Option<&Peaks>) -> StepTime {
        let time_us = step.time.as_secs_f64() * 1e6 / step.calls.max(1) as f64;
        let work = Work::of(&step);
        StepTime {
            node: step.node,
            operator: step.op,
            kernel: step.kernel,
            output: step.output,
            time_us,
            share: if total > 0.0 { step.time.as_secs_f64() / total } else { 0.0 },
            macs: step.macs,
            gmacs_per_second: giga_per_second(step.macs, time_us),
            bytes: work.bytes,
            is_integer: step.is_integer,
            roofline: peaks.map(|peaks| Roofline::new(peaks, &[work], time_us)),
        }
    }
}

/// Sums the steps of every kind, most time first.
fn by_operator(steps: &[StepTime], peaks: Option<&Peaks>) -> Vec<OperatorTime> {
    let mut kinds: BTreeMap<&str, Vec<&StepTime>> = BTreeMap::new();
    for step in steps {
        kinds.entry(&step.operator).or_default().push(step);
    }
    let sum = |steps: &[&StepTime], of: fn(&StepTime) -> f64| steps.iter().map(|step| of(step)).sum::<f64>();
    let kinds = kinds.into_iter().map(|(operator, steps)| {
        let (time_us, macs) = (sum(&steps, |s| s.time_us), steps.iter().map(|s| s.macs).sum());
        OperatorTime {
            operator: operator.to_owned(),
            count: steps.len(),
            time_us,
            share: sum(&steps, |s| s.share),
            macs,
            gmacs_per_second: giga_per_second(macs, time_us),
            roofline: peaks.map(|peaks| Roofline::of_steps(peaks, steps.iter().copied())),
        }
    });
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
    kinds
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
    let isa = options.isa;
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
    let peaks = (bench.profile && bench.roofline).then(|| Peaks::measure(interpreter.threads(), isa));
    let steps = profile.into_iter().filter(|_| bench.profile);
    let mut steps: Vec<_> = steps.map(|step| StepTime::new(step, total, peaks.as_ref())).collect();
    steps.sort_by(|a, b| b.time_us.total_cmp(&a.time_us));
    Ok(BenchReport {
        threads: interpreter.threads(),
        isa: isa.name().to_owned(),
        plan_us: plan.as_secs_f64() * 1e6,
        first_us: first.as_secs_f64() * 1e6,
        runs: times.len(),
        latency_us: latency,
        arena_bytes: interpreter.arena_bytes(),
        macs,
        gmacs_per_second: giga_per_second(macs, latency.median),
        roofline: peaks.as_ref().map(|peaks| Roofline::of_steps(peaks, &steps)),
        operators: by_operator(&steps, peaks.as_ref()),
        peaks,
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
