//! Post-training quantization: smaller and faster models, no retraining. `docs/quantization.md` is its guide.
//!
//! ```no_run
//! use ferrolite::quantize::{self, Method, Mode, Options};
//! use ferrolite::{Model, samples::Samples};
//!
//! # fn main() -> Result<(), ferrolite::Error> {
//! let model = Model::from_file("float.tflite")?;
//! let samples = Samples::open(&model, &["photos".parse().unwrap()], None)?;
//! let calibration = quantize::calibrate(&model, &samples, Method::MinMax, 1, &mut |_, _| {})?;
//! let small = quantize::quantize(&model, &Options::new(Mode::Int8), Some(&calibration))?;
//! small.write_file("int8.tflite")?;
//! # Ok(())
//! # }
//! ```

pub use ferrolite_quantize::*;

use crate::samples::Samples;
use crate::{Error, Model};

/// Measures ranges on samples, on some threads. `progress` hears how many samples of how many are done.
///
/// # Errors
/// When a sample cannot be read, holds what is not finite, or the model cannot be run.
pub fn calibrate(
    model: &Model,
    samples: &Samples,
    method: Method,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Calibration, Error> {
    let options = crate::Options { threads, ..crate::Options::default() };
    let mut calibrator = Calibrator::with_options(model.clone(), options)?.method(method);
    for i in 0..samples.len() {
        calibrator.feed(&samples.get(i)?).map_err(|e| Error::from(e).prefixed(&samples.name(i)))?;
        progress(i + 1, samples.len());
    }
    Ok(calibrator.finish())
}
