//! The training graph of one batch size: forward, loss and backward in one plan.

use crate::autodiff::{differentiate, remove_dead_nodes};
use crate::losses::{LossNode, with_losses};
use crate::parameters::Parameter;
use crate::{Loss, TrainError};
use ferrolite_model::{Model, TensorId};
use ferrolite_runtime::{Interpreter, Options, Profile};

/// What a training graph is made from.
pub(crate) struct Recipe<'a> {
    /// The model as it is used, its parameters being constants.
    pub(crate) model: &'a Model,
    pub(crate) loss: Loss,
    pub(crate) parameters: &'a [Parameter],
    pub(crate) options: &'a Options,
}

/// A planned training graph. Inputs: samples, targets, gradient scale, then the parameters; outputs: losses,
/// predictions, then the parameters' gradients.
pub(crate) struct Step {
    interpreter: Interpreter,
}

const SAMPLES: usize = 0;
const TARGETS: usize = 1;
const SCALE: usize = 2;
const PARAMETERS: usize = 3;
const LOSSES: usize = 0;
const PREDICTIONS: usize = 1;
const GRADIENTS: usize = 2;

impl Step {
    /// Builds the graph for batches of `batch` samples and plans it.
    pub(crate) fn new(recipe: &Recipe<'_>, batch: usize) -> Result<Step, TrainError> {
        let (model, gradients) = training_model(recipe, batch)?;
        if let Some(i) = gradients.iter().position(Option::is_none) {
            let tensor = &model.subgraphs[0].tensors[recipe.parameters[i].tensor];
            return Err(TrainError::usage(format!("the output does not depend on {:?}", tensor.name())));
        }
        let options = Options { catalog: with_losses(recipe.options.catalog.clone()), ..recipe.options.clone() };
        Ok(Step { interpreter: Interpreter::with_options(model, options)? })
    }

    pub(crate) fn samples(&mut self) -> Result<&mut [f32], TrainError> {
        Ok(self.interpreter.input_mut(SAMPLES)?)
    }

    pub(crate) fn labels(&mut self) -> Result<&mut [i32], TrainError> {
        Ok(self.interpreter.input_mut(TARGETS)?)
    }

    pub(crate) fn targets(&mut self) -> Result<&mut [f32], TrainError> {
        Ok(self.interpreter.input_mut(TARGETS)?)
    }

    pub(crate) fn set_scale(&mut self, scale: f32) -> Result<(), TrainError> {
        Ok(self.interpreter.set_input(SCALE, &[scale])?)
    }

    pub(crate) fn parameter(&mut self, i: usize) -> Result<&mut [f32], TrainError> {
        Ok(self.interpreter.input_mut(PARAMETERS + i)?)
    }

    pub(crate) fn run(&mut self) -> Result<(), TrainError> {
        Ok(self.interpreter.invoke()?)
    }

    pub(crate) fn losses(&self) -> Result<&[f32], TrainError> {
        Ok(self.interpreter.output(LOSSES)?)
    }

    pub(crate) fn predictions(&self) -> Result<&[f32], TrainError> {
        Ok(self.interpreter.output(PREDICTIONS)?)
    }

    pub(crate) fn gradient(&self, i: usize) -> Result<&[f32], TrainError> {
        Ok(self.interpreter.output(GRADIENTS + i)?)
    }

    pub(crate) fn set_profiling(&mut self, on: bool) {
        self.interpreter.set_profiling(on);
    }

    pub(crate) fn profile(&self) -> Profile {
        self.interpreter.profile()
    }

    /// Dimensions of the predictions.
    pub(crate) fn predictions_rank(&self) -> usize {
        self.interpreter.output_tensor(PREDICTIONS).map_or(0, |t| t.shape.len())
    }
}

/// The model with parameters as inputs, loss node and gradients; and the gradients' tensors.
fn training_model(recipe: &Recipe<'_>, batch: usize) -> Result<(Model, Vec<Option<TensorId>>), TrainError> {
    let mut model = with_batch(recipe.model, batch, recipe.options)?;
    model.subgraphs.truncate(1);
    model.signatures.clear();
    model.metadata.clear();
    let parameters: Vec<TensorId> = recipe.parameters.iter().map(|p| p.tensor).collect();
    for &id in &parameters {
        model.subgraphs[0].tensors[id].buffer = 0;
    }
    let output = model.subgraphs[0].outputs[0];
    let predictions = recipe.loss.predictions(&model, output);
    let LossNode { targets, scale, losses, gradient } = recipe.loss.emit(&mut model, predictions);
    let seeds = [(predictions, gradient)];
    let gradients = differentiate(&mut model, 0, &seeds, &parameters, &recipe.options.catalog)?;
    let graph = &mut model.subgraphs[0];
    graph.inputs = [graph.inputs[0], targets, scale].into_iter().chain(parameters).collect();
    graph.outputs = [losses, predictions].into_iter().chain(gradients.iter().copied().flatten()).collect();
    remove_dead_nodes(graph);
    Ok((model, gradients))
}

/// The model with all shapes written down for a batch size.
fn with_batch(model: &Model, batch: usize, options: &Options) -> Result<Model, TrainError> {
    let mut planned = Interpreter::with_options(model.clone(), Options { threads: 1, ..options.clone() })?;
    let mut shape = planned.input_tensor(0).map(|t| t.shape.to_vec()).unwrap_or_default();
    match shape.first_mut() {
        Some(first) => *first = batch,
        None => return Err(TrainError::usage("the input has no batch dimension")),
    }
    planned.resize_input(0, &shape)?;
    let mut model = model.clone();
    for (id, tensor) in model.subgraphs[0].tensors.iter_mut().enumerate() {
        tensor.shape_signature.clear();
        if let Some(view) = planned.tensor(id) {
            let dims = view.shape.iter().map(|&d| i32::try_from(d));
            tensor.shape = dims.collect::<Result<_, _>>().map_err(|_| TrainError::usage("a dimension is too large"))?;
        }
    }
    Ok(model)
}
