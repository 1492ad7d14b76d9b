//! Calibration: the range of every activation over representative inputs.

use crate::histogram::Histogram;
use crate::{Method, QuantizeError, graph};
use ferrolite_model::{Model, Subgraph, TensorId, TensorType};
use ferrolite_ops::Catalog;
use ferrolite_runtime::{Interpreter, Options, TensorView};
use std::sync::Arc;

/// Ranges of the tensors of a model's main subgraph.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// By tensor.
    ranges: Vec<Option<(f32, f32)>>,
    /// Tensor names, by which a calibration is known to belong to a model.
    names: Vec<String>,
    samples: usize,
    method: Method,
    findings: Findings,
}

/// What a calibration tells about its samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The sample, counted from 1, that was the last to widen a tensor's observed values by more than a hundredth. Where
    /// it is among the last ones, more samples would widen ranges further.
    pub settled_after: usize,
    /// Tensors one of whose samples reaches more than [`Stretch::LEAST`] times as far as they do on average, worst first.
    pub stretched: Vec<Stretch>,
    /// Tensors with values that their range leaves out, as part of all (0..1), most first. Empty for [`Method::MinMax`].
    pub clipped: Vec<(String, f64)>,
}

/// A sample that stretches the observed values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Name of the tensor.
    pub tensor: String,
    /// Number of the sample, from 0.
    pub sample: usize,
    /// How much further it reaches than samples do on average.
    pub factor: f32,
}

impl Stretch {
    /// Factors below this are ordinary.
    pub const LEAST: f32 = 3.0;
}

/// What was seen of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) min: f32,
    pub(crate) max: f32,
    /// Averages of the samples' ends.
    pub(crate) average: (f32, f32),
    pub(crate) histogram: Option<Histogram>,
    /// Samples, the sum of what they reach, and the one that reaches furthest.
    samples: usize,
    reached: f64,
    furthest: (f32, usize),
    /// The sample that widened it last, from 1.
    widened: usize,
}

impl Calibration {
    /// No ranges yet, for ranges that are known otherwise: see [`Self::set_range`].
    pub fn empty(model: &Model) -> Calibration {
        let tensors = model.subgraphs.first().map_or(&[][..], |graph| &graph.tensors);
        let names = tensors.iter().map(|tensor| tensor.name().to_owned()).collect::<Vec<_>>();
        Calibration {
            ranges: vec![None; names.len()],
            names,
            samples: 0,
            method: Method::MinMax,
            findings: Findings::default(),
        }
    }

    /// Smallest and largest value of a tensor, if it was computed.
    pub fn range(&self, tensor: TensorId) -> Option<(f32, f32)> {
        self.ranges.get(tensor).copied().flatten()
    }

    /// Sets a range: a known one (0..1 for normalized pictures), or a narrower one that leaves outliers to saturate.
    ///
    /// # Errors
    /// When there is no such tensor or the range is not finite and ordered.
    pub fn set_range(&mut self, tensor: TensorId, min: f32, max: f32) -> Result<(), QuantizeError> {
        let Some(slot) = self.ranges.get_mut(tensor) else {
            return Err(QuantizeError::OtherModel(format!("it has no tensor {tensor}")));
        };
        if !(min.is_finite() && max.is_finite() && min <= max) {
            let (name, what) = (self.names[tensor].clone(), format!("cannot have the range {min}..{max}"));
            return Err(QuantizeError::NotFinite { tensor, name, what });
        }
        *slot = Some((min, max));
        Ok(())
    }

    /// Number of inputs that the ranges are taken from.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// How the ranges were found.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What there is to tell about the samples.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Checks that this is a calibration of `graph`.
    pub(crate) fn check(&self, graph: &Subgraph) -> Result<(), QuantizeError> {
        let (ours, theirs) = (self.names.len(), graph.tensors.len());
        if ours != theirs {
            return Err(QuantizeError::OtherModel(format!("it has {ours} tensors, the model {theirs}")));
        }
        match self.names.iter().zip(&graph.tensors).position(|(name, tensor)| name != tensor.name()) {
            None => Ok(()),
            Some(i) => {
                let (ours, theirs) = (&self.names[i], graph.tensors[i].name());
                Err(QuantizeError::OtherModel(format!("its tensor {i} is {ours:?}, the model's {theirs:?}")))
            }
        }
    }
}

