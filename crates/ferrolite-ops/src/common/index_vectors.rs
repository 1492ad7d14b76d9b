//! Index tensors of StableHLO's gather and scatter: one dimension holds vectors of indices, the others say which one.

use crate::common::strided::strides;
use crate::tensor::{Shape, TensorInfo, TensorRef};
use crate::{OpError, ensure};
use ferrolite_model::TensorType;
use smallvec::SmallVec;

/// A list of dimensions from an operator's options: each below `rank`, none twice.
pub fn dimensions(list: &Option<Vec<i64>>, rank: usize, name: &str) -> Result<SmallVec<[usize; 6]>, OpError> {
    let mut dimensions = SmallVec::new();
    for &d in list.iter().flatten() {
        let d = usize::try_from(d).ok().filter(|d| *d < rank && !dimensions.contains(d));
        let Some(d) = d else { return Err(OpError::invalid(format!("{name} {list:?} of {rank} dimensions"))) };
        dimensions.push(d);
    }
    Ok(dimensions)
}

/// The dimensions below `rank` that are not in the list, in order.
pub fn others(list: &[usize], rank: usize) -> SmallVec<[usize; 6]> {
    (0..rank).filter(|d| !list.contains(d)).collect()
}

/// How to read the vectors of an index tensor.
#[derive(Clone, Debug)]
pub struct IndexVectors {
    /// Dimensions that say which vector.
    pub shape: Shape,
    /// Their strides.
    pub strides: SmallVec<[isize; 6]>,
    /// Elements from one part of a vector to the next.
    stride: usize,
    /// What each part of a vector is an index of.
    map: SmallVec<[usize; 6]>,
}

impl IndexVectors {
    /// Vectors along dimension `at` (behind the last one: every element is a vector), whose parts are indices of the
    /// dimensions `map` of a tensor of `rank`.
    pub fn new(tensor: &TensorInfo<'_>, at: i64, map: &Option<Vec<i64>>, rank: usize) -> Result<IndexVectors, OpError> {
        if !matches!(tensor.ty, TensorType::Int32 | TensorType::Int64) {
            return Err(OpError::unsupported(format!("indices of type {}", tensor.ty)));
        }
        let at = usize::try_from(at).ok().filter(|&at| at <= tensor.shape.len());
        let Some(at) = at else { return Err(OpError::invalid("the dimension of index vectors is out of range")) };
        let all = strides(&tensor.shape);
        let map = dimensions(map, rank, "indexed dimensions")?;
        let (len, stride) = (tensor.shape.get(at).copied().unwrap_or(1), all.get(at).copied().unwrap_or(1));
        ensure!(map.len() == len, "index vectors of {len} for {} dimensions", map.len());
        let rest = others(&[at], tensor.shape.len());
        Ok(IndexVectors {
            shape: rest.iter().map(|&d| tensor.shape[d]).collect(),
            strides: rest.iter().map(|&d| all[d]).collect(),
            stride: stride as usize,
            map,
        })
    }

    /// The vector at element `at`, spread over the dimensions that it indexes; the others stay as they are.
    pub fn read(&self, indices: TensorRef<'_>, at: usize, index: &mut [i64]) -> Result<(), OpError> {
        for (part, &d) in self.map.iter().enumerate() {
            let at = at + part * self.stride;
            index[d] = match indices.ty {
                TensorType::Int32 => indices.slice::<i32>()?[at].into(),
                _ => indices.slice::<i64>()?[at],
            };
        }
        Ok(())
    }
}
