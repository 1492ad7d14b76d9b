//! Reports as self-contained pages: no network, no scripts, light and dark.

pub mod compare;
pub(crate) mod html;
mod pictures;
pub mod roofline;
pub(crate) mod svg;

use crate::Error;
use crate::datasets::Dataset;
use crate::quickstart::{Outcome, Variant};
use crate::train::EpochStats;
use html::escape;
use std::fmt::Write;
use std::time::Duration;
use svg::{Bubble, Series};

/// What the report on a classifier and its quantized forms shows.
pub struct Report<'a> {
    dataset: &'a Dataset,
    epochs: &'a [EpochStats],
    training_time: Duration,
    parameters: u64,
    variants: &'a [Variant],
}

/// A self-contained page with this title and body.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css")
    )
}

impl<'a> Report<'a> {
    /// The report on a quickstart.
    pub fn of_quickstart(outcome: &'a Outcome) -> Report<'a> {
        Report {
            dataset: &outcome.dataset,
            epochs: &outcome.epochs,
            training_time: outcome.training_time,
            parameters: outcome.parameters,
            variants: &outcome.variants,
        }
    }

    /// The page.
    ///
    /// # Errors
    /// When a picture cannot be encoded.
    pub fn to_html(&self) -> Result<String, Error> {
        let mut body = String::new();
        self.head(&mut body);
        self.table(&mut body);
        self.trade_off(&mut body);
        self.training(&mut body);
        pictures::sections(&mut body, self.dataset, self.variants)?;
        self.classes(&mut body);
        self.confusion(&mut body);
        self.foot(&mut body);
        Ok(page("ferrolite quickstart: Fashion-MNIST", &body))
    }

    fn head(&self, out: &mut String) {
        let (train, test) = (self.dataset.train.len(), self.dataset.test.len());
        let _ = write!(
            out,
            "<header><h1>One network, five files</h1><p class=lead>A convolutional network of {} parameters, trained on \
             {} images ({}) for {} epochs in {:.1} s, then quantized four ways. Every file was run over the same {} test \
             images.</p></header>",
            thousands(self.parameters),
            thousands(train as u64),
            escape(&self.dataset.name),
            self.epochs.len(),
            self.training_time.as_secs_f64(),
            thousands(test as u64)
        );
        let (Some(float), Some(int8)) = (self.variants.first(), self.variant("int8")) else { return };
        let fastest = self.variants.iter().min_by(|a, b| latency(a).total_cmp(&latency(b))).unwrap_or(float);
        let points = 100.0 * (int8.evaluation.accuracy - float.evaluation.accuracy);
        let tiles = [
            (percent(float.evaluation.accuracy), "accuracy of the float model".to_owned()),
            (signed(points), "points of accuracy from float to int8".to_owned()),
            (format!("{:.1}×", float.bytes as f64 / int8.bytes.max(1) as f64), "smaller as int8".to_owned()),
            (micros(latency(fastest)), format!("median latency of {}, the fastest", title(fastest.name))),
        ];
        out.push_str("<div class=tiles>");
        for (figure, text) in tiles {
            let _ = write!(out, "<div class=tile><b>{figure}</b><span>{text}</span></div>");
        }
        out.push_str("</div>");
    }

    fn table(&self, out: &mut String) {
        out.push_str(
            "<section><h2>Comparison</h2><div class=scroll><table><thead><tr><th>Model</th><th class=n>File</th>\
             <th class=n>Accuracy</th><th class=n>Agrees with float</th><th class=n>Median latency</th>\
             <th class=n>p90</th><th class=n>Peak arena</th></tr></thead><tbody>",
        );
        for (i, v) in self.variants.iter().enumerate() {
            let _ = write!(
                out,
                "<tr><th scope=row><i class=\"key c{i}\"></i>{}<small>{}</small></th><td class=n>{}</td>\
                 <td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td></tr>",
                title(v.name),
                escape(v.description),
                kilobytes(v.bytes),
                percent(v.evaluation.accuracy),
                percent(v.agreement),
                micros(latency(v)),
                micros(v.evaluation.latency_us.p90),
                kilobytes(v.evaluation.arena_bytes as u64)
            );
        }
        let error = self.sampling_error();
        let _ = write!(
            out,
            "</tbody></table></div><p class=note>Latency is that of one image on one thread. With {} test images, accuracy is known \
             to about ±{error:.1} points.</p></section>",
            thousands(self.dataset.test.len() as u64)
        );
    }

    /// Two standard deviations of the measured accuracy, in points.
    fn sampling_error(&self) -> f64 {
        let accuracy = self.variants.first().map_or(0.0, |v| v.evaluation.accuracy);
        200.0 * (accuracy * (1.0 - accuracy) / self.dataset.test.len().max(1) as f64).sqrt()
    }

    fn trade_off(&self, out: &mut String) {
        let largest = self.variants.iter().map(|v| v.bytes).max().unwrap_or(1).max(1) as f64;
        let classes: Vec<_> = (0..self.variants.len()).map(|i| format!("c{i}")).collect();
        let names: Vec<_> = self.variants.iter().map(|v| title(v.name)).collect();
        let bubbles: Vec<_> = (self.variants.iter().zip(&classes).zip(&names))
            .map(|((v, class), name)| Bubble {
                name,
                class,
                at: (latency(v), 100.0 * v.evaluation.accuracy),
                area: v.bytes as f64 / largest,
                hint: format!(
                    "{name}: {}, {}, {}",
                    kilobytes(v.bytes),
                    percent(v.evaluation.accuracy),
                    micros(latency(v))
                ),
            })
            .collect();
        let chart = svg::bubbles(&bubbles, "median latency, µs", "accuracy", " %", "Accuracy by latency and size");
        let _ = write!(
            out,
            "<section><h2>Size, accuracy, latency</h2><figure>{chart}<figcaption>Up and to the left is better. The area of \
             a circle is the size of the file.</figcaption></figure></section>"
        );
    }

    fn training(&self, out: &mut String) {
        let accuracy = |scores: Option<f32>| scores.map_or(f64::NAN, |a| 100.0 * f64::from(a));
        let series = |of_train: &dyn Fn(&EpochStats) -> f64, of_test: &dyn Fn(&EpochStats) -> f64| {
            [("training", "c0", of_train), ("test", "c1", of_test)].map(|(name, class, of)| Series {
                name,
                class,
                values: self.epochs.iter().map(of).collect(),
            })
        };
        let losses = series(&|e| e.scores.loss.into(), &|e| e.validation.map_or(f64::NAN, |v| v.loss.into()));
        let accuracies = series(&|e| accuracy(e.scores.accuracy), &|e| accuracy(e.validation.and_then(|v| v.accuracy)));
        let (loss, accuracy) = (
            svg::epochs(480.0, &losses, "loss", "", "Loss by epoch"),
            svg::epochs(480.0, &accuracies, "accuracy", " %", "Accuracy by epoch"),
        );
        let speed =
            self.dataset.train.len() as f64 * self.epochs.len() as f64 / self.training_time.as_secs_f64().max(1e-9);
        let _ = write!(
            out,
            "<section><h2>Training</h2><div class=pair>{loss}{accuracy}</div><p class=note>Adam, batches of 32, sparse \
             categorical cross-entropy; {} images a second.</p></section>",
            thousands(speed as u64)
        );
    }

    fn classes(&self, out: &mut String) {
        let (Some(float), Some(int8)) = (self.variants.first(), self.variant("int8")) else { return };
        let index = self.variants.iter().position(|v| v.name == "int8").unwrap_or(0);
        out.push_str(
            "<section><h2>Accuracy by class</h2><div class=scroll><table class=bars><thead><tr><th>Class</th>\
             <th>Found, float and int8</th><th class=n>Float</th><th class=n>int8</th><th class=n>Precision, float</th>\
             </tr></thead><tbody>",
        );
        for (class, name) in self.dataset.classes.iter().enumerate() {
            let rates = [(float, 0), (int8, index)].map(|(v, i)| (v.evaluation.recall(class), i));
            let _ = write!(out, "<tr><th scope=row>{}</th><td class=bar>", escape(name));
            for (rate, i) in rates {
                let width = 100.0 * rate.unwrap_or(0.0);
                let _ = write!(out, "<div class=\"c{i}\" style=\"width:{width:.1}%\"></div>");
            }
            out.push_str("</td>");
            for rate in [rates[0].0, rates[1].0, float.evaluation.precision(class)] {
                let _ = write!(out, "<td class=n>{}</td>", rate.map_or("–".to_owned(), percent));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div></section>");
    }

    fn confusion(&self, out: &mut String) {
        out.push_str("<section class=tabs><h2>Confusion matrix</h2>");
        for (i, v) in self.variants.iter().enumerate() {
            let checked = if i == 0 { " checked" } else { "" };
            let name = title(v.name);
            let _ = write!(out, "<input type=radio name=confusion id=m{i}{checked}><label for=m{i}>{name}</label>");
        }
        for (i, v) in self.variants.iter().enumerate() {
            let _ = write!(out, "<div class=\"scroll tab t{i}\"><table class=matrix><thead><tr><th>true ↓ said →</th>");
            for name in &self.dataset.classes {
                let _ = write!(out, "<th scope=col>{}</th>", escape(name));
            }
            out.push_str("</tr></thead><tbody>");
            for (class, (row, name)) in v.evaluation.confusion.iter().zip(&self.dataset.classes).enumerate() {
                let all: u32 = row.iter().sum();
                let _ = write!(out, "<tr><th scope=row>{}</th>", escape(name));
                for (said, &count) in row.iter().enumerate() {
                    let part = 100.0 * f64::from(count) / f64::from(all.max(1));
                    let kind = if said == class { "right" } else { "wrong" };
                    // Mistakes are few: their shades run over the first fifth.
                    let shade = if said == class { part } else { (part * 5.0).min(100.0) };
                    let strong = if shade > 55.0 { " strong" } else { "" };
                    let text = if count == 0 { String::new() } else { count.to_string() };
                    let _ = write!(out, "<td class=\"{kind}{strong}\" style=\"--p:{shade:.0}%\">{text}</td>");
                }
                out.push_str("</tr>");
            }
            out.push_str("</tbody></table></div>");
        }
        out.push_str("</section>");
    }

    fn foot(&self, out: &mut String) {
        let version = env!("CARGO_PKG_VERSION");
        let _ = write!(
            out,
            "<footer>Made by ferrolite {version}. Fashion-MNIST is © 2017 Zalando SE, under the MIT licence.</footer>"
        );
    }

    fn variant(&self, name: &str) -> Option<&'a Variant> {
        self.variants.iter().find(|v| v.name == name)
    }
}

/// A variant's name for people.
pub fn title(name: &str) -> String {
    name.replace('_', " ").replace("int8 only", "int8-only").replace("dynamic", "dynamic range")
}

fn latency(variant: &Variant) -> f64 {
    variant.evaluation.latency_us.median
}

fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

/// `+0.1`, `−0.2`, `±0.0`.
fn signed(points: f64) -> String {
    let rounded = format!("{:.1}", points.abs());
    let sign = if rounded == "0.0" {
        '±'
    } else if points < 0.0 {
        '−'
    } else {
        '+'
    };
    format!("{sign}{rounded}")
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}

fn micros(us: f64) -> String {
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.2} ms", us / 1e3) }
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
