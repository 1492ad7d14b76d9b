//! The debugger: what a quantized model's tensors are off by, and what each layer's part in it is.

use crate::calibrate::min_max;
use crate::graph::Graph;
use crate::histogram::Histogram;
use crate::{Calibration, Mode, Options, Params, QuantizeError, Rule, Scheme, quantize};
use ferrolite_model::{BuiltinOperator, Model, Node, TensorId, TensorType};
use ferrolite_ops::tensor::copy_elements;
use ferrolite_runtime::{Interpreter, RuntimeError, TensorView};
use std::collections::HashMap;
use std::sync::Arc;

/// Bars of a [`TensorError::histograms`].
pub const BARS: usize = 48;

/// How far values are from those that they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorSums {
    /// Values compared.
    pub count: u64,
    signal: f64,
    noise: f64,
    other: f64,
    product: f64,
    sum: f64,
    /// Greatest difference.
    pub max: f64,
}

impl ErrorSums {
    fn add(&mut self, wanted: &[f32], given: &[f32]) {
        self.count += wanted.len() as u64;
        for (&a, &b) in wanted.iter().zip(given) {
            let (a, b) = (f64::from(a), f64::from(b));
            let error = b - a;
            self.signal += a * a;
            self.noise += error * error;
            self.other += b * b;
            self.product += a * b;
            self.sum += error;
            self.max = self.max.max(error.abs());
        }
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.noise / (self.count as f64).max(1.0)
    }

    /// Mean error: what all values are off by alike.
    pub fn bias(&self) -> f64 {
        self.sum / (self.count as f64).max(1.0)
    }

    /// Power of the values over that of the error, in dB: infinite where there is no error.
    pub fn snr(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// Cosine of the angle between the two, as vectors.
    pub fn cosine(&self) -> f64 {
        let lengths = (self.signal * self.other).sqrt();
        if lengths == 0.0 { 1.0 } else { self.product / lengths }
    }
}

/// A tensor of both models.
#[derive(Clone, Debug)]
pub struct TensorError {
    /// Its name in the first model.
    pub name: String,
    /// The node that computes it there, `None` for an input of the model.
    pub node: Option<usize>,
    /// That node's operator.
    pub operator: String,
    /// Its type in the second model.
    pub ty: TensorType,
    /// Whether it is an output of the model.
    pub is_output: bool,
    /// The differences.
    pub error: ErrorSums,
    /// The part of the first model's values (0..1) that the second's scale cannot represent.
    pub clipped: f64,
    /// Range of both models' values, and how many of each there are in its [`BARS`] parts.
    pub histograms: ((f64, f64), [Vec<u64>; 2]),
}

/// A layer that is quantized as in the second model, all others being left in float.
#[derive(Clone, Debug)]
pub struct LayerCost {
    /// The node in the first model.
    pub node: usize,
    /// Its operator.
    pub operator: String,
    /// Its first output.
    pub name: String,
    /// How the second model computes it.
    pub scheme: Scheme,
    /// What the model's outputs are off by.
    pub error: ErrorSums,
}

/// Runs two models on the same inputs. Tensors are matched by name, outputs by position.
pub struct Comparer {
    models: [Arc<Model>; 2],
    interpreters: [Interpreter; 2],
    pairs: Vec<Pair>,
    /// Float outputs of each sample, for layers.
    samples: Vec<(Vec<Vec<u8>>, Vec<Vec<f32>>)>,
    kept: usize,
}

struct Pair {
    ids: [TensorId; 2],
    is_output: bool,
    error: ErrorSums,
    clipped: u64,
    seen: [Histogram; 2],
    range: (f32, f32),
}

impl Comparer {
    /// Prepares to compare the model `given` with the model `wanted`.
    ///
    /// # Errors
    /// When a model cannot be planned, or their outputs are not alike.
    pub fn new(wanted: impl Into<Arc<Model>>, given: impl Into<Arc<Model>>) -> Result<Comparer, QuantizeError> {
        let models = [wanted.into(), given.into()];
        let [a, b] = [open(&models[0])?, open(&models[1])?];
        let differ = |what, a: usize, b: usize| {
            QuantizeError::OtherModel(format!("the first model has {a} {what}, the second {b}"))
        };
        if a.inputs().len() != b.inputs().len() {
            return Err(differ("inputs", a.inputs().len(), b.inputs().len()));
        }
        if a.outputs().len() != b.outputs().len() {
            return Err(differ("outputs", a.outputs().len(), b.outputs().len()));
        }
        let pairs = pairs(&a, &b);
        Ok(Comparer { models, interpreters: [a, b], pairs, samples: Vec::new(), kept: 0 })
    }

