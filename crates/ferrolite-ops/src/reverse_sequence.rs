//! REVERSE_SEQUENCE: the first elements along one dimension in reverse, as many as each index of another one tells.

use crate::common::index::Indices;
use crate::common::node_case::NodeCase;
use crate::common::runs::RunCopy;
use crate::common::strided::{elements, fixed_size, index_input};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::schema::ReverseSequenceOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// REVERSE_SEQUENCE. Inputs: data, lengths.
pub struct ReverseSequence;

/// The dimension that is reversed, and the one that lengths go with.
fn axes(node: &NodeView<'_>) -> Result<(usize, usize), OpError> {
    let rank = node.input(0)?.shape.len();
    let Some(options) = node.options.as_reverse_sequence_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let axis = |d: i32| usize::try_from(d).ok().filter(|&d| d < rank);
    match (axis(options.seq_dim), axis(options.batch_dim)) {
        (Some(sequence), Some(batch)) if sequence != batch => Ok((sequence, batch)),
        _ => {
            let (sequence, batch) = (options.seq_dim, options.batch_dim);
            Err(OpError::invalid(format!("sequence dimension {sequence} and batch dimension {batch} of {rank}")))
        }
    }
}

impl OpDef for ReverseSequence {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::REVERSE_SEQUENCE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (data, lengths) = (node.input(0)?, index_input(node, 1)?);
        fixed_size(data.ty, "REVERSE_SEQUENCE")?;
        let (_, batch) = axes(node)?;
        let batches = data.shape[batch];
        ensure!(lengths.shape[..] == [batches], "lengths of shape {:?} for {batches} batches", lengths.shape);
        Ok(smallvec![Inferred { ty: data.ty, shape: Some(data.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let data = node.input(0)?;
        let (sequence, batch) = axes(node)?;
        let (outer, inner) = (sequence.min(batch), sequence.max(batch));
        let shape = &data.shape;
        // The data is [_, first, between, second, run].
        let (first, second) = (shape[outer], shape[inner]);
        let (rows, between) = (elements(&shape[..outer])?, elements(&shape[outer + 1..inner])?);
        let (len, run) = (elements(shape)?, elements(&shape[inner + 1..])?);
        let (steps, batches) = (shape[sequence], shape[batch]);
        let copy = RunCopy { ty: data.ty, len: run, src: len, dst: len };
        reference(move |io| {
            let (data, lengths) = (io.input(0)?, Indices::of(io.input(1)?)?);
            ensure!(lengths.len() == batches, "sizes changed since the kernel was prepared");
            for i in 0..batches {
                ensure!(lengths.get(i) <= steps as i64, "a sequence of {} in {steps}", lengths.get(i));
            }
            if len == 0 {
                return Ok(());
            }
            // A negative length reverses nothing.
            let source = |at: usize, batch: usize| match usize::try_from(lengths.get(batch)) {
                Ok(length) if at < length => length - 1 - at,
                _ => at,
            };
            copy.run(data, &mut io.outputs[0], |copy| {
                for row in 0..rows {
                    for a in 0..first {
                        for middle in 0..between {
                            for b in 0..second {
                                let (from_a, from_b) =
                                    if sequence < batch { (source(a, b), b) } else { (a, source(b, a)) };
                                let at =
                                    |a: usize, b: usize| (((row * first + a) * between + middle) * second + b) * run;
                                copy(at(from_a, from_b), at(a, b));
                            }
                        }
                    }
                }
                Ok(())
            })
        })
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        let shape = [3, 4, 2, 5];
        let mut cases = Vec::new();
        for ty in [Float32, UInt8, Int16, Int32, Int64] {
            for (seq_dim, batch_dim) in [(1, 0), (0, 1), (3, 1), (0, 3), (2, 3)] {
                let (steps, batches) = (shape[seq_dim as usize], shape[batch_dim as usize]);
                let lengths: Vec<i32> = (0..batches).map(|i| (i * 3 + 1) % (steps + 1)).collect();
                let options = ReverseSequenceOptionsT { seq_dim, batch_dim };
                let options = BuiltinOptions::ReverseSequenceOptions(Box::new(options));
                let case = NodeCase::new().drawn((ty, &shape, None)).i32(&[batches], &lengths);
                let name = format!("{ty} {seq_dim} {batch_dim}");
                cases.extend(case.finish(name, BuiltinOperator::REVERSE_SEQUENCE, options, &[(ty, &shape, None)]));
            }
        }
        cases
    }
}