/// Runs a model on representative inputs and keeps the range of every float tensor, or the histogram of its values where
/// the [`Method`] asks for one: memory does not grow with the number of inputs.
///
/// ```no_run
/// # use ferrolite_model::Model;
/// # use ferrolite_quantize::{Calibrator, Mode, Options, quantize};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pictures: Vec<Vec<f32>> = Vec::new();
/// let model = std::sync::Arc::new(Model::from_file("model.tflite")?);
/// let mut calibrator = Calibrator::new(model.clone())?;
/// for picture in &pictures {
///     calibrator.feed_f32(&[picture])?;
/// }
/// let int8 = quantize(&model, &Options::new(Mode::Int8), Some(&calibrator.finish()))?;
/// # Ok(())
/// # }
/// ```
pub struct Calibrator {
    interpreter: Interpreter,
    catalog: Catalog,
    /// By tensor.
    observed: Vec<Option<Observed>>,
    calibration: Calibration,
}

impl Calibrator {
    /// Prepares to run a model on one thread.
    pub fn new(model: impl Into<Arc<Model>>) -> Result<Calibrator, QuantizeError> {
        Calibrator::with_options(model, Options::default())
    }

    /// Prepares to run a model: with more threads, custom operators, other limits.
    pub fn with_options(model: impl Into<Arc<Model>>, mut options: Options) -> Result<Calibrator, QuantizeError> {
        // What is inside of a fused step could not be observed.
        options.delegates.retain(|delegate| delegate.name() != "fused");
        let catalog = options.catalog.clone();
        let options = Options { cache_bytes: usize::MAX, ..options };
        let model = model.into();
        if let Some(why) = graph::without_floats(&model) {
            return Err(QuantizeError::Nothing(why));
        }
        let interpreter = Interpreter::with_options(model, options)?;
        let calibration = Calibration::empty(interpreter.model());
        let observed = vec![None; calibration.names.len()];
        Ok(Calibrator { interpreter, catalog, observed, calibration })
    }

    /// Finds ranges by this method; for the samples that follow.
    pub fn method(mut self, method: Method) -> Calibrator {
        self.calibration.method = method;
        self
    }

    /// Changes the shape of input `i` for the inputs that follow, to feed batches for example.
    pub fn resize_input(&mut self, i: usize, shape: &[usize]) -> Result<(), QuantizeError> {
        Ok(self.interpreter.resize_input(i, shape)?)
    }

    /// Runs one sample: the bytes of every input, in the model's order.
    pub fn feed<B: AsRef<[u8]>>(&mut self, inputs: &[B]) -> Result<(), QuantizeError> {
        self.expect(inputs.len())?;
        for (i, data) in inputs.iter().enumerate() {
            self.interpreter.set_input_bytes(i, data.as_ref())?;
        }
        self.observe()
    }

    /// Runs one sample of a model whose inputs are all float32.
    pub fn feed_f32(&mut self, inputs: &[&[f32]]) -> Result<(), QuantizeError> {
        self.expect(inputs.len())?;
        for (i, data) in inputs.iter().enumerate() {
            self.interpreter.set_input(i, data)?;
        }
        self.observe()
    }

    fn expect(&self, given: usize) -> Result<(), QuantizeError> {
        let wanted = self.interpreter.inputs().len();
        if wanted == given {
            return Ok(());
        }
        let message = format!("the model takes {wanted} inputs, a sample has {given}");
        Err(ferrolite_runtime::RuntimeError::Usage(message).into())
    }

    fn observe(&mut self) -> Result<(), QuantizeError> {
        let (observed, sample, method) = (&mut self.observed, self.calibration.samples, self.calibration.method);
        let mut failure = None;
        self.interpreter.invoke_observed(&mut |tensor| {
            if failure.is_none() && tensor.ty == TensorType::Float32 {
                failure = see(&mut observed[tensor.id], &tensor, sample, method).err();
            }
        })?;
        self.calibration.samples += 1;
        failure.map_or(Ok(()), Err)
    }

    /// Number of samples so far.
    pub fn samples(&self) -> usize {
        self.calibration.samples
    }

    /// The ranges.
    pub fn finish(mut self) -> Calibration {
        if self.calibration.samples > 0 {
            self.find_ranges();
            self.complete();
        }
        self.calibration
    }

    fn find_ranges(&mut self) {
        let Calibration { ranges, names, method, findings, .. } = &mut self.calibration;
        for ((observed, range), name) in self.observed.iter().zip(ranges).zip(names) {
            let Some(observed) = observed else { continue };
            let (low, high) = method.range(observed);
            *range = Some((low, high));
            findings.settled_after = findings.settled_after.max(observed.widened);
            let factor = observed.furthest.0 / (observed.reached / observed.samples as f64) as f32;
            if factor > Stretch::LEAST {
                findings.stretched.push(Stretch { tensor: name.clone(), sample: observed.furthest.1, factor });
            }
            let outside = observed.histogram.as_ref().map_or(0.0, |h| h.outside(low.into(), high.into()));
            if outside > 0.0 {
                findings.clipped.push((name.clone(), outside));
            }
        }
        findings.stretched.sort_by(|a, b| b.factor.total_cmp(&a.factor));
        findings.clipped.sort_by(|a, b| b.1.total_cmp(&a.1));
    }

