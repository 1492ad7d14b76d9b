//! What a model is made of, for people and programs.

use ferrolite_model::{Model, Node, Tensor, TensorType};
use ferrolite_ops::{Catalog, Known, NodeView, Shape, TensorInfo};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Facts about a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelInfo {
    /// The file's free text.
    pub description: String,
    /// Version of the format.
    pub version: u32,
    /// Kinds of numbers, in words: `int8 weights and activations`.
    pub quantization: String,
    /// Elements of constants of floating point or quantized type, each counted once.
    pub parameters: u64,
    /// Bytes of all constants, each counted once.
    pub constant_bytes: u64,
    /// Multiply-accumulates of one run of the main subgraph, with the shapes of the file.
    pub macs: u64,
    /// Operators with how often they are used, most frequent first.
    pub operators: Vec<OperatorInfo>,
    /// The subgraphs; the first is the main one.
    pub subgraphs: Vec<SubgraphInfo>,
    /// Named entry points.
    pub signatures: Vec<SignatureInfo>,
    /// Named metadata.
    pub metadata: Vec<MetadataInfo>,
}

/// An operator that a model uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorInfo {
    /// Name, `CONV_2D`.
    pub name: String,
    /// Version of the operator.
    pub version: i32,
    /// Nodes.
    pub count: usize,
    /// Multiply-accumulates of all of them.
    pub macs: u64,
    /// Whether ferrolite has this operator in this version.
    pub is_known: bool,
}

/// A subgraph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubgraphInfo {
    /// Name.
    pub name: String,
    /// Indices of the tensors that the caller sets.
    pub inputs: Vec<usize>,
    /// Indices of the tensors that the caller reads.
    pub outputs: Vec<usize>,
    /// Every tensor.
    pub tensors: Vec<TensorSummary>,
    /// Every node, in execution order.
    pub nodes: Vec<NodeInfo>,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorSummary {
    /// Index in the subgraph.
    pub id: usize,
    /// Name.
    pub name: String,
    /// Element type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Dimensions, -1 where they are open.
    pub shape: Vec<i32>,
    /// Scales and zero points, in words; empty without.
    pub quantization: String,
    /// `constant`, `variable`, `input`, `output` or `computed`.
    pub role: &'static str,
    /// Bytes of a constant's data, 0 for others.
    pub constant_bytes: u64,
    /// Index of a constant's data.
    pub buffer: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeInfo {
    /// Index in the subgraph.
    pub id: usize,
    /// Operator name.
    pub operator: String,
    /// Tensors read, `null` for optional ones left out.
    pub inputs: Vec<Option<usize>>,
    /// Tensors written.
    pub outputs: Vec<usize>,
    /// Multiply-accumulates with the shapes of the file.
    pub macs: u64,
}

/// A named entry point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignatureInfo {
    /// Key.
    pub key: String,
    /// Index of its subgraph.
    pub subgraph: usize,
    /// Names and tensors of the inputs.
    pub inputs: Vec<(String, usize)>,
    /// Names and tensors of the outputs.
    pub outputs: Vec<(String, usize)>,
}

/// A metadata entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetadataInfo {
    /// Name.
    pub name: String,
    /// Bytes of its data.
    pub bytes: usize,
    /// The data, where it is short text.
    pub text: Option<String>,
}

impl ModelInfo {
    /// Looks a model over. Nothing is run; operators that ferrolite does not have count no multiply-accumulates.
    pub fn new(model: &Model, catalog: &Catalog) -> ModelInfo {
        let subgraphs: Vec<_> = (0..model.subgraphs.len()).map(|index| subgraph_info(model, index, catalog)).collect();
        let mut operators: BTreeMap<(String, i32), OperatorInfo> = BTreeMap::new();
        for (graph, info) in model.subgraphs.iter().zip(&subgraphs) {
            for (node, node_info) in graph.nodes.iter().zip(&info.nodes) {
                let code = model.operator(node);
                let entry = operators.entry((code.name().to_owned(), code.version)).or_insert_with(|| OperatorInfo {
                    name: code.name().to_owned(),
                    version: code.version,
                    count: 0,
                    macs: 0,
                    is_known: catalog.find(code).is_some_and(|op| op.versions().contains(&code.version)),
                });
                entry.count += 1;
                entry.macs = entry.macs.saturating_add(node_info.macs);
            }
        }
        let mut operators: Vec<_> = operators.into_values().collect();
        operators.sort_by_key(|op| std::cmp::Reverse(op.count));
        let (parameters, constant_bytes) = count_constants(model);
        ModelInfo {
            description: model.description.clone().unwrap_or_default(),
            version: model.version,
            quantization: quantization_in_words(model),
            parameters,
            constant_bytes,
            macs: subgraphs.first().map_or(0, |g| g.nodes.iter().fold(0, |sum, n| sum.saturating_add(n.macs))),
            operators,
            signatures: signatures(model),
            metadata: metadata(model),
            subgraphs,
        }
    }

