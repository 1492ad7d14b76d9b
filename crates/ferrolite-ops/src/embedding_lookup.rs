//! EMBEDDING_LOOKUP: rows of a table, as they are or (hybrid) made float from integers with scales.
//!
//! Source of the arithmetic: LiteRT `kernels/embedding_lookup.cc`.

use crate::common::blockwise::{Blocks, blocks, is_blockwise};
use crate::common::elementwise::check_type;
use crate::common::index::Indices;
use crate::common::node_case::NodeCase;
use crate::common::packed;
use crate::common::runs::RunCopy;
use crate::common::strided::elements;
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule, WeightRule};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::schema::QuantizationDetailsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Quantization, TensorType};
use half::f16;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// EMBEDDING_LOOKUP. Inputs: row numbers, table.
pub struct EmbeddingLookup;

/// Whether the table is made float, which the output's type tells.
fn is_hybrid(table: TensorType, output: TensorType) -> bool {
    table != output && matches!(output, Float32 | Float16)
}

impl OpDef for EmbeddingLookup {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::EMBEDDING_LOOKUP)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=5
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (lookup, table, output) = (node.input(0)?, node.input(1)?, node.output(0)?.ty);
        check_type(lookup.ty, &[Int32])?;
        let &[wanted] = &lookup.shape[..] else {
            return Err(OpError::invalid(format!("row numbers of shape {:?}", lookup.shape)));
        };
        ensure!(table.shape.len() >= 2, "a table of shape {:?}", table.shape);
        let hybrid = is_hybrid(table.ty, output);
        let covered = if hybrid { matches!(table.ty, Int8 | UInt8 | Int4 | Int2) } else { table.ty == output };
        if !covered || table.ty.bits() == 0 {
            return Err(OpError::unsupported(format!("rows of {} as {output}", table.ty)));
        }
        if hybrid {
            Scales::new(node)?;
        } else {
            ensure!(table.quantization.is_none_or(|q| q.scale.len() <= 1), "rows of several scales keep their type");
        }
        let mut shape = table.shape.clone();
        shape[0] = wanted;
        elements(&shape)?;
        Ok(smallvec![Inferred { ty: output, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (table, output) = (node.input(1)?, node.output(0)?);
        match output.ty {
            _ if !is_hybrid(table.ty, output.ty) => copy(node),
            Float32 => dequantize(node, |x| x),
            _ => dequantize(node, f16::from_f32),
        }
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule {
            activations: Some(&[]),
            weights: Some(WeightRule { input: 1, axis: 0, activation: 0, int4: true }),
            bias: None,
            output: OutputRule::NotQuantized,
            int8: false,
            int16: false,
            hybrid: true,
        })
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut add = |name, case: NodeCase, ty, shape: &[i32]| {
            let (op, options) = (BuiltinOperator::EMBEDDING_LOOKUP, BuiltinOptions::NONE);
            cases.extend(case.finish(name, op, options, &[(ty, shape, None)]));
        };
        let lookup = || NodeCase::new().i32(&[5], &[3, 0, 5, 3, 1]);
        for (shape, output) in [(&[6, 4][..], &[5, 4][..]), (&[6, 3, 8], &[5, 3, 8])] {
            for ty in [Float32, Float16, Int8, UInt8, Int32] {
                add(format!("{ty} {shape:?}"), lookup().drawn((ty, shape, None)), ty, output);
            }
            for (ty, bits) in [(Int8, 8), (UInt8, 8), (Int4, 4), (Int2, 2)] {
                let bytes = shape.iter().product::<i32>() as usize * bits / 8;
                let data: Vec<u8> = (0..bytes).map(|i| (i * 73 + 19) as u8).collect();
                for rows in [1, 6] {
                    let scales: Vec<f32> = (0..rows).map(|i| 0.013 + i as f32 * 0.007).collect();
                    let quantization = Quantization::per_channel(scales, 0);
                    for to in [Float32, Float16] {
                        let case = lookup().constant_quantized(ty, shape, &data, Some(quantization.clone()));
                        add(format!("{to} from {ty} {shape:?} {rows} scales"), case, to, output);
                    }
                }
            }
        }
        for (ty, block) in [(Int4, 32), (Int2, 32), (Int4, 64)] {
            let shape = [6, 64];
            let bytes = 6 * 64 * ty.bits() / 8;
            let data: Vec<u8> = (0..bytes).map(|i| (i * 91 + 7) as u8).collect();
            let scales: Vec<f16> = (0..6 * 64 / block).map(|i| f16::from_f32(0.02 + i as f32 * 0.003)).collect();
            for to in [Float32, Float16] {
                let case = lookup().constant_blocks(ty, &shape, &data, block, &scales);
                add(format!("{to} from {ty} blocks of {block}"), case, to, &[5, 64]);
            }
        }
        cases
    }
}

