//! STABLEHLO_GATHER: windows of a tensor, each where an index vector says.

use crate::common::cases;
use crate::common::index_vectors::{IndexVectors, dimensions, others};
use crate::common::strided::{Step, elements, odometer, strides};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions2, TensorType, schema};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// STABLEHLO_GATHER. Inputs: data, index vectors.
pub struct StablehloGather;

struct Gather {
    /// Bytes of an element.
    size: usize,
    data: Shape,
    data_strides: SmallVec<[isize; 8]>,
    /// Size of the window in every dimension of the data.
    window: Shape,
    vectors: IndexVectors,
    /// From index vector to index vector: step in the index tensor and in the output.
    outer: SmallVec<[Step; 6]>,
    /// From element to element of a window: step in the data and in the output.
    inner: SmallVec<[Step; 6]>,
    output: Shape,
}

fn prepare(node: &NodeView<'_>) -> Result<Gather, OpError> {
    let (data, indices) = (node.input(0)?, node.input(1)?);
    let Some(options) = node.options2.as_stablehlo_gather_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    let size = data.ty.bits() / 8;
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(OpError::unsupported(format!("STABLEHLO_GATHER of {}", data.ty)));
    }
    let rank = data.shape.len();
    let window: Option<Shape> = options.slice_sizes.iter().flatten().map(|&size| usize::try_from(size).ok()).collect();
    let window = window.filter(|w| w.len() == rank && w.iter().zip(&data.shape).all(|(w, d)| w <= d));
    let Some(window) = window else {
        return Err(OpError::invalid(format!("slices of {:?} from {:?}", options.slice_sizes, data.shape)));
    };
    let vectors = IndexVectors::new(indices, options.index_vector_dim, &options.start_index_map, rank)?;
    let collapsed = dimensions(&options.collapsed_slice_dims, rank, "collapsed_slice_dims")?;
    ensure!(collapsed.iter().all(|&d| window[d] <= 1), "collapsed dimensions of slices of {window:?}");
    let kept = others(&collapsed, rank);
    let output_rank = vectors.shape.len() + kept.len();
    let offset = dimensions(&options.offset_dims, output_rank, "offset_dims")?;
    ensure!(offset.len() == kept.len(), "{} offset_dims for slices of {} dimensions", offset.len(), kept.len());
    let batch = others(&offset, output_rank);
    let mut output: Shape = SmallVec::from_elem(0, output_rank);
    // Offset dimensions take the slice's dimensions in rising order, whatever order the option lists them in.
    let offset = others(&batch, output_rank);
    offset.iter().zip(&kept).for_each(|(&to, &d)| output[to] = window[d]);
    batch.iter().zip(&vectors.shape).for_each(|(&to, &len)| output[to] = len);
    elements(&output)?;
    let (data_strides, output_strides) = (strides(&data.shape), strides(&output));
    let outer = batch.iter().zip(vectors.shape.iter().zip(&vectors.strides));
    let outer = outer.map(|(&to, (&len, &src))| Step { len, src, dst: output_strides[to] }).collect();
    let inner = offset.iter().zip(&kept);
    let inner = inner.map(|(&to, &d)| Step { len: window[d], src: data_strides[d], dst: output_strides[to] }).collect();
    Ok(Gather { size, data: data.shape.clone(), data_strides, window, vectors, outer, inner, output })
}

impl OpDef for StablehloGather {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::STABLEHLO_GATHER)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        Ok(smallvec![Inferred { ty: node.input(0)?.ty, shape: Some(prepare(node)?.output) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(prepare(node)?))
    }

    fn cases(&self) -> Vec<Case> {
        use TensorType::*;
        // Data, indices, output; offset, collapsed, indexed dimensions; dimension of index vectors; slice.
        type Pick<'a> = ([&'a [i32]; 3], [&'a [i64]; 3], i64, &'a [i64]);
        let picks: [Pick<'_>; 4] = [
            ([&[5, 3], &[4, 1], &[4, 3]], [&[1], &[0], &[0]], 1, &[1, 3]),
            ([&[4, 5, 3], &[2, 3, 2], &[2, 3, 2, 2]], [&[2, 3], &[0], &[1, 0]], 2, &[1, 2, 2]),
            ([&[6, 4], &[2, 3], &[3, 2, 3]], [&[1, 2], &[], &[0, 1]], 0, &[2, 3]),
            ([&[6, 4], &[3, 1], &[6, 3]], [&[0], &[1], &[1]], 1, &[6, 1]),
        ];
        let types = [(Float32, Int32), (Int8, Int64), (Int64, Int32), (Float16, Int64)];
        let all = types.into_iter().flat_map(|types| picks.map(|pick| (types, pick)));
        let case = |((ty, index), ([data, indices, output], [offset, collapsed, map], at, slice)): (_, Pick<'_>)| {
            let options = schema::StablehloGatherOptionsT {
                offset_dims: Some(offset.to_vec()),
                collapsed_slice_dims: Some(collapsed.to_vec()),
                start_index_map: Some(map.to_vec()),
                index_vector_dim: at,
                slice_sizes: Some(slice.to_vec()),
                indices_are_sorted: false,
            };
            let name = format!("{ty} {data:?} {index} {indices:?} {offset:?} {slice:?}");
            let op = BuiltinOperator::STABLEHLO_GATHER;
            cases::case2(name, op, &[(ty, data, None), (index, indices, None)], &[(ty, output, None)], |_| {
                BuiltinOptions2::StablehloGatherOptions(Box::new(options))
            })
        };
        all.filter_map(case).collect()
    }
}

impl Kernel for Gather {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (data, indices) = (io.input(0)?, io.input(1)?);
        let output = io.outputs[0].bytes();
        if self.output.contains(&0) {
            return Ok(());
        }
        let size = self.size;
        let mut index: SmallVec<[i64; 6]> = SmallVec::from_elem(0, self.data.len());
        let mut result = Ok(());
        odometer(&self.outer, 0, 0, |at, to| {
            if let Err(e) = self.vectors.read(indices, at as usize, &mut index) {
                result = Err(e);
                return;
            }
            // A window that would reach out of the data moves inside.
            let start = index.iter().zip(self.data.iter().zip(&self.window)).zip(&self.data_strides);
            let start =
                start.map(|((&i, (&len, &window)), &stride)| i.clamp(0, (len - window) as i64) as isize * stride);
            odometer(&self.inner, start.sum(), to, |from, to| {
                let (from, to) = (from as usize * size, to as usize * size);
                output[to..to + size].copy_from_slice(&data.bytes[from..from + size]);
            });
        });
        result
    }
}
