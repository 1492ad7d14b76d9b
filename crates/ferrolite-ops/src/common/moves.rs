//! Operators that only move data: a list of strided copies between inputs and outputs.

use crate::common::strided::StridedCopy;
use crate::op::{Io, Kernel};
use crate::{OpError, ensure};
use ferrolite_kernels::Isa;
use smallvec::{SmallVec, smallvec};

/// One copy.
pub struct Move {
    /// From which input.
    pub input: usize,
    /// To which output.
    pub output: usize,
    /// What goes where.
    pub copy: StridedCopy,
}

/// The copies of an operator.
pub type Moves = SmallVec<[Move; 1]>;

/// One copy from `input` to output 0.
pub fn single(input: usize, copy: StridedCopy) -> Moves {
    smallvec![Move { input, output: 0, copy }]
}

/// The reference kernel.
pub fn reference(moves: Moves) -> Result<Box<dyn Kernel>, OpError> {
    Ok(Box::new(MoveKernel { moves, isa: None }))
}

/// The fast kernel.
pub fn blocks(moves: Moves, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    Ok(Box::new(MoveKernel { moves, isa: Some(isa) }))
}

/// Whether [`blocks`] takes the copies: elements of whole bytes.
pub fn are_blocks(moves: Result<Moves, OpError>) -> bool {
    moves.is_ok_and(|moves| moves.iter().all(|m| m.copy.is_whole_bytes()))
}

/// The fast kernels of an operator from the function that plans its copies.
macro_rules! block_copy {
    ($plan:expr) => {
        &[$crate::op::FastKernel {
            name: "block_copy",
            supports: |node| $crate::common::moves::are_blocks($plan(node)),
            prepare: |node, isa| $crate::common::moves::blocks($plan(node)?, isa),
        }]
    };
}
pub(crate) use block_copy;

struct MoveKernel {
    moves: Moves,
    /// Of the fast kernel.
    isa: Option<Isa>,
}

impl Kernel for MoveKernel {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        for Move { input, output, copy } in &self.moves {
            let input = io.input(*input)?;
            let outputs = io.outputs.len();
            ensure!(*output < outputs, "output {output} of {outputs}");
            match self.isa {
                Some(isa) => copy.run_blocks(io.pool, isa, input.bytes, io.outputs[*output].bytes())?,
                None => copy.run(input, &mut io.outputs[*output])?,
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        if self.isa.is_some() { "block_copy" } else { "reference" }
    }
}
