//! Mfcc: mel-frequency cepstral coefficients of squared-magnitude spectra: magnitudes, summed under triangles that are evenly
//! spaced on the mel scale; logarithm; discrete cosine transform.
//!
//! Sources: LiteRT `kernels/mfcc.cc`, `kernels/internal/{mfcc,mfcc_mel_filterbank,mfcc_dct}.cc`.

use crate::common::elementwise::check_type;
use crate::common::flex::FlexOptions;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::{FlexItem, ModelBuilder, TensorType, flex_map};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// Mfcc. Inputs: spectra of shape (channels, windows, frequencies), sample rate. Output: (channels, windows, coefficients).
pub struct Mfcc;

#[derive(Clone, Debug)]
struct Settings {
    /// Limits of the frequencies, in hertz.
    lower: f64,
    upper: f64,
    /// Triangles.
    bands: usize,
    coefficients: usize,
}

/// Most bands.
const LIMIT: usize = 1 << 12;

impl Settings {
    fn of(node: &NodeView<'_>) -> Result<Settings, OpError> {
        let options = FlexOptions::of(node)?;
        let settings = Settings {
            lower: options.required("lower_frequency_limit")?.into(),
            upper: options.required("upper_frequency_limit")?.into(),
            bands: options.size("filterbank_channel_count", LIMIT)?,
            coefficients: options.size("dct_coefficient_count", LIMIT)?,
        };
        let Settings { lower, upper, bands, coefficients } = settings;
        ensure!(lower >= 0.0 && upper > lower, "frequencies from {lower} to {upper}");
        ensure!((1..=bands).contains(&coefficients), "{coefficients} coefficients of {bands} bands");
        Ok(settings)
    }
}

/// The mel scale of pitch.
fn mel(hertz: f64) -> f64 {
    1127.0 * (hertz / 700.0).ln_1p()
}

