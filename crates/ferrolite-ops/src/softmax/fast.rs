//! Fast kernels of SOFTMAX: vectorized in float, exponentials by table in 8 bits.

use super::reference::{beta, input_scaling};
use super::rows;
use crate::OpError;
use crate::common::fixed_exp::{exp_on_negative, reciprocal};

use crate::common::linear::per_tensor;
use crate::common::parallel::for_items;
use crate::common::requant::rounding_divide_by_pot;
use crate::op::{FastKernel, FnKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{Isa, Softmax8Bit, log_softmax_rows, softmax_rows};
use ferrolite_model::TensorType::{Float32, Int8, UInt8};

/// Float, and int8 or uint8 to the same type.
pub const FAST: &[FastKernel] = &[
    FastKernel { name: "float", supports: |node| supports(node, true), prepare: float },
    FastKernel { name: "table", supports: |node| supports(node, false), prepare: table },
];

/// LOG_SOFTMAX: float.
pub const LOG_FAST: &[FastKernel] = &[FastKernel {
    name: "float",
    supports: |node| supports(node, true),
    prepare: |node, isa| {
        let depth = rows(node)?.1;
        Ok(Box::new(FnKernel("log_softmax_f32", move |io: &mut Io<'_>| {
            log_softmax_rows(io.pool, isa, io.input(0)?.slice()?, depth, io.outputs[0].slice()?);
            Ok(())
        })))
    },
}];

fn supports(node: &NodeView<'_>, float: bool) -> bool {
    let (Ok(x), Ok(y), Ok((rows, depth))) = (node.input(0), node.output(0), rows(node)) else { return false };
    let known = if float { x.ty == Float32 } else { matches!(x.ty, Int8 | UInt8) };
    known && x.ty == y.ty && rows * depth > 0
}

struct Float {
    name: String,
    isa: Isa,
    depth: usize,
    beta: f32,
}

fn float(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let name = format!("softmax/softmax_f32_{}", isa.name());
    Ok(Box::new(Float { name, isa, depth: rows(node)?.1, beta: beta(node) }))
}

impl Kernel for Float {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let x = io.input(0)?.slice::<f32>()?;
        softmax_rows(io.pool, self.isa, x, self.depth, self.beta, io.outputs[0].slice::<f32>()?);
        Ok(())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

struct Table {
    depth: usize,
    kernel: Softmax8Bit,
}

fn table(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let input = node.input(0)?;
    let (multiplier, diff_min) = input_scaling(beta(node), per_tensor(input)?.0)?;
    // exp(−i · scale · beta) in F0, 0 where it does not count.
    let mut exp = Box::new([0; 256]);
    for (i, e) in (0..).zip(exp.iter_mut()) {
        if -i >= diff_min {
            *e = exp_on_negative(multiplier.apply(-i));
        }
    }
    let terms = Box::new(exp.map(|e| rounding_divide_by_pot(e, 12)));
    Ok(Box::new(Table { depth: rows(node)?.1, kernel: Softmax8Bit::new(isa, input.ty == Int8, exp, terms) }))
}

impl Kernel for Table {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (x, depth) = (io.input(0)?.bytes, self.depth);
        for_items(io.pool, io.outputs[0].bytes(), depth, 4096 / depth + 1, |rows, out| {
            let x = &x[rows.start * depth..rows.end * depth];
            for (x, y) in x.chunks_exact(depth).zip(out.chunks_exact_mut(depth)) {
                self.kernel.row(x, y, |sum| {
                    let (scale, bits_over_unit) = reciprocal(sum, 12);
                    (scale, (bits_over_unit + 31 - 8).clamp(0, 31))
                });
            }
        });
        Ok(())
    }

    fn name(&self) -> &str {
        "softmax/table_8bit"
    }
}
