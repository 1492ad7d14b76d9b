//! The first exercise of a course: a line through six points, y = 2x − 1, found by gradient descent.

use super::{Activation, Dataset, FitOptions, Loss, Optimizer, Progress, Sequential, TrainOptions, Trainer};
use crate::inputs::Rng;
use crate::report::page;
use crate::report::svg::{self, Axis, Frame, Series};
use crate::{Error, Interpreter, Model};
use std::fmt::Write;
use std::ops::ControlFlow;

/// The points.
pub const POINTS: [(f32, f32); 6] = [(-1.0, -3.0), (0.0, -1.0), (1.0, 1.0), (2.0, 3.0), (3.0, 5.0), (4.0, 7.0)];

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearOptions {
    /// Passes over the points, one step each.
    pub epochs: usize,
    /// Step size of the descent.
    pub learning_rate: f64,
    /// Seed of the initial weight and of the inputs that the result is tried on.
    pub seed: u64,
    /// How many random inputs it is tried on.
    pub tries: usize,
}

impl Default for LinearOptions {
    fn default() -> Self {
        LinearOptions { epochs: 200, learning_rate: 0.05, seed: 1, tries: 100 }
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The trained network, one neuron.
    pub model: Model,
    /// Its weight; 2 would be perfect.
    pub weight: f32,
    /// Its bias; −1 would be perfect.
    pub bias: f32,
    /// Mean squared error of each epoch.
    pub losses: Vec<f32>,
    /// Random inputs and what the interpreter makes of them with the exported model.
    pub predictions: Vec<(f32, f32)>,
}

/// Trains, exports, and runs the exported bytes.
///
/// # Errors
/// When training diverges (a learning rate above about 0.17 does) or `on`, which hears the loss of every epoch, stops it.
pub fn run(options: &LinearOptions, on: &mut dyn FnMut(usize, f32) -> ControlFlow<()>) -> Result<Linear, Error> {
    let (x, y): (Vec<f32>, Vec<f32>) = POINTS.iter().copied().unzip();
    let network = Sequential::new(&[1]).names("x", "y").dense(1, Activation::None).build(options.seed)?;
    // Six points are too few to share.
    let how = TrainOptions { threads: 1, seed: options.seed, ..TrainOptions::default() };
    let mut trainer = Trainer::new(network, Loss::MeanSquaredError, Optimizer::sgd(options.learning_rate), how)?;
    let data = Dataset::new(&x, &[1], (&y[..]).into())?;
    let fit = FitOptions { epochs: options.epochs, batch_size: POINTS.len(), ..FitOptions::default() };
    let history = trainer.fit(&data, &fit, &mut |progress| match progress {
        Progress::Epoch(epoch) => on(epoch.epoch, epoch.scores.loss),
        Progress::Batch(_) => ControlFlow::Continue(()),
    })?;
    if history.stopped {
        return Err(Error::Interrupted);
    }
    let model = Model::from_bytes(trainer.export().to_bytes()?)?;
    let mut interpreter = Interpreter::new(model.clone())?;
    let mut at = |x: f32| -> Result<f32, Error> {
        interpreter.set_input(0, &[x])?;
        interpreter.invoke()?;
        Ok(interpreter.output::<f32>(0)?.first().copied().unwrap_or(f32::NAN))
    };
    let bias = at(0.0)?;
    let weight = at(1.0)? - bias;
    let mut rng = Rng::new(options.seed);
    let mut predictions = Vec::with_capacity(options.tries);
    for _ in 0..options.tries {
        let x = (rng.unit() * 20.0 - 10.0) as f32;
        predictions.push((x, at(x)?));
    }
    let losses = history.epochs.iter().map(|epoch| epoch.scores.loss).collect();
    Ok(Linear { model, weight, bias, losses, predictions })
}

impl Linear {
    /// Greatest distance of the predictions from y = 2x − 1.
    pub fn worst_error(&self) -> f32 {
        self.predictions.iter().map(|(x, y)| (y - (2.0 * x - 1.0)).abs()).fold(0.0, f32::max)
    }

    /// `y = 1.9998 x − 0.9994`.
    pub fn formula(&self) -> String {
        let sign = if self.bias < 0.0 { '−' } else { '+' };
        format!("y = {:.4} x {sign} {:.4}", self.weight, self.bias.abs())
    }

