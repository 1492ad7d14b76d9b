//! ARG_MAX and ARG_MIN: index of the largest or smallest element along a dimension; the first one of equals.

use crate::common::cases::{self, Operand};
use crate::common::lanes::lanes;
use crate::common::parallel::for_items;
use crate::common::strided::{axis, elements, index_input, known, scalar_index};
use crate::op::{Case, FastKernel, FnKernel, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::quantize::{OutputRule, QuantRule};
use crate::tensor::{Element, TensorRef};
use crate::{OpError, ensure};
use ferrolite_kernels::ThreadPool;
use ferrolite_model::schema::{ArgMaxOptionsT, ArgMinOptionsT};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// ARG_MAX.
pub const ARG_MAX: ArgMinMax = ArgMinMax { max: true };
/// ARG_MIN.
pub const ARG_MIN: ArgMinMax = ArgMinMax { max: false };

/// ARG_MAX or ARG_MIN. Inputs: data, axis.
pub struct ArgMinMax {
    max: bool,
}

impl ArgMinMax {
    fn axis(&self, node: &NodeView<'_>) -> Result<Option<usize>, OpError> {
        let rank = node.input(0)?.shape.len();
        scalar_index(index_input(node, 1)?)?.map(|at| axis(at, rank)).transpose()
    }

    fn output_type(&self, node: &NodeView<'_>) -> Result<TensorType, OpError> {
        let ty = if self.max {
            node.options.as_arg_max_options().map(|o| o.output_type)
        } else {
            node.options.as_arg_min_options().map(|o| o.output_type)
        };
        match ty.map(TensorType::from_schema) {
            Some(Some(ty @ (TensorType::Int32 | TensorType::Int64))) => Ok(ty),
            None => Ok(node.output(0)?.ty),
            ty => Err(OpError::unsupported(format!("{} as {ty:?}", self.id()))),
        }
    }
}

impl OpDef for ArgMinMax {
    fn id(&self) -> OpId {
        OpId::Builtin(if self.max { BuiltinOperator::ARG_MAX } else { BuiltinOperator::ARG_MIN })
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=3
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let input = node.input(0)?;
        use TensorType::*;
        if !matches!(input.ty, Float32 | UInt8 | Int8 | Int16 | Int32 | Int64 | Bool) {
            return Err(OpError::unsupported(format!("{} of {}", self.id(), input.ty)));
        }
        let ty = self.output_type(node)?;
        let Some(at) = self.axis(node)? else { return Ok(smallvec![Inferred::dynamic(ty)]) };
        let mut shape = input.shape.clone();
        let choices = shape.remove(at);
        ensure!(choices > 0 || elements(&shape)? == 0, "{} of nothing", self.id());
        Ok(smallvec![Inferred { ty, shape: Some(shape) }])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let at = known(self.axis(node)?)?;
        match input.ty {
            TensorType::Float32 => self.kernel::<f32>(&input.shape, at),
            TensorType::Int8 => self.kernel::<i8>(&input.shape, at),
            TensorType::Int16 => self.kernel::<i16>(&input.shape, at),
            TensorType::Int32 => self.kernel::<i32>(&input.shape, at),
            TensorType::Int64 => self.kernel::<i64>(&input.shape, at),
            _ => self.kernel::<u8>(&input.shape, at),
        }
    }

    fn fast(&self) -> &'static [FastKernel] {
        const MAX: &[FastKernel] = &[FastKernel {
            name: "lanes",
            supports: |node| ARG_MAX.is_plain(node),
            prepare: |node, _| ARG_MAX.lanes(node),
        }];
        const MIN: &[FastKernel] = &[FastKernel {
            name: "lanes",
            supports: |node| ARG_MIN.is_plain(node),
            prepare: |node, _| ARG_MIN.lanes(node),
        }];
        if self.max { MAX } else { MIN }
    }

    fn cases(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for ty in [TensorType::Float32, TensorType::Int8, TensorType::UInt8, TensorType::Int32] {
            for output in [TensorType::Int32, TensorType::Int64] {
                for (shape, at) in CASES {
                    let to: Vec<i32> = (0..shape.len()).filter(|&d| d != at).map(|d| shape[d]).collect();
                    let output_type = output.to_schema();
                    let options = if self.max {
                        BuiltinOptions::ArgMaxOptions(Box::new(ArgMaxOptionsT { output_type }))
                    } else {
                        BuiltinOptions::ArgMinOptions(Box::new(ArgMinOptionsT { output_type }))
                    };
                    let OpId::Builtin(op) = self.id() else { continue };
                    let index = [at as i32];
                    let operands = [Operand::Data((ty, shape, cases::typical(ty))), Operand::Index(&[], &index)];
                    let name = format!("{ty} {output} {shape:?} {at}");
                    all.extend(cases::node(name, op, options, &operands, &[(output, &to, None)]));
                }
            }
        }
        all
    }

    fn quantize(&self) -> Option<QuantRule> {
        Some(QuantRule { output: OutputRule::NotQuantized, int16: false, ..QuantRule::UNARY })
    }
}

