//! From the bytes of a file to a [`Model`]. Constants are not copied: they stay slices of the file.
//!
//! A file passes three gates: the FlatBuffers verifier (every offset inside, bounded size of the object tree), the
//! mapping below (every index a number that is not negative), and [`crate::verify`] (every index in range, and more).

use crate::bytes::Bytes;
use crate::error::{ModelError, Place};
use crate::model::*;
use crate::schema::{self, BuiltinOperator};
use crate::skeleton::{LARGE, skeleton};
use crate::types::TensorType;
use flatbuffers::{Follow, ForwardsUOffset, InvalidFlatbuffer, Vector, VerifierOptions};
use std::path::Path;

/// Tables that a file may hold: bounds the memory that a hostile file can ask for.
const MAX_TABLES: usize = 1 << 20;

type Result<T> = std::result::Result<T, ModelError>;

impl Model {
    /// Reads a model. Its constants share `file`'s memory.
    ///
    /// # Errors
    /// [`ModelError`] says what is wrong with the file, and where. It never panics, and takes no more memory than a
    /// small multiple of the file's size.
    pub fn from_bytes(file: impl Into<Bytes>) -> Result<Model> {
        let model = Reader::read(file.into())?;
        crate::verify(&model)?;
        Ok(model)
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// As [`Model::from_bytes`], and when the file cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Model> {
        let path = path.as_ref();
        let file = std::fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        Model::from_bytes(file)
    }
}

/// The file being read.
struct Reader {
    /// What offsets behind the flatbuffer count from.
    file: Bytes,
    /// What the flatbuffer verifier has seen: the file, its skeleton, or a copy of it that is aligned.
    flat: Bytes,
    /// `flat` is a skeleton, large constants are in `file`.
    is_skeleton: bool,
    /// Shared by all empty buffers.
    empty: Bytes,
}

impl Reader {
    fn read(file: Bytes) -> Result<Model> {
        if file.len() < 8 {
            return Err(ModelError::NotTflite("it has fewer than 8 bytes"));
        }
        if !schema::model_buffer_has_identifier(&file) {
            return Err(ModelError::NotTflite("the identifier TFL3 is missing"));
        }
        let options = VerifierOptions {
            max_depth: 16,
            max_tables: (file.len() / 8 + 64).min(MAX_TABLES),
            // Tables may share vectors and vtables, so that an honest tree is larger than its file; see `MAX_TABLES`.
            max_apparent_size: file.len().saturating_mul(8).saturating_add(1 << 16),
            ignore_missing_null_terminator: true,
        };
        // What others may write to is neither verified nor decided by.
        let skeleton = if file.is_mapped() { skeleton(&file) } else { None };
        let is_skeleton = skeleton.is_some();
        let flat = match skeleton {
            Some(skeleton) => Bytes::from(skeleton),
            None if file.is_mapped() => Bytes::from(&*file),
            None => file.clone(),
        };
        file.release();
        let reader = |flat: &Bytes, is_skeleton| {
            let (file, flat, empty) = (file.clone(), flat.clone(), Bytes::default());
            Reader { file, flat, is_skeleton, empty }
        };
        match schema::root_as_model_with_opts(&options, &flat) {
            Ok(root) => reader(&flat, is_skeleton).model(&root),
            // Some old converters aligned to 4 bytes only, so that 8-byte numbers may all be off by 4.
            Err(InvalidFlatbuffer::Unaligned { .. }) => {
                let moved = moved_by_4(&file).ok_or(ModelError::NotTflite("its root is out of range"))?;
                let root = schema::root_as_model_with_opts(&options, &moved).map_err(damaged)?;
                reader(&moved, false).model(&root)
            }
            Err(error) => Err(damaged(error)),
        }
    }

    fn model(&self, root: &schema::Model) -> Result<Model> {
        let operator_codes: Vec<_> = list(root.operator_codes()).map(|code| operator_code(&code)).collect();
        let subgraphs = list(root.subgraphs())
            .enumerate()
            .map(|(index, subgraph)| self.subgraph(index, &subgraph, &operator_codes))
            .collect::<Result<_>>()?;
        Ok(Model {
            version: root.version(),
            description: root.description().map(str::to_owned),
            operator_codes,
            subgraphs,
            buffers: list(root.buffers())
                .enumerate()
                .map(|(index, buffer)| self.buffer(index, &buffer))
                .collect::<Result<_>>()?,
            metadata_buffer: items(root.metadata_buffer()),
            metadata: list(root.metadata())
                .map(|entry| Metadata { name: entry.name().map(str::to_owned), buffer: entry.buffer() as usize })
                .collect(),
            signatures: list(root.signature_defs()).map(|signature| self::signature(&signature)).collect(),
            external_buffer_groups: list(root.external_buffer_groups())
                .map(|group| group.name().map(str::to_owned))
                .collect(),
            external_buffers: list(root.external_buffers())
                .map(|buffer| ExternalBuffer {
                    id: buffer.id(),
                    group: buffer.group(),
                    offset: buffer.offset(),
                    length: buffer.length(),
                    packing: buffer.packing().map(str::to_owned),
                })
                .collect(),
        })
    }

