//! The integer modes: int8 or int16 activations.

use super::groups::Groups;
use super::{AS_ASKED, check_weights, weight_axis, weight_type};
use crate::graph::Graph;
use crate::params::{Params, fit_bias, weight_scales};
use crate::plan::{Decision, Form, GraphPlan, NodePlan, Weights};
use crate::{Calibration, Mode, Options, QuantizeError, Scheme};
use ferrolite_model::{Node, TensorId, TensorType};
use ferrolite_ops::Catalog;
use ferrolite_ops::quantize::{OutputRule, QuantRule};
use std::collections::{HashMap, HashSet};

/// Biases are kept within half of what an accumulator holds (int32, and the 47 bits that int16 requantization takes).
const BIAS_LIMIT: (f64, f64) = ((1u64 << 30) as f64, (1u64 << 46) as f64);

/// Magnitudes from here on stand for infinity (masks of attention and pooling): a range that held one would leave a single
/// step for all other values, and LiteRT ends the process on some of the multipliers.
const INFINITE: f32 = 1e8;

/// What a node is to this pass.
enum Class {
    /// Computes in integers by this rule, with activations of this type.
    Integer(QuantRule, TensorType),
    /// Stays in float.
    Float(String),
    /// Has nothing to do with floats.
    Untouched,
}

/// A tensor as activations of one type: nodes of both types may read it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Slot(usize);

impl Slot {
    fn new(id: TensorId, ty: TensorType) -> Slot {
        Slot(2 * id + usize::from(ty == TensorType::Int16))
    }

    fn both(id: TensorId) -> [Slot; 2] {
        [Slot::new(id, TensorType::Int8), Slot::new(id, TensorType::Int16)]
    }

    fn tensor(self) -> TensorId {
        self.0 / 2
    }

    fn ty(self) -> TensorType {
        if self.0 % 2 == 1 { TensorType::Int16 } else { TensorType::Int8 }
    }
}

struct Decider<'a> {
    graph: &'a Graph<'a>,
    schemes: &'a [(Scheme, TensorType)],
    options: &'a Options,
    calibration: &'a Calibration,
    classes: Vec<Class>,
    /// Of slots.
    groups: Groups,
    /// Slots whose parameters are prescribed: by their operator, or by integers that are there already.
    fixed: HashMap<Slot, Params>,
    /// Range of each group's calibrated tensors and constants, by representative; prescribed ones left out.
    ranges: HashMap<usize, (f32, f32)>,
    /// Prescribed slots of each group, by representative.
    fixed_in: HashMap<usize, Vec<Slot>>,
}

pub(super) fn decide(
    graph: &Graph<'_>,
    schemes: &[(Scheme, TensorType)],
    options: &Options,
    calibration: &Calibration,
    catalog: &Catalog,
) -> Result<GraphPlan, QuantizeError> {
    let classes = graph.graph.nodes.iter().zip(schemes).map(|(node, scheme)| classify(graph, node, scheme.0, catalog));
    let classes = classes.collect();
    let groups = Groups::new(2 * graph.graph.tensors.len());
    let (fixed, ranges, fixed_in) = Default::default();
    let mut decider = Decider { graph, schemes, options, calibration, classes, groups, fixed, ranges, fixed_in };
    decider.leave_infinities();
    if !decider.classes.iter().any(|class| matches!(class, Class::Integer(..))) {
        // Nothing asks for ranges.
        let nodes = decider.nodes().map(|(index, node)| decider.plan_kept(index, node)).collect();
        let (tensors, outputs) = (graph.graph.tensors.len(), graph.graph.outputs.len());
        return Ok(GraphPlan { nodes, homes: vec![None; tensors], outputs: vec![Form::AsIs; outputs] });
    }
    if options.mode != Mode::Int8Only {
        decider.leave_lonely_nodes();
    }
    decider.group()?;
    decider.plan()
}

