//! The specification.

use super::{BIAS, FEATURE, Kind, Problem, STATE, TIME};
use crate::common::linear::{Run, per_tensor};
use crate::common::recurrent::{Row, Weight, WeightInput, activate};
use crate::common::requant::Multiplier;
use crate::common::scratch::{Scratch, scratch_size};
use crate::common::weights::Weights;
use crate::op::{Io, Kernel, NodeView};
use crate::tensor::Element;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::Int8;

pub fn reference(node: &NodeView<'_>, p: Problem) -> Result<Box<dyn Kernel>, OpError> {
    match (p.kind, node.input(STATE)?.ty) {
        (Kind::Integer, Int8) => integer::<i8>(node, p, per_tensor(node.input(STATE)?)?.1),
        (Kind::Integer, _) => integer::<i16>(node, p, 0),
        _ => real(node, p),
    }
}

fn real(node: &NodeView<'_>, p: Problem) -> Result<Box<dyn Kernel>, OpError> {
    let (feature, time) = (WeightInput::prepare(node, FEATURE)?, WeightInput::prepare(node, TIME)?);
    let bias = node.optional_input(BIAS).map(|info| Weights::<f32>::prepare(BIAS, info)).transpose()?;
    let quantized = if p.kind == Kind::Hybrid { p.input } else { 0 };
    Ok(Box::new(Run {
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
                Row::new(&xs[b * p.input..][..p.input], quantized, p.asymmetric, None).accumulate(feature, latest);
                let memories = &mut state[b * p.filters * p.memory..][..p.filters * p.memory];
                remember(&p, latest, time, bias, memories, &mut out[b * p.units..][..p.units]);
            }
            Ok(())
        },
    }))
}

/// Shifts the latest projections of one sequence into its memories, and computes its outputs.
pub fn remember(
    p: &Problem,
    latest: &[f32],
    time: Weight<'_>,
    bias: Option<&[f32]>,
    memories: &mut [f32],
    out: &mut [f32],
) {
    for (unit, out) in out.iter_mut().enumerate() {
        let mut sum = 0.0;
        for filter in unit * p.rank..(unit + 1) * p.rank {
            let memory = &mut memories[filter * p.memory..][..p.memory];
            shift_in(memory, latest[filter]);
            let products = memory.iter().enumerate();
            sum += products.fold(0.0, |sum, (k, x)| sum + time.real(filter * p.memory + k) * x);
        }
        *out = activate(p.activation, sum + bias.map_or(0.0, |bias| bias[unit]));
    }
}

/// Drops the oldest value.
fn shift_in<T: Copy>(memory: &mut [T], latest: T) {
    memory.copy_within(1.., 0);
    if let Some(last) = memory.last_mut() {
        *last = latest;
    }
}

/// Elements of an integer state.
pub trait Remembered: Element + Into<i32> + Send + Sync {
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

/// Scale factors and zero points of an int8 node.
#[derive(Clone, Copy)]
pub struct Scales {
    to_state: Multiplier,
    to_output: Multiplier,
    /// Zero point of the input.
    pub x_zero: i32,
    state_zero: i32,
    y_zero: i32,
}

impl Scales {
    /// Those of a node whose state has this zero point.
    pub fn prepare(node: &NodeView<'_>, state_zero: i32) -> Result<Scales, OpError> {
        let scale = |index: usize| Ok::<f32, OpError>(node.input(index)?.scale_zero_point()?.0);
        let ((x_scale, x_zero), (y_scale, y_zero)) = (per_tensor(node.input(0)?)?, per_tensor(node.output(0)?)?);
        let state_scale = scale(STATE)?;
        Ok(Scales {
            // In float32, as LiteRT does.
            to_state: Multiplier::new(f64::from(x_scale * scale(FEATURE)? / state_scale))?,
            to_output: Multiplier::new(f64::from(state_scale * scale(TIME)? / y_scale))?,
            x_zero,
            state_zero,
            y_zero,
        })
    }

    /// Shifts the latest projections of one sequence into its memories, and computes its outputs.
    pub fn remember<T: Remembered>(
        &self,
        p: &Problem,
        projected: impl Fn(usize) -> i32,
        time: &[T],
        bias: Option<&[i32]>,
        memories: &mut [T],
        out: &mut [i8],
    ) {
        for (unit, out) in out.iter_mut().enumerate() {
            let mut sum = bias.map_or(0, |bias| bias[unit]);
            for filter in unit * p.rank..(unit + 1) * p.rank {
                let memory = &mut memories[filter * p.memory..][..p.memory];
                shift_in(memory, self.state(projected(filter)));
                let products = memory.iter().zip(&time[filter * p.memory..][..p.memory]);
                sum = products.fold(sum, |sum, (&x, &w)| {
                    let (x, w): (i32, i32) = (x.into(), w.into());
                    sum.wrapping_add(w.wrapping_mul(x.wrapping_sub(self.state_zero)))
                });
            }
            *out = self.output(sum);
        }
    }

    /// An element of the state.
    pub fn state<T: Remembered>(&self, projected: i32) -> T {
        let latest: i32 = T::saturate(self.to_state.apply(projected)).into();
        // A zero point is added to what has been saturated, and wraps.
        T::wrap(latest.wrapping_add(self.state_zero))
    }

    /// An element of the output.
    pub fn output(&self, sum: i32) -> i8 {
        self.to_output.apply(sum).saturating_add(self.y_zero).clamp(-128, 127) as i8
    }
}

fn integer<T: Remembered>(node: &NodeView<'_>, p: Problem, state_zero: i32) -> Result<Box<dyn Kernel>, OpError> {
    let scales = Scales::prepare(node, state_zero)?;
    let feature = Weights::<i8>::prepare(FEATURE, node.input(FEATURE)?)?;
    let time = Weights::<T>::prepare(TIME, node.input(TIME)?)?;
    let bias = node.optional_input(BIAS).map(|info| Weights::<i32>::prepare(BIAS, info)).transpose()?;
    Ok(Box::new(Run {
        scratch: 0,
        run: move |io: &mut Io<'_>| {
            let (feature, time) = (feature.get(io)?, time.get(io)?);
            let bias = bias.as_ref().map(|bias| bias.get(io)).transpose()?;
            let xs = io.input(0)?.slice::<i8>()?;
            let Some(state) = io.state.first_mut() else { return Err(OpError::invalid("state is missing")) };
            let state = state.slice::<T>()?;
            ensure!(state.len() == p.batch * p.filters * p.memory, "state of another size");
            let out = io.outputs[0].slice::<i8>()?;
            for b in 0..p.batch {
                let x = &xs[b * p.input..][..p.input];
                let projected = |filter: usize| {
                    let row = feature[filter * p.input..][..p.input].iter().zip(x);
                    row.fold(0i32, |sum, (&w, &x)| {
                        sum.wrapping_add(i32::from(w).wrapping_mul(i32::from(x).wrapping_sub(scales.x_zero)))
                    })
                };
                let memories = &mut state[b * p.filters * p.memory..][..p.filters * p.memory];
                scales.remember(&p, projected, time, bias, memories, &mut out[b * p.units..][..p.units]);
            }
            Ok(())
        },
    }))
}
