//! EMBEDDING_LOOKUP_SPARSE: weighted rows of a table, those of one bucket combined.
//!
//! A bucket is named by all but the last coordinate of an entry; entries of one bucket should be neighbours. Source: LiteRT
//! `kernels/embedding_lookup_sparse.cc`.

use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::common::strided::{dims, elements};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int32};
use ferrolite_model::schema::{CombinerType, EmbeddingLookupSparseOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// EMBEDDING_LOOKUP_SPARSE. Inputs: row numbers, coordinates, dense shape, weights, table.
pub struct EmbeddingLookupSparse;

fn combiner(node: &NodeView<'_>) -> Result<CombinerType, OpError> {
    let combiner = node.options.as_embedding_lookup_sparse_options().map_or(CombinerType::SUM, |o| o.combiner);
    match combiner {
        CombinerType::SUM | CombinerType::MEAN | CombinerType::SQRTN => Ok(combiner),
        _ => Err(OpError::unsupported(format!("combiner {}", combiner.0))),
    }
}

impl OpDef for EmbeddingLookupSparse {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::EMBEDDING_LOOKUP_SPARSE)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(5..=5, 1)?;
        for (i, ty) in [Int32, Int32, Int32, Float32, Float32].into_iter().enumerate() {
            check_type(node.input(i)?.ty, &[ty])?;
        }
        combiner(node)?;
        let (shape, table) = (node.input(2)?, node.input(4)?);
        let (&[entries], &[rows, rank], &[dense], &[weights]) =
            (&node.input(0)?.shape[..], &node.input(1)?.shape[..], &shape.shape[..], &node.input(3)?.shape[..])
        else {
            return Err(OpError::invalid("row numbers, coordinates, shape and weights need 1, 2, 1 and 1 dimensions"));
        };
        ensure!(entries == rows && entries == weights, "{entries} rows, {rows} coordinates, {weights} weights");
        ensure!(rank == dense && rank > 0, "{rank} coordinates in a shape of {dense}");
        ensure!(table.shape.len() >= 2, "a table of shape {:?}", table.shape);
        let Some(dense) = shape.indices()? else { return Ok(smallvec![Inferred::dynamic(Float32)]) };
        let mut output = dims(&dense[..rank - 1])?;
        output.extend_from_slice(&table.shape[1..]);
        elements(&output)?;
        Ok(smallvec![Inferred { ty: Float32, shape: Some(output) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let combiner = combiner(node)?;
        let (coordinates, table, output) = (&node.input(1)?.shape, &node.input(4)?.shape, &node.output(0)?.shape);
        let (entries, rank) = (coordinates[0], coordinates[1]);
        let buckets = Shape::from_slice(&output[..rank - 1]);
        let (rows, row, len) = (table[0], elements(&table[1..])?, elements(output)?);
        reference(move |io| {
            let (ids, coordinates) = (io.input(0)?.slice::<i32>()?, io.input(1)?.slice::<i32>()?);
            let (weights, table) = (io.input(3)?.slice::<f32>()?, io.input(4)?.slice::<f32>()?);
            let output = io.outputs[0].slice::<f32>()?;
            let fits = ids.len() == entries && coordinates.len() == entries * rank && weights.len() == entries;
            ensure!(fits && table.len() == rows * row && output.len() == len, "sizes changed since it was prepared");
            output.fill(0.0);
            // The bucket that is being filled, the sums of its weights and of their squares.
            let mut open: Option<(usize, f32, f32)> = None;
            let close = |output: &mut [f32], (bucket, sum, squares): (usize, f32, f32)| {
                let divisor = match combiner {
                    CombinerType::MEAN => sum,
                    CombinerType::SQRTN => squares.sqrt(),
                    _ => return,
                };
                output[bucket * row..][..row].iter_mut().for_each(|x| *x /= divisor);
            };
            for (i, (&id, &weight)) in ids.iter().zip(weights).enumerate() {
                let Some(id) = usize::try_from(id).ok().filter(|&id| id < rows) else {
                    return Err(OpError::invalid(format!("row {id} is not one of {rows}")));
                };
                let mut bucket = 0;
                for (&at, &dim) in coordinates[i * rank..].iter().zip(&buckets) {
                    let Some(at) = usize::try_from(at).ok().filter(|&at| at < dim) else {
                        return Err(OpError::invalid(format!("coordinate {at} is not one of {dim}")));
                    };
                    bucket = bucket * dim + at;
                }
                let (sum, squares) = match open {
                    Some((at, sum, squares)) if at == bucket => (sum, squares),
                    Some(full) => {
                        close(output, full);
                        (0.0, 0.0)
                    }
                    None => (0.0, 0.0),
                };
                open = Some((bucket, sum + weight, squares + weight * weight));
                let from = &table[id * row..][..row];
                output[bucket * row..][..row].iter_mut().zip(from).for_each(|(o, &x)| *o += x * weight);
            }
            if let Some(full) = open {
                close(output, full);
            }
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for combiner in [CombinerType::SUM, CombinerType::MEAN, CombinerType::SQRTN] {
            let options = || {
                let options = EmbeddingLookupSparseOptionsT { combiner };
                BuiltinOptions::EmbeddingLookupSparseOptions(Box::new(options))
            };
            for row in [&[3][..], &[2, 3]] {
                for (rank, coordinates, shape) in [
                    (2, &[0, 0, 0, 1, 2, 0, 3, 1][..], &[4, 2][..]),
                    (3, &[0, 0, 0, 0, 1, 1, 0, 1, 0, 1, 2, 1], &[2, 3, 2]),
                ] {
                    let of = |head: &[i32]| head.iter().chain(row).copied().collect::<Vec<i32>>();
                    let case = NodeCase::new().i32(&[4], &[1, 4, 0, 4]).i32(&[4, rank], coordinates);
                    let case = case.i32(&[rank], shape).constant(Float32, &[4], &[1.5f32, 0.25, 2.0, 0.75]);
                    let case = case.drawn((Float32, &of(&[5]), None));
                    let output = of(&shape[..shape.len() - 1]);
                    let (op, name) =
                        (BuiltinOperator::EMBEDDING_LOOKUP_SPARSE, format!("{} {rank} {row:?}", combiner.0));
                    cases.extend(case.finish(name, op, options(), &[(Float32, &output, None)]));
                }
            }
        }
        cases
    }
}
