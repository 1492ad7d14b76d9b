//! From the energies of frequencies to those of channels, and to their logarithms.

use super::{Signal, like_input, shift, vector};
use crate::common::flex::FlexOptions;
use crate::op::{Io, reference};
use crate::{OpError, ensure};
use ferrolite_model::TensorType::{Int16, Int32, UInt32, UInt64};
use smallvec::smallvec;
use std::sync::{Mutex, PoisonError};

/// Most channels.
const LIMIT: usize = 1 << 16;

/// SignalFilterBank: weighted sums of energies, each of which counts in two neighbouring channels. Inputs: energies, weights in
/// the channel and in the next one; per channel (and for one before the first): first energy, first weight, their number.
pub const FILTER_BANK: Signal = Signal {
    name: "SignalFilterBank",
    inputs: &[UInt32, Int16, Int16, Int16, Int16, Int16],
    outputs: &[UInt64],
    shapes: |node| {
        let channels = FlexOptions::of(node)?.size("num_channels", LIMIT)?;
        (0..3).try_for_each(|i| vector(node, i).map(|_| ()))?;
        for i in 3..6 {
            let n = vector(node, i)?;
            ensure!(n > channels, "input {i} has {n} values for {channels} channels and one more");
        }
        Ok(smallvec![smallvec![channels]])
    },
    kernel: |_| reference(accumulate),
    stateful: false,
};

fn accumulate(io: &mut Io<'_>) -> Result<(), OpError> {
    let energies = io.input(0)?.slice::<u32>()?;
    let table = |i: usize| io.input(i).and_then(|tensor| tensor.slice::<i16>());
    let (weights, unweights) = (table(1)?, table(2)?);
    let (frequencies, starts, widths) = (table(3)?, table(4)?, table(5)?);
    let out = io.outputs[0].slice::<u64>()?;
    /// `len` elements from `start` on.
    fn part<T>(values: &[T], start: i16, len: usize) -> Result<&[T], OpError> {
        if len == 0 {
            return Ok(&[]);
        }
        let range = usize::try_from(start).ok().and_then(|start| values.get(start..start.checked_add(len)?));
        range.ok_or_else(|| OpError::invalid(format!("{len} elements from {start} on, of {}", values.len())))
    }
    let mut carried = 0u64;
    for channel in 0..=out.len() {
        let (frequency, start) = (frequencies[channel], starts[channel]);
        let width = usize::try_from(widths[channel]).unwrap_or(0);
        let (mut sum, mut next) = (carried, 0u64);
        let weights = part(weights, start, width)?.iter().zip(part(unweights, start, width)?);
        for (&energy, (&weight, &unweight)) in part(energies, frequency, width)?.iter().zip(weights) {
            // Signs are extended to 64 bits, and products wrap.
            sum = sum.wrapping_add((weight as u64).wrapping_mul(energy.into()));
            next = next.wrapping_add((unweight as u64).wrapping_mul(energy.into()));
        }
        // The channel before the first only carries over.
        if let Some(channel) = channel.checked_sub(1) {
            out[channel] = sum;
        }
        carried = next;
    }
    Ok(())
}

/// SignalFilterBankSquareRoot: rounded square roots, shifted down by input 1.
pub const SQUARE_ROOT: Signal = Signal {
    name: "SignalFilterBankSquareRoot",
    inputs: &[UInt64, Int32],
    outputs: &[UInt32],
    shapes: |node| {
        let bits = node.input(1)?;
        ensure!(bits.elements() == 1, "the number of bits has shape {:?}", bits.shape);
        like_input(node)
    },
    kernel: |_| {
        reference(|io| {
            let (x, bits) = (io.input(0)?.slice::<u64>()?, io.input(1)?.slice::<i32>()?[0]);
            let Some(bits) = u32::try_from(bits).ok().filter(|&bits| bits < 32) else {
                return Err(OpError::invalid(format!("shifted by {bits} bits")));
            };
            io.outputs[0].slice::<u32>()?.iter_mut().zip(x).for_each(|(y, &x)| *y = square_root(x) >> bits);
            Ok(())
        })
    },
    stateful: false,
};

