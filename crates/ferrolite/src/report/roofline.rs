//! A profile against what the machine can do at most, as a page with a roofline plot.

use super::html::escape;
use super::svg::{self, Frame};
use crate::bench::{BenchReport, StepTime};
use crate::roofline::{Bound, Peaks, Roofline};
use std::fmt::Write;

/// Kinds of operators that have a colour of their own.
const COLOURS: usize = 5;
/// Class of the others.
const OTHERS: &str = "other";

/// The page on a report with `peaks`; without them it says only that they are missing.
pub fn page(model: &str, report: &BenchReport) -> String {
    let mut body = String::new();
    let threads = if report.threads == 1 { "one thread".to_owned() } else { format!("{} threads", report.threads) };
    let _ = write!(
        body,
        "<header><h1>{}</h1><p class=lead>{threads}, {}: {:.3} ms (median of {} runs).</p></header>",
        escape(model.rsplit(['/', '\\']).next().unwrap_or(model)),
        escape(&report.isa),
        report.latency_us.median / 1e3,
        report.runs
    );
    match (&report.peaks, &report.roofline) {
        (Some(peaks), Some(total)) => {
            tiles(&mut body, total);
            plot_section(&mut body, report, peaks);
            table(&mut body, report);
        }
        _ => body.push_str("<p class=note>The machine's peaks were not measured.</p>"),
    }
    super::page(&format!("{model}: roofline"), &body)
}

fn tiles(out: &mut String, total: &Roofline) {
    out.push_str("<div class=tiles>");
    for (figure, text) in [
        (format!("{:.0} %", 100.0 * total.share), "of what the machine allows, all steps together"),
        (format!("{:.0} %", 100.0 * total.share_of_peak), "of the peak of multiply-accumulates"),
        (format!("{:.1}", total.gops_per_second), "billions of operations in a second"),
        (format!("{:.1}", total.gbytes_per_second), "GB moved in a second"),
    ] {
        let _ = write!(out, "<div class=tile><b>{figure}</b><span>{text}</span></div>");
    }
    out.push_str("</div>");
}

fn plot_section(out: &mut String, report: &BenchReport, peaks: &Peaks) {
    out.push_str("<section><h2>Roofline</h2><figure>");
    out.push_str(&plot(report, peaks));
    out.push_str("<figcaption>");
    for (i, kind) in kinds(report).enumerate() {
        let _ = write!(out, "<i class=\"key c{i}\"></i>{} &nbsp; ", escape(kind));
    }
    out.push_str(
        "</figcaption></figure><p class=note>A dot is a step, its area the time that it takes. The flat parts are the peaks \
         of multiply-accumulates, the slopes the speed of reading from ranges of memory of this size, which caches hold \
         or do not. What a step reads may still be in a nearer cache, which lifts it a little above. Steps without \
         multiply-accumulates are in the table only.</p></section>",
    );
}

/// Kinds of operators with a colour, most time first.
fn kinds(report: &BenchReport) -> impl Iterator<Item = &str> {
    report.operators.iter().filter(|kind| kind.macs > 0).map(|kind| kind.operator.as_str()).take(COLOURS)
}

fn class_of(report: &BenchReport, step: &StepTime) -> String {
    kinds(report).position(|kind| kind == step.operator).map_or_else(|| OTHERS.to_owned(), |i| format!("c{i}"))
}

/// A logarithmic scale of whole decades.
struct Decades {
    from: i32,
    to: i32,
}

impl Decades {
    /// The decades that hold all values; values that are not positive count nothing.
    fn covering(values: impl IntoIterator<Item = f64>) -> Decades {
        let logs = values.into_iter().filter(|v| *v > 0.0 && v.is_finite()).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (from, to) = if low > high { (0, 1) } else { (low.floor() as i32, high.ceil() as i32) };
        Decades { from, to: to.max(from + 1) }
    }

    /// Where a value is, from 0 to 1.
    fn at(&self, value: f64) -> f64 {
        (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|power| 10f64.powi(power))
    }

    fn end(&self) -> f64 {
        10f64.powi(self.to)
    }
}

