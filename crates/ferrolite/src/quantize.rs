//! Post-training quantization: smaller and faster models, no retraining.
//!
//! ```no_run
//! use ferrolite::quantize::{self, Mode, Options};
//! use ferrolite::{Model, array};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), ferrolite::Error> {
//! let model = Model::from_file("float.tflite")?;
//! // Its first dimension counts samples.
//! let samples = array::read_npy(Path::new("samples.npy"))?;
//! let calibration = quantize::calibrate(&model, &[samples], &mut |_, _| {})?;
//! let small = quantize::quantize(&model, &Options::new(Mode::Int8), Some(&calibration))?;
//! small.write_file("int8.tflite")?;
//! # Ok(())
//! # }
//! ```

pub use ferrolite_quantize::*;

use crate::{Array, Error, Interpreter, Model, array};

/// Measures ranges on arrays, one per input of the model, whose first dimension counts samples. Values are real numbers
/// for float inputs, and whole ones for others. `progress` hears how many samples of how many are done.
///
/// # Errors
/// When arrays and inputs do not fit each other, or the model cannot be run.
pub fn calibrate(
    model: &Model,
    samples: &[Array],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Calibration, Error> {
    let interpreter = Interpreter::new(model.clone())?;
    let inputs: Vec<_> = (0..interpreter.inputs().len()).filter_map(|i| interpreter.input_tensor(i)).collect();
    if samples.len() != inputs.len() {
        return Err(Error::usage_with_help(
            format!("{} arrays of samples for {} inputs", samples.len(), inputs.len()),
            "give one array per input, in the model's order; its first dimension counts samples",
        ));
    }
    let count = samples.first().and_then(|array| array.shape.first()).copied().unwrap_or(0);
    let mut columns: Vec<Vec<u8>> = Vec::new();
    for (i, (samples, input)) in samples.iter().zip(&inputs).enumerate() {
        let elements: usize = input.shape.iter().product();
        if count == 0 || samples.shape.first() != Some(&count) || samples.len() != count * elements {
            return Err(Error::usage_with_help(
                format!("samples of shape {:?} do not fit input {i} {:?}", samples.shape, input.shape),
                format!("its shape has to be the number of samples, then {elements} elements for each"),
            ));
        }
        let values = samples.to_f64().and_then(|values| array::from_f64(input.ty, &values));
        let mismatch = || Error::usage(format!("{} samples do not fit input {i} of {}", samples.ty, input.ty));
        columns.push(values.ok_or_else(mismatch)?);
    }
    let mut calibrator = Calibrator::new(model.clone())?;
    for sample in 0..count {
        let part = |column: &Vec<u8>| {
            let size = column.len() / count;
            column[sample * size..][..size].to_vec()
        };
        calibrator.feed(&columns.iter().map(part).collect::<Vec<_>>())?;
        progress(sample + 1, count);
    }
    Ok(calibrator.finish())
}
