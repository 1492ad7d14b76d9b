//! DENSIFY: a sparse constant made dense, so that operators that know no sparse layout can read it.

use crate::common::densify::densify;
use crate::common::elementwise::check_type;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, DimensionMetadata, IndexVector, ModelBuilder, Sparsity, TensorType,
};
use half::f16;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// DENSIFY. Input: a sparse constant.
pub struct Densify;

impl OpDef for Densify {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::DENSIFY)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        check_type(input.ty, &[TensorType::Float32, TensorType::Float16, TensorType::Int8])?;
        ensure!(input.sparsity.is_some(), "the input is not sparse");
        ensure!(input.constant.is_some(), "the input is not constant");
        Ok(smallvec![Inferred { ty: input.ty, shape: Some(input.shape.clone()) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let dense: Vec<u8> = match input.ty {
            TensorType::Float32 => bytemuck::cast_slice(&densify::<f32>(input)?).to_vec(),
            TensorType::Float16 => bytemuck::cast_slice(&densify::<f16>(input)?).to_vec(),
            _ => bytemuck::cast_slice(&densify::<i8>(input)?).to_vec(),
        };
        reference(move |io| {
            let output = io.outputs[0].bytes();
            ensure!(output.len() == dense.len(), "{} bytes do not fit {}", dense.len(), output.len());
            output.copy_from_slice(&dense);
            Ok(())
        })
    }

    fn cases(&self) -> Vec<Case> {
        let element = |ty, x: u8| match ty {
            TensorType::Float32 => f32::from(x).to_le_bytes().to_vec(),
            TensorType::Float16 => f16::from(x).to_le_bytes().to_vec(),
            _ => vec![x],
        };
        let mut cases = Vec::new();
        for ty in [TensorType::Float32, TensorType::Float16, TensorType::Int8] {
            for block in [1, 4] {
                let mut b = ModelBuilder::new();
                let data: Vec<u8> = (1..=3 * block as u8).flat_map(|x| element(ty, x)).collect();
                let x = b.constant("x", ty, &[3, 8], data);
                b.graph_mut().tensors[x].sparsity = Some(sparsity(block));
                let y = b.tensor("y", ty, &[3, 8]);
                b.output(y);
                b.node(BuiltinOperator::DENSIFY, 1, BuiltinOptions::NONE, &[Some(x)], &[y]);
                let name = format!("{ty} block {block}");
                cases.extend(b.build().ok().map(|model| Case { name, model }));
            }
        }
        cases
    }
}

/// Three blocks of 1 × `block` in a matrix of 3 × 8: two in the first row, none in the second, one in the third.
fn sparsity(block: i32) -> Sparsity {
    let rows = DimensionMetadata::Dense { size: 3 };
    let columns = DimensionMetadata::SparseCsr {
        segments: IndexVector::U8(vec![0, 2, 2, 3]),
        indices: IndexVector::U8(vec![0, 1, 1]),
    };
    if block == 1 {
        return Sparsity { traversal_order: vec![0, 1], block_map: vec![], dim_metadata: vec![rows, columns] };
    }
    Sparsity {
        traversal_order: vec![0, 1, 2],
        block_map: vec![1],
        dim_metadata: vec![rows, columns, DimensionMetadata::Dense { size: block }],
    }
}