impl OpDef for Mfcc {
    fn id(&self) -> OpId {
        OpId::Custom("Mfcc")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(2..=2, 1)?;
        let (spectra, rate) = (node.input(0)?, node.input(1)?);
        check_type(spectra.ty, &[TensorType::Float32])?;
        check_type(rate.ty, &[TensorType::Int32])?;
        ensure!(rate.elements() == 1, "the sample rate has shape {:?}, not one value", rate.shape);
        let &[channels, windows, bins] = &spectra.shape[..] else {
            return Err(OpError::invalid(format!("the spectra have {} dimensions, not 3", spectra.shape.len())));
        };
        ensure!(bins >= 2, "spectra of {bins} frequencies");
        Ok(smallvec![Inferred::new(spectra.ty, [channels, windows, Settings::of(node)?.coefficients])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (settings, shape) = (Settings::of(node)?, &node.input(0)?.shape);
        if shape[0] * shape[1] == 0 {
            return reference(|_| Ok(()));
        }
        let n = settings.bands as f64;
        let (factor, step) = ((2.0 / n).sqrt(), std::f64::consts::PI / n);
        let cosine = |i: usize, j: usize| factor * (i as f64 * step * (j as f64 + 0.5)).cos();
        let cosines = (0..settings.coefficients).flat_map(|i| (0..settings.bands).map(move |j| cosine(i, j))).collect();
        Ok(Box::new(Coefficients { bins: shape[2], settings, cosines }))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (shape, rate, bands, coefficients, upper) in
            [([1, 3, 257], 16000, 40, 13, 4000), ([2, 2, 65], 8000, 12, 12, 3999), ([1, 1, 33], 16000, 5, 2, 9000)]
        {
            let items = [
                ("upper_frequency_limit", FlexItem::Int(upper)),
                ("lower_frequency_limit", FlexItem::Int(20)),
                ("filterbank_channel_count", FlexItem::Int(bands)),
                ("dct_coefficient_count", FlexItem::Int(coefficients.into())),
            ];
            let mut b = ModelBuilder::new();
            let x = b.input("x", TensorType::Float32, &shape);
            let rate = b.constant_i32("rate", &[1], &[rate]);
            let y = b.tensor("y", TensorType::Float32, &[shape[0], shape[1], coefficients]);
            b.output(y);
            b.custom("Mfcc", flex_map(&items), &[Some(x), Some(rate)], &[y]);
            let name = format!("{shape:?}, {bands} bands to {upper}, {coefficients}");
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}

struct Coefficients {
    settings: Settings,
    /// Frequencies of a spectrum.
    bins: usize,
    /// A row per coefficient.
    cosines: Vec<f64>,
}

/// Logarithms are taken of no less.
const FLOOR: f64 = 1e-12;

impl Coefficients {
    /// For each frequency, the band whose triangle falls there, less 1 (so that 0 is none; the next band's rises), and the
    /// weight in that band. Returns the first and last frequency that count.
    fn triangles(&self, rate: i32, centers: &mut [f64], falls: &mut [u32], weights: &mut [f64]) -> (usize, usize) {
        let Settings { lower, upper, bands, .. } = self.settings;
        let low = mel(lower);
        let spacing = (mel(upper) - low) / (bands + 1) as f64;
        centers.iter_mut().enumerate().for_each(|(i, c)| *c = low + spacing * (i + 1) as f64);
        let hertz = 0.5 * f64::from(rate) / (self.bins - 1) as f64;
        let (first, last) = ((1.5 + lower / hertz) as usize, (upper / hertz) as usize);
        let mut band = 0;
        for i in first..=last.min(self.bins - 1) {
            let at = mel(i as f64 * hertz);
            while band < bands && centers[band] < at {
                band += 1;
            }
            falls[i] = band as u32;
            weights[i] = match band.checked_sub(1) {
                Some(band) => (centers[band + 1] - at) / (centers[band + 1] - centers[band]),
                None => (centers[0] - at) / (centers[0] - low),
            };
        }
        (first, last)
    }
}

impl Kernel for Coefficients {
    fn scratch_bytes(&self) -> usize {
        let bands = scratch_size::<f64>(self.settings.bands + 1).saturating_mul(2);
        let bins = scratch_size::<f64>(self.bins).saturating_add(scratch_size::<u32>(self.bins));
        bands.saturating_add(bins)
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let (input, rate) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<i32>()?);
        let Some(&rate) = rate.first().filter(|&&rate| rate > 0) else {
            return Err(OpError::invalid("the sample rate is not positive"));
        };
        let bands = self.settings.bands;
        let mut scratch = Scratch::new(io.scratch);
        let (centers, energies) = (scratch.take::<f64>(bands + 1)?, scratch.take::<f64>(bands + 1)?);
        let (weights, falls) = (scratch.take::<f64>(self.bins)?, scratch.take::<u32>(self.bins)?);
        let (first, last) = self.triangles(rate, centers, falls, weights);
        let output = io.outputs[0].slice::<f32>()?;
        if last >= self.bins {
            // As LiteRT and TensorFlow do where the upper limit is above the highest frequency.
            output.fill(0.0);
            return Ok(());
        }
        let rows = output.chunks_exact_mut(self.settings.coefficients);
        for (spectrum, row) in input.chunks_exact(self.bins).zip(rows) {
            energies.fill(0.0);
            for i in first..=last {
                let magnitude = f64::from(spectrum[i]).sqrt();
                let part = magnitude * weights[i];
                let band = falls[i] as usize;
                if band > 0 {
                    energies[band - 1] += part;
                }
                // The last of `energies` belongs to no band.
                energies[band] += magnitude - part;
            }
            let energies = &mut energies[..bands];
            energies.iter_mut().for_each(|e| *e = if *e < FLOOR { FLOOR.ln() } else { e.ln() });
            for (y, cosines) in row.iter_mut().zip(self.cosines.chunks_exact(bands)) {
                *y = cosines.iter().zip(&*energies).fold(0.0, |sum, (c, e)| sum + c * e) as f32;
            }
        }
        Ok(())
    }
}
