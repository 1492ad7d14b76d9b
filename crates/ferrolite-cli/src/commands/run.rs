use super::print;
use crate::args::RunArgs;
use crate::format;
use crate::table::{Align, Table};
use ferrolite::outputs::{self, Summary};
use ferrolite::{Error, Interpreter, array, files, inputs, labels};
use std::fmt::Write;
use std::time::Instant;

pub fn run(args: &RunArgs) -> Result<(), Error> {
    let file = std::fs::read(&args.model).map_err(|e| Error::io(&args.model, e))?;
    let labels = match &args.labels {
        Some(path) => labels::read(path)?,
        None => labels::embedded(&file).unwrap_or_default(),
    };
    let mut interpreter = Interpreter::with_options(files::parse_model(&args.model, file)?, args.how.options())?;
    let normalization = args.pictures.normalization();
    let filled = inputs::fill_from_files(&mut interpreter, &args.input, normalization.as_ref(), args.seed)?;
    let start = Instant::now();
    interpreter.invoke()?;
    let took = start.elapsed();

    let mut out = String::new();
    for (i, filled) in filled.iter().enumerate() {
        let Some(tensor) = interpreter.input_tensor(filled.input) else { continue };
        let _ = writeln!(
            out,
            "input  {i}  {}  {} {}: {}",
            tensor.name,
            tensor.ty,
            format::shape(tensor.shape),
            filled.from
        );
    }
    let _ = writeln!(out, "run in {}", format::time(took.as_secs_f64() * 1e6));
    let is_picture = filled.iter().any(|filled| filled.is_picture);
    for i in 0..interpreter.outputs().len() {
        let Some(summary) = outputs::summarize(&interpreter, i) else { continue };
        let (name, ty, shape) = (&summary.name, &summary.ty, format::shape(&summary.shape));
        let _ = writeln!(out, "\noutput {i}  {name}  {ty} {shape}");
        let tensor = interpreter.output_tensor(i).filter(|_| is_picture || !labels.is_empty());
        match tensor.and_then(|tensor| outputs::rank(&tensor, &labels, args.top)) {
            Some(ranked) => {
                let columns = [("class", Align::Right), ("label", Align::Left), ("score", Align::Right)];
                let mut table = Table::new(&[&columns[..], &[("probability", Align::Right)]].concat());
                for class in ranked {
                    let percent = format!("{:.2} %", 100.0 * class.probability);
                    let label = class.label.unwrap_or_default();
                    table.row([class.class.to_string(), label, format::real(class.score), percent]);
                }
                let _ = write!(out, "{table}");
            }
            None => describe(&mut out, &summary),
        }
    }
    print(&out);
    if let Some(dir) = &args.output {
        files::create_dir(dir)?;
        for i in 0..interpreter.outputs().len() {
            let name = outputs::file_name(&outputs::name(&interpreter, i), &format!("output_{i}"));
            let path = dir.join(format!("{name}.npy"));
            array::write_npy(&path, &outputs::to_array(&interpreter, i)?)?;
            print(&format!("wrote {}", path.display()));
        }
    }
    Ok(())
}

fn describe(out: &mut String, summary: &Summary) {
    if let Some((min, max, mean)) = summary.range {
        let [min, max, mean] = [min, max, mean].map(format::real);
        let _ = writeln!(out, "  min {min}  max {max}  mean {mean}");
    }
    if summary.not_finite > 0 {
        let _ = writeln!(out, "  {} values are not finite", summary.not_finite);
    }
    let first: Vec<_> = summary.first.iter().map(|&v| format::real(v)).collect();
    let more = if summary.shape.iter().product::<usize>() > first.len() { " …" } else { "" };
    if !first.is_empty() {
        let _ = writeln!(out, "  {}{more}", first.join(" "));
    }
    for text in &summary.strings {
        let _ = writeln!(out, "  {text:?}");
    }
}
