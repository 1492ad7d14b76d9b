//! Trains a small classifier, quantizes it to int8 and compares the two:
//! `cargo run --release -p ferrolite --example train_and_quantize`

use ferrolite::quantize::{self, Mode};
use ferrolite::train::{Activation, Dataset, FitOptions, Loss, Optimizer, Sequential, TrainOptions, Trainer};
use ferrolite::{Array, Error, Interpreter, Model, evaluate, inputs::Rng};
use std::ops::ControlFlow;

/// Points of the square, and whether each is inside the circle of half its area.
fn points(count: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut rng = Rng::new(seed);
    let x: Vec<f32> = (0..2 * count).map(|_| (rng.unit() * 2.0 - 1.0) as f32).collect();
    let inside = |p: &[f32]| u32::from(p[0] * p[0] + p[1] * p[1] < 2.0 / std::f32::consts::PI);
    let y = x.chunks_exact(2).map(inside).collect();
    (x, y)
}

fn accuracy(model: &Model, x: &[f32], y: &[u32]) -> Result<f64, Error> {
    let mut interpreter = Interpreter::new(model.clone())?;
    let mut right = 0;
    for (point, &label) in x.chunks_exact(2).zip(y) {
        interpreter.set_input(0, point)?;
        interpreter.invoke()?;
        let scores: Vec<f64> = interpreter.output::<f32>(0)?.iter().map(|&v| v.into()).collect();
        right += usize::from(evaluate::best(&scores) == label as usize);
    }
    Ok(right as f64 / y.len() as f64)
}

fn main() -> Result<(), Error> {
    let (x, y) = points(4000, 1);
    let network = Sequential::new(&[2]).dense(64, Activation::Relu).dense(64, Activation::Relu);
    let network = network.dense(2, Activation::None).build(1)?;
    let options = TrainOptions::default();
    let mut trainer = Trainer::new(network, Loss::SparseCategoricalCrossEntropy, Optimizer::adam(0.01), options)?;
    let fit = FitOptions { epochs: 10, ..FitOptions::default() };
    trainer.fit(&Dataset::new(&x, &[2], (&y[..]).into())?, &fit, &mut |_| ControlFlow::Continue(()))?;
    let float = trainer.export();

    // Two hundred samples are enough to see which values occur.
    let samples = Array::from_f32(&[200, 2], &x[..400]);
    let samples = ferrolite::samples::Samples::from_arrays(&float, &[samples])?;
    let calibration = quantize::calibrate(&float, &samples, quantize::Method::MinMax, 1, &mut |_, _| {})?;
    let int8 = quantize::quantize(&float, &quantize::Options::new(Mode::Int8), Some(&calibration))?;

    let (x, y) = points(1000, 2);
    for (name, model) in [("float", &float), ("int8", &int8)] {
        let bytes = model.to_bytes()?.len();
        println!("{name:>5}: {bytes:>6} bytes, accuracy {:.1} %", 100.0 * accuracy(model, &x, &y)?);
    }
    Ok(())
}