    /// Also keeps the first `count` samples, to run [`Self::layers`] on.
    pub fn keep(mut self, count: usize) -> Comparer {
        self.kept = count;
        self
    }

    /// Runs both models on a sample: the bytes of every input of the first, in its order.
    ///
    /// # Errors
    /// When it does not fit, or a model fails.
    pub fn feed(&mut self, inputs: &[Vec<u8>]) -> Result<(), QuantizeError> {
        let [a, b] = &mut self.interpreters;
        set_inputs(a, None, inputs)?;
        let mut values: HashMap<TensorId, Vec<f32>> = HashMap::new();
        let watched: HashMap<TensorId, ()> = self.pairs.iter().map(|pair| (pair.ids[0], ())).collect();
        a.invoke_observed(&mut |tensor| {
            if watched.contains_key(&tensor.id)
                && let Some(real) = real(&tensor)
            {
                values.insert(tensor.id, real);
            }
        })?;
        set_inputs(b, Some(a), inputs)?;
        let mut by_given: HashMap<TensorId, Vec<&mut Pair>> = HashMap::new();
        self.pairs.iter_mut().for_each(|pair| by_given.entry(pair.ids[1]).or_default().push(pair));
        b.invoke_observed(&mut |tensor| {
            for pair in by_given.get_mut(&tensor.id).into_iter().flatten() {
                if let (Some(wanted), Some(given)) = (values.get(&pair.ids[0]), real(&tensor)) {
                    pair.add(wanted, &given, &tensor);
                }
            }
        })?;
        if self.samples.len() < self.kept {
            let outputs = real_outputs(&self.interpreters[0]);
            self.samples.push((inputs.to_vec(), outputs));
        }
        Ok(())
    }

    /// The tensors, in the order in which the first model computes them.
    pub fn tensors(&self) -> Vec<TensorError> {
        let model = &self.models[0];
        let graph = &model.subgraphs[self.interpreters[0].subgraph()];
        let found = self.pairs.iter().filter(|pair| pair.error.count > 0).map(|pair| {
            let id = pair.ids[0];
            let node = graph.nodes.iter().position(|node| node.outputs.contains(&id));
            let (low, high) = (f64::from(pair.range.0), f64::from(pair.range.1));
            TensorError {
                name: graph.tensors[id].name().to_owned(),
                node,
                operator: node.map_or_else(String::new, |i| model.operator(&graph.nodes[i]).name().to_owned()),
                ty: self.models[1].subgraphs[self.interpreters[1].subgraph()].tensors[pair.ids[1]].ty,
                is_output: pair.is_output,
                error: pair.error,
                clipped: pair.clipped as f64 / pair.error.count as f64,
                histograms: ((low, high), [0, 1].map(|i| pair.seen[i].bars(low, high, BARS))),
            }
        });
        let mut found: Vec<TensorError> = found.collect();
        found.sort_by_key(|tensor| tensor.node.map_or(0, |node| node + 1));
        found
    }