    /// Constants by size, largest first: subgraph index and tensor.
    pub fn largest_constants(&self) -> Vec<(usize, &TensorSummary)> {
        let graphs = self.subgraphs.iter().enumerate();
        let mut found: Vec<_> = graphs.flat_map(|(i, graph)| graph.tensors.iter().map(move |t| (i, t))).collect();
        found.retain(|(_, tensor)| tensor.constant_bytes > 0);
        found.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.constant_bytes));
        found
    }
}

fn subgraph_info(model: &Model, index: usize, catalog: &Catalog) -> SubgraphInfo {
    let graph = &model.subgraphs[index];
    let role = |id: usize, tensor: &Tensor| match () {
        () if tensor.is_variable => "variable",
        () if graph.inputs.contains(&id) => "input",
        () if graph.outputs.contains(&id) => "output",
        () if model.constant(tensor).is_some() || tensor.external_buffer > 0 => "constant",
        () => "computed",
    };
    let tensors = graph.tensors.iter().enumerate().map(|(id, tensor)| TensorSummary {
        id,
        name: tensor.name().to_owned(),
        ty: tensor.ty.to_string(),
        shape: open_shape(tensor),
        quantization: quantization_of(tensor),
        role: role(id, tensor),
        constant_bytes: model.constant(tensor).map_or(0, |data| data.len() as u64),
        buffer: tensor.buffer,
    });
    let nodes = graph.nodes.iter().enumerate().map(|(id, node)| NodeInfo {
        id,
        operator: model.operator(node).name().to_owned(),
        inputs: node.inputs.clone(),
        outputs: node.outputs.clone(),
        macs: macs(model, index, node, catalog),
    });
    SubgraphInfo {
        name: graph.name.clone().unwrap_or_default(),
        inputs: graph.inputs.clone(),
        outputs: graph.outputs.clone(),
        tensors: tensors.collect(),
        nodes: nodes.collect(),
    }
}

fn open_shape(tensor: &Tensor) -> Vec<i32> {
    if tensor.shape_signature.is_empty() { tensor.shape.clone() } else { tensor.shape_signature.clone() }
}

/// Multiply-accumulates of a node with the file's shapes, 0 where the operator refuses it.
fn macs(model: &Model, subgraph: usize, node: &Node, catalog: &Catalog) -> u64 {
    let counted = || {
        let op = catalog.find(model.operator(node))?;
        let view = node_view(model, subgraph, node)?;
        let inferred = op.infer(&view).ok()?;
        let mut view = view;
        for (output, inferred) in view.outputs.iter_mut().zip(inferred) {
            output.shape = inferred.shape.unwrap_or_else(|| output.shape.clone());
        }
        Some(op.macs(&view))
    };
    counted().unwrap_or(0)
}

fn node_view<'a>(model: &'a Model, subgraph: usize, node: &'a Node) -> Option<NodeView<'a>> {
    let info = |id: usize| {
        let tensor = model.subgraphs[subgraph].tensors.get(id)?;
        let constant = model.constant(tensor);
        Some(TensorInfo {
            name: tensor.name(),
            ty: tensor.ty,
            shape: tensor.shape.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<Shape>>()?,
            is_open: tensor.shape_signature.iter().chain(&tensor.shape).any(|&d| d < 0),
            quantization: tensor.quantization.as_ref(),
            sparsity: tensor.sparsity.as_ref(),
            is_variable: tensor.is_variable,
            constant,
            known: constant.map(|data| Known::constant(data)),
        })
    };
    Some(NodeView {
        version: model.operator(node).version,
        options: &node.options,
        options2: &node.options2,
        custom_options: node.custom_options.as_ref(),
        model,
        subgraph,
        callees: None,
        inputs: node.inputs.iter().map(|&id| id.map_or(Some(None), |id| info(id).map(Some))).collect::<Option<_>>()?,
        outputs: node.outputs.iter().map(|&id| info(id)).collect::<Option<_>>()?,
        intermediates: node.intermediates.iter().map(|&id| info(id)).collect::<Option<_>>()?,
    })
}

