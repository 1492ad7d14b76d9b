//! Changing a graph: what passes, the quantizer and the trainer share.

use crate::bytes::Bytes;
use crate::model::*;
use crate::schema::{BuiltinOperator, QuantizationDetailsT};

/// Where the tensors of each subgraph went: `moved[subgraph][old]`, `None` for those dropped.
pub type Moved = Vec<Vec<Option<TensorId>>>;

impl Subgraph {
    /// The node that computes each tensor; `None` for inputs, constants and variables.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.tensors.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for &id in &node.outputs {
                producers[id] = Some(index);
            }
        }
        producers
    }

    /// The nodes that read each tensor, in execution order, each once.
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut consumers = vec![Vec::new(); self.tensors.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for &id in node.inputs.iter().flatten() {
                if consumers[id].last() != Some(&index) {
                    consumers[id].push(index);
                }
            }
        }
        consumers
    }

    /// Appends a tensor and returns its index.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    /// Puts a node before the one at `index`; that and later ones move up.
    pub fn insert_before(&mut self, index: usize, node: Node) {
        self.nodes.insert(index, node);
    }

    /// Puts a node after the one at `index`; later ones move up.
    pub fn insert_after(&mut self, index: usize, node: Node) {
        self.nodes.insert(index + 1, node);
    }

    /// A name that no tensor has yet, from the wish `name`.
    pub fn unique_name(&self, name: &str) -> String {
        let taken = |name: &str| self.tensors.iter().any(|tensor| tensor.name() == name);
        if !taken(name) {
            return name.to_owned();
        }
        (1..).map(|n| format!("{name}_{n}")).find(|name| !taken(name)).unwrap_or_default()
    }
}

impl Model {
    /// Makes everything that reads `old` read `new`: nodes from `first_node` on, and the outputs of the subgraph and of
    /// its signatures. `new` has to be computed before `first_node`.
    pub fn replace_uses(&mut self, subgraph: usize, first_node: usize, old: TensorId, new: TensorId) {
        let graph = &mut self.subgraphs[subgraph];
        for node in graph.nodes.iter_mut().skip(first_node) {
            for id in node.inputs.iter_mut().flatten().filter(|id| **id == old) {
                *id = new;
            }
        }
        let named = self.signatures.iter_mut().filter(|signature| signature.subgraph == subgraph);
        let named = named.flat_map(|signature| signature.outputs.iter_mut().map(|(_, id)| id));
        for id in graph.outputs.iter_mut().chain(named).filter(|id| **id == old) {
            *id = new;
        }
    }

    /// Puts a node of operator `opcode` behind a tensor: it reads the tensor, and everything that read it before reads
    /// the node's result, `result`, instead. Returns the result's index.
    pub fn insert_behind(
        &mut self,
        subgraph: usize,
        tensor: TensorId,
        opcode: usize,
        options: BuiltinOptions,
        result: Tensor,
    ) -> TensorId {
        let graph = &mut self.subgraphs[subgraph];
        let index = graph.producers()[tensor].map_or(0, |producer| producer + 1);
        let id = graph.add_tensor(result);
        self.replace_uses(subgraph, index, tensor, id);
        let node = Node::new(opcode, vec![Some(tensor)], vec![id], options);
        self.subgraphs[subgraph].nodes.insert(index, node);
        id
    }

    /// Puts a node of operator `opcode` before input `input` of the node at `index`, which then reads the new node's
    /// result, `result`; other readers are left alone. Returns the result's index; the node at `index` moves up by one.
    ///
    /// # Panics
    /// When that input is left out.
    pub fn insert_on_input(
        &mut self,
        subgraph: usize,
        index: usize,
        input: usize,
        opcode: usize,
        options: BuiltinOptions,
        result: Tensor,
    ) -> TensorId {
        let graph = &mut self.subgraphs[subgraph];
        let id = graph.add_tensor(result);
        let source = graph.nodes[index].inputs[input].replace(id).expect("an input that is there");
        graph.nodes.insert(index, Node::new(opcode, vec![Some(source)], vec![id], options));
        id
    }

    /// Drops nodes whose results nobody uses, and tensors, buffers and operators that no node refers to; keeps inputs,
    /// outputs, signatures, metadata and all subgraphs. Returns where the tensors went.
    pub fn compact(&mut self) -> Moved {
        for subgraph in 0..self.subgraphs.len() {
            self.drop_dead_nodes(subgraph);
        }
        let moved: Moved = (0..self.subgraphs.len()).map(|subgraph| self.drop_dead_tensors(subgraph)).collect();
        for signature in &mut self.signatures {
            for (_, id) in signature.inputs.iter_mut().chain(&mut signature.outputs) {
                *id = moved[signature.subgraph][*id].unwrap_or(*id);
            }
        }
        self.drop_dead_buffers();
        self.drop_dead_operators();
        moved
    }

