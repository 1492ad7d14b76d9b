//! Float weights that change between runs (training), for fewer rows than units: yᵀ = w · xᵀ packs the small x and reads
//! the weights where they are.

use super::infer::{Problem, problem};
use super::reference::linear;
use crate::OpError;
use crate::common::activation::float_range;
use crate::common::operand::OperandF32;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{FastKernel, Io, Kernel, NodeView};
use ferrolite_kernels::{EpilogueF32, Isa, Layout, gemm_f32, transpose_into};
use ferrolite_model::TensorType::Float32;

pub const SWAPPED: FastKernel = FastKernel { name: "swapped_gemm", supports, prepare };

fn supports(node: &NodeView<'_>) -> bool {
    let (Ok(p), Ok(x), Ok(w)) = (problem(node), node.input(0), node.input(1)) else { return false };
    let float = |info: &crate::TensorInfo<'_>| info.ty == Float32 && info.sparsity.is_none();
    let has_float_bias = node.optional_input(2).is_none_or(float);
    float(x) && float(w) && has_float_bias && w.known.is_none() && 0 < p.rows && p.rows < p.units && p.depth > 0
}

fn prepare(node: &NodeView<'_>, isa: Isa) -> Result<Box<dyn Kernel>, OpError> {
    let p = problem(node)?;
    let range = float_range(linear(node, p)?.activation)?;
    let operand = OperandF32::new(isa, p.rows, (1, p.depth), Layout::RowsOfK, None);
    Ok(Box::new(Swapped { name: format!("fully_connected/{} swapped", operand.kernel()), isa, p, operand, range }))
}

struct Swapped {
    name: String,
    isa: Isa,
    p: Problem,
    /// The packed x.
    operand: OperandF32,
    range: (f32, f32),
}

impl Kernel for Swapped {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let Problem { rows, units, depth, .. } = self.p;
        let (x, w) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
        let bias = io.optional_input(2).map(|b| b.slice::<f32>()).transpose()?;
        let mut scratch = Scratch::new(&mut *io.scratch);
        let columns = scratch.take::<f32>(rows * units)?;
        let packed = self.operand.get(x, None, &mut scratch)?;
        gemm_f32(io.pool, w, units, depth, packed, columns, rows, EpilogueF32::default());
        let out = io.outputs[0].slice::<f32>()?;
        transpose_into(self.isa, columns, rows, units, rows, out, units);
        let (min, max) = self.range;
        for row in out.chunks_exact_mut(units) {
            if let Some(bias) = bias {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
            row.iter_mut().for_each(|y| *y = y.clamp(min, max));
        }
        Ok(())
    }

    fn scratch_bytes(&self) -> usize {
        scratch_size::<f32>(self.p.rows * self.p.units).saturating_add(self.operand.scratch())
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use crate::common::testing::{Pick, TestTensor, noise, run};
    use crate::fully_connected::FullyConnected;
    use ferrolite_model::BuiltinOptions;
    use ferrolite_model::TensorType::Float32;
    use ferrolite_model::schema::{ActivationFunctionType, FullyConnectedOptionsT};

    #[test]
    fn equals_the_reference() {
        for (rows, depth, units) in [(1, 5, 3), (7, 33, 20), (16, 100, 65)] {
            let fused_activation_function = ActivationFunctionType::RELU;
            let options = FullyConnectedOptionsT { fused_activation_function, ..FullyConnectedOptionsT::default() };
            let options = BuiltinOptions::FullyConnectedOptions(Box::new(options));
            let tensor = |seed, shape: &[usize]| TestTensor::f32(shape, &noise(seed, shape.iter().product()));
            let inputs = [tensor(1, &[rows, depth]), tensor(2, &[units, depth]), tensor(3, &[units])];
            let result = |pick| run(&FullyConnected, &options, &inputs, &[(Float32, None)], pick).unwrap();
            let (fast, slow) = (result(Pick::Fast)[0].values::<f32>(), result(Pick::Reference)[0].values::<f32>());
            assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs())), "{rows} rows");
            assert!(slow.iter().any(|&y| y > 0.0));
        }
    }
}
