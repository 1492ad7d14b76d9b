//! WHILE: runs a body as long as a condition holds.

use crate::common::calls::{callee_shapes, check_callee, check_types, give, outputs, subgraph};
use crate::common::cases::{self, Spec};
use crate::op::{Case, InferResult, Io, Kernel, NodeView, OpDef, OpId};
use crate::session::{Argument, TensorValue};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, TensorType, schema};
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// WHILE. Inputs: the state. Outputs: the state after the last iteration.
pub struct While;

/// The prepared loop.
struct Loop {
    condition: usize,
    body: usize,
    /// The part of the state that the condition subgraph returns as it is, if it does.
    flag: Option<usize>,
}

fn prepare(node: &NodeView<'_>) -> Result<Loop, OpError> {
    let Some(options) = node.options.as_while_options() else { return Err(OpError::invalid("options are missing")) };
    ensure!(options.cond_subgraph_index != options.body_subgraph_index, "condition and body are one subgraph");
    let body = check_callee(node, options.body_subgraph_index, 0)?;
    let (condition, graph) = subgraph(node, options.cond_subgraph_index)?;
    let state = (0..node.inputs.len()).map(|i| node.input(i).map(|t| t.ty)).collect::<Result<Vec<_>, _>>()?;
    let outputs: Vec<TensorType> = node.outputs.iter().map(|t| t.ty).collect();
    ensure!(state == outputs, "a state of types {state:?} becomes {outputs:?}");
    check_types(graph, condition, "input", &graph.inputs, &state)?;
    check_types(graph, condition, "output", &graph.outputs, &[TensorType::Bool])?;
    let flag = graph.inputs.iter().position(|id| *id == graph.outputs[0]);
    Ok(Loop { condition, body, flag })
}

impl OpDef for While {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::WHILE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let body = prepare(node)?.body;
        // The state keeps its shapes if one iteration keeps them.
        let is_kept = |shapes: &Vec<Shape>| {
            shapes.iter().zip(&node.inputs).all(|(after, before)| before.as_ref().is_some_and(|b| b.shape == *after))
        };
        Ok(outputs(node, callee_shapes(node, body, 0).filter(is_kept)))
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(prepare(node)?))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    /// Adds as long as the last element is below 50.
    fn cases(&self) -> Vec<Case> {
        let case = |ty: TensorType| {
            let state: [Spec<'_>; 3] = [(TensorType::Int32, &[], None), (ty, &[2, 3], None), (ty, &[3], None)];
            let op = BuiltinOperator::WHILE;
            let mut case = cases::case2(format!("{ty}"), op, &state, &state, |b| {
                b.subgraph("condition");
                let inputs = state.map(|(ty, shape, _)| b.input("x", ty, shape));
                let limit = b.constant_i32("limit", &[], &[50]);
                let is_below = b.tensor("is_below", TensorType::Bool, &[]);
                let less = [Some(inputs[0]), Some(limit)];
                b.node(BuiltinOperator::LESS, 1, BuiltinOptions::NONE, &less, &[is_below]);
                b.output(is_below);
                b.subgraph("body");
                let inputs = state.map(|(ty, shape, _)| b.input("x", ty, shape));
                let step = b.constant_i32("step", &[], &[7]);
                for (i, with) in [(0, step), (1, inputs[2])] {
                    let sum = b.tensor("sum", state[i].0, state[i].1);
                    let options = BuiltinOptions::AddOptions(Box::default());
                    b.node(BuiltinOperator::ADD, 1, options, &[Some(inputs[i]), Some(with)], &[sum]);
                    b.output(sum);
                }
                b.output(inputs[2]);
                BuiltinOptions2::NONE
            })?;
            let options = schema::WhileOptionsT { cond_subgraph_index: 1, body_subgraph_index: 2 };
            case.model.subgraphs[0].nodes[0].options = BuiltinOptions::WhileOptions(Box::new(options));
            Some(case)
        };
        [TensorType::Float32, TensorType::Int32].into_iter().filter_map(case).collect()
    }
}

/// The whole state, without copies.
fn lend(state: &mut [TensorValue]) -> SmallVec<[Argument<'_>; 8]> {
    state.iter_mut().map(Argument::Lent).collect()
}

impl Loop {
    fn goes_on(
        &self,
        io: &mut Io<'_>,
        state: &mut [TensorValue],
        result: &mut Vec<TensorValue>,
    ) -> Result<bool, OpError> {
        let flag = match self.flag {
            Some(i) => &state[i],
            None => {
                io.session.call(self.condition, &mut lend(state), result)?;
                &result[0]
            }
        };
        match (&flag.shape[..], &flag.bytes[..]) {
            ([] | [1], [byte]) => Ok(*byte != 0),
            (shape, _) => Err(OpError::invalid(format!("a condition of shape {shape:?}"))),
        }
    }
}

impl Kernel for Loop {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let mut state: Vec<TensorValue> = io.inputs.iter().flatten().map(|&t| TensorValue::copy_of(t)).collect();
        let (mut next, mut result) = (Vec::new(), Vec::new());
        let limit = io.session.max_iterations();
        let mut iterations = 0;
        while self.goes_on(io, &mut state, &mut result)? {
            ensure!(iterations < limit, "the loop has not ended after {limit} iterations, the limit; see Limits");
            iterations += 1;
            io.session.call(self.body, &mut lend(&mut state), &mut next)?;
            std::mem::swap(&mut state, &mut next);
        }
        give(io, &mut state)
    }

    fn name(&self) -> &str {
        "loop"
    }
}
