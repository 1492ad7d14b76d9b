//! STABLEHLO_SCATTER: combines windows of updates into a tensor, each where an index vector says.

use crate::common::cases;
use crate::common::index_vectors::{IndexVectors, dimensions, others};
use crate::common::number::Number;
use crate::common::region::{Function, function};
use crate::common::strided::strides;
use crate::for_number;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, BuiltinOptions2, TensorType, schema};
use smallvec::{SmallVec, smallvec};
use std::ops::RangeInclusive;

/// STABLEHLO_SCATTER. Inputs: data, index vectors, updates.
pub struct StablehloScatter;

struct Scatter {
    data: Shape,
    updates: Shape,
    vectors: IndexVectors,
    /// Per dimension of the updates: which vector it chooses (its stride in the index tensor), or which dimension of the
    /// data it walks.
    roles: SmallVec<[Role; 6]>,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Vector { stride: isize },
    Window { dimension: usize },
}

fn prepare(node: &NodeView<'_>) -> Result<(Scatter, Option<Function>), OpError> {
    let (data, indices, updates) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let Some(options) = node.options2.as_stablehlo_scatter_options() else {
        return Err(OpError::invalid("options are missing"));
    };
    ensure!(updates.ty == data.ty, "updates of type {} for {}", updates.ty, data.ty);
    for_number!(data.ty, T => Ok(size_of::<T>()))?;
    let rank = data.shape.len();
    let map = &options.scatter_dims_to_operand_dims;
    let vectors = IndexVectors::new(indices, options.index_vector_dim, map, rank)?;
    let window = dimensions(&options.update_window_dims, updates.shape.len(), "update_window_dims")?;
    let inserted = dimensions(&options.inserted_window_dims, rank, "inserted_window_dims")?;
    let walked = others(&inserted, rank);
    ensure!(window.len() == walked.len(), "{} update_window_dims for {} dimensions", window.len(), walked.len());
    let scatter = others(&window, updates.shape.len());
    let chosen: Shape = scatter.iter().map(|&d| updates.shape[d]).collect();
    ensure!(chosen == vectors.shape, "updates of shape {:?} for indices {:?}", updates.shape, indices.shape);
    let mut roles: SmallVec<[Role; 6]> = SmallVec::from_elem(Role::Vector { stride: 0 }, updates.shape.len());
    scatter.iter().zip(&vectors.strides).for_each(|(&d, &stride)| roles[d] = Role::Vector { stride });
    window.iter().zip(walked).for_each(|(&d, dimension)| roles[d] = Role::Window { dimension });
    let function = function(node, options.update_computation_subgraph_index)?;
    if let Some(function @ (Function::All | Function::Any)) = function {
        return Err(OpError::unsupported(format!("a scatter that computes {function:?}")));
    }
    Ok((Scatter { data: data.shape.clone(), updates: updates.shape.clone(), vectors, roles }, function))
}