    /// Adds what an invocation does not show: results that were computed once from constants, and views of other tensors.
    fn complete(&mut self) {
        let model = Arc::clone(self.interpreter.model());
        let graph = &model.subgraphs[self.interpreter.subgraph()];
        let mut is_constant: Vec<bool> = graph.tensors.iter().map(|t| model.constant(t).is_some()).collect();
        for node in &graph.nodes {
            let inputs_constant = node.inputs.iter().flatten().all(|&id| is_constant[id]);
            let is_view = self.catalog.find(model.operator(node)).is_some_and(|op| op.is_view());
            for &id in &node.outputs {
                is_constant[id] |= inputs_constant;
                let range = &mut self.calibration.ranges[id];
                if range.is_some() || graph.tensors[id].ty != TensorType::Float32 {
                    continue;
                }
                if let (true, Some(tensor)) = (inputs_constant, self.interpreter.tensor(id)) {
                    // What is not finite stays without a range, which is an error where it is needed.
                    *range = tensor.slice::<f32>().ok().and_then(min_max);
                } else if let (true, Some(Some(source))) = (is_view, node.inputs.first()) {
                    self.calibration.ranges[id] = self.calibration.ranges[*source];
                }
            }
        }
    }
}

/// Takes the values of a tensor in.
fn see(
    observed: &mut Option<Observed>,
    tensor: &TensorView<'_>,
    sample: usize,
    method: Method,
) -> Result<(), QuantizeError> {
    let values = tensor.slice::<f32>()?;
    if values.is_empty() {
        return Ok(());
    }
    let Some((low, high)) = min_max(values) else {
        let bad = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
        let what = format!("is {} at element {bad} for calibration sample {sample}", values[bad]);
        return Err(QuantizeError::NotFinite { tensor: tensor.id, name: tensor.name.to_owned(), what });
    };
    let reach = high.max(-low);
    match observed {
        Some(seen) => {
            let growth = (seen.min - low).max(high - seen.max);
            if growth > 0.01 * (seen.max.max(0.0) - seen.min.min(0.0)) {
                seen.widened = sample + 1;
            }
            (seen.min, seen.max) = (seen.min.min(low), seen.max.max(high));
            seen.average_with(low, high);
            seen.samples += 1;
            seen.reached += f64::from(reach);
            if reach > seen.furthest.0 {
                seen.furthest = (reach, sample);
            }
        }
        None => {
            *observed = Some(Observed {
                min: low,
                max: high,
                average: (low, high),
                histogram: method.needs_histogram().then(Histogram::new),
                samples: 1,
                reached: reach.into(),
                furthest: (reach, sample),
                widened: sample + 1,
            });
        }
    }
    if let Some(histogram) = observed.as_mut().and_then(|seen| seen.histogram.as_mut()) {
        histogram.add(values, reach);
    }
    Ok(())
}

/// Smallest and largest of some values, `None` when any is not finite.
pub(crate) fn min_max(values: &[f32]) -> Option<(f32, f32)> {
    const LANES: usize = 16;
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    // NaN where any value is infinite or NaN, else 0.
    let mut poison = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    let mut visit = |chunk: &[f32]| {
        for (i, &v) in chunk.iter().enumerate() {
            low[i] = low[i].min(v);
            high[i] = high[i].max(v);
            poison[i] += v * 0.0;
        }
    };
    chunks.for_each(&mut visit);
    visit(rest);
    let low = low.into_iter().fold(f32::INFINITY, f32::min);
    let high = high.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (poison.iter().sum::<f32>() == 0.0 && low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_max_of_any_length() {
        let values: Vec<f32> = (0..100).map(|i| ((i * 37) % 100) as f32 - 50.0).collect();
        for n in [1, 15, 16, 17, 100] {
            let low = values[..n].iter().copied().fold(f32::INFINITY, f32::min);
            let high = values[..n].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(min_max(&values[..n]), Some((low, high)));
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 20, 99] {
                let mut values = values.clone();
                values[at] = bad;
                assert_eq!(min_max(&values), None);
            }
        }
        assert_eq!(min_max(&[]), None);
    }
}
