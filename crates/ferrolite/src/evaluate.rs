//! Judging a classifier.

use crate::bench::Statistics;
use crate::datasets::Images;
use crate::{Error, array};
use ferrolite_model::{Model, Quantization};
use ferrolite_runtime::{Interpreter, Options, TensorView};
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// How a classifier did on labelled images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Part of the images that were classified rightly, 0..1.
    pub accuracy: f64,
    /// `confusion[true class][predicted class]`: number of images.
    pub confusion: Vec<Vec<u32>>,
    /// Predicted class of each image.
    pub predictions: Vec<usize>,
    /// Probability of each class of each image, image after image.
    pub probabilities: Vec<f32>,
    /// Number of classes.
    pub classes: usize,
    /// Times of single images.
    pub latency_us: Statistics,
    /// Peak memory of computed tensors and scratch.
    pub arena_bytes: usize,
}

impl Evaluation {
    /// Part of the images that two classifiers put in the same class.
    pub fn agreement(&self, other: &Evaluation) -> f64 {
        let same = self.predictions.iter().zip(&other.predictions).filter(|(a, b)| a == b).count();
        same as f64 / self.predictions.len().max(1) as f64
    }

    /// Part of a class's images that were classified rightly; `None` when there is none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        let row = self.confusion.get(class)?;
        let all: u32 = row.iter().sum();
        (all > 0).then(|| f64::from(row[class]) / f64::from(all))
    }

    /// Part of the images put in a class that belong there; `None` when there is none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let all: u32 = self.confusion.iter().map(|row| row.get(class).copied().unwrap_or(0)).sum();
        (all > 0).then(|| f64::from(self.confusion[class][class]) / f64::from(all))
    }

    /// The probabilities of image `i`.
    pub fn probabilities_of(&self, i: usize) -> &[f32] {
        &self.probabilities[i * self.classes..][..self.classes]
    }
}

