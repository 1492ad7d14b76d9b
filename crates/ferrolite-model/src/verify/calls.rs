//! Rules of subgraphs that call each other.

use super::Result;
use crate::error::{ModelError, Place};
use crate::model::*;

pub(super) fn check(model: &Model) -> Result<()> {
    let subgraphs = model.subgraphs.len();
    let mut callees: Vec<Vec<usize>> = Vec::with_capacity(subgraphs);
    for (index, subgraph) in model.subgraphs.iter().enumerate() {
        let mut called = Vec::new();
        for (position, node) in subgraph.nodes.iter().enumerate() {
            for callee in node.called_subgraphs() {
                match usize::try_from(callee) {
                    Ok(callee) if callee < subgraphs => called.push(callee),
                    _ => {
                        let place = Place::node(index, position, model.operator(node).name());
                        let rule = format!("called subgraph {callee} is out of range ({subgraphs} subgraphs)");
                        return Err(ModelError::invalid(place, rule));
                    }
                }
            }
        }
        callees.push(called);
    }
    // Take away what nobody (any more) calls; what remains calls itself.
    let mut callers = vec![0usize; subgraphs];
    for &callee in callees.iter().flatten() {
        callers[callee] += 1;
    }
    let mut free: Vec<usize> = (0..subgraphs).filter(|&index| callers[index] == 0).collect();
    while let Some(index) = free.pop() {
        for &callee in &callees[index] {
            callers[callee] -= 1;
            if callers[callee] == 0 {
                free.push(callee);
            }
        }
    }
    match callers.iter().position(|&callers| callers > 0) {
        Some(index) => Err(ModelError::invalid(Place::subgraph(index), "it is part of a recursion")),
        None => Ok(()),
    }
}
