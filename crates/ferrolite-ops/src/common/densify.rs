//! Sparse constants (the format's TACO layout) made dense.

use crate::tensor::{Element, TensorInfo, elements_of};
use crate::{OpError, ensure};
use ferrolite_model::{DimensionMetadata, IndexVector, Sparsity};
use std::borrow::Cow;

/// The elements of a constant, dense: those of a sparse one are put in their places, the others are 0.
pub fn densify<'a, T: Element>(info: &TensorInfo<'a>) -> Result<Cow<'a, [T]>, OpError> {
    let Some(bytes) = info.constant else {
        return Err(OpError::unsupported(format!("sparse tensor {:?} that is not constant", info.name)));
    };
    ensure!(T::matches(info.ty), "tensor {:?} has type {}", info.name, info.ty);
    let values = elements_of(bytes);
    let Some(sparsity) = info.sparsity else { return Ok(values) };
    let mut dense = vec![T::zeroed(); info.elements()];
    let layout = Layout::new(sparsity, &info.shape)?;
    let mut place = vec![0; layout.order.len()];
    let mut walk = Walk { layout: &layout, values: &values, dense: &mut dense };
    walk.level(0, 0, &mut place)?;
    Ok(Cow::Owned(dense))
}

struct Layout<'a> {
    shape: &'a [usize],
    /// Traversed dimension of each level; those from the rank on are block dimensions.
    order: Vec<usize>,
    /// Original dimension of each block dimension.
    blocks: Vec<usize>,
    levels: &'a [DimensionMetadata],
    /// Block size of each original dimension.
    block_size: Vec<usize>,
}

impl<'a> Layout<'a> {
    fn new(sparsity: &'a Sparsity, shape: &'a [usize]) -> Result<Layout<'a>, OpError> {
        let rank = shape.len();
        let index = |v: &i32, limit: usize| usize::try_from(*v).ok().filter(|&v| v < limit);
        let blocks: Option<Vec<usize>> = sparsity.block_map.iter().map(|v| index(v, rank)).collect();
        let levels = &sparsity.dim_metadata;
        let order: Option<Vec<usize>> = sparsity.traversal_order.iter().map(|v| index(v, levels.len())).collect();
        let (Some(blocks), Some(order)) = (blocks, order) else {
            return Err(OpError::invalid("sparse layout refers to dimensions that do not exist"));
        };
        ensure!(order.len() == levels.len() && levels.len() == rank + blocks.len(), "sparse layout of wrong length");
        ensure!((0..order.len()).all(|d| order.contains(&d)), "sparse layout does not traverse every dimension");
        // A level's metadata goes with its place in the order; block dimensions are always dense.
        let mut block_size = vec![1usize; rank];
        for (level, &d) in order.iter().enumerate() {
            if let Some(&of) = d.checked_sub(rank).and_then(|b| blocks.get(b)) {
                let DimensionMetadata::Dense { size } = levels[level] else {
                    return Err(OpError::invalid("a sparse block dimension"));
                };
                ensure!(size > 0 && block_size[of] == 1, "sparse block of size {size}");
                block_size[of] = size as usize;
            }
        }
        ensure!(shape.iter().zip(&block_size).all(|(d, b)| d % b == 0), "sparse blocks do not divide {shape:?}");
        Ok(Layout { shape, order, blocks, levels, block_size })
    }
}

struct Walk<'a, T> {
    layout: &'a Layout<'a>,
    values: &'a [T],
    dense: &'a mut [T],
}

impl<T: Copy> Walk<'_, T> {
    /// Visits what lies under entry `at` of level `level`; `place` holds the index in each traversed dimension above.
    fn level(&mut self, level: usize, at: usize, place: &mut [usize]) -> Result<(), OpError> {
        let layout = self.layout;
        let Some(metadata) = layout.levels.get(level) else { return self.leaf(at, place) };
        let dimension = layout.order[level];
        let limit = match dimension.checked_sub(layout.shape.len()) {
            None => layout.shape[dimension] / layout.block_size[dimension],
            Some(block) => layout.block_size[layout.blocks[block]],
        };
        match metadata {
            DimensionMetadata::Dense { size } => {
                ensure!(*size as usize == limit, "sparse dimension of size {size} should be {limit}");
                for i in 0..limit {
                    place[dimension] = i;
                    self.level(level + 1, at * limit + i, place)?;
                }
            }
            DimensionMetadata::SparseCsr { segments, indices } => {
                let (Some(from), Some(to)) = (get(segments, at), get(segments, at + 1)) else {
                    return Err(OpError::invalid("sparse segments are too short"));
                };
                for i in from..to {
                    let index = get(indices, i).filter(|&i| i < limit);
                    let Some(index) = index else { return Err(OpError::invalid("sparse index out of bounds")) };
                    place[dimension] = index;
                    self.level(level + 1, i, place)?;
                }
            }
        }
        Ok(())
    }

    fn leaf(&mut self, at: usize, place: &[usize]) -> Result<(), OpError> {
        let layout = self.layout;
        let Some(&value) = self.values.get(at) else {
            return Err(OpError::invalid("sparse tensor has too few values"));
        };
        let rank = layout.shape.len();
        let mut offset = 0;
        for (d, &size) in layout.shape.iter().enumerate() {
            let inner = layout.blocks.iter().position(|&b| b == d).map_or(0, |b| place[rank + b]);
            offset = offset * size + place[d] * layout.block_size[d] + inner;
        }
        self.dense[offset] = value;
        Ok(())
    }
}

fn get(indices: &IndexVector, i: usize) -> Option<usize> {
    match indices {
        IndexVector::None => None,
        IndexVector::I32(v) => v.get(i).and_then(|&v| usize::try_from(v).ok()),
        IndexVector::U16(v) => v.get(i).map(|&v| v.into()),
        IndexVector::U8(v) => v.get(i).map(|&v| v.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;
    use ferrolite_model::{Bytes, TensorType};

    #[test]
    fn densifies_blocks_and_refuses_bad_indices() {
        // 2 x 4 with blocks of 1 x 2: only blocks (0, 1) and (1, 0) are there.
        let sparsity = |columns: Vec<u8>| Sparsity {
            traversal_order: vec![0, 1, 2],
            block_map: vec![1],
            dim_metadata: vec![
                DimensionMetadata::Dense { size: 2 },
                DimensionMetadata::SparseCsr {
                    segments: IndexVector::U8(vec![0, 1, 2]),
                    indices: IndexVector::U8(columns),
                },
                DimensionMetadata::Dense { size: 2 },
            ],
        };
        let bytes = Bytes::from(vec![1, 2, 3, 4]);
        let run = |sparsity: &Sparsity| {
            let info = TensorInfo {
                name: "w",
                ty: TensorType::Int8,
                shape: Shape::from_slice(&[2, 4]),
                is_open: false,
                quantization: None,
                sparsity: Some(sparsity),
                is_variable: false,
                constant: Some(&bytes),
                known: None,
            };
            densify::<i8>(&info).map(Cow::into_owned)
        };
        assert_eq!(run(&sparsity(vec![1, 0])).unwrap(), [0, 0, 1, 2, 3, 4, 0, 0]);
        assert!(run(&sparsity(vec![2, 0])).is_err());
    }
}