/// Rows as they are.
fn copy(node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
    let (wanted, table) = (node.input(0)?.elements(), node.input(1)?);
    let (rows, row) = (table.shape[0], elements(&table.shape[1..])?);
    let copy = RunCopy { ty: table.ty, len: row, src: elements(&table.shape)?, dst: wanted * row };
    reference(move |io| {
        let (lookup, table) = (Indices::of(io.input(0)?)?, io.input(1)?);
        ensure!(lookup.len() == wanted, "sizes changed since the kernel was prepared");
        copy.run(table, &mut io.outputs[0], |copy| {
            (0..wanted).try_for_each(|i| {
                copy(lookup.pick(i, rows)? * row, i * row);
                Ok(())
            })
        })
    })
}

/// Scales of a table, each for the next `per` elements.
struct Scales {
    values: Vec<f32>,
    per: usize,
}

impl Scales {
    /// One for the table, one per row or one per block; zero points must be 0.
    fn new(node: &NodeView<'_>) -> Result<Scales, OpError> {
        let table = node.input(1)?;
        if is_blockwise(table) {
            let Blocks { size, scales } = blocks(node, table)?;
            return Ok(Scales { values: scales, per: size });
        }
        let Some(q) = table.quantization.filter(|q| !q.scale.is_empty()) else {
            return Err(OpError::invalid(format!("the table of type {} has no scales", table.ty)));
        };
        if !matches!(q.details, None | Some(QuantizationDetailsT::NONE)) {
            return Err(OpError::unsupported("a table whose scales are neither per row nor per block"));
        }
        ensure!(q.zero_point.iter().all(|&z| z == 0), "the table's zero points are not 0");
        let (values, rows, all) = (q.scale.clone(), table.shape[0], elements(&table.shape)?);
        let per = if values.len() == 1 { all } else { elements(&table.shape[1..])? };
        ensure!(values.len() == 1 || values.len() == rows, "{} scales for {rows} rows", values.len());
        ensure!(values.len() == 1 || q.quantized_dimension == 0, "scales along dimension {}", q.quantized_dimension);
        Ok(Scales { values, per })
    }
}

/// Rows made float: element · scale.
fn dequantize<T: Element + Send + Sync>(node: &NodeView<'_>, to: fn(f32) -> T) -> Result<Box<dyn Kernel>, OpError> {
    let (wanted, table) = (node.input(0)?.elements(), node.input(1)?);
    let (rows, row, len) = (table.shape[0], elements(&table.shape[1..])?, elements(&table.shape)?);
    let ty = table.ty;
    let Scales { mut values, per } = Scales::new(node)?;
    // LiteRT leaves narrow integers in the high bits of an int8, and divides the scale accordingly.
    let high = match ty {
        Int4 => 16.0,
        Int2 => 64.0,
        _ => 1.0,
    };
    values.iter_mut().for_each(|scale| *scale /= high);
    reference(move |io| {
        let (lookup, table) = (Indices::of(io.input(0)?)?, io.input(1)?.bytes);
        let output = io.outputs[0].slice::<T>()?;
        let fits = lookup.len() == wanted && output.len() == wanted * row;
        ensure!(fits && ty.byte_len(len).is_some_and(|n| n <= table.len()), "sizes changed since it was prepared");
        for i in 0..wanted {
            let from = lookup.pick(i, rows)? * row;
            for (at, o) in (from..).zip(&mut output[i * row..][..row]) {
                let x = match ty {
                    Int4 | Int2 => packed::get(table, ty, at) as f32 * high,
                    // Also uint8 tables, whose zero point is 0, are read as int8.
                    _ => f32::from(table[at] as i8),
                };
                *o = to(x * values[at / per]);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{Pick, TestTensor, run};

    #[test]
    fn rows_of_odd_length_start_within_a_byte() {
        // 3 × 3 nibbles 1 to 7, −8, −7.
        let table = TestTensor {
            shape: [3, 3][..].into(),
            quantization: Some(Quantization::per_channel(vec![1.0, 0.5, 2.0], 0)),
            ..TestTensor::new(Int4, &[5], &[0x21u8, 0x43, 0x65, 0x87, 0x09])
        };
        let go = |row: i32| {
            let inputs = [TestTensor::new(Int32, &[1], &[row]), table.clone()];
            Some(
                run(&EmbeddingLookup, &BuiltinOptions::NONE, &inputs, &[(Float32, None)], Pick::Reference).ok()?[0]
                    .values::<f32>(),
            )
        };
        assert_eq!([0, 1, 2].map(|row| go(row).unwrap()), [[1.0, 2.0, 3.0], [2.0, 2.5, 3.0], [14.0, -16.0, -14.0f32]]);
        assert_eq!((go(3), go(-1)), (None, None));
    }
}