    fn drop_dead_nodes(&mut self, subgraph: usize) {
        let graph = &self.subgraphs[subgraph];
        let mut used = vec![false; graph.tensors.len()];
        self.ports(subgraph).for_each(|id| used[id] = true);
        let mut alive = vec![false; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            alive[index] = self.has_effects(graph, node) || node.outputs.iter().any(|&id| used[id]);
            if alive[index] {
                node.inputs.iter().flatten().for_each(|&id| used[id] = true);
            }
        }
        let mut alive = alive.into_iter();
        self.subgraphs[subgraph].nodes.retain(|_| alive.next().unwrap_or(true));
    }

    /// Inputs and outputs of a subgraph and of its signatures.
    fn ports(&self, subgraph: usize) -> impl Iterator<Item = TensorId> {
        let graph = &self.subgraphs[subgraph];
        let signatures = self.signatures.iter().filter(move |signature| signature.subgraph == subgraph);
        let named =
            signatures.flat_map(|signature| signature.inputs.iter().chain(&signature.outputs).map(|named| named.1));
        graph.inputs.iter().chain(&graph.outputs).copied().chain(named)
    }

    /// Whether a node does more than compute its results: it may change state or call what does.
    fn has_effects(&self, graph: &Subgraph, node: &Node) -> bool {
        let keeps_state = || node.inputs.iter().flatten().any(|&id| graph.tensors[id].is_variable);
        let operator = self.operator(node).builtin;
        let is_stateful = matches!(
            operator,
            BuiltinOperator::CUSTOM
                | BuiltinOperator::DELEGATE
                | BuiltinOperator::STABLEHLO_CUSTOM_CALL
                | BuiltinOperator::ASSIGN_VARIABLE
                | BuiltinOperator::HASHTABLE_IMPORT
        );
        node.outputs.is_empty() || is_stateful || keeps_state() || !node.called_subgraphs().is_empty()
    }

    fn drop_dead_tensors(&mut self, subgraph: usize) -> Vec<Option<TensorId>> {
        let mut used = vec![false; self.subgraphs[subgraph].tensors.len()];
        self.ports(subgraph).for_each(|id| used[id] = true);
        let graph = &mut self.subgraphs[subgraph];
        for node in &graph.nodes {
            let ids = node.inputs.iter().flatten().chain(&node.outputs).chain(&node.intermediates);
            ids.for_each(|&id| used[id] = true);
        }
        // Scales may be tensors themselves, and theirs too.
        let mut open: Vec<TensorId> = (0..used.len()).filter(|&id| used[id]).collect();
        while let Some(id) = open.pop() {
            for id in scale_tensors(&mut graph.tensors[id]).filter_map(|id| usize::try_from(*id).ok()) {
                if !std::mem::replace(&mut used[id], true) {
                    open.push(id);
                }
            }
        }
        let moved = renumber(&used);
        retain(&mut graph.tensors, &used);
        let new = |id: &mut TensorId| *id = moved[*id].unwrap_or(*id);
        graph.inputs.iter_mut().for_each(new);
        graph.outputs.iter_mut().for_each(new);
        for node in &mut graph.nodes {
            node.inputs.iter_mut().flatten().for_each(new);
            node.outputs.iter_mut().for_each(new);
            node.intermediates.iter_mut().for_each(new);
        }
        for tensor in &mut graph.tensors {
            for id in scale_tensors(tensor) {
                if let Some(new) = usize::try_from(*id).ok().and_then(|id| moved[id]) {
                    *id = new as i32;
                }
            }
        }
        moved
    }

    fn drop_dead_buffers(&mut self) {
        if self.buffers.is_empty() {
            self.buffers.push(Bytes::default());
        }
        let mut used = vec![false; self.buffers.len()];
        // By convention, the first is the empty one.
        used[0] = true;
        let legacy = self.metadata_buffer.iter().filter_map(|&buffer| usize::try_from(buffer).ok());
        let tensors = self.subgraphs.iter().flat_map(|graph| &graph.tensors).map(|tensor| tensor.buffer);
        for buffer in tensors.chain(self.metadata.iter().map(|entry| entry.buffer)).chain(legacy) {
            if let Some(used) = used.get_mut(buffer) {
                *used = true;
            }
        }
        let moved = renumber(&used);
        retain(&mut self.buffers, &used);
        let new = |buffer: usize| moved.get(buffer).copied().flatten().unwrap_or(buffer);
        for tensor in self.subgraphs.iter_mut().flat_map(|graph| &mut graph.tensors) {
            tensor.buffer = new(tensor.buffer);
        }
        for entry in &mut self.metadata {
            entry.buffer = new(entry.buffer);
        }
        for buffer in self.metadata_buffer.iter_mut().filter(|buffer| **buffer >= 0) {
            *buffer = new(*buffer as usize) as i32;
        }
    }