/// Shapes with the dimension that is searched.
const CASES: [(&[i32], usize); 9] = [
    (&[37], 0),
    (&[4, 9, 21], 2),
    (&[300, 16], 1),
    (&[3, 1000], 1),
    (&[2, 40, 17], 1),
    (&[50, 33], 0),
    (&[2, 3, 4, 5], 2),
    (&[2, 257], 1),
    (&[9, 1], 1),
];

impl ArgMinMax {
    fn kernel<T: Element + PartialOrd>(&self, shape: &[usize], at: usize) -> Result<Box<dyn Kernel>, OpError> {
        let (choices, inner, count) = (shape[at], elements(&shape[at + 1..])?, elements(shape)?);
        let better: fn(&T, &T) -> bool = if self.max { |a, b| a > b } else { |a, b| a < b };
        reference(move |io| {
            let input = io.input(0)?.slice::<T>()?;
            ensure!(input.len() == count, "sizes changed since the kernel was prepared");
            let best = |i: usize| {
                let start = i / inner * choices * inner + i % inner;
                let mut best = 0;
                for c in 1..choices {
                    if better(&input[start + c * inner], &input[start + best * inner]) {
                        best = c;
                    }
                }
                best
            };
            let output = &mut io.outputs[0];
            let outputs = count.checked_div(choices).unwrap_or(0);
            if output.ty == TensorType::Int64 {
                let output = output.slice::<i64>()?;
                ensure!(output.len() == outputs, "sizes changed since the kernel was prepared");
                output.iter_mut().enumerate().for_each(|(i, x)| *x = best(i) as i64);
            } else {
                let output = output.slice::<i32>()?;
                ensure!(output.len() == outputs, "sizes changed since the kernel was prepared");
                output.iter_mut().enumerate().for_each(|(i, x)| *x = best(i) as i32);
            }
            Ok(())
        })
    }
}

/// A number with what the vectorized search needs.
trait Ordered: Element + PartialOrd {}
impl Ordered for f32 {}
impl Ordered for i16 {}
impl Ordered for i32 {}
impl Ordered for i64 {}

/// Where an index goes.
trait Index: Element + Send + Sync {
    fn of(i: usize) -> Self;
}
impl Index for i32 {
    fn of(i: usize) -> i32 {
        i as i32
    }
}
impl Index for i64 {
    fn of(i: usize) -> i64 {
        i as i64
    }
}

/// Elements that are searched side by side.
const LANES: usize = 16;

impl ArgMinMax {
    /// Whether the fast kernel takes the node.
    fn is_plain(&self, node: &NodeView<'_>) -> bool {
        let narrow = |shape: &[usize]| shape.iter().all(|&d| i32::try_from(d).is_ok());
        node.input(0).is_ok_and(|t| narrow(&t.shape) && t.elements() > 0)
    }

    fn lanes(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let input = node.input(0)?;
        let at = known(self.axis(node)?)?;
        let (choices, inner) = (input.shape[at], elements(&input.shape[at + 1..])?);
        let search = Search { max: self.max, choices, inner, count: elements(&input.shape)? };
        let wide = self.output_type(node)? == TensorType::Int64;
        let ty = input.ty;
        Ok(Box::new(FnKernel("arg_min_max/lanes", move |io: &mut Io<'_>| {
            let input = io.input(0)?;
            if wide {
                search.run(ty, input, io.pool, io.outputs[0].slice::<i64>()?)
            } else {
                search.run(ty, input, io.pool, io.outputs[0].slice::<i32>()?)
            }
        })))
    }
}

/// The loops of the fast kernel.
struct Search {
    max: bool,
    choices: usize,
    inner: usize,
    count: usize,
}

impl Search {
    fn run<I: Index>(
        &self,
        ty: TensorType,
        input: TensorRef<'_>,
        pool: &ThreadPool,
        out: &mut [I],
    ) -> Result<(), OpError> {
        match ty {
            TensorType::Float32 => self.ordered(input.slice::<f32>()?, pool, out),
            TensorType::Int16 => self.ordered(input.slice::<i16>()?, pool, out),
            TensorType::Int32 => self.ordered(input.slice::<i32>()?, pool, out),
            TensorType::Int64 => self.ordered(input.slice::<i64>()?, pool, out),
            // What makes a larger byte a larger signed byte, or a smaller one for a minimum.
            TensorType::Int8 => self.bytes(input.bytes, if self.max { 0 } else { 0xff }, pool, out),
            _ => self.bytes(input.bytes, if self.max { 0x80 } else { 0x7f }, pool, out),
        }
    }

