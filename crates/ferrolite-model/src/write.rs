//! From a [`Model`] to the bytes of a file. The same model always gives the same bytes.
//!
//! A FlatBuffer cannot pass 2 GiB. Where a model would, its constants go behind the flatbuffer in the same file, as
//! `Buffer.offset` and `size`; those have the same width whatever their value, so that a first pass with placeholders
//! tells where the flatbuffer ends, and a second one writes the true offsets.

use crate::bytes::Bytes;
use crate::error::ModelError;
use crate::model::*;
use crate::schema;
use flatbuffers::{FlatBufferBuilder, Push, Vector, WIPOffset};
use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;

/// Estimated size from which constants go behind the flatbuffer: 2 GiB less a margin for a wrong estimate.
const INSIDE_LIMIT: usize = (2 << 30) - (64 << 20);

/// Alignment of constants in the file.
const ALIGN: usize = 16;

/// Length of a flatbuffer's root offset and identifier, which are written last and come first.
const HEADER: usize = 8;

type Result<T> = std::result::Result<T, ModelError>;

impl Model {
    /// The bytes of a `.tflite` file.
    ///
    /// # Errors
    /// When the model breaks a rule of [`crate::verify`] or does not fit in the format.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        crate::verify(self)?;
        to_bytes(self, INSIDE_LIMIT)
    }

    /// Writes a file: aside first, then renamed, so that a failure leaves no half of a file.
    ///
    /// # Errors
    /// As [`Model::to_bytes`], and when the file cannot be written.
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_bytes()?;
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}.tmp", std::process::id()));
        let written = std::fs::File::create(&aside)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&aside, path));
        written.map_err(|source| {
            // Best effort: what matters is the first error.
            let _ = std::fs::remove_file(&aside);
            ModelError::Io { path: path.to_owned(), source }
        })
    }
}

