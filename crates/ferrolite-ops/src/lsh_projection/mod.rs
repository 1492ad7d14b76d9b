//! LSH_PROJECTION: signs of random projections of items, which are hashed to random numbers.
//!
//! Source: LiteRT `kernels/lsh_projection.cc`.

mod fingerprint;

use crate::common::elementwise::check_type;
use crate::common::node_case::NodeCase;
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::*;
use ferrolite_model::schema::{LSHProjectionOptionsT, LSHProjectionType};
use ferrolite_model::{BuiltinOperator, BuiltinOptions};
use fingerprint::fingerprint64;
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// LSH_PROJECTION. Inputs: seeds `[hashes, bits]`, items along the first dimension of any tensor, maybe their weights.
/// Output: per hash a number of that many bits (sparse), or every bit (dense).
pub struct LshProjection;

fn is_dense(node: &NodeView<'_>) -> Result<bool, OpError> {
    match node.options.as_lshprojection_options().map(|o| o.type_) {
        Some(LSHProjectionType::DENSE) => Ok(true),
        Some(LSHProjectionType::SPARSE) => Ok(false),
        _ => Err(OpError::invalid("the kind of projection is missing")),
    }
}

impl OpDef for LshProjection {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::LSH_PROJECTION)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=3, 1)?;
        let (seeds, input) = (node.input(0)?, node.input(1)?);
        check_type(seeds.ty, &[Float32])?;
        let &[hashes, bits] = &seeds.shape[..] else {
            return Err(OpError::invalid(format!("seeds of shape {:?}", seeds.shape)));
        };
        ensure!(bits <= 32, "{bits} bits per hash");
        let items = input.shape.first().copied().unwrap_or(0);
        ensure!(items >= 1, "items of shape {:?}", input.shape);
        ensure!(input.elements() > 0, "items of shape {:?} are empty", input.shape);
        if let Some(weights) = node.optional_input(2) {
            check_type(weights.ty, &[Float32])?;
            ensure!(weights.shape[..] == [items], "weights of shape {:?} for {items} items", weights.shape);
        }
        Ok(smallvec![Inferred::new(Int32, [if is_dense(node)? { hashes * bits } else { hashes }])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (seeds, input) = (&node.input(0)?.shape, node.input(1)?);
        let items = input.shape.first().copied().unwrap_or(1);
        // Strings have the size that they turn out to have.
        let item = input.ty.byte_len(input.elements()).map(|n| n / items);
        Ok(Box::new(Projection { hashes: seeds[0], bits: seeds[1], items, item, dense: is_dense(node)? }))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (dense, type_) in [(false, LSHProjectionType::SPARSE), (true, LSHProjectionType::DENSE)] {
            // Items of 1 to 200 bytes: every branch of the hash.
            for (ty, shape) in [
                (Float32, &[5, 2][..]),
                (Int32, &[3]),
                (Int8, &[4, 3]),
                (Int8, &[4]),
                (Int64, &[2, 2]),
                (Int16, &[3, 13]),
                (Float32, &[2, 5, 3]),
                (Int8, &[2, 124]),
                (Int32, &[3, 50]),
            ] {
                for weighted in [false, true] {
                    let seeds: Vec<f32> = (0..21).map(|i| (i as f32 - 7.3) * 0.37).collect();
                    let mut case = NodeCase::new().constant(Float32, &[3, 7], &seeds).drawn((ty, shape, None));
                    if weighted {
                        case = case.drawn((Float32, &shape[..1], None));
                    }
                    let options = BuiltinOptions::LSHProjectionOptions(Box::new(LSHProjectionOptionsT { type_ }));
                    let outputs = [(Int32, &[if dense { 21 } else { 3 }][..], None)];
                    let weights = if weighted { " weighted" } else { "" };
                    let name = format!("{} {ty} {shape:?}{weights}", if dense { "dense" } else { "sparse" });
                    cases.extend(case.finish(name, BuiltinOperator::LSH_PROJECTION, options, &outputs));
                }
            }
        }
        cases
    }
}

struct Projection {
    hashes: usize,
    bits: usize,
    items: usize,
    /// Bytes of an item, if its type has a size.
    item: Option<usize>,
    dense: bool,
}

impl Kernel for Projection {
    fn scratch_bytes(&self) -> usize {
        self.item.map_or(0, |item| item + size_of::<f32>())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (seeds, input) = (io.input(0)?.slice::<f32>()?, io.input(1)?.bytes);
        let weights = io.optional_input(2).map(|w| w.slice::<f32>()).transpose()?;
        let item = self.item.unwrap_or(input.len() / self.items);
        ensure!(item > 0, "{} items of {} bytes in all", self.items, input.len());
        // An item with the seed in front.
        let mut own = Vec::new();
        let key = if self.item.is_some() {
            &mut io.scratch[..item + 4]
        } else {
            own.resize(item + 4, 0);
            &mut own
        };
        let output = io.outputs[0].slice::<i32>()?;
        let fits = seeds.len() == self.hashes * self.bits && input.len() >= self.items * item;
        ensure!(fits && weights.is_none_or(|w| w.len() == self.items), "sizes changed since the kernel was prepared");
        let mut bit = |seed: f32| {
            let mut score = 0.0f64;
            key[..4].copy_from_slice(&seed.to_le_bytes());
            for i in 0..self.items {
                key[4..].copy_from_slice(&input[i * item..][..item]);
                let number = fingerprint64(key) as i64 as f64;
                score += weights.map_or(number, |w| f64::from(w[i]) * number);
            }
            i32::from(score > 0.0)
        };
        if self.dense {
            output.iter_mut().zip(seeds).for_each(|(o, &seed)| *o = bit(seed));
            return Ok(());
        }
        for (hash, o) in output.iter_mut().enumerate() {
            let seeds = &seeds[hash * self.bits..][..self.bits];
            let signature = seeds.iter().fold(0i32, |signature, &seed| signature << 1 | bit(seed));
            // Hashes are kept apart by a number above their bits.
            *o = signature.wrapping_add(((hash as i64) << self.bits) as i32);
        }
        Ok(())
    }
}
