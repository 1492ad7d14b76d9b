use super::{me, print};
use crate::args::QuantizeArgs;
use crate::format;
use crate::progress::Progress;
use ferrolite::quantize::{self, Mode, Options};
use ferrolite::{Error, array, files};

pub fn run(args: &QuantizeArgs) -> Result<(), Error> {
    let model = files::read_model(&args.model)?;
    let mode = Mode::from(args.mode);
    let samples = args.data.iter().map(|path| array::read_npy(path)).collect::<Result<Vec<_>, _>>()?;
    let calibration = match (mode.activation_type(), samples.is_empty()) {
        (None, true) => None,
        (None, false) => {
            return Err(Error::usage(format!("the mode {} measures nothing: leave --data out", mode.name())));
        }
        (Some(_), true) => {
            return Err(Error::usage_with_help(
                format!("the mode {} has to see which values occur", mode.name()),
                "give about 100 samples of each input with --data samples.npy, or use --mode dynamic",
            ));
        }
        (Some(_), false) => {
            let mut progress = Progress::new();
            Some(quantize::calibrate(&model, &samples, &mut |done, all| {
                progress.set("calibrating", done, all, String::new);
            })?)
        }
    };
    let small = quantize::quantize(&model, &Options::new(mode), calibration.as_ref())?;
    let bytes = small.to_bytes()?;
    files::write(&args.output, &bytes)?;
    let before = std::fs::metadata(&args.model).map_err(|e| Error::io(&args.model, e))?.len();
    print(&format!(
        "{} ({}) → {} ({}, {:.0} %)\ncompare: {} bench {}",
        args.model.display(),
        format::bytes(before),
        args.output.display(),
        format::bytes(bytes.len() as u64),
        100.0 * bytes.len() as f64 / before.max(1) as f64,
        me(),
        format::quoted(&args.output)
    ));
    Ok(())
}