/// Writes with constants inside of the flatbuffer unless the whole would exceed `inside_limit`.
fn to_bytes(model: &Model, inside_limit: usize) -> Result<Vec<u8>> {
    let (tables, data) = (tables_len(model), data_len(model));
    if tables > INSIDE_LIMIT {
        return Err(ModelError::TooLarge(format!("about {tables} bytes without the constants")));
    }
    if tables.saturating_add(data) <= inside_limit {
        return Ok(Writer::new(model, None, tables + data).finish());
    }
    let end = Writer::new(model, Some(Outside::at(0)), tables).finish().len();
    let mut bytes = Writer::new(model, Some(Outside::at(end)), tables).finish();
    debug_assert_eq!(bytes.len(), end, "the passes differ");
    for data in model.buffers.iter().chain(all_nodes(model).filter_map(|node| node.custom_options.as_ref())) {
        if goes_outside(data) {
            bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

fn all_nodes(model: &Model) -> impl Iterator<Item = &Node> {
    model.subgraphs.iter().flat_map(|subgraph| &subgraph.nodes)
}

/// Readers take offsets and sizes of 0 and 1 for absent.
fn goes_outside(data: &Bytes) -> bool {
    data.len() > 1
}

/// Bytes of constants and custom options, padding included.
fn data_len(model: &Model) -> usize {
    let options = all_nodes(model).filter_map(|node| node.custom_options.as_ref());
    model.buffers.iter().chain(options).fold(0, |sum, data| sum.saturating_add(data.len().saturating_add(2 * ALIGN)))
}

/// A generous estimate of the bytes of everything else.
fn tables_len(model: &Model) -> usize {
    let tensor = |t: &Tensor| {
        let q = t.quantization.as_ref().map_or(0, |q| 20 * (q.scale.len() + q.min.len() + q.max.len()) + 128);
        let sparse = t.sparsity.as_ref().map_or(0, |s| {
            let width = |v: &IndexVector| match v {
                IndexVector::None => 0,
                IndexVector::I32(v) => 4 * v.len(),
                IndexVector::U16(v) => 2 * v.len(),
                IndexVector::U8(v) => v.len(),
            };
            let dim = |d: &DimensionMetadata| match d {
                DimensionMetadata::Dense { .. } => 64,
                DimensionMetadata::SparseCsr { segments, indices } => 128 + width(segments) + width(indices),
            };
            4 * (s.traversal_order.len() + s.block_map.len()) + s.dim_metadata.iter().map(dim).sum::<usize>()
        });
        160 + t.name().len() + 8 * t.shape.len() + q + sparse + 256 * t.variant_tensors.len()
    };
    let node = |n: &Node| 512 + 5 * n.inputs.len() + 4 * (n.outputs.len() + n.intermediates.len());
    let subgraph = |s: &Subgraph| {
        256 + s.tensors.iter().map(tensor).sum::<usize>()
            + s.nodes.iter().map(node).sum::<usize>()
            + 4 * (s.inputs.len() + s.outputs.len())
    };
    let signature =
        |s: &Signature| 128 + s.inputs.iter().chain(&s.outputs).map(|(name, _)| 64 + name.len()).sum::<usize>();
    1024 + model.subgraphs.iter().map(subgraph).sum::<usize>()
        + model.signatures.iter().map(signature).sum::<usize>()
        + 64 * (model.buffers.len() + model.metadata.len() + model.operator_codes.len())
        + 128 * (model.external_buffers.len() + model.external_buffer_groups.len())
}

/// Hands out places behind the flatbuffer.
struct Outside {
    next: usize,
}

impl Outside {
    /// Places from `end` on, the flatbuffer's length, or placeholders when that is not known yet.
    fn at(end: usize) -> Outside {
        // Never 0, which the flatbuffer would leave out.
        Outside { next: end.max(ALIGN) }
    }

    /// Offset and size of the next piece.
    fn take(&mut self, len: usize) -> (u64, u64) {
        let offset = self.next.next_multiple_of(ALIGN);
        self.next = offset + len;
        (offset as u64, len as u64)
    }
}

/// Writes one flatbuffer.
struct Writer<'a> {
    model: &'a Model,
    fbb: FlatBufferBuilder<'a>,
    /// `None`: all inside.
    outside: Option<Outside>,
}

impl<'a> Writer<'a> {
    fn new(model: &'a Model, outside: Option<Outside>, capacity: usize) -> Self {
        Writer { model, fbb: FlatBufferBuilder::with_capacity(capacity), outside }
    }

    fn finish(mut self) -> Vec<u8> {
        let model = self.model;
        // Buffers first, which places outside are handed out for in this order.
        let constants = empty_constants(model);
        let buffers = (model.buffers.iter().enumerate())
            .map(|(index, data)| self.buffer(data, constants.contains(&index)))
            .collect::<Vec<_>>();
        let buffers = self.vector(&buffers);
        let codes = model.operator_codes.iter().map(|code| self.operator_code(code)).collect::<Vec<_>>();
        let operator_codes = self.vector(&codes);
        let subgraphs = model.subgraphs.iter().map(|subgraph| self.subgraph(subgraph)).collect::<Vec<_>>();
        let subgraphs = self.vector(&subgraphs);
        let description = self.string(&model.description);
        let metadata_buffer = self.numbers(&model.metadata_buffer);
        let metadata = self.optional_vector(&model.metadata, |w, entry| {
            let name = w.string(&entry.name);
            schema::Metadata::create(&mut w.fbb, &schema::MetadataArgs { name, buffer: entry.buffer as u32 })
        });
        let signature_defs = self.optional_vector(&model.signatures, Writer::signature);
        let external_buffer_groups = self.optional_vector(&model.external_buffer_groups, |w, name| {
            let name = w.string(name);
            schema::ExternalBufferGroup::create(&mut w.fbb, &schema::ExternalBufferGroupArgs { name })
        });
        let external_buffers = self.optional_vector(&model.external_buffers, |w, buffer| {
            let packing = w.string(&buffer.packing);
            let &ExternalBuffer { id, group, offset, length, .. } = buffer;
            let args = schema::ExternalBufferArgs { id, group, offset, length, packing };
            schema::ExternalBuffer::create(&mut w.fbb, &args)
        });
        let args = schema::ModelArgs {
            version: model.version,
            operator_codes: Some(operator_codes),
            subgraphs: Some(subgraphs),
            description,
            buffers: Some(buffers),
            metadata_buffer,
            metadata,
            signature_defs,
            external_buffer_groups,
            external_buffers,
        };
        let root = schema::Model::create(&mut self.fbb, &args);
        self.align(HEADER);
        schema::finish_model_buffer(&mut self.fbb, root);
        let (mut bytes, start) = self.fbb.collapse();
        bytes.drain(..start);
        bytes
    }

    /// Pads so that what is written after `len` more bytes, and hence before them in the file, is aligned: a flatbuffer
    /// is written from its end, and `finish` makes the whole a multiple of the alignment.
    fn align(&mut self, len: usize) {
        while !(self.fbb.unfinished_data().len() + len).is_multiple_of(ALIGN) {
            self.fbb.push(0u8);
        }
    }

    fn buffer(&mut self, data: &Bytes, is_constant: bool) -> WIPOffset<schema::Buffer<'a>> {
        let mut args = schema::BufferArgs::default();
        match &mut self.outside {
            Some(outside) if goes_outside(data) => (args.offset, args.size) = outside.take(data.len()),
            _ if !data.is_empty() || is_constant => args.data = Some(self.bytes(data)),
            _ => {}
        }
        schema::Buffer::create(&mut self.fbb, &args)
    }

    fn bytes(&mut self, data: &[u8]) -> WIPOffset<Vector<'a, u8>> {
        self.align(data.len());
        self.fbb.create_vector(data)
    }

    fn operator_code(&mut self, code: &OperatorCode) -> WIPOffset<schema::OperatorCode<'a>> {
        let custom_code = self.string(&code.custom);
        let narrow = schema::BuiltinOperator::PLACEHOLDER_FOR_GREATER_OP_CODES.0;
        let args = schema::OperatorCodeArgs {
            deprecated_builtin_code: code.builtin.0.clamp(i8::MIN.into(), narrow) as i8,
            custom_code,
            version: code.version,
            builtin_code: code.builtin,
        };
        schema::OperatorCode::create(&mut self.fbb, &args)
    }

    fn subgraph(&mut self, subgraph: &Subgraph) -> WIPOffset<schema::SubGraph<'a>> {
        let tensors = subgraph.tensors.iter().map(|tensor| self.tensor(tensor)).collect::<Vec<_>>();
        let tensors = Some(self.vector(&tensors));
        let nodes = subgraph.nodes.iter().map(|node| self.node(node)).collect::<Vec<_>>();
        let operators = Some(self.vector(&nodes));
        let args = schema::SubGraphArgs {
            tensors,
            inputs: Some(self.indices(&subgraph.inputs)),
            outputs: Some(self.indices(&subgraph.outputs)),
            operators,
            name: self.string(&subgraph.name),
            debug_metadata_index: subgraph.debug_metadata_index,
        };
        schema::SubGraph::create(&mut self.fbb, &args)
    }

    fn tensor(&mut self, tensor: &Tensor) -> WIPOffset<schema::Tensor<'a>> {
        let args = schema::TensorArgs {
            shape: Some(self.fbb.create_vector(&tensor.shape)),
            type_: tensor.ty.to_schema(),
            buffer: tensor.buffer as u32,
            name: self.string(&tensor.name),
            quantization: tensor.quantization.as_ref().map(|q| self.quantization(q)),
            is_variable: tensor.is_variable,
            sparsity: tensor.sparsity.as_ref().map(|sparsity| self.sparsity(sparsity)),
            shape_signature: self.numbers(&tensor.shape_signature),
            has_rank: tensor.has_rank,
            variant_tensors: self.optional_vector(&tensor.variant_tensors, |w, sub| {
                let shape = Some(w.fbb.create_vector(&sub.shape));
                let args = schema::VariantSubTypeArgs { shape, type_: sub.ty.to_schema(), has_rank: sub.has_rank };
                schema::VariantSubType::create(&mut w.fbb, &args)
            }),
            external_buffer: tensor.external_buffer,
        };
        schema::Tensor::create(&mut self.fbb, &args)
    }

    fn quantization(&mut self, q: &Quantization) -> WIPOffset<schema::QuantizationParameters<'a>> {
        let args = schema::QuantizationParametersArgs {
            min: self.numbers(&q.min),
            max: self.numbers(&q.max),
            scale: self.numbers(&q.scale),
            zero_point: self.numbers(&q.zero_point),
            details_type: q.details.as_ref().map_or_else(Default::default, |d| d.quantization_details_type()),
            details: q.details.as_ref().and_then(|details| details.pack(&mut self.fbb)),
            quantized_dimension: q.quantized_dimension,
        };
        schema::QuantizationParameters::create(&mut self.fbb, &args)
    }

    fn sparsity(&mut self, sparsity: &Sparsity) -> WIPOffset<schema::SparsityParameters<'a>> {
        let index_vector = |vector: &IndexVector| match vector {
            IndexVector::None => schema::SparseIndexVectorT::NONE,
            IndexVector::I32(v) => {
                schema::SparseIndexVectorT::Int32Vector(Box::new(schema::Int32VectorT { values: Some(v.clone()) }))
            }
            IndexVector::U16(v) => {
                schema::SparseIndexVectorT::Uint16Vector(Box::new(schema::Uint16VectorT { values: Some(v.clone()) }))
            }
            IndexVector::U8(v) => {
                schema::SparseIndexVectorT::Uint8Vector(Box::new(schema::Uint8VectorT { values: Some(v.clone()) }))
            }
        };
        let dim = |dim: &DimensionMetadata| match dim {
            &DimensionMetadata::Dense { size } => schema::DimensionMetadataT {
                format: schema::DimensionType::DENSE,
                dense_size: size,
                ..Default::default()
            },
            DimensionMetadata::SparseCsr { segments, indices } => schema::DimensionMetadataT {
                format: schema::DimensionType::SPARSE_CSR,
                array_segments: index_vector(segments),
                array_indices: index_vector(indices),
                ..Default::default()
            },
        };
        let sparsity = schema::SparsityParametersT {
            traversal_order: Some(sparsity.traversal_order.clone()),
            block_map: Some(sparsity.block_map.clone()),
            dim_metadata: Some(sparsity.dim_metadata.iter().map(dim).collect()),
        };
        sparsity.pack(&mut self.fbb)
    }

    fn node(&mut self, node: &Node) -> WIPOffset<schema::Operator<'a>> {
        let mut args = schema::OperatorArgs {
            opcode_index: node.opcode as u32,
            builtin_options_type: node.options.builtin_options_type(),
            builtin_options: node.options.pack(&mut self.fbb),
            builtin_options_2_type: node.options2.builtin_options_2_type(),
            builtin_options_2: node.options2.pack(&mut self.fbb),
            custom_options_format: node.custom_options_format,
            debug_metadata_index: node.debug_metadata_index,
            ..Default::default()
        };
        match (&node.custom_options, &mut self.outside) {
            (Some(options), Some(outside)) if goes_outside(options) => {
                (args.large_custom_options_offset, args.large_custom_options_size) = outside.take(options.len());
            }
            (Some(options), _) => args.custom_options = Some(self.bytes(options)),
            (None, _) => {}
        }
        let inputs: Vec<i32> = node.inputs.iter().map(|input| input.map_or(-1, |id| id as i32)).collect();
        args.inputs = Some(self.fbb.create_vector(&inputs));
        args.outputs = Some(self.indices(&node.outputs));
        args.mutating_variable_inputs = self.numbers(&node.mutating_variable_inputs);
        args.intermediates = (!node.intermediates.is_empty()).then(|| self.indices(&node.intermediates));
        schema::Operator::create(&mut self.fbb, &args)
    }

    fn signature(&mut self, signature: &Signature) -> WIPOffset<schema::SignatureDef<'a>> {
        let entry = |w: &mut Self, (name, tensor): &(String, TensorId)| {
            let name = Some(w.fbb.create_string(name));
            schema::TensorMap::create(&mut w.fbb, &schema::TensorMapArgs { name, tensor_index: *tensor as u32 })
        };
        let inputs: Vec<_> = signature.inputs.iter().map(|input| entry(self, input)).collect();
        let outputs: Vec<_> = signature.outputs.iter().map(|output| entry(self, output)).collect();
        let args = schema::SignatureDefArgs {
            inputs: Some(self.vector(&inputs)),
            outputs: Some(self.vector(&outputs)),
            signature_key: self.string(&signature.key),
            subgraph_index: signature.subgraph as u32,
        };
        schema::SignatureDef::create(&mut self.fbb, &args)
    }

    fn string(&mut self, text: &Option<String>) -> Option<WIPOffset<&'a str>> {
        text.as_ref().map(|text| self.fbb.create_string(text))
    }

    fn indices(&mut self, ids: &[TensorId]) -> WIPOffset<Vector<'a, i32>> {
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        self.fbb.create_vector(&ids)
    }

    /// A vector of numbers, left out when empty.
    fn numbers<T: Push + Copy>(&mut self, numbers: &[T]) -> Option<WIPOffset<Vector<'a, T::Output>>> {
        (!numbers.is_empty()).then(|| self.fbb.create_vector(numbers))
    }

    /// A vector of tables, empty or not.
    fn vector<T: 'a>(&mut self, tables: &[WIPOffset<T>]) -> WIPOffset<Vector<'a, flatbuffers::ForwardsUOffset<T>>> {
        self.fbb.create_vector(tables)
    }

    /// A vector of tables, left out when empty.
    fn optional_vector<S, T: 'a>(
        &mut self,
        items: &[S],
        mut table: impl FnMut(&mut Self, &S) -> WIPOffset<T>,
    ) -> Option<WIPOffset<Vector<'a, flatbuffers::ForwardsUOffset<T>>>> {
        let tables: Vec<_> = items.iter().map(|item| table(self, item)).collect();
        (!tables.is_empty()).then(|| self.vector(&tables))
    }
}

