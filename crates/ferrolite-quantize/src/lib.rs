//! Post-training quantization: smaller and faster models, no retraining.
//!
//! Quantizing goes in three steps that stay apart: [`Calibrator`] *measures* the ranges of activations on representative
//! inputs, [`decide`] makes a [`QuantPlan`] from them and from the operators' own rules
//! ([`OpDef::quantize`](ferrolite_ops::OpDef::quantize)), and [`QuantPlan::apply`] *rewrites* the model. [`quantize`] does the
//! last two at once.
//!
//! | [`Mode`] | weights | activations | needs calibration | size |
//! |---|---|---|---|---|
//! | `DynamicRange` | int8 | float, quantized on the fly | no | ¼ |
//! | `WeightOnly` | stored as int8 or int4 | float | no | ¼, ⅛ |
//! | `Float16` | float16 | float | no | ½ |
//! | `Int8` | int8 | int8, float where an operator has no int8 kernel | yes | ¼ |
//! | `Int8Only` | int8 | int8, or an error | yes | ¼ |
//! | `Int16x8` | int8 | int16 | yes | ¼ |
//!
//! [`Rule`]s in [`Options::rules`] make exceptions: nodes of some names or operators in another form than the mode's.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod apply;
mod calibrate;
mod compare;
mod decide;
mod error;
mod graph;
mod histogram;
mod lint;
mod method;
mod params;
mod plan;
mod recipe;

pub use calibrate::{Calibration, Calibrator, Findings, Stretch};
pub use compare::{BARS, Comparer, ErrorSums, LayerCost, TensorError};
pub use error::{QuantizeError, Refusal};
pub use lint::{Finding, Target, lint};
pub use method::Method;
pub use params::Params;
pub use plan::{Decision, Form, GraphPlan, NodePlan, QuantPlan, Weights};
pub use recipe::{Rule, Scheme};
pub use regex_lite::{Regex, escape};

use ferrolite_model::{Model, TensorType};
use ferrolite_ops::Catalog;

/// How a model is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As it is, but for the nodes that [`Options::rules`] name.
    Float,
    /// int8 weights; activations stay float and are quantized while running.
    DynamicRange,
    /// Weights stored as integers, computed with as float32.
    WeightOnly,
    /// Constants stored as float16, computed with as float32.
    Float16,
    /// int8 weights and activations; operators without an int8 kernel stay in float.
    Int8,
    /// int8 weights and activations throughout; a node that cannot be quantized is an error.
    Int8Only,
    /// int8 weights and int16 activations; operators without such a kernel stay in float.
    Int16x8,
}

impl Mode {
    /// Name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Float => "float",
            Mode::WeightOnly => "weight-only",
            Mode::DynamicRange => "dynamic range",
            Mode::Float16 => "float16",
            Mode::Int8 => "int8",
            Mode::Int8Only => "int8-only",
            Mode::Int16x8 => "int16x8",
        }
    }

    /// Type of quantized activations, `None` where they stay float.
    pub fn activation_type(self) -> Option<TensorType> {
        Scheme::from(self).activation_type()
    }
}

/// What [`quantize`] is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How.
    pub mode: Mode,
    /// Type of float inputs in the result: `Float32`, `Int8`, or what a QUANTIZE turns into activations (`UInt8`, `Int16`).
    /// `None` means int8 for [`Mode::Int8Only`], float32 otherwise.
    pub input_type: Option<TensorType>,
    /// Type of float outputs in the result; `None` as for inputs.
    pub output_type: Option<TensorType>,
    /// One weight scale per output channel rather than one per tensor: more accurate, at no cost.
    pub per_channel: bool,
    /// Weights with fewer elements stay float where activations are: they save little and cost a conversion.
    pub min_weight_elements: usize,
    /// Bits of weights: 8, or 4 for the operators that have kernels for it, 8 for the others.
    pub weight_bits: u8,
    /// Exceptions from the mode. Of those that match a node, the last one holds.
    pub rules: Vec<Rule>,
}

impl Options {
    /// The usual choices: weight scales per channel, from 1024 elements on.
    pub fn new(mode: Mode) -> Options {
        let (weight_bits, rules) = (8, Vec::new());
        Options {
            mode,
            input_type: None,
            output_type: None,
            per_channel: true,
            min_weight_elements: 1024,
            weight_bits,
            rules,
        }
    }

    /// Whether any node may get integer activations, for which a calibration is needed.
    pub fn needs_calibration(&self) -> bool {
        let schemes = self.rules.iter().map(|rule| rule.scheme).chain([Scheme::from(self.mode)]);
        schemes.into_iter().any(|scheme| scheme.activation_type().is_some())
    }

    /// What becomes of a node, and the type of its weights: int8 where the operator has no kernel for int4.
    pub(crate) fn scheme(
        &self,
        model: &Model,
        graph: &ferrolite_model::Subgraph,
        node: &ferrolite_model::Node,
    ) -> (Scheme, TensorType) {
        let rule = self.rules.iter().rev().find(|rule| rule.matches(model, graph, node));
        let bits = rule.and_then(|rule| rule.weight_bits).unwrap_or(self.weight_bits);
        let ty = if bits == 4 { TensorType::Int4 } else { TensorType::Int8 };
        (rule.map_or(self.mode.into(), |rule| rule.scheme), ty)
    }
}

/// Quantizes a model.
///
/// Names, the order of inputs and outputs, signatures and metadata are kept. Nodes that are quantized already stay as they
/// are. The integer modes quantize the main subgraph and need its `calibration`; the others quantize every subgraph.
///
/// # Errors
/// When the calibration is missing or of another model, when there is nothing to quantize, and for [`Mode::Int8Only`] when
/// any node has to stay in float (the error lists them all).
pub fn quantize(model: &Model, options: &Options, calibration: Option<&Calibration>) -> Result<Model, QuantizeError> {
    decide(model, options, calibration)?.apply(model)
}

/// Decides what becomes of every node and tensor, with the builtin operators' rules.
///
/// # Errors
/// See [`quantize`].
pub fn decide(model: &Model, options: &Options, calibration: Option<&Calibration>) -> Result<QuantPlan, QuantizeError> {
    decide_with(model, options, calibration, &Catalog::builtin())
}

/// Decides what becomes of every node and tensor, with the rules of this catalogue's operators.
///
/// # Errors
/// See [`quantize`].
pub fn decide_with(
    model: &Model,
    options: &Options,
    calibration: Option<&Calibration>,
    catalog: &Catalog,
) -> Result<QuantPlan, QuantizeError> {
    ferrolite_model::verify(model)?;
    decide::decide(model, options, calibration, catalog)
}
