//! The rewrite: a model and a plan give a model. No policy lives here.

use crate::QuantizeError;
use crate::graph::Graph;
use crate::params::{quantize_bias, quantize_weights, to_half};
use crate::plan::{Decision, Form, GraphPlan, QuantPlan};
use crate::version::{adapt_options, needed};
use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, Model, Node, OperatorCode, Quantization, Subgraph, Tensor, TensorId, TensorType, schema,
};

impl QuantPlan {
    /// Rewrites the model that this plan was made for.
    ///
    /// # Errors
    /// When the plan is not of this model.
    pub fn apply(&self, model: &Model) -> Result<Model, QuantizeError> {
        if self.graphs.len() != model.subgraphs.len() {
            return Err(QuantizeError::OtherModel("the plan has another number of subgraphs".into()));
        }
        let mut result = model.clone();
        for (index, plan) in self.graphs.iter().enumerate() {
            let source = Graph::new(model, &model.subgraphs[index]);
            let fits = plan.nodes.len() == source.graph.nodes.len()
                && plan.homes.len() == source.graph.tensors.len()
                && plan.outputs.len() == source.graph.outputs.len()
                && plan.nodes.iter().zip(&source.graph.nodes).all(|(p, n)| p.inputs.len() == n.inputs.len());
            if !fits {
                return Err(QuantizeError::OtherModel(format!("the plan does not fit subgraph {index}")));
            }
            rewrite(&source, plan, &mut result, index);
        }
        compact(&mut result);
        ferrolite_model::verify(&result)?;
        Ok(result)
    }
}

/// A subgraph being rewritten. Tensors keep their ids, new ones are appended.
struct Rewrite<'a> {
    source: &'a Graph<'a>,
    plan: &'a GraphPlan,
    model: &'a mut Model,
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    /// By tensor: forms in which it exists already.
    made: Vec<Vec<(Form, TensorId)>>,
}

fn rewrite(source: &Graph<'_>, plan: &GraphPlan, model: &mut Model, index: usize) {
    let (tensors, made) = (source.graph.tensors.clone(), vec![Vec::new(); source.graph.tensors.len()]);
    let mut rewrite = Rewrite { source, plan, model, tensors, nodes: Vec::new(), made };
    for (i, node) in source.graph.nodes.iter().enumerate() {
        rewrite.node(i, node);
    }
    let outputs: Vec<TensorId> =
        source.graph.outputs.iter().zip(&plan.outputs).map(|(&id, form)| rewrite.read(id, form)).collect();
    for (id, home) in plan.homes.iter().enumerate() {
        let Some(params) = *home else { continue };
        let tensor = &mut rewrite.tensors[id];
        (tensor.ty, tensor.quantization) = (params.ty, Some(params.into()));
    }
    // The caller's tensor keeps its name, what it is made from gets another.
    for (&id, &output) in source.graph.outputs.iter().zip(&outputs) {
        let name = &source.graph.tensors[id].name;
        if output >= source.graph.tensors.len() && !source.graph.inputs.contains(&id) {
            rewrite.tensors[output].name = name.clone();
            rewrite.tensors[id].name = name.as_ref().map(|name| format!("{name}/computed"));
        }
    }
    let Rewrite { tensors, nodes, .. } = rewrite;
    for signature in model.signatures.iter_mut().filter(|signature| signature.subgraph == index) {
        for (_, id) in &mut signature.outputs {
            if let Some(i) = source.graph.outputs.iter().position(|output| output == id) {
                *id = outputs[i];
            }
        }
    }
    let graph = &mut model.subgraphs[index];
    (graph.tensors, graph.nodes, graph.outputs) = (tensors, nodes, outputs);
}

