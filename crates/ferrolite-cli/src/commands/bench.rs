use super::{print, print_json};
use crate::args::BenchArgs;
use crate::format;
use crate::table::{Align, Table};
use ferrolite::bench::{self, BenchOptions, BenchReport};
use ferrolite::report;
use ferrolite::roofline::{Bandwidth, Bound, Peaks, Roofline};
use ferrolite::{Error, files};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How many steps are shown without `--all`.
const STEPS: usize = 30;

#[derive(serde::Serialize)]
struct Report<'a> {
    model: String,
    read_us: f64,
    #[serde(flatten)]
    report: &'a BenchReport,
}

pub fn run(args: &BenchArgs) -> Result<(), Error> {
    let time = Duration::try_from_secs_f64(args.seconds)
        .map_err(|_| Error::usage(format!("--seconds {} is not a time", args.seconds)))?;
    let start = Instant::now();
    let model = files::map_model(&args.model)?;
    let read_us = start.elapsed().as_secs_f64() * 1e6;
    let roofline = args.roofline || args.html.is_some();
    let profile = args.profile || args.all || roofline;
    let options = BenchOptions { time, runs: args.runs, profile, roofline, ..BenchOptions::default() };
    let report = bench::bench(model, args.how.options(), &options)?;
    let shown = args.model.display();
    if args.json {
        return print_json(&Report { model: shown.to_string(), read_us, report: &report });
    }
    let mut out = String::new();
    let threads = if report.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", report.threads) };
    let kernels = if args.how.reference { "reference kernels".to_owned() } else { report.isa.clone() };
    let _ = writeln!(out, "{shown}: {threads}, {kernels}\n");
    let latency = &report.latency_us;
    let _ = writeln!(out, "read        {}", format::time(read_us));
    let _ = writeln!(out, "plan        {}", format::time(report.plan_us));
    let _ = writeln!(out, "first run   {}", format::time(report.first_us));
    let _ =
        writeln!(out, "median      {}   over {} runs", format::time(latency.median), format::count(report.runs as u64));
    let _ = writeln!(out, "p90         {}", format::time(latency.p90));
    let _ = writeln!(out, "min … max   {} … {}", format::time(latency.min), format::time(latency.max));
    let _ = writeln!(out, "arena       {}", format::bytes(report.arena_bytes as u64));
    if report.macs > 0 {
        let _ = writeln!(
            out,
            "speed       {:.2} GMAC/s ({} MACs)",
            report.gmacs_per_second,
            format::short_count(report.macs)
        );
    }
    if let Some(peaks) = &report.peaks {
        let _ = write!(out, "\n{}", machine(peaks));
    }
    if profile {
        let shown = if args.all { report.steps.len() } else { STEPS.min(report.steps.len()) };
        let _ = write!(out, "\n{}\n{}", operators(&report), steps(&report, shown));
        if shown < report.steps.len() {
            let rest: f64 = report.steps[shown..].iter().map(|step| step.share).sum();
            let hidden = report.steps.len() - shown;
            let _ = writeln!(out, "… and {hidden} more, {:.1} % of the time; --all shows them", 100.0 * rest);
        }
    }
    print(&out);
    if let Some(path) = &args.html {
        files::write(path, report::roofline::page(&args.model.display().to_string(), &report).as_bytes())?;
        print(&format!("\nwrote {}\n", path.display()));
    }
    Ok(())
}

/// What the machine can do at most.
fn machine(peaks: &Peaks) -> String {
    let gops = |gmacs: f64| format!("{:.0} GOP/s", 2.0 * gmacs);
    let range = |r: &Bandwidth| format!("{:.0} GB/s from {} KiB", r.gbytes_per_second, r.bytes >> 10);
    let ranges: Vec<_> = peaks.bandwidth.iter().step_by(2).map(range).collect();
    let (float, integer) = (gops(peaks.f32_gmacs_per_second), gops(peaks.i8_gmacs_per_second));
    format!("at most     {float} float32, {integer} int8\n            {}\n", ranges.join(", "))
}

/// Columns of the comparison with the roofline, and a row's cells for them.
const ROOFLINE: [(&str, Align); 6] = [
    ("GOP/s", Align::Right),
    ("of peak", Align::Right),
    ("GB/s", Align::Right),
    ("op/B", Align::Right),
    ("bound by", Align::Left),
    ("of roofline", Align::Right),
];

fn roofline_cells(of: &Roofline) -> [String; 6] {
    let computes = of.gops_per_second > 0.0;
    let only = |text: String| if computes { text } else { String::new() };
    let bound = match of.bound {
        Bound::Compute => "compute",
        Bound::Memory => "memory",
    };
    [
        only(format!("{:.1}", of.gops_per_second)),
        only(percent(of.share_of_peak)),
        format!("{:.1}", of.gbytes_per_second),
        only(format!("{:.1}", of.intensity)),
        bound.to_owned(),
        percent(of.share),
    ]
}

/// Cells of a speed: against the roofline, or alone.
fn speed_cells(macs: u64, gmacs: f64, roofline: Option<&Roofline>) -> Vec<String> {
    match roofline {
        Some(roofline) => roofline_cells(roofline).to_vec(),
        None if macs == 0 => vec![String::new()],
        None => vec![format!("{gmacs:.2}")],
    }
}

fn columns(first: &[(&'static str, Align)], report: &BenchReport, last: &[(&'static str, Align)]) -> Table {
    let speed = if report.peaks.is_some() { &ROOFLINE[..] } else { &[("GMAC/s", Align::Right)] };
    Table::new(&[first, speed, last].concat())
}

fn operators(report: &BenchReport) -> Table {
    let first = [("operator", Align::Left), ("steps", Align::Right), ("time", Align::Right), ("share", Align::Right)];
    let mut table = columns(&first, report, &[]);
    for kind in &report.operators {
        let mut row =
            vec![kind.operator.clone(), kind.count.to_string(), format::time(kind.time_us), percent(kind.share)];
        row.extend(speed_cells(kind.macs, kind.gmacs_per_second, kind.roofline.as_ref()));
        table.row(row);
    }
    let time: f64 = report.steps.iter().map(|step| step.time_us).sum();
    let mut row = vec!["total".to_owned(), report.steps.len().to_string(), format::time(time), percent(1.0)];
    row.extend(speed_cells(report.macs, report.gmacs_per_second, report.roofline.as_ref()));
    table.row(row);
    table
}

fn steps(report: &BenchReport, shown: usize) -> Table {
    let first = [("node", Align::Right), ("operator", Align::Left), ("time", Align::Right), ("share", Align::Right)];
    let mut table = columns(&first, report, &[("kernel", Align::Left), ("output", Align::Left)]);
    for step in &report.steps[..shown] {
        let mut row =
            vec![step.node.to_string(), step.operator.clone(), format::time(step.time_us), percent(step.share)];
        row.extend(speed_cells(step.macs, step.gmacs_per_second, step.roofline.as_ref()));
        row.extend([step.kernel.clone(), format::shorten(&step.output, 40)]);
        table.row(row);
    }
    table
}

fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}
