use super::print;
use crate::args::CompareArgs;
use crate::format;
use crate::progress::Progress;
use crate::table::{Align, Table};
use ferrolite::quantize::{ErrorSums, Scheme};
use ferrolite::{Error, compare, files, report};

/// Rows of each table.
const SHOWN: usize = 10;

pub fn run(args: &CompareArgs) -> Result<(), Error> {
    let (wanted, given) = (files::read_model(&args.wanted)?, files::read_model(&args.given)?);
    if args.data.data.is_empty() {
        return Err(Error::usage_with_help("there is nothing to compare on", "give samples with --data samples.npy"));
    }
    let samples = args.data.open(&wanted)?;
    let mut progress = Progress::new();
    let comparison = compare::compare(wanted, given, &samples, args.layer_samples, &mut |name, done, all| {
        progress.set(name, done, all, String::new);
    })?;
    progress.clear();
    let mut tensors = Table::new(
        &[&[("tensor", Align::Left), ("operator", Align::Left), ("type", Align::Left)][..], &ERRORS].concat(),
    );
    let worst = comparison.worst();
    let outputs = comparison.outputs();
    for tensor in outputs.chain(worst.into_iter().filter(|t| !t.is_output).take(SHOWN)) {
        let name = format::shorten(&tensor.name, 40);
        let name = if tensor.is_output { format!("output {name}") } else { name };
        let mut row = vec![name, tensor.operator.clone(), tensor.ty.to_string()];
        row.extend(errors(&tensor.error));
        row.push(format!("{:.3} %", 100.0 * tensor.clipped));
        tensors.row(row);
    }
    print(&format!(
        "outputs, and the worst of {} tensors, over {} samples\n\n{tensors}",
        comparison.tensors.len(),
        samples.len()
    ));
    if !comparison.layers.is_empty() {
        let columns = [("layer", Align::Left), ("operator", Align::Left), ("scheme", Align::Left)];
        let mut layers = Table::new(&[&columns[..], &ERRORS[..ERRORS.len() - 1]].concat());
        for layer in comparison.layers.iter().take(SHOWN) {
            let mut row =
                vec![format::shorten(&layer.name, 40), layer.operator.clone(), layer.scheme.name().to_owned()];
            row.extend(errors(&layer.error));
            layers.row(row);
        }
        print(&format!("\nwhat the outputs are off by with one layer quantized alone, most costly first\n\n{layers}"));
    }
    let written = [
        args.csv.as_ref().map(|path| (path, comparison.to_csv())),
        args.html.as_ref().map(|path| {
            let name = |path: &std::path::Path| path.display().to_string();
            (path, report::compare::page(&name(&args.wanted), &name(&args.given), &comparison))
        }),
        args.recipe.as_ref().map(|path| (path, comparison.recipe(args.worst, Scheme::Float))),
    ];
    for (path, text) in written.into_iter().flatten() {
        files::write(path, text.as_bytes())?;
        print(&format!("wrote {}", path.display()));
    }
    Ok(())
}

const ERRORS: [(&str, Align); 6] = [
    ("SNR", Align::Right),
    ("cosine", Align::Right),
    ("MSE", Align::Right),
    ("largest error", Align::Right),
    ("bias", Align::Right),
    ("clipped", Align::Right),
];

fn errors(error: &ErrorSums) -> [String; 5] {
    let snr = error.snr();
    [
        if snr.is_finite() { format!("{snr:.1} dB") } else { "exact".to_owned() },
        format!("{:.5}", error.cosine()),
        format!("{:.2e}", error.mse()),
        format!("{:.2e}", error.max),
        format!("{:.2e}", error.bias()),
    ]
}