impl Rewrite<'_> {
    fn node(&mut self, index: usize, node: &Node) {
        let planned = &self.plan.nodes[index];
        let inputs: Vec<Option<TensorId>> =
            node.inputs.iter().zip(&planned.inputs).map(|(id, form)| id.map(|id| self.read(id, form))).collect();
        let mut result = Node { inputs, ..node.clone() };
        if matches!(planned.decision, Decision::Integer | Decision::Hybrid) {
            let activation = planned.inputs.iter().find_map(|form| match form {
                Form::Integer(params) => Some(params.ty),
                _ => None,
            });
            let ty = activation.unwrap_or(TensorType::Float32);
            let per_channel = planned.inputs.iter().any(|form| matches!(form, Form::Weights { axis: Some(_), .. }));
            let code = self.source.model.operator(node);
            let version = needed(code.builtin, node, &planned.decision, ty, per_channel).max(code.version);
            result.opcode = self.operator(OperatorCode { version, ..code.clone() });
            adapt_options(&mut result.options, &planned.decision, ty);
        }
        self.nodes.push(result);
    }

    /// Index of exactly this operator and version.
    fn operator(&mut self, code: OperatorCode) -> usize {
        let codes = &mut self.model.operator_codes;
        codes.iter().position(|known| *known == code).unwrap_or_else(|| {
            codes.push(code);
            codes.len() - 1
        })
    }

    /// The tensor that holds `id` in a form; made when it is asked for first.
    fn read(&mut self, id: TensorId, form: &Form) -> TensorId {
        let is_there = match form {
            Form::AsIs => true,
            Form::Float => self.plan.homes[id].is_none(),
            Form::Integer(params) => self.plan.homes[id] == Some(*params),
            _ => false,
        };
        if is_there {
            return id;
        }
        if let Some((_, made)) = self.made[id].iter().find(|(known, _)| known == form) {
            return *made;
        }
        let made = self.make(id, form);
        self.made[id].push((form.clone(), made));
        made
    }

    fn make(&mut self, id: TensorId, form: &Form) -> TensorId {
        match form {
            Form::AsIs => id,
            Form::Float => self.convert(BuiltinOperator::DEQUANTIZE, id, id, TensorType::Float32, None),
            Form::Integer(params) => {
                if let Some(values) = self.source.float_constant(id) {
                    return self.constant(id, params.ty, params.quantize_all(&values), Some((*params).into()));
                }
                // What was made from integers is read from them.
                let source = match self.source.integer_source(id) {
                    Some((integers, same)) if same == *params => return integers,
                    Some((integers, _)) => integers,
                    None => id,
                };
                self.convert(BuiltinOperator::QUANTIZE, source, id, params.ty, Some((*params).into()))
            }
            Form::Weights { axis, scales } => {
                let values = self.source.float_constant(id).unwrap_or_default();
                let Some(channels) = self.source.channels(id, *axis) else { return id };
                let data = quantize_weights(&values, scales, channels);
                self.constant(id, TensorType::Int8, data, Some(scaled(scales, *axis)))
            }
            Form::Bias { ty, scales } => {
                let values = self.source.float_constant(id).unwrap_or_default();
                let axis = (scales.len() > 1).then_some(0);
                self.constant(id, *ty, quantize_bias(&values, scales, *ty), Some(scaled(scales, axis)))
            }
            Form::Half => {
                let values = self.source.float_constant(id).unwrap_or_default();
                let half = self.constant(id, TensorType::Float16, to_half(&values), None);
                self.convert(BuiltinOperator::DEQUANTIZE, half, id, TensorType::Float32, None)
            }
        }
    }

    /// Adds a constant that stands for `id`.
    fn constant(&mut self, id: TensorId, ty: TensorType, data: Vec<u8>, quantization: Option<Quantization>) -> TensorId {
        let buffer = self.model.add_buffer(data);
        self.tensors.push(Tensor { ty, buffer, quantization, external_buffer: 0, ..self.source.graph.tensors[id].clone() });
        self.tensors.len() - 1
    }

    /// Appends a QUANTIZE or DEQUANTIZE from `source` to a new tensor that stands for `id`.
    fn convert(
        &mut self,
        op: BuiltinOperator,
        source: TensorId,
        id: TensorId,
        ty: TensorType,
        quantization: Option<Quantization>,
    ) -> TensorId {
        let like = self.source.graph.tensors[id].clone();
        let suffix = if ty == TensorType::Float32 { "dequantized" } else { "quantized" };
        let name = like.name.as_ref().map(|name| format!("{name}/{suffix}"));
        self.tensors.push(Tensor { name, ty, quantization, buffer: 0, ..like });
        let output = self.tensors.len() - 1;
        let source_ty = self.plan.homes.get(source).copied().flatten().map_or(self.tensors[source].ty, |home| home.ty);
        let (options, version) = match op {
            BuiltinOperator::QUANTIZE => {
                let wide = ty == TensorType::Int16;
                (BuiltinOptions::QuantizeOptions(Box::new(schema::QuantizeOptionsT {})), if wide { 2 } else { 1 })
            }
            _ => {
                let version = match source_ty {
                    TensorType::Float16 | TensorType::Int16 => 3,
                    TensorType::Int8 => 2,
                    _ => 1,
                };
                (BuiltinOptions::DequantizeOptions(Box::new(schema::DequantizeOptionsT {})), version)
            }
        };
        let opcode = self.operator(OperatorCode { builtin: op, custom: None, version });
        self.nodes.push(Node::new(opcode, vec![Some(source)], vec![output], options));
        output
    }
}

