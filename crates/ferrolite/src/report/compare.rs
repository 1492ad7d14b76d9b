//! A comparison of two models as a page.

use super::html::escape;
use crate::compare::Comparison;
use crate::quantize::{BARS, TensorError};
use std::fmt::Write;

/// Tensors with a histogram.
const WORST: usize = 12;
/// Layers in the ranking.
const LAYERS: usize = 30;

/// The page.
pub fn page(wanted: &str, given: &str, comparison: &Comparison) -> String {
    let mut body = String::new();
    let file = |path: &str| escape(path.rsplit(['/', '\\']).next().unwrap_or(path));
    let _ = write!(
        body,
        "<header><h1>{} against {}</h1><p class=lead>{} tensors over {} samples.</p></header><div class=tiles>",
        file(given),
        file(wanted),
        comparison.tensors.len(),
        comparison.samples
    );
    for output in comparison.outputs() {
        let (snr, name) = (decibels(output.error.snr()), escape(&output.name));
        let _ = write!(body, "<div class=tile><b>{snr}</b><span>signal to noise of the output {name}</span></div>");
    }
    body.push_str("</div>");
    layers(&mut body, comparison);
    histograms(&mut body, comparison);
    tensors(&mut body, comparison);
    super::page(&format!("{given} against {wanted}"), &body)
}

fn decibels(snr: f64) -> String {
    if snr.is_finite() { format!("{snr:.1} dB") } else { "exact".to_owned() }
}

fn layers(out: &mut String, comparison: &Comparison) {
    if comparison.layers.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Layers, each quantized alone</h2><p class=note>What the outputs are off by when only this layer is \
         quantized, most costly first.</p><div class=scroll><table><thead><tr><th class=n>Node</th><th>Operator</th>\
         <th>Output</th><th>Scheme</th><th class=n>SNR of the outputs</th><th class=n>MSE</th></tr></thead><tbody>",
    );
    for layer in comparison.layers.iter().take(LAYERS) {
        let _ = write!(
            out,
            "<tr><td class=n>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{:.3e}</td></tr>",
            layer.node,
            escape(&layer.operator),
            escape(&layer.name),
            layer.scheme.name(),
            decibels(layer.error.snr()),
            layer.error.mse()
        );
    }
    out.push_str("</tbody></table></div></section>");
}

fn histograms(out: &mut String, comparison: &Comparison) {
    out.push_str(
        "<section><h2>Worst tensors</h2><p class=note>How the values are distributed: bars are the first model, the line \
         is the second. Heights are logarithmic.</p>",
    );
    for tensor in comparison.worst().into_iter().take(WORST) {
        let name = escape(&tensor.name);
        let (snr, clipped) = (decibels(tensor.error.snr()), 100.0 * tensor.clipped);
        let _ = write!(
            out,
            "<figure>{}<figcaption>{name} ({}): {snr}, {clipped:.3} % clipped</figcaption></figure>",
            histogram(tensor),
            escape(&tensor.operator)
        );
    }
    out.push_str("</section>");
}

fn histogram(tensor: &TensorError) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 140.0;
    let ((low, high), [wanted, given]) = &tensor.histograms;
    let most = wanted.iter().chain(given).copied().max().unwrap_or(1).max(1);
    let height = |n: u64| (1.0 + n as f64).ln() / (1.0 + most as f64).ln() * HEIGHT;
    let step = WIDTH / BARS as f64;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=img>", HEIGHT + 22.0);
    for (i, &n) in wanted.iter().enumerate() {
        let (x, h) = (i as f64 * step, height(n));
        let (y, w) = (HEIGHT - h, step - 1.0);
        let _ = write!(out, "<rect x={x:.1} y={y:.1} width={w:.1} height={h:.1} fill=currentColor opacity=0.25 />");
    }
    let points = given.iter().enumerate().flat_map(|(i, &n)| {
        let (x, y) = (i as f64 * step, HEIGHT - height(n));
        [format!("{x:.1},{y:.1}"), format!("{:.1},{y:.1}", x + step)]
    });
    let points: Vec<String> = points.collect();
    let _ = write!(
        out,
        "<polyline points=\"{}\" fill=none stroke=currentColor stroke-width=1.5 />\
         <text class=tick x=0 y={y:.0}>{low:.4}</text><text class=tick x={WIDTH} y={y:.0} text-anchor=end>{high:.4}</text></svg>",
        points.join(" "),
        y = HEIGHT + 16.0
    );
    out
}

fn tensors(out: &mut String, comparison: &Comparison) {
    out.push_str(
        "<section><h2>Tensors</h2><div class=scroll><table><thead><tr><th class=n>Node</th><th>Operator</th><th>Tensor</th>\
         <th>Type</th><th class=n>SNR</th><th class=n>Cosine</th><th class=n>MSE</th><th class=n>Largest error</th>\
         <th class=n>Bias</th><th class=n>Clipped</th></tr></thead><tbody>",
    );
    for tensor in &comparison.tensors {
        let e = &tensor.error;
        let _ = write!(
            out,
            "<tr><td class=n>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{:.5}</td>\
             <td class=n>{:.2e}</td><td class=n>{:.2e}</td><td class=n>{:.2e}</td><td class=n>{:.3} %</td></tr>",
            tensor.node.map_or_else(String::new, |node| node.to_string()),
            escape(&tensor.operator),
            escape(&tensor.name),
            tensor.ty,
            decibels(e.snr()),
            e.cosine(),
            e.mse(),
            e.max,
            e.bias(),
            100.0 * tensor.clipped
        );
    }
    out.push_str("</tbody></table></div></section>");
}
