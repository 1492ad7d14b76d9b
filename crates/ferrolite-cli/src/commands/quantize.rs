use super::{me, print};
use crate::args::{QuantizeArgs, WeightType};
use crate::format;
use crate::progress::Progress;
use ferrolite::quantize::{self, Calibration, Mode, Options};
use ferrolite::{Error, Model, files, recipe};

/// Tensors of a kind that are told of.
const SHOWN: usize = 3;

pub fn run(args: &QuantizeArgs) -> Result<(), Error> {
    let model = files::read_model(&args.model)?;
    let mode = Mode::from(args.mode);
    let rules = args.recipe.as_ref().map_or(Ok(Vec::new()), |path| recipe::read(path))?;
    for i in recipe::unmatched(&rules, &model) {
        eprintln!("note: rule {i} of the recipe matches no node");
    }
    let options = Options {
        input_type: args.io_type,
        output_type: args.io_type,
        weight_bits: if args.weights == WeightType::Int4 { 4 } else { 8 },
        rules,
        ..Options::new(mode)
    };
    let calibration = match (options.needs_calibration(), args.data.data.is_empty()) {
        (false, false) => {
            return Err(Error::usage(format!("the mode {} measures nothing: leave --data out", mode.name())));
        }
        (false, true) => None,
        (true, true) => {
            return Err(Error::usage_with_help(
                format!("the mode {} has to see which values occur", mode.name()),
                "give about 100 samples of each input with --data samples.npy, or use --mode dynamic",
            ));
        }
        (true, false) => Some(calibrate(&model, args)?),
    };
    let small = quantize::quantize(&model, &options, calibration.as_ref())?;
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

/// Measures ranges, and tells what is odd about the samples.
fn calibrate(model: &Model, args: &QuantizeArgs) -> Result<Calibration, Error> {
    let samples = args.data.open(model)?;
    let mut progress = Progress::new();
    let calibration = quantize::calibrate(model, &samples, args.calibration, args.threads.into(), &mut |done, all| {
        progress.set("calibrating", done, all, String::new);
    })?;
    progress.clear();
    let findings = calibration.findings();
    let mut notes = Vec::new();
    // The last tenth still widened them.
    if findings.settled_after * 10 > samples.len() * 9 {
        let (last, all) = (findings.settled_after, samples.len());
        notes.push(format!("ranges still grew with sample {last} of {all}: more samples would widen them further"));
    }
    for stretch in findings.stretched.iter().take(SHOWN) {
        let (tensor, name, factor) = (&stretch.tensor, samples.name(stretch.sample), stretch.factor);
        notes.push(format!("{name} stretches {tensor:?} to {factor:.1} times its usual reach"));
    }
    for (tensor, part) in findings.clipped.iter().take(SHOWN) {
        notes.push(format!("{:.3} % of the values of {tensor:?} are outside of its range", 100.0 * part));
    }
    if !notes.is_empty() {
        eprintln!("{}", notes.iter().map(|note| format!("note: {note}")).collect::<Vec<_>>().join("\n"));
    }
    Ok(calibration)
}