impl OpDef for StablehloScatter {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::STABLEHLO_SCATTER)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(3..=3, 1)?;
        prepare(node)?;
        let data = node.input(0)?;
        Ok(smallvec![Inferred { ty: data.ty, shape: Some(data.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (scatter, function) = prepare(node)?;
        for_number!(node.input(0)?.ty, T => Ok(Box::new(ScatterKernel::<T> { scatter, combine: combine(function) })))
    }

    fn runs_subgraphs(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        use BuiltinOperator as B;
        use TensorType::*;
        // Data, indices, updates; window, inserted, indexed dimensions.
        type Place<'a> = ([&'a [i32]; 3], [&'a [i64]; 3]);
        let places: [Place<'_>; 3] = [
            ([&[5, 3], &[4, 1], &[4, 3]], [&[1], &[0], &[0]]),
            ([&[4, 3], &[6, 2], &[6]], [&[], &[0, 1], &[1, 0]]),
            ([&[5, 4], &[2, 3, 2], &[2, 2, 3, 2]], [&[1, 3], &[], &[0, 1]]),
        ];
        let functions = [B::STABLEHLO_ADD, B::STABLEHLO_MULTIPLY, B::STABLEHLO_MAXIMUM, B::STABLEHLO_MINIMUM].map(Some);
        let types = [(Float32, Int32), (Int8, Int64), (Int32, Int64)];
        let mut cases = Vec::new();
        for (ty, index) in types {
            for (i, function) in functions.into_iter().chain([None]).enumerate() {
                let ([data, indices, updates], [window, inserted, map]) = places[i % 3];
                let inputs = [(ty, data, None), (index, indices, None), (ty, updates, None)];
                let name = format!("{ty} {data:?} {index} {indices:?} {updates:?} {function:?}");
                cases.extend(cases::case2(name, B::STABLEHLO_SCATTER, &inputs, &inputs[..1], |b| {
                    let elements: [cases::Spec<'_>; 2] = [(ty, &[], None); 2];
                    let region = match function {
                        Some(function) => cases::one_node(b, function, BuiltinOptions::NONE, &elements),
                        None => {
                            let graph = b.subgraph("update") as i32;
                            b.input("old", ty, &[]);
                            let new = b.input("new", ty, &[]);
                            b.output(new);
                            graph
                        }
                    };
                    BuiltinOptions2::StablehloScatterOptions(Box::new(schema::StablehloScatterOptionsT {
                        update_window_dims: Some(window.to_vec()),
                        inserted_window_dims: Some(inserted.to_vec()),
                        scatter_dims_to_operand_dims: Some(map.to_vec()),
                        index_vector_dim: indices.len() as i64 - 1,
                        update_computation_subgraph_index: region,
                        ..Default::default()
                    }))
                }));
            }
        }
        cases
    }
}

/// What becomes of an element and its update.
fn combine<T: Number>(function: Option<Function>) -> fn(T, T) -> T {
    match function {
        Some(Function::Add) => T::plus,
        Some(Function::Multiply) => T::times,
        // As std::max and std::min do: where neither is larger, the old one.
        Some(Function::Maximum) => |old, new| if old < new { new } else { old },
        Some(Function::Minimum) => |old, new| if new < old { new } else { old },
        _ => |_, new| new,
    }
}

struct ScatterKernel<T> {
    scatter: Scatter,
    combine: fn(T, T) -> T,
}

impl<T: Number> Kernel for ScatterKernel<T> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (data, indices, updates) = (io.input(0)?, io.input(1)?, io.input(2)?.slice::<T>()?);
        let output = io.outputs[0].slice::<T>()?;
        output.copy_from_slice(data.slice::<T>()?);
        let it = &self.scatter;
        let strides = strides(&it.data);
        let mut at: Shape = SmallVec::from_elem(0, it.updates.len());
        let mut start: SmallVec<[i64; 6]> = SmallVec::from_elem(0, it.data.len());
        let mut offset = start.clone();
        // In the order of the updates, so that sums round as they do there and the last of several updates stays.
        for &update in updates {
            let mut vector = 0;
            for (role, &i) in it.roles.iter().zip(&at) {
                match *role {
                    Role::Vector { stride } => vector += i as isize * stride,
                    Role::Window { dimension } => offset[dimension] = i as i64,
                }
            }
            it.vectors.read(indices, vector as usize, &mut start)?;
            let index = start.iter().zip(&offset).zip(&it.data).zip(&strides);
            let index = index.map(|(((&start, &offset), &len), &stride)| {
                let i = start.checked_add(offset).and_then(|i| usize::try_from(i).ok()).filter(|&i| i < len)?;
                Some(i * stride as usize)
            });
            // An update that goes outside is left out.
            if let Some(index) = index.sum::<Option<usize>>() {
                output[index] = (self.combine)(output[index], update);
            }
            for (i, &len) in at.iter_mut().zip(&it.updates).rev() {
                *i += 1;
                if *i < len {
                    break;
                }
                *i = 0;
            }
        }
        Ok(())
    }
}
