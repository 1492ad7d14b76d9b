//! Strips of test images with what the models say about them.

use super::html::{escape, png_uri};
use super::title;
use crate::datasets::Dataset;
use crate::quickstart::Variant;
use crate::{Error, evaluate, images};
use std::fmt::Write;

/// Images in a strip, and guesses shown for each.
const STRIP: usize = 10;
const GUESSES: usize = 3;

/// One image of each class, and the mistakes that the float model was surest of.
pub(super) fn sections(out: &mut String, dataset: &Dataset, variants: &[Variant]) -> Result<(), Error> {
    let Some(float) = variants.first() else { return Ok(()) };
    let test = &dataset.test;
    let firsts =
        (0..dataset.classes.len()).filter_map(|class| test.labels.iter().position(|&l| usize::from(l) == class));
    let firsts: Vec<usize> = firsts.take(STRIP).collect();
    let predicted = &float.evaluation.predictions;
    let mut mistakes: Vec<usize> = (0..test.len()).filter(|&i| predicted[i] != usize::from(test.labels[i])).collect();
    let confidence = |&i: &usize| float.evaluation.probabilities_of(i).get(predicted[i]).copied().unwrap_or(0.0);
    mistakes.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)));
    mistakes.truncate(STRIP);
    strip(out, "Predictions: one image of each class", &firsts, dataset, variants)?;
    if !mistakes.is_empty() {
        strip(out, "The mistakes that the float model was surest of", &mistakes, dataset, variants)?;
    }
    Ok(())
}

fn strip(
    out: &mut String,
    heading: &str,
    chosen: &[usize],
    dataset: &Dataset,
    variants: &[Variant],
) -> Result<(), Error> {
    let Some((float, others)) = variants.split_first() else { return Ok(()) };
    let test = &dataset.test;
    let name = |class: usize| dataset.classes.get(class).map_or("?", String::as_str);
    let _ = write!(out, "<section><h2>{}</h2><div class=strip>", escape(heading));
    for &i in chosen {
        let label = usize::from(test.labels[i]);
        let uri = png_uri(&images::grey_png(test.image(i), test.columns, test.rows)?);
        let is_right = float.evaluation.predictions[i] == label;
        let verdict = if is_right { "right" } else { "wrong" };
        let (truth, mark) = (escape(name(label)), if is_right { "✓" } else { "✗" });
        let _ = write!(
            out,
            "<figure class={verdict}><img alt=\"{truth}\" width={} height={} src=\"{uri}\"><figcaption>{truth} {mark}\
             </figcaption><ol>",
            test.columns * 4,
            test.rows * 4
        );
        let probabilities: Vec<f64> = float.evaluation.probabilities_of(i).iter().map(|&p| p.into()).collect();
        for class in evaluate::top(&probabilities, GUESSES) {
            let kind = if class == label { "right" } else { "wrong" };
            let percent = 100.0 * probabilities[class];
            let _ = write!(
                out,
                "<li class={kind} style=\"--p:{percent:.1}%\"><span>{}</span><span>{percent:.0} %</span></li>",
                escape(name(class))
            );
        }
        out.push_str("</ol>");
        let differing: Vec<_> =
            others.iter().filter(|v| v.evaluation.predictions[i] != float.evaluation.predictions[i]).collect();
        if !differing.is_empty() {
            let says = |v: &&Variant| format!("{}: {}", title(v.name), escape(name(v.evaluation.predictions[i])));
            let says: Vec<_> = differing.iter().map(says).collect();
            let _ = write!(out, "<small>{}</small>", says.join("<br>"));
        }
        out.push_str("</figure>");
    }
    out.push_str(
        "</div><p class=note>Above: the true class. Below: the float model's three likeliest classes; where another file \
         says something else, it is named.</p></section>",
    );
    Ok(())
}
