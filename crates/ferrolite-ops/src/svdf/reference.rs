//! The specification.

use super::{BIAS, FEATURE, Kind, Problem, STATE, TIME};
use crate::common::linear::per_tensor;
use crate::common::recurrent::{Row, WeightInput, activate};
use crate::common::requant::Multiplier;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::tensor::{Element, TensorInfo};
use crate::{OpError, ensure};
use ferrolite_kernels::{Isa, matvec_i8};
use ferrolite_model::TensorType::Int8;

/// The kernel; the fast one has an instruction set.
pub fn kernel(node: &NodeView<'_>, p: Problem, isa: Option<Isa>) -> Result<Box<dyn Kernel>, OpError> {
    match (p.kind, node.input(STATE)?.ty) {
        (Kind::Integer, Int8) => integer::<i8>(node, p, per_tensor(node.input(STATE)?)?.1, isa),
        (Kind::Integer, _) => integer::<i16>(node, p, 0, isa),
        _ => real(node, p, isa),
    }
}

/// A kernel with scratch memory and a name.
struct Named<F> {
    name: &'static str,
    scratch: usize,
    run: F,
}

impl<F: Fn(&mut Io<'_>) -> Result<(), OpError> + Send + Sync> Kernel for Named<F> {
    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        (self.run)(io)
    }

    fn scratch_bytes(&self) -> usize {
        self.scratch
    }

    fn name(&self) -> &str {
        self.name
    }
}

fn name(isa: Option<Isa>) -> &'static str {
    if isa.is_some() { "svdf/matvec" } else { "reference" }
}

fn real(node: &NodeView<'_>, p: Problem, isa: Option<Isa>) -> Result<Box<dyn Kernel>, OpError> {
    let (feature, time) = (WeightInput::prepare(node, FEATURE)?, WeightInput::prepare(node, TIME)?);
    let bias = node.optional_input(BIAS).map(|info| Weights::<f32>::prepare(BIAS, info)).transpose()?;
    let quantized = if p.kind == Kind::Hybrid { p.input } else { 0 };
    Ok(Box::new(Named {
        name: name(isa),
        scratch: scratch_size::<i8>(quantized).saturating_add(scratch_size::<f32>(p.filters)),
        run: move |io: &mut Io<'_>| {
            let (feature, time) = (feature.get(io)?, time.get(io)?);
            let bias = bias.as_ref().map(|bias| bias.get(io)).transpose()?;
            let xs = io.input(0)?.slice::<f32>()?;
            let mut scratch = Scratch::new(&mut *io.scratch);
            let (quantized, latest) = (scratch.take(quantized)?, scratch.take::<f32>(p.filters)?);
            let Some(state) = io.state.first_mut() else { return Err(OpError::invalid("state is missing")) };
            let state = state.slice::<f32>()?;
            ensure!(state.len() == p.batch * p.filters * p.memory, "state of another size");
            let out = io.outputs[0].slice::<f32>()?;
            for b in 0..p.batch {
                latest.fill(0.0);
                Row::new(&xs[b * p.input..][..p.input], quantized, p.asymmetric, isa).accumulate(feature, latest);
                let memories = &mut state[b * p.filters * p.memory..][..p.filters * p.memory];
                for unit in 0..p.units {
                    let mut sum = 0.0;
                    for filter in unit * p.rank..(unit + 1) * p.rank {
                        let memory = &mut memories[filter * p.memory..][..p.memory];
                        shift_in(memory, latest[filter]);
                        let products = memory.iter().enumerate();
                        sum += products.fold(0.0, |sum, (k, x)| sum + time.real(filter * p.memory + k) * x);
                    }
                    let y = sum + bias.map_or(0.0, |bias| bias[unit]);
                    out[b * p.units + unit] = activate(p.activation, y);
                }
            }
            Ok(())
        },
    }))
}

/// Drops the oldest value.
fn shift_in<T: Copy>(memory: &mut [T], latest: T) {
    memory.copy_within(1.., 0);
    if let Some(last) = memory.last_mut() {
        *last = latest;
    }
}