    /// What it costs to quantize each layer alone, as the second model has it, on the samples that were kept; most costly
    /// first. Layers that only move values cost nothing alone and are left out. `progress` hears how many of how many are
    /// done.
    ///
    /// # Errors
    /// When a model fails.
    pub fn layers(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<LayerCost>, QuantizeError> {
        let [model, given] = &self.models;
        let (graph, other) = (&model.subgraphs[0], Graph::new(given, &given.subgraphs[0]));
        let mut calibration = Calibration::empty(model);
        let partner: HashMap<TensorId, TensorId> = partners(model, given).into_iter().collect();
        for (&id, &partner) in &partner {
            // What stays float may be read as integers all the same.
            let quantized =
                || other.graph.nodes.iter().find_map(|node| other.quantized_by(node).filter(|q| q.0 == partner));
            let params = other.params(partner).or_else(|| quantized().map(|(_, _, params)| params));
            if let Some((low, high)) = params.map(|params| params.range()) {
                calibration.set_range(id, low, high)?;
            }
        }
        let mut costs = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            progress(index + 1, graph.nodes.len());
            let Some(&id) = node.outputs.first() else { continue };
            let Some((scheme, bits)) = partner.get(&id).and_then(|&id| scheme_of(&other, id)) else { continue };
            let name = graph.tensors[id].name();
            let rule = Rule { weight_bits: Some(bits), ..Rule::of_tensor(name, scheme) };
            let options = Options { rules: vec![rule], min_weight_elements: 0, ..Options::new(Mode::Float) };
            let alone = match quantize(model, &options, Some(&calibration)) {
                Ok(alone) => alone,
                Err(QuantizeError::Nothing(_) | QuantizeError::NoRange { .. }) => continue,
                Err(error) => return Err(error),
            };
            let mut interpreter = Interpreter::new(alone)?;
            let mut error = ErrorSums::default();
            for (inputs, wanted) in &self.samples {
                set_inputs(&mut interpreter, None, inputs)?;
                interpreter.invoke()?;
                for (wanted, given) in wanted.iter().zip(real_outputs(&interpreter)) {
                    error.add(wanted, &given);
                }
            }
            let (operator, name) = (model.operator(node).name().to_owned(), name.to_owned());
            costs.push(LayerCost { node: index, operator, name, scheme, error });
        }
        costs.sort_by(|a, b| b.error.mse().total_cmp(&a.error.mse()));
        Ok(costs)
    }
}

impl Pair {
    fn add(&mut self, wanted: &[f32], given: &[f32], tensor: &TensorView<'_>) {
        let (Some(a), Some(b)) = (min_max(wanted), min_max(given)) else { return };
        if wanted.len() != given.len() {
            return;
        }
        self.range = (self.range.0.min(a.0).min(b.0), self.range.1.max(a.1).max(b.1));
        self.error.add(wanted, given);
        self.seen[0].add(wanted, a.1.max(-a.0));
        self.seen[1].add(given, b.1.max(-b.0));
        if let Some(params) = params(tensor) {
            let (low, high) = params.range();
            let (low, high) = (low - params.scale / 2.0, high + params.scale / 2.0);
            self.clipped += wanted.iter().filter(|v| **v < low || **v > high).count() as u64;
        }
    }
}

fn open(model: &Arc<Model>) -> Result<Interpreter, RuntimeError> {
    let mut options = ferrolite_runtime::Options { cache_bytes: usize::MAX, ..Default::default() };
    // What is inside of a fused step could not be observed.
    options.delegates.retain(|delegate| delegate.name() != "fused");
    Interpreter::with_options(Arc::clone(model), options)
}

/// Tensors of the same name. What the quantizer computed in integers for an output has the name with `/computed`.
fn partners(a: &Model, b: &Model) -> Vec<(TensorId, TensorId)> {
    let named = |model: &Model| {
        let mut ids: HashMap<String, Option<TensorId>> = HashMap::new();
        for (id, tensor) in model.subgraphs[0].tensors.iter().enumerate() {
            let is_constant = model.constant(tensor).is_some();
            if !is_constant && !tensor.name().is_empty() {
                // A name that several have tells nothing.
                ids.entry(tensor.name().to_owned()).and_modify(|id| *id = None).or_insert(Some(id));
            }
        }
        ids
    };
    let (ours, theirs) = (named(a), named(b));
    let find = |name: &str| theirs.get(name).copied().flatten();
    let partner = |(name, id): (&String, &Option<TensorId>)| {
        let partner = find(&format!("{name}/computed")).or_else(|| find(name))?;
        Some(((*id)?, partner))
    };
    ours.iter().filter_map(partner).collect()
}

fn pairs(a: &Interpreter, b: &Interpreter) -> Vec<Pair> {
    let outputs = a.outputs().iter().copied().zip(b.outputs().iter().copied());
    let mut all: HashMap<TensorId, TensorId> = outputs.collect();
    all.extend(partners(a.model(), b.model()));
    let pair = |(wanted, given)| Pair {
        ids: [wanted, given],
        is_output: a.outputs().contains(&wanted),
        error: ErrorSums::default(),
        clipped: 0,
        seen: [Histogram::new(), Histogram::new()],
        range: (0.0, 0.0),
    };
    let mut pairs: Vec<Pair> = all.into_iter().map(pair).collect();
    pairs.sort_by_key(|pair| pair.ids);
    pairs
}

/// How a model computes a tensor, and the bits of the weights; `None` where that is as a float model does.
fn scheme_of(graph: &Graph<'_>, id: TensorId) -> Option<(Scheme, u8)> {
    let node = graph.graph.nodes.iter().find(|node| node.outputs.contains(&id))?;
    let types = constant_types(graph, node);
    let has = |ty| types.iter().any(|(found, _)| *found == ty);
    let bits = if has(TensorType::Int4) { 4 } else { 8 };
    let is_integer = has(TensorType::Int8) || has(TensorType::Int4);
    let scheme = match graph.graph.tensors[id].ty {
        _ if matches!(graph.builtin(node), BuiltinOperator::QUANTIZE | BuiltinOperator::DEQUANTIZE) => return None,
        TensorType::Int8 | TensorType::UInt8 => Scheme::Int8,
        TensorType::Int16 => Scheme::Int16x8,
        TensorType::Float32 if has(TensorType::Float16) => Scheme::Float16,
        TensorType::Float32 if is_integer && types.iter().any(|(_, widened)| *widened) => Scheme::WeightOnly,
        TensorType::Float32 if is_integer => Scheme::DynamicRange,
        _ => return None,
    };
    Some((scheme, bits))
}

/// Types in which a node's quantized constants are stored, and whether a DEQUANTIZE widens them.
fn constant_types(graph: &Graph<'_>, node: &Node) -> Vec<(TensorType, bool)> {
    let stored = |&id: &TensorId| {
        let (source, widened) = graph.dequantized(id).map_or((id, false), |source| (source, true));
        let tensor = &graph.graph.tensors[source];
        graph.model.constant(tensor).map(|_| (tensor.ty, widened))
    };
    node.inputs.iter().flatten().filter_map(stored).collect()
}

fn params(tensor: &TensorView<'_>) -> Option<Params> {
    let (scale, zero_point) = tensor.quantization?.as_per_tensor()?;
    Some(Params { ty: tensor.ty, scale, zero_point })
}

/// A tensor's values as real numbers.
fn real(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let widen = |quantized: Vec<i64>| {
        let params = params(tensor)?;
        Some(quantized.iter().map(|q| params.scale * (q - params.zero_point) as f32).collect())
    };
    match tensor.ty {
        TensorType::Float32 => Some(copy_elements::<f32>(tensor.bytes)),
        TensorType::Int8 => widen(tensor.bytes.iter().map(|&b| i64::from(b as i8)).collect()),
        TensorType::UInt8 => widen(tensor.bytes.iter().map(|&b| i64::from(b)).collect()),
        TensorType::Int16 => widen(copy_elements::<i16>(tensor.bytes).into_iter().map(i64::from).collect()),
        _ => None,
    }
}

fn real_outputs(interpreter: &Interpreter) -> Vec<Vec<f32>> {
    let output = |i| interpreter.output_tensor(i).and_then(|tensor| real(&tensor)).unwrap_or_default();
    (0..interpreter.outputs().len()).map(output).collect()
}

/// Sets inputs given in the types of `source`, quantized where this model's are.
fn set_inputs(
    interpreter: &mut Interpreter,
    source: Option<&Interpreter>,
    inputs: &[Vec<u8>],
) -> Result<(), QuantizeError> {
    for (i, bytes) in inputs.iter().enumerate() {
        let tensor = interpreter.input_tensor(i);
        let from = source.and_then(|source| source.input_tensor(i));
        let converted = match (tensor, from) {
            (Some(to), Some(from)) if to.ty != from.ty => {
                let values = real(&TensorView { bytes, ..from });
                let convert = || match to.ty {
                    TensorType::Float32 => Some(values?.iter().flat_map(|v| v.to_le_bytes()).collect()),
                    _ => Some(params(&to)?.quantize_all(&values?)),
                };
                Some(convert().ok_or_else(|| {
                    let what = format!("input {i} is {} in the first model, {} in the second", from.ty, to.ty);
                    QuantizeError::OtherModel(what)
                })?)
            }
            _ => None,
        };
        interpreter.set_input_bytes(i, converted.as_deref().unwrap_or(bytes))?;
    }
    Ok(())
}
