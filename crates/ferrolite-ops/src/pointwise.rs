//! Several elementwise nodes that together are a function of one tensor, as one kernel: of bytes a table, whatever the nodes;
//! in float x · logistic(x).

use crate::common::vector::{self, tabulate};
use crate::op::{Kernel, NodeView, OpDef};
use crate::{OpError, OpId, TensorInfo};
use ferrolite_kernels::{Binary, Isa, Unary};
use ferrolite_model::{BuiltinOperator, TensorType};
use smallvec::SmallVec;

/// Where an input of a node comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The variable.
    Variable,
    /// The result of an earlier node of the function.
    Made(usize),
    /// A constant of one element.
    Constant,
}

/// The nodes, in an order in which they can be computed; the last one's output is the result.
pub struct Function<'a> {
    /// What each node computes from what.
    pub nodes: Vec<(&'a dyn OpDef, NodeView<'a>, SmallVec<[Operand; 2]>)>,
}

/// How a function is computed.
enum Form {
    Table(Box<[u8; 256]>),
    Float(Unary),
}

impl Function<'_> {
    /// Whether there is a kernel for it.
    pub fn is_supported(&self) -> bool {
        self.form().is_some()
    }

    /// The kernel, whose input `variable` is the variable.
    pub fn prepare(&self, variable: usize, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
        let none = || OpError::unsupported("no kernel computes these nodes at once");
        let (_, last, _) = self.nodes.last().ok_or_else(none)?;
        match self.form().ok_or_else(none)? {
            Form::Table(table) => vector::table_kernel("pointwise_8bit_table", last, variable, table),
            Form::Float(op) => vector::unary_of("silu_f32", last, variable, isa, op),
        }
    }

    fn form(&self) -> Option<Form> {
        let shape = &self.nodes.first()?.1.output(0).ok()?.shape;
        let tensors = |of: fn(TensorType) -> bool| {
            self.nodes.iter().all(|(op, node, operands)| {
                let keeps = |(t, operand): (&Option<TensorInfo<'_>>, &Operand)| {
                    t.as_ref().is_some_and(|t| of(t.ty) && (*operand == Operand::Constant || t.shape == *shape))
                };
                let whole = node.inputs.len() == operands.len() && node.inputs.iter().zip(operands).all(keeps);
                op.is_pointwise() && whole && node.output(0).is_ok_and(|t| of(t.ty) && t.shape == *shape)
            })
        };
        if tensors(|ty| matches!(ty, TensorType::Int8 | TensorType::UInt8)) {
            return self.table().ok().map(Form::Table);
        }
        (tensors(|ty| ty == TensorType::Float32) && self.is_silu()).then_some(Form::Float(Unary::Silu))
    }

    /// What the reference kernels make of every byte.
    fn table(&self) -> Result<Box<[u8; 256]>, OpError> {
        let all: Vec<u8> = (0..=255).collect();
        let mut made: Vec<Vec<u8>> = Vec::new();
        for (op, node, operands) in &self.nodes {
            let mut inputs: SmallVec<[(&[usize], &[u8]); 2]> = SmallVec::new();
            for (operand, input) in operands.iter().zip(node.inputs.iter().flatten()) {
                inputs.push(match *operand {
                    Operand::Variable => (&[256], &all),
                    Operand::Made(i) => (&[256], &made[i]),
                    Operand::Constant => match input.constant {
                        Some(data) if data.len() == 1 => (&[1], data),
                        _ => return Err(OpError::unsupported("a constant of several elements")),
                    },
                });
            }
            let values = tabulate(*op, node, &inputs, &[256])?.to_vec();
            drop(inputs);
            made.push(values);
        }
        let last = made.pop().and_then(|values| values.try_into().ok());
        last.ok_or_else(|| OpError::invalid("a function without nodes"))
    }

    fn is_silu(&self) -> bool {
        let [(logistic, _, from), (mul, node, of)] = &self.nodes[..] else { return false };
        logistic.id() == OpId::Builtin(BuiltinOperator::LOGISTIC)
            && from[..] == [Operand::Variable]
            && mul.binary_f32(node) == Some((Binary::Mul, (f32::MIN, f32::MAX)))
            && matches!(of[..], [Operand::Variable, Operand::Made(0)] | [Operand::Made(0), Operand::Variable])
    }
}