fn scaled(scales: &[f32], axis: Option<usize>) -> Quantization {
    Quantization::per_channel(scales.to_vec(), axis.map_or(0, |axis| axis as i32))
}

/// Removes conversions that nothing reads, then tensors, buffers and operators that nothing uses.
fn compact(model: &mut Model) {
    for index in 0..model.subgraphs.len() {
        while drop_unread_conversions(model, index) {}
        drop_tensors(model, index);
    }
    let mut operators = vec![None; model.operator_codes.len()];
    let mut buffers = vec![None; model.buffers.len()];
    let mut codes = Vec::new();
    for node in model.subgraphs.iter_mut().flat_map(|graph| &mut graph.nodes) {
        node.opcode = *operators[node.opcode].get_or_insert_with(|| {
            codes.push(model.operator_codes[node.opcode].clone());
            codes.len() - 1
        });
    }
    model.operator_codes = codes;
    let mut kept = vec![model.buffers.first().cloned().unwrap_or_default()];
    if let Some(first) = buffers.first_mut() {
        *first = Some(0);
    }
    let used = model.subgraphs.iter_mut().flat_map(|graph| graph.tensors.iter_mut().map(|tensor| &mut tensor.buffer));
    for buffer in used.chain(model.metadata.iter_mut().map(|entry| &mut entry.buffer)) {
        *buffer = *buffers[*buffer].get_or_insert_with(|| {
            kept.push(model.buffers[*buffer].clone());
            kept.len() - 1
        });
    }
    for buffer in &mut model.metadata_buffer {
        if let Some(slot) = usize::try_from(*buffer).ok().and_then(|i| buffers.get_mut(i)) {
            let old = *buffer as usize;
            *buffer = *slot.get_or_insert_with(|| {
                kept.push(model.buffers[old].clone());
                kept.len() - 1
            }) as i32;
        }
    }
    model.buffers = kept;
}

fn drop_unread_conversions(model: &mut Model, index: usize) -> bool {
    let mut read = vec![false; model.subgraphs[index].tensors.len()];
    let graph = &model.subgraphs[index];
    graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).for_each(|&id| read[id] = true);
    graph.outputs.iter().for_each(|&id| read[id] = true);
    for signature in model.signatures.iter().filter(|signature| signature.subgraph == index) {
        signature.outputs.iter().for_each(|(_, id)| read[*id] = true);
    }
    let codes = &model.operator_codes;
    let graph = &mut model.subgraphs[index];
    let before = graph.nodes.len();
    graph.nodes.retain(|node| {
        let converts =
            matches!(codes[node.opcode].builtin, BuiltinOperator::QUANTIZE | BuiltinOperator::DEQUANTIZE);
        !converts || node.outputs.iter().any(|&id| read[id])
    });
    graph.nodes.len() < before
}

fn drop_tensors(model: &mut Model, index: usize) {
    let mut used = vec![false; model.subgraphs[index].tensors.len()];
    each_tensor(model, index, &mut |id| used[*id] = true);
    let mut next = 0;
    let places: Vec<usize> = used
        .iter()
        .map(|&used| {
            next += usize::from(used);
            next.saturating_sub(1)
        })
        .collect();
    each_tensor(model, index, &mut |id| *id = places[*id]);
    let mut used = used.into_iter();
    model.subgraphs[index].tensors.retain(|_| used.next().unwrap_or(true));
}

/// Visits every reference to a tensor of a subgraph.
fn each_tensor(model: &mut Model, index: usize, visit: &mut dyn FnMut(&mut TensorId)) {
    let Subgraph { nodes, inputs, outputs, .. } = &mut model.subgraphs[index];
    inputs.iter_mut().chain(outputs).for_each(&mut *visit);
    for node in nodes {
        let Node { inputs, outputs, intermediates, .. } = node;
        inputs.iter_mut().flatten().chain(outputs).chain(intermediates).for_each(&mut *visit);
    }
    for signature in model.signatures.iter_mut().filter(|signature| signature.subgraph == index) {
        signature.inputs.iter_mut().chain(&mut signature.outputs).for_each(|(_, id)| visit(id));
    }
}
