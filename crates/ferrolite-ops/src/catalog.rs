//! Finding an operator's definition.

use crate::OPS;
use crate::op::OpDef;
use ferrolite_model::OperatorCode;
use std::sync::Arc;

/// The operators that a runtime knows: the builtin ones and a user's own.
#[derive(Clone, Default)]
pub struct Catalog {
    own: Vec<Arc<dyn OpDef>>,
}

impl Catalog {
    /// The builtin operators.
    pub fn builtin() -> Catalog {
        Catalog::default()
    }

    /// Adds an operator; it goes before a builtin one of the same name.
    pub fn with(mut self, op: impl OpDef + 'static) -> Catalog {
        self.own.insert(0, Arc::new(op));
        self
    }

    /// The definition of a model's operator.
    pub fn find(&self, code: &OperatorCode) -> Option<&dyn OpDef> {
        let own = self.own.iter().map(|op| &**op).find(|op| op.id().matches(code));
        own.or_else(|| OPS.iter().copied().find(|op| op.id().matches(code)))
    }
}