/// Elements of an integer state.
trait Remembered: Element + Into<i32> + Send + Sync {
    /// The nearest value.
    fn saturate(x: i32) -> Self;
    /// The low bits.
    fn wrap(x: i32) -> Self;
}

impl Remembered for i8 {
    fn saturate(x: i32) -> i8 {
        x.clamp(i8::MIN.into(), i8::MAX.into()) as i8
    }

    fn wrap(x: i32) -> i8 {
        x as i8
    }
}

impl Remembered for i16 {
    fn saturate(x: i32) -> i16 {
        x.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }

    fn wrap(x: i32) -> i16 {
        x as i16
    }
}

fn integer<T: Remembered>(
    node: &NodeView<'_>,
    p: Problem,
    state_zero: i32,
    isa: Option<Isa>,
) -> Result<Box<dyn Kernel>, OpError> {
    let scale = |info: &TensorInfo<'_>| info.scale_zero_point().map(|(scale, _)| scale);
    let (x, y) = (node.input(0)?, node.output(0)?);
    let ((x_scale, x_zero), (y_scale, y_zero)) = (per_tensor(x)?, per_tensor(y)?);
    let (feature, time) = (node.input(FEATURE)?, node.input(TIME)?);
    let state_scale = scale(node.input(STATE)?)?;
    // In float32, as LiteRT does.
    let to_state = Multiplier::new(f64::from(x_scale * scale(feature)? / state_scale))?;
    let to_output = Multiplier::new(f64::from(state_scale * scale(time)? / y_scale))?;
    let (feature, time) = (Weights::<i8>::prepare(FEATURE, feature)?, Weights::<T>::prepare(TIME, time)?);
    let bias = node.optional_input(BIAS).map(|info| Weights::<i32>::prepare(BIAS, info)).transpose()?;
    Ok(Box::new(Named {
        name: name(isa),
        scratch: scratch_size::<i32>(p.filters),
        run: move |io: &mut Io<'_>| {
            let (feature, time) = (feature.get(io)?, time.get(io)?);
            let bias = bias.as_ref().map(|bias| bias.get(io)).transpose()?;
            let xs = io.input(0)?.slice::<i8>()?;
            let projected = Scratch::new(&mut *io.scratch).take::<i32>(p.filters)?;
            let Some(state) = io.state.first_mut() else { return Err(OpError::invalid("state is missing")) };
            let state = state.slice::<T>()?;
            ensure!(state.len() == p.batch * p.filters * p.memory, "state of another size");
            let out = io.outputs[0].slice::<i8>()?;
            for b in 0..p.batch {
                let x = &xs[b * p.input..][..p.input];
                let memories = &mut state[b * p.filters * p.memory..][..p.filters * p.memory];
                match isa {
                    Some(isa) => matvec_i8(isa, &feature[..p.filters * p.input], x, x_zero, projected),
                    None => {
                        for (filter, projected) in projected.iter_mut().enumerate() {
                            let row = feature[filter * p.input..][..p.input].iter().zip(x);
                            *projected = row.fold(0i32, |sum, (&w, &x)| {
                                sum.wrapping_add(i32::from(w).wrapping_mul(i32::from(x).wrapping_sub(x_zero)))
                            });
                        }
                    }
                }
                for unit in 0..p.units {
                    let mut sum = bias.map_or(0, |bias| bias[unit]);
                    for filter in unit * p.rank..(unit + 1) * p.rank {
                        let latest: i32 = T::saturate(to_state.apply(projected[filter])).into();
                        let memory = &mut memories[filter * p.memory..][..p.memory];
                        // A zero point is added to what has been saturated, and wraps.
                        shift_in(memory, T::wrap(latest.wrapping_add(state_zero)));
                        let products = memory.iter().zip(&time[filter * p.memory..][..p.memory]);
                        sum = products.fold(sum, |sum, (&x, &w)| {
                            let (x, w): (i32, i32) = (x.into(), w.into());
                            sum.wrapping_add(w.wrapping_mul(x.wrapping_sub(state_zero)))
                        });
                    }
                    let y = to_output.apply(sum).saturating_add(y_zero);
                    out[b * p.units + unit] = y.clamp(-128, 127) as i8;
                }
            }
            Ok(())
        },
    }))
}
