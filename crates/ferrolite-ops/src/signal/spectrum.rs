//! From samples to the energies of frequencies.

use super::fixed_fft::{FixedFft, Point};
use super::{Shapes, Signal, like_input, shift, vector};
use crate::common::fft::{Complex, RealFft};
use crate::common::flex::FlexOptions;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{Io, Kernel, NodeView, reference};
use crate::tensor::Shape;
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Float32, Int16, Int32, UInt32};
use smallvec::smallvec;

/// SignalWindow: samples times weights, shifted down.
pub const WINDOW: Signal = Signal {
    name: "SignalWindow",
    inputs: &[Int16, Int16],
    outputs: &[Int16],
    shapes: |node| {
        let (samples, weights) = (node.input(0)?, vector(node, 1)?);
        shift(node, "shift", 32)?;
        let fits = weights > 0 && samples.elements() % weights == 0;
        ensure!(fits, "{weights} weights for samples {:?}", samples.shape);
        Ok(smallvec![samples.shape.clone()])
    },
    kernel: |node| {
        let (weights, shift) = (vector(node, 1)?.max(1), shift(node, "shift", 32)?);
        reference(move |io| {
            let (x, w) = (io.input(0)?.slice::<i16>()?, io.input(1)?.slice::<i16>()?);
            let out = io.outputs[0].slice::<i16>()?;
            for (x, out) in x.chunks_exact(weights).zip(out.chunks_exact_mut(weights)) {
                for ((y, &x), &w) in out.iter_mut().zip(x).zip(w) {
                    let product = (i32::from(x) * i32::from(w)) >> shift;
                    *y = product.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                }
            }
            Ok(())
        })
    },
    stateful: false,
};

/// SignalFftAutoScale: samples shifted up as far as they all fit; the number of bits.
pub const FFT_AUTO_SCALE: Signal = Signal {
    name: "SignalFftAutoScale",
    inputs: &[Int16],
    outputs: &[Int16, Int32],
    shapes: |node| {
        let mut shapes = like_input(node)?;
        shapes.push(Shape::new());
        Ok(shapes)
    },
    kernel: |_| {
        reference(move |io| {
            let x = io.input(0)?.slice::<i16>()?;
            // As an int16, in which the magnitude of the smallest one is negative.
            let largest = x.iter().fold(0i16, |m, &x| match x {
                x if x > m => x,
                x if -i32::from(x) > m.into() => x.wrapping_neg(),
                _ => m,
            });
            // Of 0, there are 32 significant bits, and none to shift by; so it is for negative numbers.
            let significant = if largest > 0 { 16 - largest.leading_zeros() } else { 32 };
            let bits = 15u32.saturating_sub(significant);
            let [scaled, count] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
            scaled.slice::<i16>()?.iter_mut().zip(x).for_each(|(y, &x)| *y = x << bits);
            count.slice::<i32>()?[0] = bits as i32;
            Ok(())
        })
    },
    stateful: false,
};

/// Samples of a row, and the length of its transform.
fn lengths(node: &NodeView<'_>) -> Result<(usize, usize), OpError> {
    let length = FlexOptions::of(node)?.size("fft_length", 1 << 16)?;
    let Some(&samples) = node.input(0)?.shape.last() else { return Err(OpError::invalid("a scalar has no rows")) };
    ensure!(samples > 0 && samples <= length, "rows of {samples} samples, transforms of {length}");
    Ok((samples, length))
}

fn spectra(node: &NodeView<'_>) -> Result<Shapes, OpError> {
    let (_, length) = lengths(node)?;
    let mut shape = node.input(0)?.shape.clone();
    let last = shape.len() - 1;
    // Real and imaginary parts.
    shape[last] = 2 * (length / 2 + 1);
    Ok(smallvec![shape])
}

