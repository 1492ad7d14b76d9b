//! What can be wrong with a model, and where.

use std::fmt;
use std::path::PathBuf;

/// Why a model cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not a `.tflite` file at all.
    #[error("not a TensorFlow Lite file: {0}")]
    NotTflite(&'static str),
    /// The FlatBuffer that holds the model is damaged.
    #[error("damaged file: {0}")]
    Damaged(String),
    /// The model breaks a rule.
    #[error("{place}{rule}")]
    Invalid {
        /// Where.
        place: Place,
        /// Which rule, in words.
        rule: String,
    },
    /// The model does not fit in the format.
    #[error("too large for the format: {0}")]
    TooLarge(String),
}

impl ModelError {
    /// A broken rule at a place.
    pub(crate) fn invalid(place: Place, rule: impl Into<String>) -> ModelError {
        ModelError::Invalid { place, rule: rule.into() }
    }

    /// The subgraph, node or tensor at fault, where there is one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            ModelError::Invalid { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// Part of a model. Shows itself as `subgraph 0, node 3 (CONV_2D): `, and as nothing for the model as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Index of the subgraph.
    pub subgraph: Option<usize>,
    /// Index of the node and name of its operator.
    pub node: Option<(usize, String)>,
    /// Index and name of the tensor.
    pub tensor: Option<(usize, String)>,
}

impl Place {
    /// The model as a whole.
    pub(crate) const MODEL: Place = Place { subgraph: None, node: None, tensor: None };

    /// A subgraph.
    pub(crate) fn subgraph(subgraph: usize) -> Place {
        Place { subgraph: Some(subgraph), ..Place::MODEL }
    }

    /// A node of a subgraph.
    pub(crate) fn node(subgraph: usize, node: usize, operator: impl Into<String>) -> Place {
        Place { subgraph: Some(subgraph), node: Some((node, operator.into())), tensor: None }
    }

    /// A tensor of a subgraph.
    pub(crate) fn tensor(subgraph: usize, tensor: usize, name: impl Into<String>) -> Place {
        Place { subgraph: Some(subgraph), node: None, tensor: Some((tensor, name.into())) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(subgraph) = self.subgraph {
            write!(f, "subgraph {subgraph}")?;
            separator = ", ";
        }
        for (kind, part) in [("node", &self.node), ("tensor", &self.tensor)] {
            if let Some((index, name)) = part {
                write!(f, "{separator}{kind} {index}")?;
                if !name.is_empty() {
                    write!(f, " ({name})")?;
                }
                separator = ", ";
            }
        }
        if separator.is_empty() { Ok(()) } else { f.write_str(": ") }
    }
}