/// √x to the nearest, but no more than 16 bits where x has no more than 32, and than 32.
fn square_root(x: u64) -> u32 {
    let root = x.isqrt();
    let most = if x >> 32 == 0 { 0xFFFF } else { 0xFFFF_FFFF };
    // (root + ½)² = root² + root + ¼
    let up = x - root * root > root && root != most;
    (root + u64::from(up)) as u32
}

/// SignalFilterBankSpectralSubtraction: energies without a running estimate of the noise; the estimate.
pub const SPECTRAL_SUBTRACTION: Signal = Signal {
    name: "SignalFilterBankSpectralSubtraction",
    inputs: &[UInt32],
    outputs: &[UInt32, UInt32],
    shapes: |node| {
        let shapes = like_input(node)?;
        let channels = FlexOptions::of(node)?.size("num_channels", LIMIT)?;
        ensure!(shapes[0][0] == channels, "{:?} energies for {channels} channels", shapes[0]);
        Ok(smallvec![shapes[0].clone(), shapes[0].clone()])
    },
    kernel: |node| {
        let options = FlexOptions::of(node)?;
        let number = |key: &str| options.required(key).map(|n| n as u32);
        // Even and odd channels.
        let smoothing = [number("smoothing")?, number("alternate_smoothing")?];
        let keeping = [number("one_minus_smoothing")?, number("alternate_one_minus_smoothing")?];
        let (remaining, clamping) = (number("min_signal_remaining")?, options.flag("clamping")?);
        let (up, down) = (shift(node, "smoothing_bits", 32)?, shift(node, "spectral_subtraction_bits", 64)?);
        let estimate = Mutex::new(vec![0u32; vector(node, 0)?]);
        reference(move |io| {
            let x = io.input(0)?.slice::<u32>()?;
            let mut estimate = estimate.lock().unwrap_or_else(PoisonError::into_inner);
            let [out, noise] = &mut io.outputs[..] else { return Err(OpError::invalid("an output is missing")) };
            for (i, ((y, &x), estimate)) in out.slice::<u32>()?.iter_mut().zip(x).zip(estimate.iter_mut()).enumerate() {
                let scaled = x << up;
                let product = |a: u32, b: u32| u64::from(a).wrapping_mul(b.into());
                let mixed = product(scaled, smoothing[i % 2]).wrapping_add(product(*estimate, keeping[i % 2]));
                *estimate = (mixed >> down) as u32;
                let subtracted = scaled - scaled.min(*estimate);
                if clamping {
                    *estimate = scaled.min(*estimate);
                }
                *y = (subtracted >> up).max((product(x, remaining) >> down) as u32);
            }
            noise.slice::<u32>()?.copy_from_slice(&estimate);
            Ok(())
        })
    },
    stateful: true,
};

/// Fraction bits of the ratio of signal to noise, and of the result, of SignalPCAN.
const SNR_BITS: u32 = 12;
const PCAN_BITS: u32 = 6;
/// The values at 0, 1 and 2, and four numbers per power of two, of which the last one has three.
const GAINS: usize = 125;

/// SignalPCAN: per-channel amplitude normalization. Inputs: energies, noise estimates, table of gains.
pub const PCAN: Signal = Signal {
    name: "SignalPCAN",
    inputs: &[UInt32, UInt32, Int16],
    outputs: &[UInt32],
    shapes: |node| {
        let (n, noise, gains) = (vector(node, 0)?, vector(node, 1)?, vector(node, 2)?);
        ensure!(noise == n, "{noise} estimates for {n} energies");
        ensure!(gains >= GAINS, "{gains} gains, less than {GAINS}");
        shift(node, "snr_shift", 64)?;
        like_input(node)
    },
    kernel: |node| {
        let shift = shift(node, "snr_shift", 64)?;
        reference(move |io| {
            let (x, noise) = (io.input(0)?.slice::<u32>()?, io.input(1)?.slice::<u32>()?);
            let gains = io.input(2)?.slice::<i16>()?;
            for ((y, &x), &noise) in io.outputs[0].slice::<u32>()?.iter_mut().zip(x).zip(noise) {
                let gain = gain(noise, gains) as u32;
                let snr = (u64::from(x).wrapping_mul(gain.into()) >> shift) as u32;
                *y = if snr < 2 << SNR_BITS {
                    snr.wrapping_mul(snr) >> (2 + 2 * SNR_BITS - PCAN_BITS)
                } else {
                    (snr >> (SNR_BITS - PCAN_BITS)) - (1 << PCAN_BITS)
                };
            }
            Ok(())
        })
    },
    stateful: false,
};

