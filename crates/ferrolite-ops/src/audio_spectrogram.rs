//! AudioSpectrogram: the squared magnitudes (or magnitudes) of the Fourier transforms of overlapping windows of sound.
//!
//! Sources: LiteRT `kernels/audio_spectrogram.cc`, `kernels/internal/spectrogram.cc`.

use crate::common::elementwise::check_type;
use crate::common::fft::{Complex, RealFft};
use crate::common::flex::FlexOptions;
use crate::common::scratch::{Scratch, scratch_size};
use crate::op::{Case, InferResult, Inferred, Io, Kernel, NodeView, OpDef, OpId};
use crate::{OpError, ensure};
use ferrolite_model::{FlexItem, ModelBuilder, TensorType, flex_map};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// AudioSpectrogram. Input: samples of shape (time, channels). Output: (channels, windows, frequencies).
pub struct AudioSpectrogram;

struct Settings {
    window: usize,
    stride: usize,
    squared: bool,
}

/// Longest window.
const LIMIT: usize = 1 << 20;

impl Settings {
    fn of(node: &NodeView<'_>) -> Result<Settings, OpError> {
        let options = FlexOptions::of(node)?;
        let window = options.size("window_size", LIMIT)?;
        let stride = options.size("stride", i32::MAX as usize)?;
        ensure!(window >= 2 && stride >= 1, "windows of {window} samples every {stride}");
        Ok(Settings { window, stride, squared: options.flag("magnitude_squared")? })
    }

    fn windows(&self, samples: usize) -> usize {
        samples.checked_sub(self.window).map_or(0, |rest| 1 + rest / self.stride)
    }
}

impl OpDef for AudioSpectrogram {
    fn id(&self) -> OpId {
        OpId::Custom("AudioSpectrogram")
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let input = node.input(0)?;
        check_type(input.ty, &[TensorType::Float32])?;
        let &[samples, channels] = &input.shape[..] else {
            return Err(OpError::invalid(format!("the samples have {} dimensions, not 2", input.shape.len())));
        };
        let settings = Settings::of(node)?;
        let bins = settings.window.next_power_of_two() / 2 + 1;
        Ok(smallvec![Inferred::new(input.ty, [channels, settings.windows(samples), bins])])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let settings = Settings::of(node)?;
        let (samples, channels) = (node.input(0)?.shape[0], node.input(0)?.shape[1]);
        // A periodic Hann window.
        let step = 2.0 * std::f64::consts::PI / settings.window as f64;
        let taper = (0..settings.window).map(|i| 0.5 - 0.5 * (step * i as f64).cos()).collect();
        let fft = RealFft::new(settings.window.next_power_of_two())?;
        Ok(Box::new(Spectrogram { windows: settings.windows(samples), settings, channels, taper, fft }))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (samples, channels, window, stride, squared) in
            [(100, 2, 16, 7, true), (64, 1, 20, 32, false), (9, 3, 3, 5, true), (5, 1, 8, 2, true)]
        {
            let items = [
                ("window_size", FlexItem::Int(window.into())),
                ("stride", FlexItem::Int(stride.into())),
                ("magnitude_squared", FlexItem::Bool(squared)),
            ];
            let windows = if samples < window { 0 } else { 1 + (samples - window) / stride };
            let bins = (window as u32).next_power_of_two() as i32 / 2 + 1;
            let mut b = ModelBuilder::new();
            let x = b.input("x", TensorType::Float32, &[samples, channels]);
            let y = b.tensor("y", TensorType::Float32, &[channels, windows, bins]);
            b.output(y);
            b.custom("AudioSpectrogram", flex_map(&items), &[Some(x)], &[y]);
            let name = format!("{samples} of {channels}, {window} every {stride}, {squared}");
            cases.extend(b.build().ok().map(|model| Case { name, model }));
        }
        cases
    }
}

struct Spectrogram {
    settings: Settings,
    windows: usize,
    channels: usize,
    taper: Vec<f64>,
    fft: RealFft,
}

impl Kernel for Spectrogram {
    fn scratch_bytes(&self) -> usize {
        scratch_size::<Complex>(self.fft.bins())
    }

    fn run(&self, io: &mut Io<'_>) -> Result<(), OpError> {
        let input = io.input(0)?.slice::<f32>()?;
        let spectrum = Scratch::new(io.scratch).take::<Complex>(self.fft.bins())?;
        let rows = io.outputs[0].slice::<f32>()?.chunks_exact_mut(self.fft.bins());
        ensure!(rows.len() == self.channels * self.windows, "sizes changed since the kernel was prepared");
        for (i, row) in rows.enumerate() {
            let (channel, window) = (i / self.windows, i % self.windows);
            let samples = input[window * self.settings.stride * self.channels..].iter().skip(channel);
            spectrum.fill([0.0; 2]);
            for (j, (&x, &taper)) in samples.step_by(self.channels).zip(&self.taper).enumerate() {
                spectrum[j / 2][j % 2] = f64::from(x) * taper;
            }
            self.fft.forward(spectrum);
            for (y, &[re, im]) in row.iter_mut().zip(&*spectrum) {
                let power = (re * re + im * im) as f32;
                *y = if self.settings.squared { power } else { power.sqrt() };
            }
        }
        Ok(())
    }
}