    fn drop_dead_operators(&mut self) {
        let mut used = vec![false; self.operator_codes.len()];
        let nodes = self.subgraphs.iter().flat_map(|graph| &graph.nodes);
        nodes.for_each(|node| used[node.opcode] = true);
        let moved = renumber(&used);
        retain(&mut self.operator_codes, &used);
        for node in self.subgraphs.iter_mut().flat_map(|graph| &mut graph.nodes) {
            node.opcode = moved[node.opcode].unwrap_or(node.opcode);
        }
    }
}

/// The tensors that hold a tensor's scales and zero points, as the format's indices.
fn scale_tensors(tensor: &mut Tensor) -> impl Iterator<Item = &mut i32> {
    let details = tensor.quantization.as_mut().and_then(|quantization| quantization.details.as_mut());
    let ids = match details {
        Some(QuantizationDetailsT::BlockwiseQuantization(d)) => Some([&mut d.scales, &mut d.zero_points]),
        Some(QuantizationDetailsT::MultiAxisQuantization(d)) => Some([&mut d.scales, &mut d.zero_points]),
        _ => None,
    };
    ids.into_iter().flatten()
}

/// New indices of what is kept.
fn renumber(kept: &[bool]) -> Vec<Option<usize>> {
    let mut next = 0..;
    kept.iter().map(|&kept| if kept { next.next() } else { None }).collect()
}

fn retain<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    items.retain(|_| kept.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use crate::*;

    /// x → RELU → y → TANH → z, with a dead branch and a dead constant.
    fn model() -> Model {
        let mut b = ModelBuilder::new();
        let x = b.input("x", TensorType::Float32, &[2]);
        b.constant_f32("unused", &[1], &[1.0]);
        let dead = b.tensor("dead", TensorType::Float32, &[2]);
        b.node(BuiltinOperator::EXP, 1, BuiltinOptions::NONE, &[Some(x)], &[dead]);
        let y = b.tensor("y", TensorType::Float32, &[2]);
        b.node(BuiltinOperator::RELU, 1, BuiltinOptions::NONE, &[Some(x)], &[y]);
        let z = b.tensor("z", TensorType::Float32, &[2]);
        b.node(BuiltinOperator::TANH, 1, BuiltinOptions::NONE, &[Some(y)], &[z]);
        b.output(z);
        b.signature("serving_default");
        b.metadata("note", vec![1u8, 2, 3]);
        b.build().unwrap()
    }

    #[test]
    fn compact_drops_what_nobody_uses() {
        let mut model = model();
        let moved = model.compact();
        verify(&model).unwrap();
        assert_eq!(moved, [[Some(0), None, None, Some(1), Some(2)]]);
        let names: Vec<&str> = model.subgraphs[0].tensors.iter().map(Tensor::name).collect();
        assert_eq!(names, ["x", "y", "z"]);
        assert_eq!(model.operator_codes.iter().map(OperatorCode::name).collect::<Vec<_>>(), ["RELU", "TANH"]);
        assert_eq!(model.buffers.len(), 2);
        assert_eq!(*model.buffers[model.metadata[0].buffer], [1, 2, 3]);
        assert_eq!(model.signatures[0].outputs, [("z".to_owned(), 2)]);
        let once = model.clone();
        model.compact();
        assert_eq!(model, once);
    }

    #[test]
    fn nodes_are_put_behind_tensors_and_on_inputs() {
        let mut model = model();
        let (y, z) = (3, 4);
        let abs = model.operator_index(BuiltinOperator::ABS, 1);
        let result = Tensor::new("abs", TensorType::Float32, &[2]);
        let abs_y = model.insert_behind(0, y, abs, BuiltinOptions::NONE, result);
        verify(&model).unwrap();
        let graph = &model.subgraphs[0];
        assert_eq!(graph.consumers()[y], [2]);
        assert_eq!(graph.producers()[abs_y], Some(2));
        assert_eq!(graph.nodes[3].inputs, [Some(abs_y)]);

        let name = graph.unique_name("abs");
        assert_eq!(name, "abs_1");
        let again =
            model.insert_on_input(0, 3, 0, abs, BuiltinOptions::NONE, Tensor::new(name, TensorType::Float32, &[2]));
        verify(&model).unwrap();
        assert_eq!(model.subgraphs[0].nodes[4].inputs, [Some(again)]);

        let result = Tensor::new("end", TensorType::Float32, &[2]);
        let end = model.insert_behind(0, z, abs, BuiltinOptions::NONE, result);
        verify(&model).unwrap();
        assert_eq!(model.subgraphs[0].outputs, [end]);
        assert_eq!(model.signatures[0].outputs, [("z".to_owned(), end)]);
    }
}