    /// A self-contained page with the points, the line, the predictions and the loss.
    pub fn to_html(&self) -> String {
        let mut body = format!("<h1>{}</h1>", self.formula());
        let _ = write!(
            body,
            "<p class=lead>One neuron, fitted to six points of y = 2x − 1 in {} epochs of gradient descent, \
             exported and run on {} random inputs. Greatest error: {:.4}.</p>",
            self.losses.len(),
            self.predictions.len(),
            self.worst_error()
        );
        let _ = write!(body, "<section><h2>Predictions</h2>{}</section>", self.chart());
        let log: Vec<f64> = self.losses.iter().map(|&loss| f64::from(loss.max(1e-12)).log10()).collect();
        let series = [Series { name: "", class: "c0", values: log }];
        let chart = svg::epochs(760.0, &series, "log₁₀ of the mean squared error", "", "Loss by epoch");
        let _ = write!(body, "<section><h2>Loss</h2>{chart}</section>");
        page("y = 2x − 1", &body)
    }

    fn chart(&self) -> String {
        let (width, height) = (760.0, 420.0);
        let frame = Frame { x: 60.0, y: 40.0, width: width - 90.0, height: height - 96.0 };
        let values = |pick: fn(&(f32, f32)) -> f32| {
            self.predictions.iter().chain(&POINTS).map(move |point| f64::from(pick(point)))
        };
        let (x, y) = (Axis::covering(values(|p| p.0), 8, false), Axis::covering(values(|p| p.1), 6, false));
        let mut out = String::new();
        svg::open(&mut out, width, height, "Points, predictions and the line");
        frame.axes(&mut out, (&x, "x"), (&y, "y"), "");
        let place = |px: f64, py: f64| (frame.px(&x, px), frame.py(&y, py));
        let learned = |x: f64| f64::from(self.weight) * x + f64::from(self.bias);
        svg::line(&mut out, &[x.from, x.to].map(|x| place(x, learned(x))), "c0");
        for (points, class, r) in [(&self.predictions[..], "c0", 3.0), (&POINTS[..], "c1", 6.0)] {
            for &(px, py) in points {
                let (cx, cy) = place(px.into(), py.into());
                let hint = format!("x = {px:.3}, y = {py:.3}");
                let _ = write!(
                    out,
                    "<circle class=\"dot {class}\" cx={cx:.1} cy={cy:.1} r={r}><title>{hint}</title></circle>"
                );
            }
        }
        for (i, (name, class)) in [("predictions", "c0"), ("training points", "c1")].into_iter().enumerate() {
            let (cx, cy) = (frame.x + 20.0, frame.y + 16.0 + 22.0 * i as f64);
            let _ = write!(out, "<circle class=\"dot {class}\" cx={cx} cy={cy} r=5 />");
            let _ = write!(out, "<text class=\"name {class}\" x={} y={}>{name}</text>", cx + 12.0, cy + 4.0);
        }
        svg::close(&mut out);
        out
    }

    /// The predictions (`·`) and the six points (`o`) as text.
    pub fn text_plot(&self, columns: usize, rows: usize) -> String {
        let (columns, rows) = (columns.max(2), rows.max(2));
        let all = || self.predictions.iter().chain(&POINTS);
        let bounds = |pick: fn(&(f32, f32)) -> f32| {
            all().map(pick).filter(|v| v.is_finite()).fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)))
        };
        let ((left, right), (low, high)) = (bounds(|p| p.0), bounds(|p| p.1));
        let mut cells = vec![vec![' '; columns]; rows];
        let marks = self.predictions.iter().map(|p| (p, '·')).chain(POINTS.iter().map(|p| (p, 'o')));
        for (&(x, y), mark) in marks.filter(|((x, y), _)| x.is_finite() && y.is_finite()) {
            let part = |v: f32, from: f32, to: f32| (v - from) / (to - from).max(f32::MIN_POSITIVE);
            let column = (part(x, left, right) * (columns - 1) as f32).round() as usize;
            let row = (part(y, low, high) * (rows - 1) as f32).round() as usize;
            cells[rows - 1 - row.min(rows - 1)][column.min(columns - 1)] = mark;
        }
        let mut out = String::new();
        for (i, row) in cells.iter().enumerate() {
            let edge = match i {
                0 => format!("{high:7.1} "),
                i if i == rows - 1 => format!("{low:7.1} "),
                _ => " ".repeat(8),
            };
            let _ = writeln!(out, "{edge}│{}", row.iter().collect::<String>().trim_end());
        }
        let _ = writeln!(out, "{}└{}", " ".repeat(8), "─".repeat(columns));
        let (left, right) = (format!("{left:.1}"), format!("{right:.1}"));
        let space = columns.saturating_sub(left.len() + right.len());
        let _ = writeln!(out, "{}{left}{}{right}", " ".repeat(9), " ".repeat(space));
        out
    }
}
