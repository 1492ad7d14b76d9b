//! IF, STABLEHLO_CASE and STABLEHLO_COMPOSITE: each runs one of the subgraphs that it names.

use crate::common::calls::{call, callee_shapes, check_callee, check_single, outputs};
use crate::common::cases;
use crate::op::{Case, InferResult, Io, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, TensorType, schema};
use std::ops::RangeInclusive;

/// An operator that runs a subgraph of its choice.
pub struct Branch {
    op: BuiltinOperator,
    /// Type of input 0, which chooses and is not passed on.
    choice: Option<TensorType>,
}

/// IF. Inputs: a condition, and what the branches take.
pub const IF: Branch = Branch { op: BuiltinOperator::IF, choice: Some(TensorType::Bool) };
/// STABLEHLO_CASE. Inputs: the branch, and what the branches take. A number outside of the branches is the last one.
pub const STABLEHLO_CASE: Branch = Branch { op: BuiltinOperator::STABLEHLO_CASE, choice: Some(TensorType::Int32) };
/// STABLEHLO_COMPOSITE: an operation by name, and a subgraph that computes it.
pub const STABLEHLO_COMPOSITE: Branch = Branch { op: BuiltinOperator::STABLEHLO_COMPOSITE, choice: None };

impl Branch {
    /// The subgraphs; at least one.
    fn branches(&self, node: &NodeView<'_>) -> Result<Vec<usize>, OpError> {
        let named = if let Some(options) = node.options.as_if_options() {
            vec![options.then_subgraph_index, options.else_subgraph_index]
        } else if let Some(options) = node.options2.as_stablehlo_case_options() {
            options.branch_subgraph_indices.clone().unwrap_or_default()
        } else if let Some(options) = node.options2.as_stable_hlocomposite_options() {
            vec![options.decomposition_subgraph_index]
        } else {
            Vec::new()
        };
        ensure!(!named.is_empty(), "it names no subgraph");
        named.into_iter().map(|index| check_callee(node, index, self.first())).collect()
    }

    /// The first input that is passed on.
    fn first(&self) -> usize {
        usize::from(self.choice.is_some())
    }
}

impl OpDef for Branch {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        if let Some(ty) = self.choice {
            check_single(node.input(0)?, &[ty])?;
        }
        let mut branches = self.branches(node)?;
        branches.sort_unstable();
        branches.dedup();
        let mut shapes = branches.into_iter().map(|branch| callee_shapes(node, branch, self.first()));
        let first = shapes.next().flatten();
        let is_same = first.is_some() && shapes.all(|other| other == first);
        Ok(outputs(node, first.filter(|_| is_same)))
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(BranchKernel { branches: self.branches(node)?, choice: self.choice }))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        use BuiltinOperator as B;
        let shapes: [&[i32]; 2] = [&[], &[2, 3]];
        let types = [TensorType::Float32, TensorType::Int32];
        let all = types.into_iter().flat_map(|ty| shapes.map(|shape| (ty, shape)));
        let case = |(ty, shape): (TensorType, &[i32])| {
            let pair: [cases::Spec<'_>; 2] = [(ty, shape, None); 2];
            let mut inputs: Vec<cases::Spec<'_>> = self.choice.map(|ty| (ty, &[][..], None)).into_iter().collect();
            inputs.extend(pair);
            let name = format!("{ty} {shape:?}");
            let mut case = cases::case2(name, self.op, &inputs, &pair[..1], |b| {
                let mut branch = |op| cases::one_node(b, op, BuiltinOptions::NONE, &pair);
                let branches = [branch(B::MAXIMUM), branch(B::MINIMUM)];
                match self.op {
                    B::STABLEHLO_CASE => {
                        let branch_subgraph_indices = Some(branches.to_vec());
                        let options = schema::StablehloCaseOptionsT { branch_subgraph_indices };
                        BuiltinOptions2::StablehloCaseOptions(Box::new(options))
                    }
                    B::STABLEHLO_COMPOSITE => {
                        let options = schema::StableHLOCompositeOptionsT {
                            name: Some("largest".to_owned()),
                            decomposition_subgraph_index: branches[0],
                            // An empty map as a FlexBuffer.
                            composite_attributes: Some(vec![0, 0, 1, 0, 0, 36, 1]),
                            ..Default::default()
                        };
                        BuiltinOptions2::StableHLOCompositeOptions(Box::new(options))
                    }
                    _ => BuiltinOptions2::NONE,
                }
            })?;
            if self.op == B::IF {
                let options = schema::IfOptionsT { then_subgraph_index: 1, else_subgraph_index: 2 };
                case.model.subgraphs[0].nodes[0].options = BuiltinOptions::IfOptions(Box::new(options));
            }
            Some(case)
        };
        all.filter_map(case).collect()
    }
}

struct BranchKernel {
    branches: Vec<usize>,
    choice: Option<TensorType>,
}

impl Kernel for BranchKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let last = self.branches.len() - 1;
        let chosen = match self.choice {
            None => 0,
            Some(TensorType::Bool) => match io.input(0)?.bytes {
                [0] => 1,
                [_] => 0,
                bytes => return Err(OpError::invalid(format!("a condition of {} bytes", bytes.len()))),
            },
            Some(_) => match io.input(0)?.slice::<i32>()? {
                &[index] => usize::try_from(index).unwrap_or(last).min(last),
                values => return Err(OpError::invalid(format!("{} branch numbers", values.len()))),
            },
        };
        call(io, self.branches[chosen], usize::from(self.choice.is_some()))
    }

    fn name(&self) -> &str {
        "call"
    }
}
