//! Making sense of a model's outputs.

use crate::{Array, Error, evaluate};
use ferrolite_model::TensorType;
use ferrolite_runtime::{Interpreter, TensorView};
use serde::Serialize;

/// One class of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Index of the class.
    pub class: usize,
    /// Its name, where there are labels.
    pub label: Option<String>,
    /// The model's score, dequantized.
    pub score: f64,
    /// The score as a probability: itself, or by softmax.
    pub probability: f32,
}

/// What an output holds, in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name: the signature's, or the tensor's.
    pub name: String,
    /// Element type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Least, greatest and mean value, dequantized; `None` where there are no numbers.
    pub range: Option<(f64, f64, f64)>,
    /// Values that are not finite.
    pub not_finite: usize,
    /// The first values, dequantized.
    pub first: Vec<f64>,
    /// The first strings of a string tensor.
    pub strings: Vec<String>,
}

/// How many values a [`Summary`] shows.
const SHOWN: usize = 8;

/// Name of output `i`: the signature's, or else the tensor's.
pub fn name(interpreter: &Interpreter, i: usize) -> String {
    let id = interpreter.outputs().get(i).copied();
    let signature = interpreter.signature().and_then(|s| s.outputs.iter().find(|(_, tensor)| Some(*tensor) == id));
    let of_tensor = || interpreter.output_tensor(i).map(|tensor| tensor.name.to_owned());
    signature.map(|(name, _)| name.clone()).or_else(of_tensor).unwrap_or_default()
}

/// The greatest scores of an output, if it is a classifier's: one score per class, for a single input.
pub fn rank(tensor: &TensorView<'_>, labels: &[String], count: usize) -> Option<Vec<Ranked>> {
    let classes = *tensor.shape.last()?;
    if classes < 2 || tensor.shape.iter().product::<usize>() != classes {
        return None;
    }
    // Detectors and the like number their labels from elsewhere.
    if !labels.is_empty() && labels.len() != classes {
        return None;
    }
    let scores = evaluate::scores(tensor).ok()?;
    let probabilities = evaluate::probabilities(&scores);
    let ranked = evaluate::top(&scores, count).into_iter().map(|class| Ranked {
        class,
        label: labels.get(class).cloned(),
        score: scores[class],
        probability: probabilities[class],
    });
    Some(ranked.collect())
}

/// The short form of output `i` of the last invocation.
pub fn summarize(interpreter: &Interpreter, i: usize) -> Option<Summary> {
    let tensor = interpreter.output_tensor(i)?;
    let values = evaluate::scores(&tensor).unwrap_or_default();
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let range = (!finite.is_empty()).then(|| {
        let min = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let max = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (min, max, finite.iter().sum::<f64>() / finite.len() as f64)
    });
    let strings = match tensor.ty {
        TensorType::String => strings(tensor.bytes).unwrap_or_default(),
        _ => Vec::new(),
    };
    Some(Summary {
        name: name(interpreter, i),
        ty: tensor.ty.to_string(),
        shape: tensor.shape.to_vec(),
        range,
        not_finite: values.len() - finite.len(),
        first: values.into_iter().take(SHOWN).collect(),
        strings,
    })
}

/// Output `i` of the last invocation as it is, not dequantized.
///
/// # Errors
/// When there is no such output.
pub fn to_array(interpreter: &Interpreter, i: usize) -> Result<Array, Error> {
    let missing = || Error::usage(format!("there is no output {i}: the model has {}", interpreter.outputs().len()));
    let tensor = interpreter.output_tensor(i).ok_or_else(missing)?;
    Ok(Array { ty: tensor.ty, shape: tensor.shape.to_vec(), bytes: tensor.bytes.to_vec() })
}

/// A name that is safe as that of a file: letters, digits, `-`, `_` and inner dots of it.
pub fn file_name(name: &str, or: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = name.chars().take(100).map(safe).collect();
    let name = name.trim_matches('.');
    if name.is_empty() { or.to_owned() } else { name.to_owned() }
}

/// The first strings of a string tensor: their number, then where each begins and the last ends, then the text.
fn strings(bytes: &[u8]) -> Option<Vec<String>> {
    let word = |i: usize| Some(i32::from_le_bytes(*bytes.get(4 * i..)?.first_chunk()?) as usize);
    let count = word(0)?.min(SHOWN);
    let string = |i: usize| Some(String::from_utf8_lossy(bytes.get(word(i + 1)?..word(i + 2)?)?).into_owned());
    (0..count).map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrolite_model::Quantization;

    fn view<'a>(shape: &'a [usize], bytes: &'a [u8], q: &'a Quantization) -> TensorView<'a> {
        TensorView { id: 0, name: "scores", ty: TensorType::Int8, shape, quantization: Some(q), bytes }
    }

    #[test]
    fn ranks_dequantized_scores() {
        let q = Quantization::per_tensor(0.5, -2);
        let labels = ["a", "b", "c"].map(str::to_owned);
        let ranked = rank(&view(&[1, 3], &[0, 4, 2], &q), &labels, 2).unwrap();
        assert_eq!((ranked[0].class, ranked[0].label.as_deref(), ranked[0].score), (1, Some("b"), 3.0));
        assert_eq!((ranked[1].class, ranked.len()), (2, 2));
        assert!(ranked[0].probability > ranked[1].probability);
        assert_eq!(rank(&view(&[3, 1], &[0, 4, 2], &q), &[], 2), None);
        assert_eq!(rank(&view(&[1, 3], &[0, 4, 2], &q), &labels[..2], 2), None);
    }

    #[test]
    fn names_become_safe_for_files() {
        assert_eq!(file_name("../a/b:0", "x"), "_a_b_0");
        assert_eq!(file_name("...", "output_1"), "output_1");
        assert_eq!(file_name("StatefulPartitionedCall:0", "x"), "StatefulPartitionedCall_0");
    }

    #[test]
    fn hostile_strings_are_none() {
        assert_eq!(strings(&[1, 0, 0, 0, 12, 0, 0, 0, 14, 0, 0, 0, b'h', b'i']), Some(vec!["hi".to_owned()]));
        assert_eq!(strings(&[255; 16]), None);
        assert_eq!(strings(&[]), None);
    }
}