fn plot(report: &BenchReport, peaks: &Peaks) -> String {
    let dots: Vec<_> = report.steps.iter().filter_map(|s| Some((s, s.roofline?))).filter(|(s, _)| s.macs > 0).collect();
    let (width, height) = (960.0, 460.0);
    let frame = Frame { x: 70.0, y: 40.0, width: width - 110.0, height: height - 96.0 };
    let has_integers = dots.iter().any(|(step, _)| step.is_integer);
    let has_floats = dots.iter().any(|(step, _)| !step.is_integer);
    let roofs =
        [(has_floats, "float32", peaks.f32_gmacs_per_second), (has_integers, "int8", peaks.i8_gmacs_per_second)];
    let roofs: Vec<_> = roofs.into_iter().filter(|roof| roof.0).map(|(_, name, gmacs)| (name, 2.0 * gmacs)).collect();
    let top = roofs.iter().map(|roof| roof.1).fold(1.0, f64::max);
    // To the right end at least the slopes' corners, so that the flat parts show.
    let corners = peaks.bandwidth.iter().map(|range| top / range.gbytes_per_second);
    let x = Decades::covering(dots.iter().map(|(_, r)| r.intensity).chain(corners));
    let y = Decades::covering(dots.iter().map(|(_, r)| r.gops_per_second).chain([top]));
    let px = |value: f64| frame.x + x.at(value) * frame.width;
    let py = |value: f64| frame.y + (1.0 - y.at(value)) * frame.height;
    let (left, right, bottom) = (frame.x, frame.x + frame.width, frame.y + frame.height);

    let mut out = String::new();
    svg::open(&mut out, width, height, "roofline");
    for tick in y.ticks() {
        let at = py(tick);
        let _ = write!(out, "<line class=grid x1={left:.1} x2={right:.1} y1={at:.1} y2={at:.1} />");
        let _ = write!(out, "<text class=tick x={:.1} y={:.1} text-anchor=end>{tick}</text>", left - 8.0, at + 4.0);
    }
    for tick in x.ticks() {
        let at = px(tick);
        let _ = write!(out, "<line class=grid x1={at:.1} x2={at:.1} y1={:.1} y2={bottom:.1} />", frame.y);
        let _ = write!(out, "<text class=tick x={at:.1} y={:.1} text-anchor=middle>{tick}</text>", bottom + 18.0);
    }
    let middle = left + frame.width / 2.0;
    let _ = write!(
        out,
        "<text class=title x={middle:.1} y={:.1} text-anchor=middle>operations per byte</text>",
        bottom + 38.0
    );
    let _ =
        write!(out, "<text class=title x={left:.1} y={:.1}>billions of operations in a second</text>", frame.y - 12.0);
    for (i, range) in peaks.bandwidth.iter().step_by(2).enumerate() {
        // From the left or lower edge up to the highest roof.
        let speed = range.gbytes_per_second;
        let start = (10f64.powi(x.from)).max(10f64.powi(y.from) / speed);
        let end = top / speed;
        let _ = write!(out, "<line class=axis x1={:.1} y1={:.1} ", px(start), py(start * speed));
        let _ = write!(out, "x2={:.1} y2={:.1} />", px(end), py(top));
        // Each name at another height, since slopes can be close.
        let along = 0.9 - 0.2 * i as f64;
        let between = |from: f64, to: f64| from + along * (to - from);
        let (tx, ty) = (between(px(start), px(end)) - 8.0, between(py(start * speed), py(top)));
        let _ = write!(out, "<text class=tick x={tx:.1} y={ty:.1} text-anchor=end>{}</text>", size(range.bytes));
    }
    let fastest = peaks.bandwidth.iter().map(|range| range.gbytes_per_second).fold(1.0, f64::max);
    for (name, gops) in &roofs {
        let at = py(*gops);
        let _ = write!(out, "<line class=axis x1={:.1} x2={right:.1} y1={at:.1} y2={at:.1} />", px(gops / fastest));
        let (tx, ty) = (px(x.end()), at - 6.0);
        let _ = write!(out, "<text class=tick x={tx:.1} y={ty:.1} text-anchor=end>{name}: {gops:.0}</text>");
    }
    for (step, of) in &dots {
        let (cx, cy, r) = (px(of.intensity), py(of.gops_per_second), 3.0 + 30.0 * step.share.max(0.0).sqrt());
        let class = class_of(report, step);
        let _ = write!(out, "<circle class=\"bubble {class}\" cx={cx:.1} cy={cy:.1} r={r:.1}>");
        let _ = write!(out, "<title>{}</title></circle>", escape(&hint(step, of)));
    }
    svg::close(&mut out);
    out
}

fn hint(step: &StepTime, of: &Roofline) -> String {
    format!(
        "node {}: {} ({}), {:.1} µs, {:.1} % of the time, {:.0} % of the roofline",
        step.node,
        step.operator,
        step.kernel,
        step.time_us,
        100.0 * step.share,
        100.0 * of.share
    )
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

fn table(out: &mut String, report: &BenchReport) {
    out.push_str(
        "<section><h2>Steps</h2><div class=scroll><table><thead><tr><th>Node</th><th>Operator</th><th class=n>Time</th>\
         <th class=n>Share</th><th class=n>GOP/s</th><th class=n>of peak</th><th class=n>GB/s</th><th>Bound by</th>\
         <th class=n>of roofline</th><th>Kernel</th></tr></thead><tbody>",
    );
    for (step, of) in report.steps.iter().filter_map(|step| Some((step, step.roofline?))) {
        let bound = if of.bound == Bound::Compute { "compute" } else { "memory" };
        let _ = write!(
            out,
            "<tr><td class=n>{}</td><td><i class=\"key {}\"></i>{}</td><td class=n>{:.1} µs</td><td class=n>{:.1} %</td>\
             <td class=n>{:.1}</td><td class=n>{:.1} %</td><td class=n>{:.1}</td><td>{bound}</td><td class=n>{:.1} %</td>\
             <td>{}</td></tr>",
            step.node,
            class_of(report, step),
            escape(&step.operator),
            step.time_us,
            100.0 * step.share,
            of.gops_per_second,
            100.0 * of.share_of_peak,
            of.gbytes_per_second,
            100.0 * of.share,
            escape(&step.kernel)
        );
    }
    out.push_str("</tbody></table></div></section>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_hold_their_values() {
        let scale = Decades::covering([0.5, 30.0, 0.0, f64::NAN]);
        assert_eq!((scale.from, scale.to), (-1, 2));
        assert!((scale.at(10.0) - 2.0 / 3.0).abs() < 1e-12 && scale.ticks().count() == 4);
        assert_eq!(Decades::covering([]).ticks().count(), 2);
    }
}