/// What becomes of a node, seen on its own.
fn classify(graph: &Graph<'_>, node: &Node, scheme: Scheme, catalog: &Catalog) -> Class {
    if !graph.computes_with_floats(node) {
        return Class::Untouched;
    }
    let Some(ty) = scheme.activation_type() else { return Class::Float(AS_ASKED.into()) };
    let Some(op) = catalog.find(graph.model.operator(node)) else {
        return Class::Float("the operator is not known".into());
    };
    let has_kernel = |rule: &QuantRule| if ty == TensorType::Int16 { rule.int16 } else { rule.int8 };
    let Some(rule) = op.quantize().filter(has_kernel) else {
        return Class::Float(format!("the operator has no {ty} kernel"));
    };
    match check(graph, node, &rule) {
        Ok(()) => Class::Integer(rule, ty),
        Err(why) => Class::Float(why),
    }
}

/// Checks that a rule fits a node; says why not.
fn check(graph: &Graph<'_>, node: &Node, rule: &QuantRule) -> Result<(), String> {
    check_weights(graph, node, rule)?;
    let activations = activations(graph, node, rule);
    if activations.is_empty() {
        return Err("it has no float activations".into());
    }
    for (i, id) in node.inputs.iter().enumerate() {
        let Some(id) = *id else { continue };
        let tensor = &graph.graph.tensors[id];
        let is_weights = rule.weights.is_some_and(|weights| weights.input == i);
        if tensor.is_variable {
            return Err(format!("it keeps a state, {:?}, between invocations", tensor.name()));
        }
        if activations.contains(&i) {
            if !graph.is_float(id) {
                return Err(format!("input {i} ({:?}) is {}, not float32", tensor.name(), tensor.ty));
            }
        } else if rule.bias == Some(i) {
            if !graph.is_float_constant(id) {
                return Err(format!("its bias {:?} is not a float constant", tensor.name()));
            }
            let channels = rule.weights.and_then(|w| graph.channels(node.inputs[w.input]?, Some(w.axis)));
            if channels.is_none_or(|channels| tensor.elements() != Some(channels.count)) {
                return Err(format!("its bias {:?} does not fit its weights", tensor.name()));
            }
        } else if graph.is_float(id) && !is_weights {
            return Err(format!(
                "input {i} ({:?}) is float32, and the operator's rule does not cover it",
                tensor.name()
            ));
        }
    }
    Ok(())
}

/// Inputs of a node that are activations and there.
fn activations(graph: &Graph<'_>, node: &Node, rule: &QuantRule) -> Vec<usize> {
    let there = |i: usize| node.inputs.get(i).copied().flatten();
    match rule.activations {
        Some(listed) => listed.iter().copied().filter(|&i| there(i).is_some()).collect(),
        None => (0..node.inputs.len()).filter(|&i| there(i).is_some_and(|id| graph.is_float(id))).collect(),
    }
}

/// Whether activations may have these parameters.
fn suits(params: Params) -> bool {
    match params.ty {
        TensorType::Int16 => params.zero_point == 0,
        ty => ty == TensorType::Int8,
    }
}

