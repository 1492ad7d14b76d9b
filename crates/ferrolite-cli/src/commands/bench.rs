use super::{print, print_json};
use crate::args::BenchArgs;
use crate::format;
use crate::table::{Align, Table};
use ferrolite::bench::{self, BenchOptions, BenchReport};
use ferrolite::{Error, files};
use std::fmt::Write;
use std::time::{Duration, Instant};

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
    let options = BenchOptions { time, runs: args.runs, profile: args.profile, ..BenchOptions::default() };
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
    if args.profile {
        let _ = write!(out, "\n{}", steps(&report));
    }
    print(&out);
    Ok(())
}

fn steps(report: &BenchReport) -> Table {
    let mut table = Table::new(&[
        ("node", Align::Right),
        ("operator", Align::Left),
        ("time", Align::Right),
        ("share", Align::Right),
        ("GMAC/s", Align::Right),
        ("kernel", Align::Left),
        ("output", Align::Left),
    ]);
    for step in &report.steps {
        table.row([
            step.node.to_string(),
            step.operator.clone(),
            format::time(step.time_us),
            format!("{:.1} %", 100.0 * step.share),
            if step.macs == 0 { String::new() } else { format!("{:.2}", step.gmacs_per_second) },
            step.kernel.clone(),
            format::shorten(&step.output, 40),
        ]);
    }
    table
}
