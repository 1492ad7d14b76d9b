//! Mixed precision: which nodes are quantized how.

use crate::Mode;
use ferrolite_model::{Model, Node, Subgraph, TensorType};
use regex_lite::Regex;
use std::str::FromStr;

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// It stays as it is.
    Float,
    /// Its constants are stored as float16.
    Float16,
    /// Its weights are stored as integers, and computed with as float32.
    WeightOnly,
    /// It computes with float activations and integer weights.
    DynamicRange,
    /// It computes with int8 activations and integer weights.
    Int8,
    /// It computes with int16 activations and integer weights.
    Int16x8,
}

impl Scheme {
    const ALL: [(&str, Scheme); 6] = [
        ("float", Scheme::Float),
        ("float16", Scheme::Float16),
        ("weight-only", Scheme::WeightOnly),
        ("dynamic", Scheme::DynamicRange),
        ("int8", Scheme::Int8),
        ("int16x8", Scheme::Int16x8),
    ];

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        Scheme::ALL.into_iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }

    /// Type of the activations, where they are integers.
    pub fn activation_type(self) -> Option<TensorType> {
        match self {
            Scheme::Int8 => Some(TensorType::Int8),
            Scheme::Int16x8 => Some(TensorType::Int16),
            _ => None,
        }
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Scheme, String> {
        let names = || Scheme::ALL.map(|(name, _)| name).join(", ");
        let found = Scheme::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, scheme)| scheme).ok_or_else(|| format!("there is no scheme {text:?}; there are {}", names()))
    }
}

impl From<Mode> for Scheme {
    fn from(mode: Mode) -> Scheme {
        match mode {
            Mode::Float => Scheme::Float,
            Mode::Float16 => Scheme::Float16,
            Mode::WeightOnly => Scheme::WeightOnly,
            Mode::DynamicRange => Scheme::DynamicRange,
            Mode::Int8 | Mode::Int8Only => Scheme::Int8,
            Mode::Int16x8 => Scheme::Int16x8,
        }
    }
}

/// What becomes of the nodes that it matches.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Matches nodes with an output tensor in whose name this is found; all where there is none.
    pub tensors: Option<Regex>,
    /// Matches nodes of these operators, by their builtin or custom names; all where there is none.
    pub operators: Vec<String>,
    /// What becomes of them.
    pub scheme: Scheme,
    /// Bits of their weights, 8 or 4, where that is not the options' choice.
    pub weight_bits: Option<u8>,
}

impl Rule {
    /// A rule for the nodes that compute a tensor with exactly this name.
    pub fn of_tensor(name: &str, scheme: Scheme) -> Rule {
        let tensors = Regex::new(&format!("^{}$", regex_lite::escape(name))).ok();
        Rule { tensors, operators: Vec::new(), scheme, weight_bits: None }
    }

    /// Whether it is about this node.
    pub fn matches(&self, model: &Model, graph: &Subgraph, node: &Node) -> bool {
        let operator = model.operator(node).name();
        let mut names = node.outputs.iter().map(|&id| graph.tensors[id].name());
        (self.operators.is_empty() || self.operators.iter().any(|name| name == operator))
            && self.tensors.as_ref().is_none_or(|pattern| names.any(|name| pattern.is_match(name)))
    }
}