/// A function given by a quadratic polynomial between powers of two.
fn gain(x: u32, table: &[i16]) -> i16 {
    if x <= 2 {
        return table[x as usize];
    }
    let interval = 32 - x.leading_zeros();
    let [c, b, a] = [0, 1, 2].map(|i| i32::from(table[4 * interval as usize - 6 + i]));
    let within = if interval < 11 { x << (11 - interval) } else { x >> (interval - 11) } & 0x3FF;
    let within = within as i32;
    let slope = ((a * within) >> 5).wrapping_add(b << 5);
    let rise = slope.wrapping_mul(within).wrapping_add(1 << 14) >> 15;
    rise.wrapping_add(c) as i16
}

/// SignalFilterBankLog: scaled natural logarithms.
pub const FILTER_BANK_LOG: Signal = Signal {
    name: "SignalFilterBankLog",
    inputs: &[UInt32],
    outputs: &[Int16],
    shapes: |node| {
        shift(node, "input_correction_bits", 32)?;
        FlexOptions::of(node)?.required("output_scale")?;
        like_input(node)
    },
    kernel: |node| {
        let bits = shift(node, "input_correction_bits", 32)?;
        let scale = FlexOptions::of(node)?.required("output_scale")? as u32;
        let log = Logarithm::new();
        reference(move |io| {
            let x = io.input(0)?.slice::<u32>()?;
            for (y, &x) in io.outputs[0].slice::<i16>()?.iter_mut().zip(x) {
                let x = x << bits;
                *y = if x > 1 { log.natural(x, scale).min(i16::MAX as u32) as i16 } else { 0 };
            }
            Ok(())
        })
    },
    stateful: false,
};

/// Logarithms in 16.16 fixed point, interpolated in a table.
struct Logarithm {
    /// log2(1 + i / 128) − i / 128
    table: Vec<i32>,
}

/// ln 2
const LN_2: u64 = 45426;

impl Logarithm {
    fn new() -> Logarithm {
        let value = |i: i32| f64::from(i) / 128.0;
        Logarithm {
            table: (0..=128).map(|i| (65536.0 * ((1.0 + value(i)).log2() - value(i))).round() as i32).collect(),
        }
    }

    /// log2 of a number that is not 0.
    fn binary(&self, x: u32) -> u32 {
        let integer = 31 - x.leading_zeros();
        let fraction = x - (1 << integer);
        let fraction = if integer < 16 { fraction << (16 - integer) } else { fraction >> (integer - 16) };
        let segment = (fraction >> 9) as usize;
        let (low, high) = (self.table[segment], self.table[segment + 1]);
        let within = ((high - low) * (fraction & 0x1FF) as i32) >> 16;
        (integer << 16).wrapping_add((fraction as i32 + low + within) as u32)
    }

    fn natural(&self, x: u32, scale: u32) -> u32 {
        let half = 1 << 15;
        let log = ((LN_2 * u64::from(self.binary(x)) + half) >> 16) as u32;
        scale.wrapping_mul(log).wrapping_add(half as u32) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_and_logarithms() {
        let squares = [(0, 0), (2, 1), (3, 2), (6, 2), (7, 3), (u64::from(u32::MAX), 0xFFFF), (u64::MAX, u32::MAX)];
        squares.iter().for_each(|&(x, root)| assert_eq!(square_root(x), root, "{x}"));
        let log = Logarithm::new();
        for x in [2u32, 3, 1000, 65535, 65536, 1 << 31, u32::MAX] {
            let want = f64::from(x).ln() * 64.0;
            assert!((f64::from(log.natural(x, 64)) - want).abs() < 1.0, "{x}");
        }
    }
}