/// Runs a classifier over images, one by one. The model takes one grey image, scaled to 0..1, as floats or quantized;
/// its output is one score per class: probabilities, or logits that softmax turns into them.
///
/// `progress` hears how many images are done and may stop it.
///
/// # Errors
/// When the model does not take such images, or was stopped.
pub fn classify(
    model: impl Into<Arc<Model>>,
    images: &Images,
    options: Options,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Evaluation, Error> {
    let mut interpreter = Interpreter::with_options(model, options)?;
    let takes = interpreter.input_tensor(0).map_or(0, |tensor| tensor.shape.iter().product());
    let gives = interpreter.output_tensor(0).map_or(0, |tensor| tensor.shape.iter().product());
    if takes != images.size() || gives < 2 || interpreter.inputs().len() != 1 {
        let problem = format!("the model takes {takes} values and gives {gives} scores, images have {}", images.size());
        return Err(Error::usage(problem));
    }
    // Every byte has one value in the input's type.
    let table = input_bytes(&interpreter)?;
    let mut result = Evaluation {
        accuracy: 0.0,
        confusion: vec![vec![0; gives]; gives],
        predictions: Vec::with_capacity(images.len()),
        probabilities: Vec::with_capacity(images.len() * gives),
        classes: gives,
        latency_us: Statistics::default(),
        arena_bytes: interpreter.arena_bytes(),
    };
    let mut times = Vec::with_capacity(images.len());
    for (i, &label) in images.labels.iter().enumerate() {
        let input = interpreter.input_bytes_mut(0)?;
        let width = input.len() / images.size();
        for (element, &pixel) in input.chunks_exact_mut(width).zip(images.image(i)) {
            element.copy_from_slice(&table[usize::from(pixel)][..width]);
        }
        let start = Instant::now();
        interpreter.invoke()?;
        times.push(start.elapsed());
        let tensor = interpreter.output_tensor(0).ok_or_else(|| Error::usage("the model has no output"))?;
        let scores = scores(&tensor)?;
        let predicted = best(&scores);
        result.predictions.push(predicted);
        result.probabilities.extend(probabilities(&scores));
        match result.confusion.get_mut(usize::from(label)) {
            Some(row) => row[predicted] += 1,
            None => return Err(Error::usage(format!("class {label} of image {i} is not one of the model's {gives}"))),
        }
        if i % 64 == 63 && progress(i + 1).is_break() {
            return Err(Error::Interrupted);
        }
    }
    let right: u32 = (0..gives).map(|class| result.confusion[class][class]).sum();
    result.accuracy = f64::from(right) / images.len().max(1) as f64;
    result.latency_us = Statistics::of(&times);
    Ok(result)
}

/// The bytes of each grey value, scaled to 0..1, in the type of the only input.
fn input_bytes(interpreter: &Interpreter) -> Result<Vec<Vec<u8>>, Error> {
    let tensor = interpreter.input_tensor(0).ok_or_else(|| Error::usage("the model has no input"))?;
    let quantization = tensor.quantization.and_then(Quantization::as_per_tensor).filter(|_| !tensor.ty.is_float());
    let value = |grey: u8| {
        let real = f32::from(grey) / 255.0;
        match quantization {
            Some((scale, zero_point)) => f64::from((real / scale).round()) + zero_point as f64,
            None => f64::from(real),
        }
    };
    let refused = || Error::usage(format!("an input of {} does not take images", tensor.ty));
    (0..=255).map(|grey| array::from_f64(tensor.ty, &[value(grey)]).ok_or_else(refused)).collect()
}

/// A tensor's values as real numbers, dequantized where it is quantized.
///
/// # Errors
/// When the type has no real numbers.
pub fn scores(tensor: &TensorView<'_>) -> Result<Vec<f64>, Error> {
    let refused = || Error::usage(format!("output {:?} of {} holds no real numbers", tensor.name, tensor.ty));
    let mut values = array::to_f64(tensor.ty, tensor.bytes).ok_or_else(refused)?;
    let quantization = tensor.quantization.filter(|_| !tensor.ty.is_float());
    if let Some((scale, zero_point)) = quantization.and_then(Quantization::as_per_tensor) {
        values.iter_mut().for_each(|v| *v = (*v - zero_point as f64) * f64::from(scale));
    }
    Ok(values)
}

/// Index of the greatest score; the first of several, 0 without any.
pub fn best(scores: &[f64]) -> usize {
    let better = |best: usize, i: usize| if scores[i] > scores[best] { i } else { best };
    (0..scores.len()).fold(0, better)
}

/// Indices of the `count` greatest scores, greatest first.
pub fn top(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(count);
    order
}

/// Whether scores already are probabilities: none negative, and their sum 1 up to coarse quantization.
pub fn are_probabilities(scores: &[f64]) -> bool {
    scores.iter().all(|v| (-1e-6..=1.0001).contains(v)) && (scores.iter().sum::<f64>() - 1.0).abs() < 0.05
}

/// Probabilities from scores: themselves where they are, softmax otherwise.
pub fn probabilities(scores: &[f64]) -> Vec<f32> {
    if are_probabilities(scores) {
        return scores.iter().map(|&v| v as f32).collect();
    }
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|v| (v - greatest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_probabilities_and_probabilities_stay() {
        let p = probabilities(&[0.0, f64::ln(3.0)]);
        assert!((p[0] - 0.25).abs() < 1e-6 && (p[1] - 0.75).abs() < 1e-6);
        assert_eq!(probabilities(&[0.2, 0.8]), [0.2, 0.8]);
        assert_eq!(top(&[0.1, 0.7, 0.2], 2), [1, 2]);
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn rates_of_a_known_confusion() {
        let e = Evaluation {
            accuracy: 0.0,
            confusion: vec![vec![3, 1, 0], vec![0, 2, 0], vec![0, 0, 0]],
            predictions: vec![0, 1, 2, 0],
            probabilities: vec![],
            classes: 3,
            latency_us: Statistics::default(),
            arena_bytes: 0,
        };
        assert_eq!((e.recall(0), e.recall(1), e.recall(2)), (Some(0.75), Some(1.0), None));
        assert_eq!((e.precision(1), e.precision(2)), (Some(2.0 / 3.0), None));
        assert_eq!(e.agreement(&Evaluation { predictions: vec![0, 1, 1, 1], ..e.clone() }), 0.5);
    }
}
