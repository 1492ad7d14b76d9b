//! What quantizing did to a model: every tensor's error, and what each layer alone costs.
//!
//! ```no_run
//! use ferrolite::{Model, compare, samples::Samples};
//!
//! # fn main() -> Result<(), ferrolite::Error> {
//! let (float, int8) = (Model::from_file("float.tflite")?, Model::from_file("int8.tflite")?);
//! let samples = Samples::open(&float, &["samples.npy".parse().unwrap()], None)?;
//! let comparison = compare::compare(float, int8, &samples, 16, &mut |_, _, _| {})?;
//! for layer in comparison.layers.iter().take(3) {
//!     println!("{} {}: {:.1} dB when it alone is quantized", layer.operator, layer.name, layer.error.snr());
//! }
//! # Ok(())
//! # }
//! ```

use crate::quantize::{Comparer, LayerCost, Scheme, TensorError};
use crate::samples::Samples;
use crate::{Error, Model};
use std::fmt::Write;

/// Two models, compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Number of samples that both were run on.
    pub samples: usize,
    /// Tensors of both, in the order in which the first computes them.
    pub tensors: Vec<TensorError>,
    /// Layers, by what quantizing each alone costs, most first.
    pub layers: Vec<LayerCost>,
}

/// Runs the model `wanted` and its quantized form `given` on samples of the inputs of `wanted`; layers alone on at most
/// `layer_samples` of them, or not at all for 0. `progress` hears what is done, and how many of how many are.
///
/// # Errors
/// When the models are not of the same network, a sample does not fit, or a model fails.
pub fn compare(
    wanted: Model,
    given: Model,
    samples: &Samples,
    layer_samples: usize,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Comparison, Error> {
    let mut comparer = Comparer::new(wanted, given)?.keep(layer_samples);
    for i in 0..samples.len() {
        comparer.feed(&samples.get(i)?).map_err(|e| Error::from(e).prefixed(&samples.name(i)))?;
        progress("comparing", i + 1, samples.len());
    }
    let layers = match layer_samples {
        0 => Vec::new(),
        _ => comparer.layers(&mut |done, all| progress("layers", done, all))?,
    };
    Ok(Comparison { samples: samples.len(), tensors: comparer.tensors(), layers })
}

impl Comparison {
    /// The model's outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &TensorError> {
        self.tensors.iter().filter(|tensor| tensor.is_output)
    }

    /// Tensors with the lowest signal to noise ratio first.
    pub fn worst(&self) -> Vec<&TensorError> {
        let mut worst: Vec<_> = self.tensors.iter().collect();
        worst.sort_by(|a, b| a.error.snr().total_cmp(&b.error.snr()));
        worst
    }

    /// What the layer that computes a tensor costs alone.
    pub fn cost_of(&self, tensor: &TensorError) -> Option<&LayerCost> {
        self.layers.iter().find(|layer| Some(layer.node) == tensor.node)
    }

    /// The tensors as CSV.
    pub fn to_csv(&self) -> String {
        let mut out = String::from(
            "node,operator,tensor,type,is_output,values,mse,snr_db,cosine,max_error,bias,clipped,layer_alone_snr_db\n",
        );
        for tensor in &self.tensors {
            let e = &tensor.error;
            let node = tensor.node.map_or_else(String::new, |node| node.to_string());
            let alone = self.cost_of(tensor).map_or_else(String::new, |layer| layer.error.snr().to_string());
            let name = tensor.name.replace('"', "\"\"");
            let _ = writeln!(
                out,
                "{node},{},\"{name}\",{},{},{},{},{},{},{},{},{},{alone}",
                tensor.operator,
                tensor.ty,
                tensor.is_output,
                e.count,
                e.mse(),
                e.snr(),
                e.cosine(),
                e.max,
                e.bias(),
                tensor.clipped
            );
        }
        out
    }

    /// A recipe that computes the `count` most costly layers by another scheme; see [`mod@crate::recipe`].
    pub fn recipe(&self, count: usize, scheme: Scheme) -> String {
        let rule = |layer: &LayerCost| {
            let pattern = format!("^{}$", crate::quantize::escape(&layer.name));
            format!("  {}", serde_json::json!({ "tensors": pattern, "scheme": scheme.name() }))
        };
        let rules: Vec<String> = self.layers.iter().take(count).map(rule).collect();
        format!("[\n{}\n]\n", rules.join(",\n"))
    }
}
