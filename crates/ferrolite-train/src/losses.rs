//! Losses.
//!
//! A loss is one custom node with two outputs, the loss of every sample and the gradient of the model's output, so that
//! forward, loss and backward are one graph and one plan. The two come out of the same numbers (softmax and
//! cross-entropy share their exponentials), which separate builtin nodes would compute twice and less stably.

use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, Node, Tensor, TensorId, TensorType};
use ferrolite_ops::op::{InferResult, Inferred, reference};
use ferrolite_ops::{Catalog, Kernel, NodeView, OpDef, OpError, OpId, ensure};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// What training minimises: the mean over all samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Classes as integer labels; the model's output is one logit per class. A model that ends in SOFTMAX is trained on
    /// the softmax's input, which is the same and keeps its digits.
    SparseCategoricalCrossEntropy,
    /// Mean over the output's elements of the squared difference from the target.
    MeanSquaredError,
}

impl Loss {
    /// Whether targets are class labels (and else float values).
    pub fn takes_labels(self) -> bool {
        self == Loss::SparseCategoricalCrossEntropy
    }

    fn op(self) -> &'static str {
        match self {
            Loss::SparseCategoricalCrossEntropy => SparseCategoricalCrossEntropy::NAME,
            Loss::MeanSquaredError => MeanSquaredError::NAME,
        }
    }

    /// The tensor whose gradient the loss gives: the output of the subgraph, or the logits behind its SOFTMAX.
    pub(crate) fn predictions(self, model: &Model, output: TensorId) -> TensorId {
        let nodes = &model.subgraphs[0].nodes;
        let producer = nodes.iter().find(|node| node.outputs.contains(&output));
        match producer {
            Some(node) if self.takes_labels() && model.operator(node).builtin == BuiltinOperator::SOFTMAX => {
                let beta = node.options.as_softmax_options().map_or(1.0, |o| o.beta);
                node.inputs.first().copied().flatten().filter(|_| beta == 1.0).unwrap_or(output)
            }
            _ => output,
        }
    }

    /// Loss of one sample, and where wanted its gradient times `scale`.
    ///
    /// # Errors
    /// When a label names no class.
    pub(crate) fn sample(
        self,
        predicted: &[f32],
        target: Target<'_>,
        gradient: Option<(&mut [f32], f32)>,
    ) -> Result<f32, OpError> {
        match target {
            Target::Label(label) => cross_entropy(predicted, label, gradient),
            Target::Values(values) => Ok(squared_error(predicted, values, gradient)),
        }
    }

    /// Appends the loss node to subgraph 0, whose shapes must be the true ones. Its inputs are `predictions`, new tensors
    /// for targets (int32 labels, or floats like the predictions) and for the factor of all gradients (1 / samples of the
    /// whole batch).
    pub(crate) fn emit(self, model: &mut Model, predictions: TensorId) -> LossNode {
        let shape = model.subgraphs[0].tensors[predictions].shape.clone();
        let rows = &shape[..shape.len().saturating_sub(1)];
        let (ty, target_shape) =
            if self.takes_labels() { (TensorType::Int32, rows) } else { (TensorType::Float32, &shape[..]) };
        let samples = &shape[..shape.len().min(1)];
        let losses_shape = if self.takes_labels() { rows } else { samples };
        let opcode = model.custom_operator_index(self.op(), 1);
        let graph = &mut model.subgraphs[0];
        let mut add = |name: &str, ty: TensorType, shape: &[i32]| {
            graph.tensors.push(Tensor::new(name, ty, shape));
            graph.tensors.len() - 1
        };
        let targets = add("loss/targets", ty, target_shape);
        let scale = add("loss/scale", TensorType::Float32, &[1]);
        let losses = add("loss", TensorType::Float32, losses_shape);
        let gradient = add("loss/gradient", TensorType::Float32, &shape);
        let inputs = vec![Some(predictions), Some(targets), Some(scale)];
        graph.nodes.push(Node::new(opcode, inputs, vec![losses, gradient], BuiltinOptions::NONE));
        LossNode { targets, scale, losses, gradient }
    }
}

/// Tensors of a loss node.
pub(crate) struct LossNode {
    pub(crate) targets: TensorId,
    pub(crate) scale: TensorId,
    pub(crate) losses: TensorId,
    pub(crate) gradient: TensorId,
}

/// Target of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Label(i32),
    Values(&'a [f32]),
}

/// −log softmax(logits)\[label\]; its gradient is softmax(logits) − one-hot(label).
fn cross_entropy(logits: &[f32], label: i32, gradient: Option<(&mut [f32], f32)>) -> Result<f32, OpError> {
    let at = usize::try_from(label).ok().filter(|&at| at < logits.len());
    let Some(at) = at else {
        return Err(OpError::invalid(format!("label {label} is not one of {} classes", logits.len())));
    };
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|&x| (x - max).exp()).sum();
    if let Some((gradient, scale)) = gradient {
        for (g, &x) in gradient.iter_mut().zip(logits) {
            *g = (x - max).exp() / sum * scale;
        }
        gradient[at] -= scale;
    }
    Ok(sum.ln() - (logits[at] - max))
}

/// mean((predicted − target)²); its gradient is 2 (predicted − target) / elements.
fn squared_error(predicted: &[f32], target: &[f32], gradient: Option<(&mut [f32], f32)>) -> f32 {
    let n = predicted.len().max(1) as f32;
    if let Some((gradient, scale)) = gradient {
        for ((g, &p), &t) in gradient.iter_mut().zip(predicted).zip(target) {
            *g = 2.0 * (p - t) / n * scale;
        }
    }
    predicted.iter().zip(target).map(|(&p, &t)| (p - t) * (p - t)).sum::<f32>() / n
}

