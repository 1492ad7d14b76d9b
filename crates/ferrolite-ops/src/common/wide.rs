//! int16 activations with int8 weights on the int8 kernels: x = 256 · high + low, so a product of x is two of bytes.
//!
//! high is signed; low, 0..=255, is stored 128 less, which its zero point undoes. Both products are exact in 32 bits, and
//! their sum is made in 64 (or wraps in 32 where the reference does).

use crate::OpError;
use crate::common::fast_linear::Plan;
use crate::common::linear::{Accumulator, Bias, Epilogue, Linear, Requant, Saturate};
use crate::common::operand::{BiasI8, Columns, OperandI8};
use crate::common::parallel::for_items;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::constant;
use crate::op::{Io, Kernel, NodeView};
use crate::tensor::TensorRef;
use ferrolite_kernels::{Isa, Layout, OutI8, PackI8, ThreadPool};
use ferrolite_model::TensorType::{Int2, Int4, Int8, Int16, Int32, Int64};

/// Products per output for which the low half is exact: each is at most 255 · 255.
const MAX_PRODUCTS: usize = 1 << 15;

/// What is stored for a low half of 0.
const LOW_ZERO: i32 = -128;

/// The packed weights of one product.
pub struct Halves {
    high: OperandI8,
    low: OperandI8,
}

impl Halves {
    /// Packs `weights` of `n` columns.
    pub fn new(
        isa: Isa,
        n: usize,
        (taps, kc): (usize, usize),
        layout: Layout,
        weight_zero_point: i32,
        weights: &[i8],
    ) -> Halves {
        let pack = |zero| {
            let spec = PackI8::new(isa, n, taps, kc, zero, weight_zero_point);
            OperandI8::new(spec, layout, Columns::Raw, Some((weights, BiasI8::Int(None))))
        };
        Halves { high: pack(0), low: pack(LOW_ZERO) }
    }

    /// Name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.high.kernel()
    }

    /// Calls `product` for each half of the activations, with the operand and where its sums go.
    pub fn each(
        &self,
        x: [&[i8]; 2],
        sums: [&mut [i32]; 2],
        ldc: usize,
        mut product: impl FnMut(&[i8], ferrolite_kernels::PackedI8Ref<'_>, OutI8<'_>),
    ) -> Result<(), OpError> {
        for ((operand, x), out) in [&self.high, &self.low].into_iter().zip(x).zip(sums) {
            let packed = operand.get(&[], BiasI8::Int(None), &mut Scratch::new(&mut []))?;
            product(x, packed, OutI8::I32 { out, ldc });
        }
        Ok(())
    }
}

/// The bytes of the halves.
pub fn split(x: &[i16], high: &mut [i8], low: &mut [i8]) {
    for ((&x, high), low) in x.iter().zip(high).zip(low) {
        (*high, *low) = ((x >> 8) as i8, (x as u8 ^ 0x80) as i8);
    }
}

/// Whether `depth` products of the types of `linear` can be summed by halves.
pub fn supported(node: &NodeView<'_>, linear: &Linear, depth: usize) -> bool {
    let (Ok(x), Ok(w), Ok(y)) = (node.input(linear.input), node.input(linear.weights), node.output(0)) else {
        return false;
    };
    let bias = node.optional_input(linear.bias).is_none_or(|b| matches!(b.ty, Int32 | Int64));
    let types = x.ty == Int16 && matches!(w.ty, Int8 | Int4 | Int2) && y.ty == Int16;
    types && bias && w.constant.is_some() && depth <= MAX_PRODUCTS
}

/// Sums to outputs.
pub struct Finish {
    /// Scales, zero points and range.
    pub epilogue: Epilogue,
    /// Sums wrap in 32 bits.
    pub narrow: bool,
}

impl Finish {
    /// Requantizes rows of as many columns as there are scales.
    pub fn run(
        &self,
        pool: &ThreadPool,
        sums: [&[i32]; 2],
        bias: Option<TensorRef<'_>>,
        out: &mut [i16],
    ) -> Result<(), OpError> {
        let n = self.epilogue.requant.len();
        let bias = Bias::of(bias)?;
        for_items(pool, out, n, 4096 / n.max(1) + 1, |rows, out| {
            let [high, low] = sums.map(|s| s[rows.start * n..rows.end * n].chunks_exact(n));
            for ((high, low), out) in high.zip(low).zip(out.chunks_exact_mut(n)) {
                for (c, ((&high, &low), y)) in high.iter().zip(low).zip(out).enumerate() {
                    let bias = bias.at(c);
                    let requant = self.epilogue.requant[c];
                    *y = if self.narrow {
                        self.finish(high.wrapping_mul(256).wrapping_add(low), bias, requant)
                    } else {
                        self.finish(i64::from(high) * 256 + i64::from(low), bias, requant)
                    };
                }
            }
        });
        Ok(())
    }

    #[inline]
    fn finish<A: Accumulator>(&self, sum: A, bias: i64, requant: Requant) -> i16 {
        let (low, high) = self.epilogue.range;
        i16::of(sum.add(bias).requantize(requant).saturating_add(self.epilogue.output_zero_point).clamp(low, high))
    }
}

/// The kernel of a linear operator.
struct Wide {
    name: String,
    plan: Plan,
    groups: Vec<Halves>,
    finish: Finish,
    inputs: usize,
    outputs: usize,
}

/// The kernel of `plan` for the types that [`supported`] takes.
pub fn prepare(plan: Plan, node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let linear = &plan.linear;
    let epilogue = linear.epilogue(node)?;
    let Some(weights) = constant::<i8>(node.input(linear.weights)?)? else {
        return Err(OpError::unsupported("weights that are not constant"));
    };
    let (n, len) = (plan.product.n(), plan.product.weights());
    let zero = epilogue.weight_zero_point;
    let pack = |g: usize| Halves::new(isa, n, plan.product.taps(), Layout::RowsOfK, zero, &weights[g * len..][..len]);
    let groups: Vec<Halves> = (0..plan.groups).map(pack).collect();
    let name = format!("{}/{} x2", plan.name, groups[0].kernel());
    let (inputs, outputs) = (node.input(linear.input)?.elements(), node.output(0)?.elements());
    let finish = Finish { epilogue, narrow: linear.narrow_sums };
    Ok(Box::new(Wide { name, groups, finish, inputs, outputs, plan }))
}

impl Kernel for Wide {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Plan { linear, product, .. } = &self.plan;
        let x = io.input(linear.input)?.slice::<i16>()?;
        let bias = io.optional_input(linear.bias);
        let mut scratch = Scratch::new(&mut *io.scratch);
        let (high, low) = (scratch.take::<i8>(self.inputs)?, scratch.take::<i8>(self.inputs)?);
        let (up, down) = (scratch.take::<i32>(self.outputs)?, scratch.take::<i32>(self.outputs)?);
        split(x, high, low);
        for (g, halves) in self.groups.iter().enumerate() {
            let at = g * product.in_c();
            let n = product.n();
            let sums = [&mut up[g * n..], &mut down[g * n..]];
            halves.each([&high[at..], &low[at..]], sums, product.ldc(), |x, w, out| product.i8(io.pool, x, w, out))?;
        }
        self.finish.run(io.pool, [up, down], bias, io.outputs[0].slice::<i16>()?)
    }

    fn scratch_bytes(&self) -> usize {
        let parts = [scratch_size::<i8>(self.inputs), scratch_size::<i32>(self.outputs)];
        parts.into_iter().fold(0, |n, part| n.saturating_add(part.saturating_mul(2)))
    }

    fn name(&self) -> &str {
        &self.name
    }
}