    /// Calls `row` for rows that lie side by side, `columns` for blocks of `choices` rows of `inner`.
    fn each<T: Sync, I: Index>(
        &self,
        x: &[T],
        pool: &ThreadPool,
        out: &mut [I],
        row: impl Fn(&[T]) -> usize + Sync,
        columns: impl Fn(&[T], usize, &mut [I]) + Sync,
    ) -> Result<(), OpError> {
        let &Search { choices, inner, count, .. } = self;
        ensure!(x.len() == count && out.len() == count / choices, "sizes changed since the kernel was prepared");
        let grain = (16 << 10) / (choices * inner) + 1;
        for_items(pool, out, inner, grain, |range, out| {
            for (block, out) in range.zip(out.chunks_exact_mut(inner)) {
                let block = &x[block * choices * inner..][..choices * inner];
                if inner == 1 {
                    out[0] = I::of(row(block));
                } else {
                    // In parts whose best values fit the stack.
                    out.chunks_mut(8 * LANES).enumerate().for_each(|(i, out)| columns(block, i * 8 * LANES, out));
                }
            }
        });
        Ok(())
    }

    fn ordered<T: Ordered + Send + Sync, I: Index>(
        &self,
        x: &[T],
        pool: &ThreadPool,
        out: &mut [I],
    ) -> Result<(), OpError> {
        if self.max { self.with(x, pool, out, |a, b| a > b) } else { self.with(x, pool, out, |a, b| a < b) }
    }

    fn with<T: Ordered + Send + Sync, I: Index>(
        &self,
        x: &[T],
        pool: &ThreadPool,
        out: &mut [I],
        better: impl Fn(T, T) -> bool + Copy + Sync,
    ) -> Result<(), OpError> {
        let inner = self.inner;
        let row = |row: &[T]| {
            // The best value, and then the first that is as good: NaN is never better, and nothing is better than NaN.
            let best = lanes(row[0], row[0], row, |a, x| if better(x, a) { x } else { a });
            let chunks = row.as_chunks::<LANES>().0;
            let hit = chunks.iter().position(|c| c.iter().fold(false, |hit, &x| hit | (x == best)));
            let from = hit.unwrap_or(chunks.len()) * LANES;
            row[from..].iter().position(|&x| x == best).map_or(0, |i| from + i)
        };
        self.each(x, pool, out, row, |block, from, out| {
            let first = &block[from..][..out.len()];
            let mut best = [first[0]; 8 * LANES];
            best[..out.len()].copy_from_slice(first);
            out.fill(I::of(0));
            for c in 1..self.choices {
                let row = &block[c * inner + from..][..out.len()];
                let at = I::of(c);
                for ((best, out), &x) in best.iter_mut().zip(&mut *out).zip(row) {
                    let wins = better(x, *best);
                    *best = if wins { x } else { *best };
                    *out = if wins { at } else { *out };
                }
            }
        })
    }

    /// Bytes: value and place in one number, whose maximum has the first place of the best value.
    fn bytes<I: Index>(&self, x: &[u8], flip: u8, pool: &ThreadPool, out: &mut [I]) -> Result<(), OpError> {
        let inner = self.inner;
        let row = |row: &[u8]| {
            let (mut best, mut at) = (i16::MIN, 0);
            for (part, values) in row.chunks(256).enumerate() {
                let key = best_of_bytes(values, flip);
                // A later part has to be better, not as good.
                if part == 0 || key >> 8 > best >> 8 {
                    (best, at) = (key, part * 256 + (255 - (key & 255)) as usize);
                }
            }
            at
        };
        self.each(x, pool, out, row, |block, from, out| {
            let mut best = [0i8; 8 * LANES];
            let best = &mut best[..out.len()];
            for (c, row) in block.chunks_exact(inner).enumerate() {
                let at = I::of(c);
                for ((best, out), &x) in best.iter_mut().zip(&mut *out).zip(&row[from..]) {
                    let x = (x ^ flip) as i8;
                    let wins = x > *best || c == 0;
                    *best = if wins { x } else { *best };
                    *out = if wins { at } else { *out };
                }
            }
        })
    }
}

/// The greatest of `value · 256 + 255 − place` among at most 256 bytes.
#[inline]
fn best_of_bytes(values: &[u8], flip: u8) -> i16 {
    let key = |x: u8, place: usize| ((x ^ flip) as i8 as i16) << 8 | (255 - place) as i16;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut best = [i16::MIN; LANES];
    for (i, chunk) in chunks.iter().enumerate() {
        for (lane, (best, &x)) in best.iter_mut().zip(chunk).enumerate() {
            *best = (*best).max(key(x, i * LANES + lane));
        }
    }
    let rest = rest.iter().enumerate().map(|(i, &x)| key(x, chunks.len() * LANES + i));
    best.into_iter().chain(rest).fold(i16::MIN, i16::max)
}
