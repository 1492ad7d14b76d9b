//! What an LSTM cell is made of: where its tensors are, their checks, and their sizes.

use crate::common::recurrent::{check_activation, expect_shape, expect_type, is_hybrid};
use crate::op::NodeView;
use crate::tensor::TensorInfo;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int8, Int16, Int32};
use ferrolite_model::schema::ActivationFunctionType;

/// The gates, in the order in which a node's inputs have them.
pub const INPUT: usize = 0;
/// See [`INPUT`].
pub const FORGET: usize = 1;
/// See [`INPUT`].
pub const CELL: usize = 2;
/// See [`INPUT`].
pub const OUTPUT: usize = 3;

/// Where the tensors of a cell are among the inputs of its node. Gates follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Positions {
    /// Weights of the input.
    pub input: usize,
    /// Weights of the output state.
    pub recurrent: usize,
    /// Weights of the cell state (no cell gate).
    pub peephole: usize,
    /// Biases.
    pub bias: usize,
    /// Projection; its bias follows.
    pub projection: usize,
    /// The output state; the cell state follows.
    pub state: usize,
    /// Coefficients of layer normalization.
    pub norm: Option<usize>,
    /// Weights of the auxiliary input.
    pub aux: Option<usize>,
}

/// LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM.
pub const UNIDIRECTIONAL: Positions =
    Positions { input: 1, recurrent: 5, peephole: 9, bias: 12, projection: 16, state: 18, norm: Some(20), aux: None };
/// The first cell of BIDIRECTIONAL_SEQUENCE_LSTM.
pub const FORWARD: Positions = Positions { state: 35, norm: None, aux: Some(40), ..UNIDIRECTIONAL };
/// The second one.
pub const BACKWARD: Positions = Positions {
    input: 18,
    recurrent: 22,
    peephole: 26,
    bias: 29,
    projection: 33,
    state: 37,
    norm: None,
    aux: Some(44),
};

impl Positions {
    /// The peephole weights of a gate.
    pub fn peephole_of(&self, gate: usize) -> Option<usize> {
        match gate {
            INPUT | FORGET => Some(self.peephole + gate),
            OUTPUT => Some(self.peephole + 2),
            _ => None,
        }
    }
}

/// Options that all LSTM operators have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Of the cell gate and the output.
    pub activation: ActivationFunctionType,
    /// Bound of the cell state; 0 for none.
    pub cell_clip: f32,
    /// Bound of the projected output; 0 for none.
    pub proj_clip: f32,
    /// Hybrid: quantizes activations asymmetrically.
    pub asymmetric: bool,
}

/// Lengths of vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// The input.
    pub input: usize,
    /// The auxiliary input.
    pub aux: usize,
    /// The cell state and gates.
    pub cells: usize,
    /// The output.
    pub outputs: usize,
}

/// Types of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// float32.
    Float,
    /// float32 with int8 weights.
    Hybrid,
    /// int8 with an int16 cell state.
    Integer,
}

/// A checked cell.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Where its tensors are.
    pub at: Positions,
    /// Its options.
    pub settings: Settings,
    /// Its sizes.
    pub sizes: Sizes,
    /// Its types.
    pub kind: Kind,
    /// No input gate: 1 − forget gate stands for it.
    pub coupled: bool,
    /// Gates see the cell state.
    pub peephole: bool,
    /// Gates are normalized.
    pub norm: bool,
    /// The output is projected.
    pub projection: bool,
    /// Recurrent weights of each gate that are the diagonal of a matrix.
    pub diagonal: [bool; 4],
}

impl Cell {
    /// The gates that the cell has.
    pub fn gates(&self) -> impl Iterator<Item = usize> + use<> {
        usize::from(self.coupled)..4
    }

