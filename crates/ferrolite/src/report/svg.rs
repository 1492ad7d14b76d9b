//! Charts as inline SVG. Colours come from the page's style sheet by class, so that light and dark both work.

use super::html::escape;
use std::fmt::Write;

/// A linear scale from values to places, with round ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Value at the axis' start.
    pub from: f64,
    /// Value at its end.
    pub to: f64,
    /// Values to label.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis that holds all values, with about `count` ticks at round numbers; from 0 on if `zero`.
    pub fn covering(values: impl IntoIterator<Item = f64>, count: usize, zero: bool) -> Axis {
        let start = if zero { (0.0, 0.0) } else { (f64::INFINITY, f64::NEG_INFINITY) };
        let finite = values.into_iter().filter(|v| v.is_finite());
        let (mut low, mut high) = finite.fold(start, |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low < 1e-9 * high.abs().max(1e-3) {
            let space = (high.abs() * 0.1).max(1e-3);
            high += space;
            low -= if zero { 0.0 } else { space };
        }
        let rough = (high - low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks: Vec<f64> = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        Axis { from: first * step, to: last * step, ticks }
    }

    /// Where a value is, from 0 to 1.
    pub fn at(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }
}

/// The area of a chart inside of its labels.
#[derive(Clone, Copy)]
pub struct Frame {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Frame {
    /// Horizontal place of a value.
    pub fn px(&self, axis: &Axis, value: f64) -> f64 {
        self.x + axis.at(value) * self.width
    }

    /// Vertical place of a value, greater ones higher.
    pub fn py(&self, axis: &Axis, value: f64) -> f64 {
        self.y + (1.0 - axis.at(value)) * self.height
    }

    /// Grid lines, tick labels and titles of both axes.
    pub fn axes(&self, out: &mut String, (x, x_title): (&Axis, &str), (y, y_title): (&Axis, &str), unit: &str) {
        let (left, bottom, right) = (self.x, self.y + self.height, self.x + self.width);
        for &tick in &y.ticks {
            let at = self.py(y, tick);
            let label = label(tick, y);
            let _ = write!(out, "<line class=grid x1={left:.1} x2={right:.1} y1={at:.1} y2={at:.1} />");
            let _ = write!(
                out,
                "<text class=tick x={:.1} y={:.1} text-anchor=end>{label}{unit}</text>",
                left - 8.0,
                at + 4.0
            );
        }
        for &tick in &x.ticks {
            let at = self.px(x, tick);
            let label = label(tick, x);
            let _ = write!(out, "<text class=tick x={at:.1} y={:.1} text-anchor=middle>{label}</text>", bottom + 18.0);
        }
        let _ = write!(out, "<line class=axis x1={left:.1} x2={right:.1} y1={bottom:.1} y2={bottom:.1} />");
        let middle = left + self.width / 2.0;
        let x_title = escape(x_title);
        let _ =
            write!(out, "<text class=title x={middle:.1} y={:.1} text-anchor=middle>{x_title}</text>", bottom + 38.0);
        let _ = write!(out, "<text class=title x={left:.1} y={:.1}>{}</text>", self.y - 12.0, escape(y_title));
    }
}

/// A tick's label with as many decimals as the axis' steps need.
fn label(tick: f64, axis: &Axis) -> String {
    let step = axis.ticks.get(1).map_or(1.0, |second| second - axis.ticks[0]);
    let is_whole = |v: f64| (v - v.round()).abs() < 1e-6 * v.abs().max(1.0);
    let decimals = (0..6).find(|&d| is_whole(step * 10f64.powi(d))).unwrap_or(6) as usize;
    let text = format!("{tick:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text.replace('-', "−") }
}

/// Starts a chart of this size; it shrinks with the page.
pub fn open(out: &mut String, width: f64, height: f64, title: &str) {
    let title = escape(title);
    let _ = write!(out, "<svg viewBox=\"0 0 {width} {height}\" role=img aria-label=\"{title}\"><title>{title}</title>");
}

/// Ends a chart.
pub fn close(out: &mut String) {
    out.push_str("</svg>");
}

/// A line through points, in colour `class`.
pub fn line(out: &mut String, points: &[(f64, f64)], class: &str) {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(out, "<polyline class=\"line {class}\" points=\"{}\" />", points.join(" "));
}

/// A point of the scatter plot.
pub struct Bubble<'a> {
    /// Name beside it.
    pub name: &'a str,
    /// Colour class.
    pub class: &'a str,
    /// Values along the axes.
    pub at: (f64, f64),
    /// What its area stands for, in parts of the greatest.
    pub area: f64,
    /// Text shown on hovering.
    pub hint: String,
}

/// A rectangle that a name or a bubble takes: left, top, right, bottom.
type Place = (f64, f64, f64, f64);

fn overlap(a: &Place, b: &Place) -> bool {
    a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3
}

/// A scatter plot of bubbles with their names.
pub fn bubbles(bubbles: &[Bubble<'_>], x_title: &str, y_title: &str, unit: &str, title: &str) -> String {
    const GREATEST: f64 = 26.0;
    let (width, height) = (960.0, 360.0);
    let frame = Frame { x: 70.0, y: 40.0, width: width - 110.0, height: height - 96.0 };
    let x = Axis::covering(bubbles.iter().map(|b| b.at.0), 6, true);
    // Room for the bubbles themselves above and below.
    let bounds = |(low, high): (f64, f64), b: &Bubble<'_>| (low.min(b.at.1), high.max(b.at.1));
    let (low, high) = bubbles.iter().fold((f64::INFINITY, f64::NEG_INFINITY), bounds);
    let space = ((high - low) * 0.3).max(high.abs() * 0.001);
    let y = Axis::covering([low - space, high + space], 5, false);
    let mut out = String::new();
    open(&mut out, width, height, title);
    frame.axes(&mut out, (&x, x_title), (&y, y_title), unit);
    let place = |b: &Bubble<'_>| (frame.px(&x, b.at.0), frame.py(&y, b.at.1), GREATEST * b.area.max(0.0).sqrt());
    let mut order: Vec<&Bubble<'_>> = bubbles.iter().collect();
    order.sort_by(|a, b| b.area.total_cmp(&a.area));
    let mut taken: Vec<Place> = Vec::new();
    for bubble in &order {
        let (cx, cy, r) = place(bubble);
        let (class, hint) = (bubble.class, escape(&bubble.hint));
        let _ = write!(out, "<circle class=\"bubble {class}\" cx={cx:.1} cy={cy:.1} r={r:.1}>");
        let _ = write!(out, "<title>{hint}</title></circle>");
        taken.push((cx - r, cy - r, cx + r, cy + r));
    }
    for bubble in &order {
        let (cx, cy, r) = place(bubble);
        let name_width = 8.6 * bubble.name.chars().count() as f64;
        let (tx, ty) = name_place((cx, cy, r), name_width, width, &taken);
        taken.push((tx, ty - 12.0, tx + name_width, ty + 4.0));
        if (ty - cy).abs() > r + 20.0 {
            // A thin line leads from a far name to its bubble.
            let (x1, y1) = (tx + name_width / 2.0, if ty > cy { ty - 13.0 } else { ty + 5.0 });
            let y2 = if ty > cy { cy + r } else { cy - r };
            let class = bubble.class;
            let _ = write!(out, "<line class=\"lead {class}\" x1={x1:.1} y1={y1:.1} x2={cx:.1} y2={y2:.1} />");
        }
        let name = escape(bubble.name);
        let _ = write!(out, "<text class=\"name {}\" x={tx:.1} y={ty:.1}>{name}</text>", bubble.class);
    }
    close(&mut out);
    out
}

/// Where a name can stand free: beside its bubble, above or below it, or further away; left end and baseline.
fn name_place((cx, cy, r): (f64, f64, f64), name_width: f64, width: f64, taken: &[Place]) -> (f64, f64) {
    let (right, left, middle) = (cx + r + 6.0, cx - r - 6.0 - name_width, cx - name_width / 2.0);
    let mut candidates = vec![(right, cy + 4.0), (left, cy + 4.0)];
    for step in 0..6 {
        let away = r + 8.0 + 18.0 * f64::from(step);
        for x in [middle, cx - name_width, cx] {
            candidates.extend([(x, cy - away), (x, cy + away + 10.0)]);
        }
    }
    let is_free = |&(x, y): &(f64, f64)| {
        let own = (x, y - 12.0, x + name_width, y + 4.0);
        x > 75.0 && x + name_width < width && y > 20.0 && !taken.iter().any(|other| overlap(&own, other))
    };
    candidates.into_iter().find(is_free).unwrap_or((right, cy + 4.0))
}

/// One line of a line chart: name, colour class and values from epoch 1 on.
pub struct Series<'a> {
    /// Name at its end.
    pub name: &'a str,
    /// Colour class.
    pub class: &'a str,
    /// Values.
    pub values: Vec<f64>,
}

/// A line chart over epochs, for a place about `width` wide.
pub fn epochs(width: f64, series: &[Series<'_>], y_title: &str, unit: &str, title: &str) -> String {
    let height = 270.0;
    let names = series.iter().map(|s| 8.0 * s.name.chars().count() as f64).fold(0.0, f64::max);
    let frame = Frame { x: 58.0, y: 40.0, width: width - 76.0 - names, height: height - 96.0 };
    let count = series.iter().map(|s| s.values.len()).max().unwrap_or(0);
    let step = count.div_ceil(10).max(1);
    let ticks = (1..=count.max(1)).filter(|i| i % step == 0 || count <= 10).map(|i| i as f64).collect();
    let x = Axis { from: 1.0, to: (count as f64).max(1.0 + 1e-9), ticks };
    let y = Axis::covering(series.iter().flat_map(|s| s.values.iter().copied()), 4, false);
    let mut out = String::new();
    open(&mut out, width, height, title);
    frame.axes(&mut out, (&x, "epoch"), (&y, y_title), unit);
    let mut taken: Vec<f64> = Vec::new();
    for series in series {
        let place = |(i, &v): (usize, &f64)| (frame.px(&x, (i + 1) as f64), frame.py(&y, v));
        let points: Vec<_> = series.values.iter().enumerate().map(place).collect();
        line(&mut out, &points, series.class);
        let Some(&(px, py)) = points.last() else { continue };
        let mut ty = py + 4.0;
        while taken.iter().any(|other| (other - ty).abs() < 15.0) {
            ty += 3.0;
        }
        taken.push(ty);
        let (class, name) = (series.class, escape(series.name));
        let _ = write!(out, "<circle class=\"dot {class}\" cx={px:.1} cy={py:.1} r=3.5 />");
        let _ = write!(out, "<text class=\"name {class}\" x={:.1} y={ty:.1}>{name}</text>", px + 9.0);
    }
    close(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks_around_the_values() {
        let axis = Axis::covering([0.13, 0.87], 5, false);
        assert!(axis.from <= 0.13 && axis.to >= 0.87 && (4..=8).contains(&axis.ticks.len()));
        assert_eq!(label(axis.ticks[1], &axis), "0.2");
        assert_eq!(Axis::covering([3.0, 8.0], 4, true).from, 0.0);
        for odd in [vec![], vec![5.0], vec![0.0, 0.0], vec![f64::NAN], vec![-1e9, 1e9]] {
            let axis = Axis::covering(odd, 5, false);
            assert!(axis.to > axis.from && axis.ticks.len() < 20 && axis.ticks.iter().all(|t| t.is_finite()));
        }
    }
}
