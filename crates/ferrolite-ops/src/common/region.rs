//! Regions: subgraphs that describe what a reduction or scatter does with two elements. They are read, not run.

use super::calls::subgraph;
use crate::op::NodeView;
use crate::{OpError, ensure};
use ferrolite_model::BuiltinOperator;

/// A function of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The sum.
    Add,
    /// The product.
    Multiply,
    /// The larger one.
    Maximum,
    /// The smaller one.
    Minimum,
    /// Whether neither is 0.
    All,
    /// Whether one is not 0.
    Any,
}

/// The function that a region's only node computes from the region's two inputs; `None` if there is no node, so that it
/// returns an input.
pub fn function(node: &NodeView<'_>, index: i32) -> Result<Option<Function>, OpError> {
    use BuiltinOperator as B;
    let (index, region) = subgraph(node, index)?;
    let [only] = &region.nodes[..] else {
        ensure!(region.nodes.is_empty(), "region {index} has {} nodes; one can be run", region.nodes.len());
        return Ok(None);
    };
    let code = node.model.operator(only);
    let function = match code.builtin {
        B::ADD | B::STABLEHLO_ADD => Function::Add,
        B::MUL | B::STABLEHLO_MULTIPLY => Function::Multiply,
        B::MAXIMUM | B::STABLEHLO_MAXIMUM => Function::Maximum,
        B::MINIMUM | B::STABLEHLO_MINIMUM => Function::Minimum,
        B::LOGICAL_AND | B::STABLEHLO_AND => Function::All,
        B::LOGICAL_OR | B::STABLEHLO_OR => Function::Any,
        _ => return Err(OpError::unsupported(format!("region {index} computes {code}"))),
    };
    let mut used: Vec<_> = only.inputs.iter().flatten().copied().collect();
    let mut given = region.inputs.clone();
    used.sort_unstable();
    given.sort_unstable();
    if used != given || region.outputs != only.outputs {
        let rule = "is not one operator on its two inputs";
        return Err(OpError::unsupported(format!("region {index} {rule}")));
    }
    Ok(Some(function))
}