/// Parameters and bytes of constants; a buffer that several tensors share counts once.
fn count_constants(model: &Model) -> (u64, u64) {
    let (mut seen, mut parameters, mut bytes) = (HashSet::new(), 0u64, 0u64);
    for tensor in model.subgraphs.iter().flat_map(|graph| &graph.tensors) {
        let Some(data) = model.constant(tensor).filter(|_| seen.insert(tensor.buffer)) else { continue };
        bytes += data.len() as u64;
        let quantized = tensor.quantization.as_ref().is_some_and(|q| !q.scale.is_empty() || q.details.is_some());
        if tensor.ty.is_float() || quantized {
            parameters += tensor.elements().map_or(0, |n| n as u64);
        }
    }
    (parameters, bytes)
}

/// `float32`, `int8, zero point -128, scale 0.0039`, `16 scales along dimension 3`.
fn quantization_of(tensor: &Tensor) -> String {
    let Some(q) = &tensor.quantization else { return String::new() };
    if q.details.is_some() {
        return "blockwise".to_owned();
    }
    match (q.as_per_tensor(), q.scale.len()) {
        (Some((scale, zero_point)), _) => format!("scale {scale:.6}, zero point {zero_point}"),
        (None, 0) => String::new(),
        (None, n) => format!("{n} scales along dimension {}", q.quantized_dimension),
    }
}

/// What kinds of numbers the weights and the activations of the matrix operators are.
fn quantization_in_words(model: &Model) -> String {
    let mut weights: BTreeMap<TensorType, u64> = BTreeMap::new();
    let mut activations: BTreeMap<TensorType, usize> = BTreeMap::new();
    let (mut quantized_float_input, mut float_activation) = (false, false);
    for graph in &model.subgraphs {
        for node in &graph.nodes {
            // Conversions at the edges say nothing about how the model computes.
            if matches!(model.operator(node).name(), "QUANTIZE" | "DEQUANTIZE") {
                continue;
            }
            let reads = || node.inputs.iter().flatten().filter_map(|&id| graph.tensors.get(id));
            let computed = reads().filter(|t| model.constant(t).is_none()).find(|t| t.ty.is_float() || is_quantized(t));
            if let Some(tensor) = computed {
                *activations.entry(tensor.ty).or_default() += 1;
                float_activation |= tensor.ty.is_float();
                quantized_float_input |= tensor.ty == TensorType::Float32
                    && reads().any(|t| model.constant(t).is_some() && is_quantized(t) && t.ty != TensorType::Int32);
            }
        }
        for tensor in &graph.tensors {
            // Small vectors are biases and options.
            let Some(data) = model.constant(tensor).filter(|_| tensor.shape.len() >= 2) else { continue };
            if tensor.ty.is_float() || is_quantized(tensor) {
                *weights.entry(tensor.ty).or_default() += data.len() as u64;
            }
        }
    }
    let most = |counts: &BTreeMap<TensorType, u64>| counts.iter().max_by_key(|(_, n)| **n).map(|(ty, _)| *ty);
    let activations: BTreeMap<_, u64> = activations.into_iter().map(|(ty, n)| (ty, n as u64)).collect();
    match (most(&weights), most(&activations)) {
        (None, None) => "no weights".to_owned(),
        (None, Some(activation)) => format!("{activation} activations, no weights"),
        (Some(weight), None) => format!("{weight} weights"),
        (Some(weight), Some(activation)) if weight == activation => {
            let mixed = float_activation && !activation.is_float();
            format!("{weight} weights and activations{}", if mixed { ", some parts in float" } else { "" })
        }
        (Some(weight), Some(activation)) if quantized_float_input => {
            format!("{weight} weights, {activation} activations (dynamic range)")
        }
        (Some(weight), Some(activation)) => format!("{weight} weights, {activation} activations"),
    }
}

fn is_quantized(tensor: &Tensor) -> bool {
    tensor.quantization.as_ref().is_some_and(|q| !q.scale.is_empty() || q.details.is_some())
}

fn signatures(model: &Model) -> Vec<SignatureInfo> {
    let info = model.signatures.iter().map(|signature| SignatureInfo {
        key: signature.key.clone().unwrap_or_default(),
        subgraph: signature.subgraph,
        inputs: signature.inputs.clone(),
        outputs: signature.outputs.clone(),
    });
    info.collect()
}

fn metadata(model: &Model) -> Vec<MetadataInfo> {
    let info = model.metadata.iter().map(|entry| {
        let data: &[u8] = model.buffers.get(entry.buffer).map_or(&[], |data| data);
        let text = std::str::from_utf8(data).ok().map(|text| text.trim_end_matches('\0'));
        let is_plain = |text: &&str| text.len() <= 64 && !text.is_empty() && !text.contains(char::is_control);
        let name = entry.name.clone().unwrap_or_default();
        MetadataInfo { name, bytes: data.len(), text: text.filter(is_plain).map(str::to_owned) }
    });
    info.collect()
}