    /// Checks a cell whose input is `x` (its last dimension counts), with `aux` elements of auxiliary input, run on `batch`
    /// sequences.
    pub fn check(
        node: &NodeView<'_>,
        at: Positions,
        settings: Settings,
        x: &TensorInfo<'_>,
        aux: Option<usize>,
        batch: usize,
    ) -> Result<Cell, OpError> {
        check_activation(settings.activation)?;
        ensure!(settings.cell_clip >= 0.0 && settings.proj_clip >= 0.0, "a clip is negative");
        let Some(&input) = x.shape.last() else { return Err(OpError::invalid("a scalar input")) };
        let first = node.input(at.input + OUTPUT)?;
        let ty = first.ty;
        let kind = match x.ty {
            Float32 if is_hybrid(ty)? => Kind::Hybrid,
            Float32 => Kind::Float,
            Int8 => Kind::Integer,
            ty => return Err(OpError::unsupported(format!("an input of type {ty}"))),
        };
        if kind == Kind::Integer {
            expect_type(first, Int8)?;
        }
        let integer = |wide, narrow| if kind == Kind::Integer { narrow } else { wide };
        let (fine, bias_ty) = (integer(Float32, Int16), integer(Float32, Int32));
        let peephole_ty = integer(ty, Int16);

        ensure!(first.shape.len() == 2, "weights {:?} have {} dimensions", first.name, first.shape.len());
        let cells = first.shape[0];
        let recurrent = node.input(at.recurrent + OUTPUT)?;
        let outputs = match recurrent.shape[..] {
            [_, outputs] => outputs,
            [outputs] => outputs,
            _ => return Err(OpError::invalid(format!("recurrent weights of shape {:?}", recurrent.shape))),
        };
        let mut cell = Cell {
            at,
            settings,
            sizes: Sizes { input, aux: aux.unwrap_or(0), cells, outputs },
            kind,
            coupled: node.optional_input(at.input + INPUT).is_none(),
            peephole: node.optional_input(at.peephole + 2).is_some(),
            norm: at.norm.is_some_and(|norm| node.optional_input(norm + FORGET).is_some()),
            projection: node.optional_input(at.projection).is_some(),
            diagonal: [false; 4],
        };
        let check = |index: usize, ty, shape: &[usize]| {
            let info = node.input(index)?;
            expect_type(info, ty)?;
            expect_shape(info, shape)
        };
        let absent = |index: usize, what: &str| {
            ensure!(node.optional_input(index).is_none(), "{what} are given for some gates only");
            Ok(())
        };
        if cell.coupled {
            absent(at.input, "weights")?;
            absent(at.recurrent, "weights")?;
            absent(at.bias, "biases")?;
        }
        for gate in cell.gates() {
            check(at.input + gate, ty, &[cells, input])?;
            let recurrent = node.input(at.recurrent + gate)?;
            cell.diagonal[gate] = at.norm.is_some() && recurrent.shape.len() == 1;
            if cell.diagonal[gate] {
                ensure!(kind != Kind::Integer, "diagonal recurrent weights of an integer cell");
                ensure!(cells == outputs, "a diagonal of {cells} x {outputs} weights");
                check(at.recurrent + gate, Float32, &[cells])?;
            } else {
                check(at.recurrent + gate, ty, &[cells, outputs])?;
            }
            if aux.is_some() {
                let first = at.aux.ok_or_else(|| OpError::invalid("an auxiliary input"))?;
                check(first + gate, ty, &[cells, cell.sizes.aux])?;
            }
            if let (Some(index), true) = (at.peephole_of(gate), cell.peephole) {
                check(index, peephole_ty, &[cells])?;
            }
            check(at.bias + gate, bias_ty, &[cells])?;
            if let (Some(norm), true) = (at.norm, cell.norm) {
                check(norm + gate, fine, &[cells])?;
            }
        }
        for gate in 0..4 {
            let skipped = !cell.gates().any(|g| g == gate);
            if let Some(index) = at.peephole_of(gate).filter(|_| skipped || !cell.peephole) {
                absent(index, "peephole weights")?;
            }
            if let Some(norm) = at.norm.filter(|_| skipped || !cell.norm) {
                absent(norm + gate, "coefficients of layer normalization")?;
            }
        }
        if cell.projection {
            check(at.projection, ty, &[outputs, cells])?;
        } else {
            ensure!(cells == outputs, "{cells} cells with {outputs} outputs and no projection");
            ensure!(node.optional_input(at.projection + 1).is_none(), "a projection has a bias, but no weights");
        }
        if node.optional_input(at.projection + 1).is_some() {
            check(at.projection + 1, bias_ty, &[outputs])?;
        }
        for (index, ty, n) in [(at.state, integer(Float32, Int8), outputs), (at.state + 1, fine, cells)] {
            let state = node.input(index)?;
            expect_type(state, ty)?;
            // Any shape of the right size.
            ensure!(
                batch.checked_mul(n) == Some(state.elements()),
                "state {:?} of shape {:?}",
                state.name,
                state.shape
            );
        }
        Ok(cell)
    }

    /// Multiply-accumulates of one step of one sequence.
    pub fn macs(&self) -> u64 {
        let Sizes { input, aux, cells, outputs } = self.sizes;
        let [input, aux, cells, outputs] = [input, aux, cells, outputs].map(|n| n as u64);
        let per_cell = |gate: usize| input + aux + if self.diagonal[gate] { 1 } else { outputs };
        let gates = self.gates().map(per_cell).fold(0, u64::saturating_add).saturating_mul(cells);
        gates.saturating_add(if self.projection { cells.saturating_mul(outputs) } else { 0 })
    }
}
