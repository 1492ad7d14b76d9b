//! A model as text, for people.

use crate::model::*;
use crate::schema::{self, BuiltinOptions as Kind, BuiltinOptions2 as Kind2};
use flatbuffers::FlatBufferBuilder;
use std::fmt::{self, Display, Formatter};

impl Model {
    /// The model as text: subgraphs with their tensors and nodes, signatures and metadata. `%3` is tensor 3.
    pub fn dump(&self) -> String {
        self.to_string()
    }
}

impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let constants: usize = self.buffers.iter().map(|data| data.len()).sum();
        write!(f, "model: {} subgraphs, {constants} bytes of constants", self.subgraphs.len())?;
        if let Some(text) = &self.description {
            write!(f, ", {text:?}")?;
        }
        writeln!(f)?;
        for (index, subgraph) in self.subgraphs.iter().enumerate() {
            writeln!(f, "\nsubgraph {index} {}", subgraph.name.as_deref().unwrap_or(""))?;
            writeln!(f, "  inputs: {}", Ids(&subgraph.inputs))?;
            writeln!(f, "  outputs: {}", Ids(&subgraph.outputs))?;
            writeln!(f, "  tensors:")?;
            for (id, tensor) in subgraph.tensors.iter().enumerate() {
                writeln!(f, "    %{id} {}", DescribedTensor { model: self, tensor })?;
            }
            writeln!(f, "  nodes:")?;
            for (index, node) in subgraph.nodes.iter().enumerate() {
                writeln!(f, "    {index} {}", DescribedNode { model: self, node })?;
            }
        }
        for signature in &self.signatures {
            let key = signature.key.as_deref().unwrap_or("");
            let (inputs, outputs) = (Named(&signature.inputs), Named(&signature.outputs));
            writeln!(f, "\nsignature {key:?} of subgraph {}: {inputs} -> {outputs}", signature.subgraph)?;
        }
        for entry in &self.metadata {
            let len = self.buffers.get(entry.buffer).map_or(0, |data| data.len());
            writeln!(f, "\nmetadata {:?}: {len} bytes", entry.name.as_deref().unwrap_or(""))?;
        }
        Ok(())
    }
}

/// `%1, %2`.
struct Ids<'a>(&'a [TensorId]);

impl Display for Ids<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        joined(f, self.0, |f, id| write!(f, "%{id}"))
    }
}

/// `(x: %1, y: %2)`.
struct Named<'a>(&'a [(String, TensorId)]);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        joined(f, self.0, |f, (name, id)| write!(f, "{name}: %{id}"))?;
        f.write_str(")")
    }
}

fn joined<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    mut show: impl FnMut(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        show(f, item)?;
    }
    Ok(())
}

struct DescribedTensor<'a> {
    model: &'a Model,
    tensor: &'a Tensor,
}

impl Display for DescribedTensor<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let DescribedTensor { model, tensor } = self;
        let shape = if tensor.shape_signature.is_empty() { &tensor.shape } else { &tensor.shape_signature };
        write!(f, "{:?} {}{shape:?}", tensor.name(), tensor.ty)?;
        if let Some(quantization) = &tensor.quantization {
            write!(f, "{quantization}")?;
        }
        if tensor.is_variable {
            f.write_str(", variable")?;
        }
        if let Some(data) = model.constant(tensor) {
            write!(f, ", constant of {} bytes", data.len())?;
        }
        if tensor.sparsity.is_some() {
            f.write_str(", sparse")?;
        }
        if tensor.external_buffer != 0 {
            write!(f, ", external buffer {}", tensor.external_buffer)?;
        }
        Ok(())
    }
}

/// `, scale 0.5, zero point 3`; nothing when there are no scales.
impl Display for Quantization {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.scale.as_slice() {
            [] => {}
            [scale] => write!(f, ", scale {scale}, zero point {}", self.zero_point.first().unwrap_or(&0))?,
            scales => {
                let range = scales.iter().fold((f32::INFINITY, 0f32), |(low, high), &s| (low.min(s), high.max(s)));
                let (count, axis) = (scales.len(), self.quantized_dimension);
                write!(f, ", {count} scales {}..{} along dimension {axis}", range.0, range.1)?;
                if self.zero_point.iter().any(|&zero| zero != 0) {
                    f.write_str(" with zero points")?;
                }
            }
        }
        match &self.details {
            None | Some(QuantizationDetails::NONE) => Ok(()),
            Some(QuantizationDetails::CustomQuantization(_)) => f.write_str(", custom quantization"),
            Some(QuantizationDetails::BlockwiseQuantization(d)) => {
                write!(f, ", blocks of {} with scales %{}", d.block_size, d.scales)
            }
            Some(QuantizationDetails::MultiAxisQuantization(d)) => {
                write!(f, ", several axes with scales %{}", d.scales)
            }
        }
    }
}

struct DescribedNode<'a> {
    model: &'a Model,
    node: &'a Node,
}

