//! Tests of the trainer as a user sees it.

mod autodiff;
mod fit;
mod gradients;
mod network;

use ferrolite_model::{Model, TensorId, TensorType};
use ferrolite_ops::Catalog;
use ferrolite_runtime::{Interpreter, Options};
use ferrolite_train::{Rng, differentiate, remove_dead_nodes};

/// Options with a catalogue.
fn options(catalog: &Catalog) -> Options {
    Options { catalog: catalog.clone(), ..Options::default() }
}

/// Compares the gradients of all float inputs with central differences of Σ seed · output at random points, and panics
/// where they differ.
fn assert_gradients(model: &Model, catalog: &Catalog) {
    let graph = &model.subgraphs[0];
    let output = graph.outputs[0];
    let wrt: Vec<TensorId> =
        graph.inputs.iter().copied().filter(|&id| graph.tensors[id].ty == TensorType::Float32).collect();

    let mut extended = model.clone();
    let seed = extended.subgraphs[0].tensors.len();
    let mut tensor = extended.subgraphs[0].tensors[output].clone();
    tensor.name = Some("seed".into());
    extended.subgraphs[0].tensors.push(tensor);
    let gradients = differentiate(&mut extended, 0, &[(output, seed)], &wrt, catalog).unwrap();
    let graph = &mut extended.subgraphs[0];
    graph.inputs.push(seed);
    graph.outputs = gradients.iter().map(|g| g.expect("depends on every input")).collect();
    remove_dead_nodes(graph);
    ferrolite_model::verify(&extended).unwrap();

    let mut forward = Interpreter::with_options(model.clone(), options(catalog)).unwrap();
    let mut backward = Interpreter::with_options(extended, options(catalog)).unwrap();
    let mut rng = Rng::new(7, 7);
    // Values on a coarse grid with random offsets: no two are so near that a difference moves one past the other
    // (ReLU at 0, ties of MAX_POOL).
    let mut values: Vec<Vec<f32>> = Vec::new();
    for i in 0..forward.inputs().len() {
        let n = forward.input_mut::<f32>(i).unwrap().len();
        let mut grid: Vec<f32> = (0..n).map(|j| (j as f32 + 0.5 - n as f32 / 2.0) * 2.0 / n.max(8) as f32).collect();
        rng.shuffle(&mut grid);
        forward.set_input(i, &grid).unwrap();
        backward.set_input(i, &grid).unwrap();
        values.push(grid);
    }
    let seeds: Vec<f32> = (0..forward.output::<f32>(0).unwrap().len()).map(|_| rng.uniform(1.0)).collect();
    backward.set_input(wrt.len(), &seeds).unwrap();
    backward.invoke().unwrap();
    let mut objective = |i: usize, values: &[f32]| -> f64 {
        forward.set_input(i, values).unwrap();
        forward.invoke().unwrap();
        let output = forward.output::<f32>(0).unwrap();
        output.iter().zip(&seeds).map(|(&y, &s)| f64::from(y) * f64::from(s)).sum()
    };
    for (i, values) in values.iter().enumerate() {
        let gradient = backward.output::<f32>(i).unwrap();
        let scale = gradient.iter().fold(0.1f32, |m, g| m.max(g.abs()));
        for j in 0..values.len() {
            let step = 1e-3;
            let mut moved = values.clone();
            moved[j] = values[j] + step;
            let up = objective(i, &moved);
            moved[j] = values[j] - step;
            let down = objective(i, &moved);
            let expected = ((up - down) / f64::from(2.0 * step)) as f32;
            let given = gradient[j];
            assert!((given - expected).abs() < 0.02 * scale, "input {i}, element {j}: {given} is not {expected}");
        }
        objective(i, values);
    }
}
