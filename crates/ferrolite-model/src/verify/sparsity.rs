//! Rules of a sparse layout.

use crate::model::{DimensionMetadata, IndexVector, Sparsity};

/// Checks a layout against the shape of the dense tensor; returns the number of stored values.
///
/// The dimensions are traversed in `traversal_order`: those of the tensor first, in blocks, then those inside of a block.
/// A dense one multiplies the values by its size; a compressed one has a segment of indices for each value so far.
pub(super) fn check(shape: &[i32], layout: &Sparsity) -> Result<usize, String> {
    let rank = shape.len();
    let levels = layout.traversal_order.len();
    if levels != rank + layout.block_map.len() || levels != layout.dim_metadata.len() {
        return Err(format!(
            "a sparse layout of rank {rank} has {levels} traversed and {} block dimensions, and {} descriptions",
            layout.block_map.len(),
            layout.dim_metadata.len()
        ));
    }
    let mut order = Vec::with_capacity(levels);
    let mut seen = vec![false; levels];
    for &dim in &layout.traversal_order {
        let slot = usize::try_from(dim).ok().and_then(|dim| Some((dim, seen.get_mut(dim)?)));
        match slot {
            Some((dim, seen)) if !*seen => {
                *seen = true;
                order.push(dim);
            }
            _ => return Err(format!("the sparse traversal order {:?} is no permutation", layout.traversal_order)),
        }
    }
    let sizes = sizes(shape, layout, &order)?;

    let mut values = 1usize;
    for (level, metadata) in layout.dim_metadata.iter().enumerate() {
        let size = order.get(level).and_then(|&dim| sizes.get(dim)).copied().unwrap_or(0);
        values = match metadata {
            DimensionMetadata::Dense { size: stored } if usize::try_from(*stored) != Ok(size) => {
                return Err(format!("sparse dimension {level} has size {stored}, which should be {size}"));
            }
            DimensionMetadata::Dense { .. } => {
                values.checked_mul(size).ok_or_else(|| "a sparse layout has too many values".to_owned())?
            }
            DimensionMetadata::SparseCsr { segments, indices } => compressed(level, values, size, segments, indices)?,
        };
    }
    Ok(values)
}

/// Size of every dimension: of the tensor's, in blocks, and then of the blocks'.
fn sizes(shape: &[i32], layout: &Sparsity, order: &[usize]) -> Result<Vec<usize>, String> {
    let rank = shape.len();
    let mut sizes = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect::<Vec<_>>();
    for (block, &of) in layout.block_map.iter().enumerate() {
        let level = order.iter().position(|&dim| dim == rank + block);
        let size = match level.and_then(|level| layout.dim_metadata.get(level)) {
            Some(&DimensionMetadata::Dense { size }) => usize::try_from(size).ok().filter(|&size| size > 0),
            _ => None,
        };
        let Some(size) = size else { return Err(format!("sparse block dimension {block} has no size")) };
        match usize::try_from(of).ok().filter(|&of| of < rank).and_then(|of| sizes.get_mut(of)) {
            Some(dim) if *dim % size == 0 => *dim /= size,
            Some(dim) => return Err(format!("a dimension of {dim} is not a multiple of its sparse block of {size}")),
            None => return Err(format!("sparse block dimension {block} is of dimension {of} (rank {rank})")),
        }
        sizes.push(size);
    }
    Ok(sizes)
}

/// A compressed dimension: `segments` delimits the indices of each of the `values` so far.
fn compressed(
    level: usize,
    values: usize,
    size: usize,
    segments: &IndexVector,
    indices: &IndexVector,
) -> Result<usize, String> {
    let broken = |what: &str| Err(format!("sparse dimension {level}: {what}"));
    let (segments, indices) = (widen(segments), widen(indices));
    if values.checked_add(1) != Some(segments.len()) {
        return broken(&format!("{} segments for {values} values", segments.len()));
    }
    let ascending = segments.is_sorted();
    let (first, last) = (segments.first().copied(), segments.last().copied());
    if !ascending || first != Some(0) || last.and_then(|last| usize::try_from(last).ok()) != Some(indices.len()) {
        return broken("its segments do not ascend from 0 to the number of indices");
    }
    match indices.iter().find(|&&index| usize::try_from(index).map_or(true, |index| index >= size)) {
        Some(index) => broken(&format!("index {index} is out of range (size {size})")),
        None => Ok(indices.len()),
    }
}

fn widen(vector: &IndexVector) -> Vec<i32> {
    match vector {
        IndexVector::None => Vec::new(),
        IndexVector::I32(v) => v.clone(),
        IndexVector::U16(v) => v.iter().copied().map(i32::from).collect(),
        IndexVector::U8(v) => v.iter().copied().map(i32::from).collect(),
    }
}