impl Display for DescribedNode<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let DescribedNode { model, node } = self;
        match model.operator_codes.get(node.opcode) {
            Some(code) => write!(f, "{code} (")?,
            None => write!(f, "operator {} (", node.opcode)?,
        }
        joined(f, &node.inputs, |f, input| match input {
            Some(id) => write!(f, "%{id}"),
            None => f.write_str("-"),
        })?;
        write!(f, ") -> {}", Ids(&node.outputs))?;
        if !node.intermediates.is_empty() {
            write!(f, ", intermediates {}", Ids(&node.intermediates))?;
        }
        for (name, value) in options(node) {
            write!(f, ", {name}={value}")?;
        }
        match &node.custom_options {
            Some(options) => write!(f, ", {} bytes of custom options", options.len()),
            None => Ok(()),
        }
    }
}

/// Names and values of the options that are not the default.
fn options(node: &Node) -> Vec<(String, String)> {
    let (kind, kind2) = (node.options.builtin_options_type(), node.options2.builtin_options_2_type());
    let Some((default, default2)) = default_options(kind, kind2) else { return Vec::new() };
    let mut shown = Vec::new();
    for (options, default) in [
        (format!("{:?}", node.options), format!("{default:?}")),
        (format!("{:?}", node.options2), format!("{default2:?}")),
    ] {
        let default = fields(&default);
        let special = fields(&options).into_iter().filter(|field| !default.contains(field));
        shown.extend(special.map(|(name, value)| (name.to_owned(), plain(value).to_owned())));
    }
    shown
}

/// Options with the format's defaults: what empty tables mean.
fn default_options(kind: Kind, kind2: Kind2) -> Option<(BuiltinOptions, BuiltinOptions2)> {
    let mut fbb = FlatBufferBuilder::new();
    let mut empty = |kind: u8| {
        (kind != 0).then(|| {
            let start = fbb.start_table();
            fbb.end_table(start).as_union_value()
        })
    };
    let (builtin_options, builtin_options_2) = (empty(kind.0), empty(kind2.0));
    let args = schema::OperatorArgs {
        builtin_options_type: kind,
        builtin_options,
        builtin_options_2_type: kind2,
        builtin_options_2,
        ..Default::default()
    };
    let root = schema::Operator::create(&mut fbb, &args);
    fbb.finish(root, None);
    let operator = flatbuffers::root::<schema::Operator>(fbb.finished_data()).ok()?.unpack();
    Some((operator.builtin_options, operator.builtin_options_2))
}

/// The fields of what `Debug` shows: of `Kind(Struct { a: 1, b: Some([1, 2]) })`, `a` with `1` and `b` with the rest.
fn fields(text: &str) -> Vec<(&str, &str)> {
    let Some((_, inside)) = text.split_once('{') else { return Vec::new() };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let top_level_comma = move |c: char| {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    };
    let pairs = inside.split(top_level_comma).filter_map(|field| field.split_once(':'));
    pairs.map(|(name, value)| (name.trim(), value.trim())).collect()
}

/// A value without `Some(...)`.
fn plain(value: &str) -> &str {
    value.strip_prefix("Some(").and_then(|value| value.strip_suffix(')')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn a_dump_shows_what_matters() {
        let mut b = ModelBuilder::new();
        let x = b.input("x", TensorType::Int8, &[-1, 28, 28, 1]);
        b.quantize(x, Quantization::per_tensor(0.5, -3));
        let scales = Quantization::per_channel(vec![0.25, 0.5], 0);
        let w = b.constant_quantized("w", TensorType::Int8, &[2, 3, 3, 1], vec![1u8; 18], scales);
        let y = b.tensor("y", TensorType::Int8, &[-1, 28, 28, 2]);
        let options = schema::Conv2DOptionsT { stride_w: 1, stride_h: 2, ..Default::default() };
        let options = BuiltinOptions::Conv2DOptions(Box::new(options));
        b.node(BuiltinOperator::CONV_2D, 3, options, &[Some(x), Some(w), None], &[y]);
        let z = b.tensor("z", TensorType::Int8, &[4]);
        let options = schema::ReshapeOptionsT { new_shape: Some(vec![2, -1]) };
        b.node(BuiltinOperator::RESHAPE, 1, BuiltinOptions::ReshapeOptions(Box::new(options)), &[Some(y)], &[z]);
        let t = b.tensor("t", TensorType::Int8, &[4]);
        b.custom("Mine", vec![1u8, 2], &[Some(z)], &[t]);
        b.output(t);
        b.signature("serving_default");
        let dump = b.build().unwrap().dump();
        let expected = r#"model: 1 subgraphs, 18 bytes of constants, "ferrolite"

subgraph 0 main
  inputs: %0
  outputs: %4
  tensors:
    %0 "x" int8[-1, 28, 28, 1], scale 0.5, zero point -3
    %1 "w" int8[2, 3, 3, 1], 2 scales 0.25..0.5 along dimension 0, constant of 18 bytes
    %2 "y" int8[-1, 28, 28, 2]
    %3 "z" int8[4]
    %4 "t" int8[4]
  nodes:
    0 CONV_2D v3 (%0, %1, -) -> %2, stride_w=1, stride_h=2
    1 RESHAPE (%2) -> %3, new_shape=[2, -1]
    2 Mine (%3) -> %4, 2 bytes of custom options

signature "serving_default" of subgraph 0: (x: %0) -> (t: %4)
"#;
        assert_eq!(dump, expected);
    }
}
