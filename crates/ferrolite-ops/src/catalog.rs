//! Finding an operator's definition.

use crate::OPS;
use crate::op::{OpDef, OpId};
use ferrolite_model::{BuiltinOperator, OperatorCode};
use std::sync::{Arc, LazyLock};

/// The format's own operators by their code.
static BY_CODE: LazyLock<Vec<Option<&'static dyn OpDef>>> = LazyLock::new(|| {
    let mut ops = Vec::new();
    for &op in OPS {
        let OpId::Builtin(code) = op.id() else { continue };
        let Ok(index) = usize::try_from(code.0) else { continue };
        if index >= ops.len() {
            ops.resize(index + 1, None);
        }
        ops[index].get_or_insert(op);
    }
    ops
});

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
    ///
    /// ```
    /// use ferrolite_ops::op::{InferResult, reference};
    /// use ferrolite_ops::{Catalog, Inferred, Kernel, NodeView, OpDef, OpError, OpId};
    /// use std::ops::RangeInclusive;
    ///
    /// /// The custom operator `Cube`: each value to the third power.
    /// struct Cube;
    ///
    /// impl OpDef for Cube {
    ///     fn id(&self) -> OpId {
    ///         OpId::Custom("Cube")
    ///     }
    ///
    ///     fn versions(&self) -> RangeInclusive<i32> {
    ///         1..=1
    ///     }
    ///
    ///     fn infer(&self, node: &NodeView<'_>) -> InferResult {
    ///         node.expect(1..=1, 1)?;
    ///         let x = node.input(0)?;
    ///         Ok([Inferred { ty: x.ty, shape: Some(x.shape.clone()) }].into_iter().collect())
    ///     }
    ///
    ///     fn reference(&self, _: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    ///         reference(|io| {
    ///             let x = io.input(0)?.slice::<f32>()?;
    ///             io.outputs[0].slice::<f32>()?.iter_mut().zip(x).for_each(|(y, x)| *y = x * x * x);
    ///             Ok(())
    ///         })
    ///     }
    /// }
    ///
    /// let catalog = Catalog::builtin().with(Cube);
    /// # let code = ferrolite_model::OperatorCode {
    /// #     builtin: ferrolite_model::BuiltinOperator::CUSTOM,
    /// #     custom: Some("Cube".into()),
    /// #     version: 1,
    /// # };
    /// # assert!(catalog.find(&code).is_some());
    /// ```
    pub fn with(mut self, op: impl OpDef + 'static) -> Catalog {
        self.own.insert(0, Arc::new(op));
        self
    }

    /// The definition of a model's operator.
    pub fn find(&self, code: &OperatorCode) -> Option<&dyn OpDef> {
        let own = self.own.iter().map(|op| &**op).find(|op| op.id().matches(code));
        own.or_else(|| match usize::try_from(code.builtin.0) {
            Ok(index) if code.builtin != BuiltinOperator::CUSTOM => BY_CODE.get(index).copied().flatten(),
            _ => OPS.iter().copied().find(|op| op.id().matches(code)),
        })
    }
}