    /// Constant data: in the flatbuffer, or behind it in the file.
    fn buffer(&self, index: usize, buffer: &schema::Buffer) -> Result<Bytes> {
        match buffer.data() {
            Some(data) => self.share(data.bytes()),
            // 0 and 1 mark the absence of data.
            None if buffer.offset() <= 1 || buffer.size() <= 1 => Some(self.empty.clone()),
            None => self.outside(buffer.offset(), buffer.size()),
        }
        .ok_or_else(|| ModelError::invalid(Place::MODEL, format!("buffer {index}: its data lies outside of the file")))
    }

    /// A part of the file that the flatbuffer verifier has seen.
    fn share(&self, part: &[u8]) -> Option<Bytes> {
        match part.len() {
            0 => Some(self.empty.clone()),
            LARGE.. if self.is_skeleton => self.file.slice(self.flat.range_of(part)?),
            _ => self.flat.slice_ref(part),
        }
    }

    /// A part of the file behind the flatbuffer.
    fn outside(&self, offset: u64, size: u64) -> Option<Bytes> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.file.slice(start..end)
    }

    fn subgraph(&self, index: usize, subgraph: &schema::SubGraph, codes: &[OperatorCode]) -> Result<Subgraph> {
        let place = || Place::subgraph(index);
        Ok(Subgraph {
            name: subgraph.name().map(str::to_owned),
            tensors: list(subgraph.tensors())
                .enumerate()
                .map(|(i, t)| tensor(&t).map_err(|rule| invalid_tensor(index, i, &t, rule)))
                .collect::<Result<_>>()?,
            inputs: indices(subgraph.inputs(), "input tensor", place)?,
            outputs: indices(subgraph.outputs(), "output tensor", place)?,
            nodes: list(subgraph.operators())
                .enumerate()
                .map(|(i, node)| {
                    let name = codes.get(node.opcode_index() as usize).map_or("", OperatorCode::name);
                    self.node(&node, || Place::node(index, i, name))
                })
                .collect::<Result<_>>()?,
            debug_metadata_index: subgraph.debug_metadata_index(),
        })
    }

    fn node(&self, node: &schema::Operator, place: impl Fn() -> Place) -> Result<Node> {
        let (kind, kind2) = (node.builtin_options_type(), node.builtin_options_2_type());
        if kind.variant_name().is_none() || kind2.variant_name().is_none() {
            let code = if kind.variant_name().is_none() { kind.0 } else { kind2.0 };
            return Err(ModelError::invalid(place(), format!("unknown type of options {code}")));
        }
        // Unions can only be unpacked with the whole node, which would copy custom options: do it where there is one.
        let (options, options2) = if kind.0 == 0 && kind2.0 == 0 {
            (BuiltinOptions::NONE, BuiltinOptions2::NONE)
        } else {
            let unpacked = node.unpack();
            (unpacked.builtin_options, unpacked.builtin_options_2)
        };
        let custom_options = match node.custom_options() {
            Some(options) => Some(self.share(options.bytes())),
            None if node.large_custom_options_offset() > 1 => {
                Some(self.outside(node.large_custom_options_offset(), node.large_custom_options_size()))
            }
            None => None,
        };
        let custom_options = custom_options
            .map(|options| {
                options.ok_or_else(|| ModelError::invalid(place(), "custom options lie outside of the file"))
            })
            .transpose()?;
        Ok(Node {
            opcode: node.opcode_index() as usize,
            inputs: optional_indices(node.inputs(), "input tensor", &place)?,
            outputs: indices(node.outputs(), "output tensor", &place)?,
            options,
            options2,
            custom_options,
            custom_options_format: node.custom_options_format(),
            mutating_variable_inputs: items(node.mutating_variable_inputs()),
            intermediates: indices(node.intermediates(), "intermediate tensor", &place)?,
            debug_metadata_index: node.debug_metadata_index(),
        })
    }
}

fn damaged(error: InvalidFlatbuffer) -> ModelError {
    let lines = error.to_string();
    ModelError::Damaged(lines.lines().map(str::trim).collect::<Vec<_>>().join("; "))
}

/// The flatbuffer with 4 bytes put in behind the root offset and the identifier.
fn moved_by_4(file: &[u8]) -> Option<Bytes> {
    let (root, rest) = file.split_first_chunk()?;
    let (identifier, rest) = rest.split_at_checked(4)?;
    let root = u32::from_le_bytes(*root).checked_add(4)?;
    Some(Bytes::from([&root.to_le_bytes(), identifier, &[0; 4], rest].concat()))
}

fn operator_code(code: &schema::OperatorCode) -> OperatorCode {
    // Files from before code 127 was passed have the narrow field only; later ones have both.
    let builtin = code.builtin_code().0.max(i32::from(code.deprecated_builtin_code()));
    OperatorCode {
        builtin: BuiltinOperator(builtin),
        custom: code.custom_code().map(str::to_owned),
        version: code.version(),
    }
}