/// The operators of the losses.
pub(crate) fn with_losses(catalog: Catalog) -> Catalog {
    catalog.with(SparseCategoricalCrossEntropy).with(MeanSquaredError)
}

/// (logits \[…, classes\], int32 labels \[…\], scale \[1\]) → (losses \[…\], scale · gradient of the logits).
struct SparseCategoricalCrossEntropy;

impl SparseCategoricalCrossEntropy {
    const NAME: &str = "FerroliteSparseCategoricalCrossEntropy";
}

impl OpDef for SparseCategoricalCrossEntropy {
    fn id(&self) -> OpId {
        OpId::Custom(Self::NAME)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let logits = check(node, TensorType::Int32)?;
        ensure!(!logits.is_empty(), "the logits are a scalar");
        let rows = &logits[..logits.len() - 1];
        ensure!(node.input(1)?.shape[..] == *rows, "the labels do not have shape {rows:?}");
        let losses = Inferred::new(TensorType::Float32, rows.iter().copied());
        Ok(smallvec![losses, Inferred::new(TensorType::Float32, logits.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let classes = node.input(0)?.shape.last().copied().unwrap_or(0);
        ensure!(classes > 0, "there are no classes");
        reference(move |io| {
            let (logits, labels) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<i32>()?);
            let scale = io.input(2)?.slice::<f32>()?[0];
            let [losses, gradient] = &mut io.outputs[..] else { return Err(OpError::invalid("has not two outputs")) };
            let (losses, gradient) = (losses.slice::<f32>()?, gradient.slice::<f32>()?);
            let rows = logits.chunks_exact(classes).zip(gradient.chunks_exact_mut(classes));
            for (((logits, gradient), &label), loss) in rows.zip(labels).zip(losses) {
                *loss = cross_entropy(logits, label, Some((gradient, scale)))?;
            }
            Ok(())
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }
}

/// (predictions, targets, scale \[1\]) → (losses \[samples\], scale · gradient of the predictions).
struct MeanSquaredError;

impl MeanSquaredError {
    const NAME: &str = "FerroliteMeanSquaredError";
}

impl OpDef for MeanSquaredError {
    fn id(&self) -> OpId {
        OpId::Custom(Self::NAME)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        let predictions = check(node, TensorType::Float32)?;
        ensure!(node.input(1)?.shape[..] == *predictions, "predictions and targets have different shapes");
        let samples = predictions.first().copied();
        let losses = Inferred::new(TensorType::Float32, samples);
        Ok(smallvec![losses, Inferred::new(TensorType::Float32, predictions.iter().copied())])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let features: usize = node.input(0)?.shape.iter().skip(1).product();
        ensure!(features > 0, "there are no features");
        reference(move |io| {
            let (predictions, targets) = (io.input(0)?.slice::<f32>()?, io.input(1)?.slice::<f32>()?);
            let scale = io.input(2)?.slice::<f32>()?[0];
            let [losses, gradient] = &mut io.outputs[..] else { return Err(OpError::invalid("has not two outputs")) };
            let (losses, gradient) = (losses.slice::<f32>()?, gradient.slice::<f32>()?);
            let rows = predictions.chunks_exact(features).zip(gradient.chunks_exact_mut(features));
            for (((predicted, gradient), target), loss) in rows.zip(targets.chunks_exact(features)).zip(losses) {
                *loss = squared_error(predicted, target, Some((gradient, scale)));
            }
            Ok(())
        })
    }

    fn is_foldable(&self) -> bool {
        false
    }
}

/// Checks what both losses have in common and returns the shape of the predictions.
fn check<'a>(node: &'a NodeView<'_>, targets: TensorType) -> Result<&'a [usize], OpError> {
    node.expect(3..=3, 2)?;
    for (i, ty) in [TensorType::Float32, targets, TensorType::Float32].into_iter().enumerate() {
        let given = node.input(i)?.ty;
        if given != ty {
            return Err(OpError::unsupported(format!("input {i} of type {given}, which has to be {ty}")));
        }
    }
    ensure!(node.input(2)?.elements() == 1, "the scale is not one number");
    Ok(&node.input(0)?.shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_is_what_the_formula_says_and_survives_large_logits() {
        let mut gradient = [0.0; 3];
        let loss = cross_entropy(&[1.0, 2.0, 3.0], 2, Some((&mut gradient, 0.5))).unwrap();
        assert!((loss - 0.407_606).abs() < 1e-6);
        let expected = [0.045_015, 0.122_364, -0.167_379];
        assert!(gradient.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{gradient:?}");
        let loss = cross_entropy(&[1000.0, 0.0], 1, None).unwrap();
        assert_eq!(loss, 1000.0);
        assert!(cross_entropy(&[0.0, 0.0], 2, None).is_err());
        assert!(cross_entropy(&[0.0, 0.0], -1, None).is_err());
    }

    #[test]
    fn squared_error_is_a_mean_over_elements() {
        let mut gradient = [0.0; 2];
        assert_eq!(squared_error(&[1.0, 5.0], &[0.0, 2.0], Some((&mut gradient, 1.0))), 5.0);
        assert_eq!(gradient, [1.0, 3.0]);
    }
}
