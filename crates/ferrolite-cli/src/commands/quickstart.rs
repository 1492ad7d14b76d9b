use super::{me, print};
use crate::args::QuickstartArgs;
use crate::progress::{Progress, duration};
use crate::table::{Align, Table};
use crate::{format, interrupt};
use ferrolite::quickstart::{self, Event, Outcome, QuickstartOptions};
use ferrolite::{Error, report};

pub fn run(args: &QuickstartArgs) -> Result<(), Error> {
    interrupt::watch();
    let options = QuickstartOptions {
        data: args.data.clone(),
        epochs: args.epochs as usize,
        out: args.out.clone(),
        threads: args.threads.map_or(0, usize::from),
        seed: args.seed,
        ..QuickstartOptions::default()
    };
    let mut progress = Progress::new();
    let outcome = quickstart::run(&options, &mut |event| {
        show(&mut progress, &event);
        interrupt::go_on()
    });
    progress.clear();
    let outcome = outcome?;
    print(&format!("\n{}", table(&outcome)));
    print(&format!("report: {}\n", outcome.report.display()));
    next(&outcome);
    Ok(())
}

fn show(progress: &mut Progress, event: &Event<'_>) {
    match event {
        Event::Loaded(data) => {
            let (train, test) = (format::count(data.train.len() as u64), format::count(data.test.len() as u64));
            progress.line(&format!("{}: {train} training and {test} test images", data.name));
        }
        Event::Batch(batch) => {
            let name = format!("epoch {}/{}", batch.epoch, batch.epochs);
            progress.set(&name, batch.batch, batch.batches, || {
                let scores = scores(batch.scores.loss, batch.scores.accuracy);
                let (speed, left) = (format::count(batch.samples_per_second as u64), duration(batch.remaining));
                format!("{scores}  {speed} images/s  ETA {left}")
            });
        }
        Event::Epoch(epoch) => {
            let test = epoch.validation.map_or(String::new(), |v| format!("  test {}", scores(v.loss, v.accuracy)));
            let (train, time) = (scores(epoch.scores.loss, epoch.scores.accuracy), epoch.time.as_secs_f64());
            let speed = format::count(epoch.samples_per_second as u64);
            let name = format!("epoch {}/{}", epoch.epoch, epoch.epochs);
            progress.line(&format!("{name:<11} {train}{test}  {time:.1} s  {speed} images/s"));
        }
        Event::Written { path, bytes } => {
            progress.line(&format!("wrote       {} ({})", path.display(), format::bytes(*bytes)));
        }
        Event::Calibrating { done, all } => progress.set("calibrating", *done, *all, String::new),
        Event::Evaluating { name, done, all } => {
            progress.set(&report::title(name), *done, *all, || "running over the test images".to_owned());
        }
    }
}

fn scores(loss: f32, accuracy: Option<f32>) -> String {
    let accuracy = accuracy.map_or(String::new(), |a| format!("  accuracy {a:.4}"));
    format!("loss {loss:.4}{accuracy}")
}

fn table(outcome: &Outcome) -> Table {
    let mut table = Table::new(&[
        ("model", Align::Left),
        ("file", Align::Right),
        ("accuracy", Align::Right),
        ("agrees with float", Align::Right),
        ("median latency", Align::Right),
        ("peak arena", Align::Right),
    ]);
    for variant in &outcome.variants {
        table.row([
            report::title(variant.name),
            format::bytes(variant.bytes),
            format!("{:.2} %", 100.0 * variant.evaluation.accuracy),
            format!("{:.2} %", 100.0 * variant.agreement),
            format::time(variant.evaluation.latency_us.median),
            format!("{} B", format::count(variant.evaluation.arena_bytes as u64)),
        ]);
    }
    table
}

/// Three commands that work as they stand.
fn next(outcome: &Outcome) {
    let me = me();
    let Some(int8) = outcome.variants.iter().find(|v| v.name == "int8") else { return };
    let model = format::quoted(&int8.path);
    let (image, labels) = (format::quoted(&outcome.sample.0), format::quoted(&outcome.sample.1));
    print(&format!(
        "try next: {me} run {model} --input {image} --labels {labels} --top 3\n          \
         {me} bench {model} --threads 2 --profile\n          \
         {me} info {model}"
    ));
}
