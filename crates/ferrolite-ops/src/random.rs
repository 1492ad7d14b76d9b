//! RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL and MULTINOMIAL: the numbers that LiteRT draws from the same seeds.
//!
//! A kernel keeps its place in the sequence, so that every run of an interpreter gives other numbers. Two seeds of 0 ask for
//! numbers that nobody can foresee. Sources: LiteRT `kernels/random_ops.cc`.

use crate::common::elementwise::check_type;
use crate::common::philox::{Philox, normal_pair, uniform_f32, uniform_f64};
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::strided::{dims, scalar_index};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::schema::RandomOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, ModelBuilder, TensorType};
use smallvec::smallvec;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// The generator of a node, at its start.
fn generator(node: &NodeView<'_>) -> Result<Mutex<Philox>, OpError> {
    let Some(options) = node.options.as_random_options() else { return Err(OpError::invalid("options are missing")) };
    let unforeseen = || RandomState::new().hash_one(0);
    let (seed, seed2) = match (options.seed, options.seed2) {
        (0, 0) => (unforeseen(), unforeseen()),
        // LiteRT keeps the lower 32 bits of a seed, and extends their sign again.
        (seed, seed2) => (seed as i32 as u64, seed2 as i32 as u64),
    };
    Ok(Mutex::new(Philox::new(seed, seed2)))
}

/// How numbers are made of bits.
#[derive(Clone, Copy, PartialEq)]
enum Distribution {
    Uniform,
    Normal,
}

/// An operator that fills a tensor. Input: its shape.
pub struct Random {
    op: BuiltinOperator,
    distribution: Distribution,
}

/// RANDOM_UNIFORM: numbers in 0..1.
pub const RANDOM_UNIFORM: Random = Random { op: BuiltinOperator::RANDOM_UNIFORM, distribution: Distribution::Uniform };
/// RANDOM_STANDARD_NORMAL.
pub const RANDOM_STANDARD_NORMAL: Random =
    Random { op: BuiltinOperator::RANDOM_STANDARD_NORMAL, distribution: Distribution::Normal };