/// Empty buffers of constants without elements, such as the shape of a scalar. Other runtimes tell a constant by the
/// presence of a data vector, so that theirs must be written even though it is empty.
fn empty_constants(model: &Model) -> HashSet<usize> {
    let mut constants = HashSet::new();
    for subgraph in &model.subgraphs {
        let computed = subgraph.nodes.iter().flat_map(|node| &node.outputs);
        let set: HashSet<TensorId> = subgraph.inputs.iter().chain(computed).copied().collect();
        for (id, tensor) in subgraph.tensors.iter().enumerate() {
            let has_data = model.constant(tensor).is_some();
            if tensor.elements() == Some(0) && !has_data && !tensor.is_variable && !set.contains(&id) {
                constants.insert(tensor.buffer);
            }
        }
    }
    // By convention, the first buffer is the one of computed tensors.
    constants.remove(&0);
    constants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuiltinOperator, ModelBuilder, TensorType};

    fn model() -> Model {
        let mut b = ModelBuilder::new();
        let x = b.input("x", TensorType::Float32, &[-1, 3]);
        let c = b.constant_f32("c", &[3], &[1.0, 2.0, 3.0]);
        let one = b.constant_i8("one", &[1], &[7]);
        let y = b.tensor("y", TensorType::Float32, &[-1, 3]);
        b.node(BuiltinOperator::ADD, 1, BuiltinOptions::AddOptions(Box::default()), &[Some(x), Some(c)], &[y]);
        let z = b.tensor("z", TensorType::Float32, &[-1, 3]);
        b.custom("Mine", vec![1u8, 2, 3, 4], &[Some(y), Some(one), None], &[z]);
        b.output(z);
        b.signature("serving_default");
        b.metadata("note", vec![9u8; 33]);
        b.build().unwrap()
    }

    #[test]
    fn constants_are_aligned_and_writing_is_deterministic() {
        let model = model();
        let bytes = Bytes::from(model.to_bytes().unwrap());
        assert_eq!(&bytes[4..8], b"TFL3");
        assert_eq!(*bytes, *model.to_bytes().unwrap());
        let read = Model::from_bytes(bytes.clone()).unwrap();
        assert_eq!(read, model);
        for data in read.buffers.iter().filter(|data| !data.is_empty()) {
            assert_eq!((data.as_ptr() as usize - bytes.as_ptr() as usize) % ALIGN, 0);
        }
    }

    #[test]
    fn constants_behind_the_flatbuffer_come_back() {
        let model = model();
        let bytes = to_bytes(&model, 0).unwrap();
        let root = schema::root_as_model(&bytes).unwrap();
        let offsets: Vec<u64> = root.buffers().unwrap().iter().map(|b| b.offset()).filter(|&o| o > 0).collect();
        assert_eq!(offsets.len(), 2, "the float constant and the metadata; one byte stays inside");
        assert!(offsets.iter().all(|o| o % 16 == 0));
        assert_eq!(Model::from_bytes(bytes).unwrap(), model);
    }
}