const fn rfft(
    ty: &'static [ferrolite_model::TensorType],
    kernel: fn(&NodeView<'_>) -> Result<Box<dyn Kernel>, OpError>,
) -> Signal {
    Signal { name: "SignalRfft", inputs: ty, outputs: ty, shapes: spectra, kernel, stateful: false }
}

/// SignalRfft of int16.
pub const RFFT_INT16: Signal = rfft(&[Int16], |node| {
    let (samples, length) = lengths(node)?;
    Ok(Box::new(Fixed { samples, bins: length / 2 + 1, fft: FixedFft::new(length, 15)?, wide: false }))
});
/// SignalRfft of int32.
pub const RFFT_INT32: Signal = rfft(&[Int32], |node| {
    let (samples, length) = lengths(node)?;
    Ok(Box::new(Fixed { samples, bins: length / 2 + 1, fft: FixedFft::new(length, 31)?, wide: true }))
});
/// SignalRfft of float32.
pub const RFFT_FLOAT: Signal = rfft(&[Float32], |node| {
    let (samples, length) = lengths(node)?;
    Ok(Box::new(Float { samples, fft: RealFft::new(length)? }))
});

struct Fixed {
    samples: usize,
    bins: usize,
    fft: FixedFft,
    /// int32 rather than int16.
    wide: bool,
}

impl Kernel for Fixed {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<Point>(self.fft.scratch_len())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?;
        let work = Scratch::new(io.scratch).take::<Point>(self.fft.scratch_len())?;
        let rows = input.shape.iter().product::<usize>() / self.samples;
        for row in 0..rows {
            work.fill([0; 2]);
            for j in 0..self.samples {
                let at = row * self.samples + j;
                let x = if self.wide { input.slice::<i32>()?[at].into() } else { input.slice::<i16>()?[at].into() };
                work[j / 2][j % 2] = x;
            }
            let from = row * 2 * self.bins;
            if self.wide {
                let out = &mut io.outputs[0].slice::<i32>()?[from..][..2 * self.bins];
                self.fft.forward(work, |k, z| out[2 * k..][..2].copy_from_slice(&z.map(|x| x as i32)));
            } else {
                let out = &mut io.outputs[0].slice::<i16>()?[from..][..2 * self.bins];
                self.fft.forward(work, |k, z| out[2 * k..][..2].copy_from_slice(&z.map(|x| x as i16)));
            }
        }
        Ok(())
    }
}

struct Float {
    samples: usize,
    fft: RealFft,
}

impl Kernel for Float {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<Complex>(self.fft.bins())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?.slice::<f32>()?;
        let work = Scratch::new(io.scratch).take::<Complex>(self.fft.bins())?;
        let output = io.outputs[0].slice::<f32>()?;
        for (x, y) in input.chunks_exact(self.samples).zip(output.chunks_exact_mut(2 * self.fft.bins())) {
            work.fill([0.0; 2]);
            x.iter().enumerate().for_each(|(i, &x)| work[i / 2][i % 2] = x.into());
            self.fft.forward(work);
            y.iter_mut().zip(work.iter().flatten()).for_each(|(y, &x)| *y = x as f32);
        }
        Ok(())
    }
}

/// SignalEnergy: squared magnitudes of the coefficients from `start_index` to before `end_index`; 0 elsewhere.
pub const ENERGY: Signal = Signal {
    name: "SignalEnergy",
    inputs: &[Int16],
    outputs: &[UInt32],
    shapes: |node| {
        let bins = vector(node, 0)? / 2;
        range(node, bins)?;
        Ok(smallvec![smallvec![bins]])
    },
    kernel: |node| {
        let (start, end) = range(node, vector(node, 0)? / 2)?;
        reference(move |io| {
            let x = io.input(0)?.slice::<i16>()?;
            let out = io.outputs[0].slice::<u32>()?;
            ensure!(out.len() == x.len() / 2 && end <= out.len(), "a kernel was prepared for another shape");
            out.fill(0);
            for (y, z) in out[..end].iter_mut().zip(x.chunks_exact(2)).skip(start) {
                let [re, im] = [i32::from(z[0]), i32::from(z[1])];
                *y = (re * re) as u32 + (im * im) as u32;
            }
            Ok(())
        })
    },
    stateful: false,
};

fn range(node: &NodeView<'_>, bins: usize) -> Result<(usize, usize), OpError> {
    let options = FlexOptions::of(node)?;
    let (start, end) = (options.size("start_index", bins)?, options.size("end_index", bins)?);
    ensure!(start <= end, "coefficients from {start} to {end}");
    Ok((start, end))
}