impl OpDef for Random {
    fn id(&self) -> OpId {
        OpId::Builtin(self.op)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let shape = node.input(0)?;
        check_type(shape.ty, &[TensorType::Int32])?;
        ensure!(shape.shape.len() == 1, "the shape has {} dimensions, not 1", shape.shape.len());
        let ty = TensorType::Float32;
        Ok(smallvec![match shape.indices()? {
            Some(values) => Inferred { ty, shape: Some(dims(&values)?) },
            None => Inferred::dynamic(ty),
        }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        Ok(Box::new(Fill { generator: generator(node)?, distribution: self.distribution }))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (shape, seed, seed2) in [(vec![3, 37], 1, 0), (vec![5], -3, 9), (vec![], 0, 7), (vec![0, 4], 2, 3)] {
            let mut b = ModelBuilder::new();
            let constant = b.constant_i32("shape", &[shape.len() as i32], &shape);
            let y = b.tensor("y", TensorType::Float32, &shape);
            b.output(y);
            let options = BuiltinOptions::RandomOptions(Box::new(RandomOptionsT { seed, seed2 }));
            b.node(self.op, 1, options, &[Some(constant)], &[y]);
            let name = format!("{shape:?}, seeds {seed} {seed2}");
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}

struct Fill {
    generator: Mutex<Philox>,
    distribution: Distribution,
}

impl Kernel for Fill {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        for out in io.outputs[0].slice::<f32>()?.chunks_mut(4) {
            let [a, b, c, d] = generator.block();
            let numbers = match self.distribution {
                Distribution::Uniform => [a, b, c, d].map(uniform_f32),
                Distribution::Normal => {
                    let ([a, b], [c, d]) = (normal_pair([a, b]), normal_pair([c, d]));
                    [a, b, c, d]
                }
            };
            out.copy_from_slice(&numbers[..out.len()]);
        }
        Ok(())
    }
}

/// MULTINOMIAL: draws of classes. Inputs: logits of shape (batch, classes), number of draws.
pub struct Multinomial;

impl OpDef for Multinomial {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::MULTINOMIAL)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (logits, count, ty) = (node.input(0)?, node.input(1)?, node.output(0)?.ty);
        check_type(logits.ty, &[TensorType::Float32])?;
        check_type(count.ty, &[TensorType::Int32])?;
        if !matches!(ty, TensorType::Int32 | TensorType::Int64) {
            return Err(OpError::unsupported(format!("classes of type {ty}")));
        }
        ensure!(logits.shape.len() == 2, "the logits have {} dimensions, not 2", logits.shape.len());
        ensure!(logits.shape[1] > 0, "there are no classes");
        Ok(smallvec![match scalar_index(count)? {
            Some(count) => Inferred { ty, shape: Some(dims(&[logits.shape[0] as i64, count])?) },
            None => Inferred::dynamic(ty),
        }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (batch, classes) = (node.input(0)?.shape[0], node.input(0)?.shape[1]);
        let draws = node.output(0)?.shape.last().copied().unwrap_or(0);
        if batch * draws == 0 {
            return reference(|_| Ok(()));
        }
        Ok(Box::new(Draw { generator: generator(node)?, batch, classes, draws }))
    }

    fn is_foldable(&self) -> bool {
        false
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for ty in [TensorType::Int32, TensorType::Int64] {
            for (batch, classes, draws) in [(3, 7, 5), (1, 2, 64), (4, 1, 3)] {
                let mut b = ModelBuilder::new();
                let logits = b.input("logits", TensorType::Float32, &[batch, classes]);
                let count = b.constant_i32("count", &[], &[draws]);
                let y = b.tensor("y", ty, &[batch, draws]);
                b.output(y);
                let options = BuiltinOptions::RandomOptions(Box::new(RandomOptionsT { seed: 5, seed2: 11 }));
                b.node(BuiltinOperator::MULTINOMIAL, 1, options, &[Some(logits), Some(count)], &[y]);
                let name = format!("{ty} {batch} of {classes}, {draws}");
                cases.extend(b.build().ok().map(|model| Case { name, model }));
            }
        }
        cases
    }
}

struct Draw {
    generator: Mutex<Philox>,
    batch: usize,
    classes: usize,
    draws: usize,
}

impl Kernel for Draw {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<f64>(self.classes)
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let logits = io.input(0)?.slice::<f32>()?;
        let sums = Scratch::new(io.scratch).take::<f64>(self.classes)?;
        let mut numbers = {
            let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
            let now = generator.clone();
            // As many as a run could need at most, so that runs are independent of how many it needs.
            let draws = self.draws.next_multiple_of(4) as u64;
            generator.skip((self.batch as u64).wrapping_mul(draws).wrapping_mul(2 * 256));
            Pairs { generator: now, block: [0; 4], used: 4 }
        };
        let out = &mut io.outputs[0];
        ensure!(logits.len() == self.batch * self.classes, "sizes changed since the kernel was prepared");
        for (row, logits) in logits.chunks_exact(self.classes).enumerate() {
            let finite = |x: &&f32| x.is_finite();
            let largest = f64::from(logits.iter().filter(finite).fold(f32::MIN, |m, &x| m.max(x)));
            let mut total = 0.0;
            for (sum, x) in sums.iter_mut().zip(logits) {
                if x.is_finite() {
                    total += (f64::from(*x) - largest).exp();
                }
                *sum = total;
            }
            for i in row * self.draws..(row + 1) * self.draws {
                let [high, low] = numbers.next();
                let wanted = uniform_f64(high, low) * total;
                let class = sums.partition_point(|&sum| sum <= wanted);
                match out.ty {
                    TensorType::Int32 => out.slice::<i32>()?[i] = class as i32,
                    _ => out.slice::<i64>()?[i] = class as i64,
                }
            }
        }
        Ok(())
    }
}

/// Numbers two by two.
struct Pairs {
    generator: Philox,
    block: [u32; 4],
    used: usize,
}

impl Pairs {
    fn next(&mut self) -> [u32; 2] {
        if self.used == 4 {
            (self.block, self.used) = (self.generator.block(), 0);
        }
        self.used += 2;
        [self.block[self.used - 2], self.block[self.used - 1]]
    }
}