impl<'a> Decider<'a> {
    fn nodes(&self) -> impl Iterator<Item = (usize, &'a Node)> + use<'a> {
        self.graph.graph.nodes.iter().enumerate()
    }

    /// The rule, the activations' type and the activation inputs of a node that computes in integers.
    fn rule(&self, index: usize, node: &Node) -> Option<(QuantRule, TensorType, Vec<usize>)> {
        match &self.classes[index] {
            Class::Integer(rule, ty) => Some((*rule, *ty, activations(self.graph, node, rule))),
            _ => None,
        }
    }

    fn float_outputs(&self, node: &'a Node) -> impl Iterator<Item = TensorId> + use<'a> {
        let tensors = &self.graph.graph.tensors;
        node.outputs.iter().copied().filter(|&id| tensors[id].ty == TensorType::Float32)
    }

    /// Leaves nodes in float that read or compute values which stand for infinity.
    fn leave_infinities(&mut self) {
        let infinite = |id: TensorId| {
            let range = match self.graph.constant_range(id) {
                Some(range) => range.unwrap_or((0.0, f32::INFINITY)),
                None => self.calibration.range(id)?,
            };
            let reached = if -range.0 > range.1 { range.0 } else { range.1 };
            (reached.abs() >= INFINITE).then_some((id, reached))
        };
        let mut found = Vec::new();
        for (index, node) in self.nodes() {
            let Some((rule, _, activations)) = self.rule(index, node) else { continue };
            let mut reads = activations.iter().filter_map(|&i| infinite(node.inputs[i]?));
            let computes = || {
                let quantized = matches!(rule.output, OutputRule::Free | OutputRule::SameAsInput);
                self.float_outputs(node).filter(|_| quantized).find_map(infinite)
            };
            if let Some((id, reached)) = reads.next().or_else(computes) {
                let name = self.graph.name(id);
                found.push((
                    index,
                    format!("{name:?} reaches {reached:e}, which leaves no resolution for other values"),
                ));
            }
        }
        for (index, reason) in found {
            self.classes[index] = Class::Float(reason);
        }
    }

    /// Leaves nodes in float that gain nothing: those that only move or compare values which come from, and go to, nodes
    /// that compute in float.
    fn leave_lonely_nodes(&mut self) {
        let mut groups = self.join();
        let (mut near_integer, mut near_float) = (HashSet::new(), HashSet::new());
        for (index, node) in self.nodes() {
            let tensors =
                node.inputs.iter().flatten().chain(&node.outputs).copied().filter(|&id| self.graph.is_float(id));
            let near = match &self.classes[index] {
                Class::Integer(rule, _) if matches!(rule.output, OutputRule::Free | OutputRule::Fixed { .. }) => {
                    &mut near_integer
                }
                Class::Float(_) => &mut near_float,
                _ => continue,
            };
            near.extend(tensors.flat_map(Slot::both).map(|slot| groups.find(slot.0)));
        }
        for (index, node) in self.nodes() {
            let Some((rule, ty, activations)) = self.rule(index, node) else { continue };
            if matches!(rule.output, OutputRule::Free | OutputRule::Fixed { .. }) {
                continue;
            }
            let slots = activations.iter().filter_map(|&i| Some(Slot::new(node.inputs[i]?, ty)));
            let near: Vec<usize> = slots.map(|slot| groups.find(slot.0)).collect();
            if near.iter().any(|id| near_float.contains(id)) && !near.iter().any(|id| near_integer.contains(id)) {
                self.classes[index] = Class::Float("all around it stays in float".into());
            }
        }
    }

    /// The groups of tensors that the nodes between them tie together.
    fn join(&self) -> Groups {
        let mut groups = Groups::new(2 * self.graph.graph.tensors.len());
        for (index, node) in self.nodes() {
            let Some((rule, ty, activations)) = self.rule(index, node) else { continue };
            if rule.output != OutputRule::SameAsInput {
                continue;
            }
            let inputs = activations.iter().filter_map(|&i| node.inputs[i]);
            // A constant is stored anew for each group that reads it and so ties nothing together.
            let tied: Vec<_> =
                inputs.filter(|&id| !self.graph.is_float_constant(id)).chain(self.float_outputs(node)).collect();
            tied.windows(2).for_each(|pair| groups.union(Slot::new(pair[0], ty).0, Slot::new(pair[1], ty).0));
        }
        groups
    }

    /// Finds the groups, what is prescribed in them, and their ranges.
    fn group(&mut self) -> Result<(), QuantizeError> {
        self.groups = self.join();
        for (_, node) in self.nodes() {
            let float = self.graph.quantized_by(node).map(|(float, _, params)| (float, params));
            let from = node.outputs.first().and_then(|&id| Some((id, self.graph.integer_source(id)?.1)));
            if let Some((id, params)) = float.or(from).filter(|(_, params)| suits(*params)) {
                self.prescribe(id, params);
            }
        }
        for (index, node) in self.nodes() {
            let Some((QuantRule { output: OutputRule::Fixed { int8, int16 }, .. }, ty, _)) = self.rule(index, node)
            else {
                continue;
            };
            let (scale, zero_point) = if ty == TensorType::Int16 { int16 } else { int8 };
            for id in self.float_outputs(node) {
                self.prescribe(id, Params { ty, scale, zero_point });
            }
        }
        for slot in (0..self.graph.graph.tensors.len()).flat_map(Slot::both) {
            if !self.fixed.contains_key(&slot)
                && let Some(range) = self.calibration.range(slot.tensor())
            {
                self.widen(slot, range);
            }
        }
        for (index, node) in self.nodes() {
            let Some((rule, ty, activations)) = self.rule(index, node) else { continue };
            let Some(&output) = node.outputs.first().filter(|_| rule.output == OutputRule::SameAsInput) else {
                continue;
            };
            for id in activations.into_iter().filter_map(|i| node.inputs[i]) {
                if let Some(range) = self.graph.constant_range(id) {
                    self.widen(Slot::new(output, ty), range?);
                }
            }
        }
        Ok(())
    }

    /// What an operator prescribes goes before what is there already.
    fn prescribe(&mut self, id: TensorId, params: Params) {
        let slot = Slot::new(id, params.ty);
        if self.fixed.insert(slot, params).is_none() {
            self.fixed_in.entry(self.groups.find(slot.0)).or_default().push(slot);
        }
    }

    /// Widens the range of a slot's group.
    fn widen(&mut self, slot: Slot, (low, high): (f32, f32)) {
        let group = self.groups.find(slot.0);
        let range = self.ranges.entry(group).or_insert((low, high));
        *range = (range.0.min(low), range.1.max(high));
    }

    /// Parameters that the group of a tensor shares. A prescribed tensor's hold for all when they cover all; otherwise it is
    /// requantized where the group reads it.
    fn shared(&mut self, slot: Slot) -> Result<Params, QuantizeError> {
        let group = self.groups.find(slot.0);
        let prescribed: Vec<Params> =
            self.fixed_in.get(&group).into_iter().flatten().filter_map(|slot| self.fixed.get(slot).copied()).collect();
        let mut range = self.ranges.get(&group).copied();
        if let Some(&first) = prescribed.first() {
            let alike = prescribed.iter().all(|&params| params == first);
            if alike && range.is_none_or(|(low, high)| first.covers(low, high)) {
                return Ok(first);
            }
            for (low, high) in prescribed.iter().map(Params::range) {
                range = Some(range.map_or((low, high), |(min, max)| (min.min(low), max.max(high))));
            }
        }
        match range {
            Some((low, high)) => Ok(Params::from_range(slot.ty(), low, high)),
            None => {
                let tensor = slot.tensor();
                Err(QuantizeError::NoRange { tensor, name: self.graph.name(tensor) })
            }
        }
    }

    /// Parameters of a tensor itself.
    fn own(&mut self, slot: Slot) -> Result<Params, QuantizeError> {
        if let Some(&params) = self.fixed.get(&slot) {
            return Ok(params);
        }
        match self.graph.constant_range(slot.tensor()) {
            Some(range) => range.map(|(low, high)| Params::from_range(slot.ty(), low, high)),
            None => self.shared(slot),
        }
    }

    /// Type of the activations that a tensor at the border of the model holds: as the node computes it, or else as one
    /// reads it.
    fn type_at_border(&self, id: TensorId) -> TensorType {
        let ty = |class: &Class| match class {
            Class::Integer(_, ty) => Some(*ty),
            _ => None,
        };
        let computes =
            self.nodes().find(|(_, node)| node.outputs.contains(&id)).and_then(|(i, _)| ty(&self.classes[i]));
        let mut reads = self.nodes().filter(|(_, node)| node.inputs.contains(&Some(id)));
        let read = || reads.find_map(|(i, _)| ty(&self.classes[i]));
        computes.or_else(read).or(self.options.mode.activation_type()).unwrap_or(TensorType::Int8)
    }

    /// Parameters of an input or output of the model of type `ty`.
    fn at_border(&mut self, id: TensorId, ty: TensorType) -> Result<Params, QuantizeError> {
        let own = self.own(Slot::new(id, self.type_at_border(id)))?;
        match (own.ty, ty) {
            (own_ty, ty) if own_ty == ty => Ok(own),
            (TensorType::Int8, TensorType::UInt8) => Ok(own.unsigned()),
            _ => {
                let (low, high) = self.calibration.range(id).unwrap_or(own.range());
                Ok(Params::from_range(ty, low, high))
            }
        }
    }

    fn plan(mut self) -> Result<GraphPlan, QuantizeError> {
        let default = if self.options.mode == Mode::Int8Only { TensorType::Int8 } else { TensorType::Float32 };
        let input_type = self.options.input_type.unwrap_or(default);
        let output_type = self.options.output_type.unwrap_or(default);
        let graph = self.graph.graph;
        let mut homes = vec![None; graph.tensors.len()];
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for &id in graph.inputs.iter().filter(|_| input_type != TensorType::Float32) {
            if self.graph.is_float(id) {
                homes[id] = Some(self.at_border(id, input_type)?);
            }
        }
        for (index, node) in self.nodes() {
            nodes.push(self.plan_node(index, node, &mut homes)?);
        }
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        for &id in &graph.outputs {
            outputs.push(match output_type {
                _ if !self.graph.is_float(id) => Form::AsIs,
                TensorType::Float32 => Form::Float,
                ty => Form::Integer(self.at_border(id, ty)?),
            });
        }
        Ok(GraphPlan { nodes, homes, outputs })
    }

    /// A node that stays as it is.
    fn plan_kept(&self, index: usize, node: &Node) -> NodePlan {
        match &self.classes[index] {
            Class::Float(reason) => {
                let float = |id: &Option<TensorId>| id.is_some_and(|id| self.graph.is_float(id));
                let form = |id| if float(id) { Form::Float } else { Form::AsIs };
                NodePlan { decision: Decision::Float(reason.clone()), inputs: node.inputs.iter().map(form).collect() }
            }
            // A QUANTIZE reads integers as well as floats.
            _ => NodePlan { decision: Decision::Untouched, inputs: vec![Form::AsIs; node.inputs.len()] },
        }
    }

    fn plan_node(
        &mut self,
        index: usize,
        node: &'a Node,
        homes: &mut [Option<Params>],
    ) -> Result<NodePlan, QuantizeError> {
        let Some((rule, ty, activations)) = self.rule(index, node) else {
            return Ok(self.plan_kept(index, node));
        };
        let mut inputs = vec![Form::AsIs; node.inputs.len()];
        let same = rule.output == OutputRule::SameAsInput;
        for i in activations {
            let Some(id) = node.inputs[i] else { continue };
            let params = match node.outputs.first() {
                Some(&output) if same => self.shared(Slot::new(output, ty))?,
                _ => self.own(Slot::new(id, ty))?,
            };
            inputs[i] = Form::Integer(params);
        }
        if rule.output != OutputRule::NotQuantized {
            for id in self.float_outputs(node) {
                let slot = Slot::new(id, ty);
                homes[id] = Some(if same { self.shared(slot)? } else { self.own(slot)? });
            }
        }
        let weight_ty = self.schemes[index].1;
        self.plan_weights(node, &rule, weight_ty, &mut inputs)?;
        Ok(NodePlan { decision: Decision::Integer, inputs })
    }

    /// Weights and the bias, whose scales depend on each other.
    fn plan_weights(
        &self,
        node: &Node,
        rule: &QuantRule,
        ty: TensorType,
        inputs: &mut [Form],
    ) -> Result<(), QuantizeError> {
        let Some(weights) = rule.weights else { return Ok(()) };
        let axis = weight_axis(self.graph, node, weights, self.options, false);
        let Some(id) = node.inputs[weights.input] else { return Ok(()) };
        let (Some(values), Some(channels)) = (self.graph.finite_constant(id), self.graph.channels(id, axis)) else {
            return Ok(());
        };
        let weight_ty = weight_type(weights, ty);
        let mut scales = weight_scales(&values?, channels, weight_ty);
        let Some(&Form::Integer(input)) = inputs.get(weights.activation) else { return Ok(()) };
        let bias = rule.bias.and_then(|i| Some((i, node.inputs.get(i).copied().flatten()?)));
        if let Some((i, id)) = bias
            && let Some(values) = self.graph.finite_constant(id)
        {
            let (ty, limit) = match input.ty {
                TensorType::Int16 => (TensorType::Int64, BIAS_LIMIT.1),
                _ => (TensorType::Int32, BIAS_LIMIT.0),
            };
            fit_bias(&mut scales, input.scale, &values?, limit);
            let scales = scales.iter().map(|scale| input.scale * scale).collect();
            inputs[i] = Form::Bias { ty, scales };
        }
        inputs[weights.input] = Form::Weights(Weights { ty: weight_ty, axis, scales });
        Ok(())
    }
}