fn signature(signature: &schema::SignatureDef) -> Signature {
    let map = |entries| {
        list(entries)
            .map(|entry: schema::TensorMap| (entry.name().unwrap_or("").to_owned(), entry.tensor_index() as usize))
            .collect()
    };
    Signature {
        key: signature.signature_key().map(str::to_owned),
        inputs: map(signature.inputs()),
        outputs: map(signature.outputs()),
        subgraph: signature.subgraph_index() as usize,
    }
}

fn tensor(tensor: &schema::Tensor) -> std::result::Result<Tensor, String> {
    Ok(Tensor {
        name: tensor.name().map(str::to_owned),
        ty: element_type(tensor.type_())?,
        shape: items(tensor.shape()),
        shape_signature: items(tensor.shape_signature()),
        has_rank: tensor.has_rank(),
        buffer: tensor.buffer() as usize,
        quantization: tensor.quantization().map(|q| quantization(&q)).transpose()?,
        is_variable: tensor.is_variable(),
        sparsity: tensor.sparsity().map(|s| sparsity(&s)).transpose()?,
        variant_tensors: list(tensor.variant_tensors())
            .map(|sub| {
                Ok(VariantSubType {
                    ty: element_type(sub.type_())?,
                    shape: items(sub.shape()),
                    has_rank: sub.has_rank(),
                })
            })
            .collect::<std::result::Result<_, String>>()?,
        external_buffer: tensor.external_buffer(),
    })
}

fn element_type(code: schema::TensorType) -> std::result::Result<TensorType, String> {
    TensorType::from_schema(code).ok_or_else(|| format!("unknown element type {}", code.0))
}

fn quantization(q: &schema::QuantizationParameters) -> std::result::Result<Quantization, String> {
    let kind = q.details_type();
    if kind.variant_name().is_none() {
        return Err(format!("unknown type of quantization details {}", kind.0));
    }
    Ok(Quantization {
        scale: items(q.scale()),
        zero_point: items(q.zero_point()),
        min: items(q.min()),
        max: items(q.max()),
        quantized_dimension: q.quantized_dimension(),
        details: (kind.0 != 0).then(|| q.unpack().details),
    })
}

fn sparsity(s: &schema::SparsityParameters) -> std::result::Result<Sparsity, String> {
    let dim_metadata = list(s.dim_metadata()).map(|dim| match dim.format() {
        schema::DimensionType::DENSE => Ok(DimensionMetadata::Dense { size: dim.dense_size() }),
        schema::DimensionType::SPARSE_CSR => {
            let dim = dim.unpack();
            Ok(DimensionMetadata::SparseCsr {
                segments: index_vector(dim.array_segments),
                indices: index_vector(dim.array_indices),
            })
        }
        other => Err(format!("unknown format {} of a sparse dimension", other.0)),
    });
    Ok(Sparsity {
        traversal_order: items(s.traversal_order()),
        block_map: items(s.block_map()),
        dim_metadata: dim_metadata.collect::<std::result::Result<_, String>>()?,
    })
}

fn index_vector(vector: schema::SparseIndexVectorT) -> IndexVector {
    use schema::SparseIndexVectorT as V;
    match vector {
        V::NONE => IndexVector::None,
        V::Int32Vector(v) => IndexVector::I32(v.values.unwrap_or_default()),
        V::Uint16Vector(v) => IndexVector::U16(v.values.unwrap_or_default()),
        V::Uint8Vector(v) => IndexVector::U8(v.values.unwrap_or_default()),
    }
}

/// The tables of an optional vector.
fn list<'a, T: Follow<'a> + 'a>(vector: Option<Vector<'a, ForwardsUOffset<T>>>) -> impl Iterator<Item = T::Inner> {
    vector.into_iter().flatten()
}

/// The numbers of an optional vector.
fn items<'a, T: Follow<'a> + 'a>(vector: Option<Vector<'a, T>>) -> Vec<T::Inner> {
    vector.map(|v| v.iter().collect()).unwrap_or_default()
}

/// Tensor indices, none of which may be missing.
fn indices(vector: Option<Vector<i32>>, what: &str, place: impl Fn() -> Place) -> Result<Vec<TensorId>> {
    let index = |i| usize::try_from(i).map_err(|_| ModelError::invalid(place(), format!("{what} {i} is negative")));
    vector.into_iter().flatten().map(index).collect()
}

/// Tensor indices, where -1 marks one left out.
fn optional_indices(
    vector: Option<Vector<i32>>,
    what: &str,
    place: impl Fn() -> Place,
) -> Result<Vec<Option<TensorId>>> {
    let index = |i| match i {
        -1 => Ok(None),
        _ => match usize::try_from(i) {
            Ok(i) => Ok(Some(i)),
            Err(_) => Err(ModelError::invalid(place(), format!("{what} {i} is negative"))),
        },
    };
    vector.into_iter().flatten().map(index).collect()
}

fn invalid_tensor(subgraph: usize, index: usize, tensor: &schema::Tensor, rule: String) -> ModelError {
    ModelError::invalid(Place::tensor(subgraph, index, tensor.name().unwrap_or("")), rule)
}
