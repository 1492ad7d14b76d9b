//! Fitting.

use ferrolite_model::Model;
use ferrolite_runtime::Interpreter;
use ferrolite_train::{
    Activation::*, Dataset, FitOptions, History, Loss, Optimizer, Progress, Rng, Sequential, Targets, TrainError,
    TrainOptions, Trainer,
};
use std::ops::ControlFlow;

/// The course's first exercise: y = 2x − 1 from six points.
const X: [f32; 6] = [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0];
const Y: [f32; 6] = [-3.0, -1.0, 1.0, 3.0, 5.0, 7.0];

fn go_on(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn options(threads: usize) -> TrainOptions {
    TrainOptions { threads, ..TrainOptions::default() }
}

fn line(options: TrainOptions, rate: f64) -> Trainer {
    let model = Sequential::new(&[1]).dense(1, None).build(0).unwrap();
    Trainer::new(model, Loss::MeanSquaredError, Optimizer::sgd(rate), options).unwrap()
}

/// Points in the unit square, labelled by which of three stripes they are in.
fn stripes(n: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut rng = Rng::new(seed, 0);
    let x: Vec<f32> = (0..2 * n).map(|_| rng.uniform(1.0)).collect();
    let y = x.chunks_exact(2).map(|p| ((p[0] + p[1] + 2.0) * 0.75) as u32).collect();
    (x, y)
}

fn classifier(options: TrainOptions) -> Trainer {
    let model = Sequential::new(&[2]).dense(16, Relu).dense(3, None).build(4).unwrap();
    Trainer::new(model, Loss::SparseCategoricalCrossEntropy, Optimizer::adam(0.01), options).unwrap()
}

fn fit_stripes(trainer: &mut Trainer, epochs: usize) -> History {
    let (x, y) = stripes(500, 1);
    let data = Dataset::new(&x, &[2], Targets::Labels(&y)).unwrap();
    // 500 is not a multiple of 32: every epoch ends with a smaller batch.
    trainer.fit(&data, &FitOptions { epochs, ..FitOptions::default() }, &mut go_on).unwrap()
}

#[test]
fn a_line_is_found_by_gradient_descent() {
    let mut trainer = line(options(1), 0.05);
    let data = Dataset::new(&X, &[1], Targets::Values(&Y)).unwrap();
    let fit = FitOptions { epochs: 200, batch_size: 6, ..FitOptions::default() };
    let history = trainer.fit(&data, &fit, &mut go_on).unwrap();
    assert_eq!(history.epochs.len(), 200);
    assert!(history.epochs[199].scores.loss < 1e-4 && history.epochs[0].scores.loss > 0.1);
    let y = trainer.predict(&[10.0, -2.5]).unwrap();
    assert!((y[0] - 19.0).abs() < 0.05 && (y[1] + 6.0).abs() < 0.05, "{y:?}");

    // The exported file says the same.
    let file = trainer.export().to_bytes().unwrap();
    let mut interpreter = Interpreter::new(Model::from_bytes(file).unwrap()).unwrap();
    interpreter.set_input(0, &[10.0f32]).unwrap();
    interpreter.invoke().unwrap();
    assert_eq!(interpreter.output::<f32>(0).unwrap()[0], y[0]);
}

#[test]
fn one_step_is_what_the_formula_says() {
    let mut trainer = line(options(1), 0.1);
    let before = trainer.predict(&[0.0, 1.0]).unwrap();
    let (bias, slope) = (before[0], before[1] - before[0]);
    let data = Dataset::new(&X[..2], &[1], Targets::Values(&Y[..2])).unwrap();
    let history = trainer.fit(&data, &FitOptions::default(), &mut go_on).unwrap();
    let errors = [bias - slope + 3.0, bias + 1.0];
    let loss = (errors[0] * errors[0] + errors[1] * errors[1]) / 2.0;
    assert!((history.epochs[0].scores.loss - loss).abs() < 1e-5);
    let mae = (errors[0].abs() + errors[1].abs()) / 2.0;
    assert!((history.epochs[0].scores.mean_absolute_error.unwrap() - mae).abs() < 1e-5);
    let after = trainer.predict(&[0.0, 1.0]).unwrap();
    let (new_bias, new_slope) = (after[0], after[1] - after[0]);
    assert!((new_bias - (bias - 0.1 * (errors[0] + errors[1]))).abs() < 1e-5);
    assert!((new_slope - (slope + 0.1 * errors[0])).abs() < 1e-5);
}

#[test]
fn a_small_classifier_learns() {
    let mut trainer = classifier(options(2));
    let (x, y) = stripes(300, 2);
    let test = Dataset::new(&x, &[2], Targets::Labels(&y)).unwrap();
    let before = trainer.evaluate(&test).unwrap();
    fit_stripes(&mut trainer, 20);
    let after = trainer.evaluate(&test).unwrap();
    assert!(after.accuracy.unwrap() > 0.93 && after.loss < before.loss / 3.0, "{before:?} {after:?}");
    let outputs = trainer.predict(&x).unwrap();
    let right = outputs.chunks_exact(3).zip(&y).filter(|(row, label)| {
        row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|best| best.0 as u32) == Some(**label)
    });
    assert_eq!(right.count() as f32 / 300.0, after.accuracy.unwrap());
}

#[test]
fn results_follow_from_the_seed_and_not_from_the_threads() {
    let run = |threads, seed| {
        let mut trainer = classifier(TrainOptions { threads, shards: 2, seed, ..TrainOptions::default() });
        fit_stripes(&mut trainer, 2);
        trainer.export()
    };
    let first = run(2, 1);
    assert!(first == run(2, 1) && first == run(1, 1));
    assert!(first != run(2, 2));
}

#[test]
fn shards_change_no_more_than_the_last_digits() {
    let run = |shards| {
        let mut trainer = classifier(TrainOptions { threads: 1, shards, ..TrainOptions::default() });
        fit_stripes(&mut trainer, 1);
        trainer.predict(&[0.3, -0.2]).unwrap()
    };
    let (one, three) = (run(1), run(3));
    assert!(one.iter().zip(&three).all(|(a, b)| (a - b).abs() < 1e-4), "{one:?} {three:?}");
}

#[test]
fn softmax_is_trained_through_its_logits() {
    let fit = |network: Sequential| {
        let options = TrainOptions { threads: 1, ..TrainOptions::default() };
        let model = network.build(4).unwrap();
        let mut trainer =
            Trainer::new(model, Loss::SparseCategoricalCrossEntropy, Optimizer::default(), options).unwrap();
        let history = fit_stripes(&mut trainer, 1);
        (history.epochs[0].scores, trainer.predict(&[0.5, 0.5]).unwrap())
    };
    let (plain, logits) = fit(Sequential::new(&[2]).dense(3, None));
    let (with_softmax, probabilities) = fit(Sequential::new(&[2]).dense(3, None).softmax());
    assert_eq!(plain, with_softmax);
    let sum: f32 = logits.iter().map(|x| x.exp()).sum();
    assert!(probabilities.iter().zip(&logits).all(|(p, x)| (p - x.exp() / sum).abs() < 1e-5));
}

#[test]
fn frozen_parameters_stay() {
    let frozen = vec!["dense/".to_owned()];
    let mut trainer = classifier(TrainOptions { threads: 1, frozen, ..TrainOptions::default() });
    let names: Vec<&str> = trainer.trained().map(|t| t.0).collect();
    assert_eq!(names, ["dense_1/kernel", "dense_1/bias"]);
    let before = trainer.export();
    fit_stripes(&mut trainer, 1);
    let after = trainer.export();
    for (id, tensor) in before.subgraphs[0].tensors.iter().enumerate().filter(|(_, t)| t.buffer != 0) {
        let same = before.constant(tensor) == after.constant(&after.subgraphs[0].tensors[id]);
        assert_eq!(same, tensor.name().starts_with("dense/"), "{}", tensor.name());
    }
}

#[test]
fn progress_counts_and_break_stops() {
    let mut trainer = classifier(options(1));
    let (x, y) = stripes(100, 1);
    let data = Dataset::new(&x, &[2], Targets::Labels(&y)).unwrap();
    let options = FitOptions { epochs: 5, validation: Some(data), ..FitOptions::default() };
    let mut seen = Vec::new();
    let history = trainer.fit(&data, &options, &mut |progress| match progress {
        Progress::Batch(b) => {
            assert_eq!((b.batches, b.epochs), (4, 5));
            assert!(b.samples_per_second > 0.0 && b.scores.accuracy.is_some());
            seen.push((b.epoch, b.batch));
            if b.epoch == 2 && b.batch == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Progress::Epoch(e) => {
            assert!(e.validation.unwrap().accuracy.is_some());
            ControlFlow::Continue(())
        }
    });
    let history = history.unwrap();
    assert_eq!(seen, [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3)]);
    assert!(history.stopped && history.epochs.len() == 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    let trainer = classifier(options(1));
    let (x, y) = stripes(4, 1);
    assert!(Dataset::new(&x, &[3], Targets::Labels(&y)).is_err());
    assert!(Dataset::new(&x, &[2], Targets::Labels(&y[..3])).is_err());
    assert!(Dataset::new(&[], &[2], Targets::Labels(&[])).is_err());
    let refused = |data: Dataset<'_>| trainer.evaluate(&data).unwrap_err().to_string();
    let wrong = [0, 1, 2, 3];
    let message = refused(Dataset::new(&x, &[2], Targets::Labels(&wrong)).unwrap());
    assert!(message.contains("label 3 of sample 3"), "{message}");
    refused(Dataset::new(&x, &[2], Targets::Values(&x)).unwrap());
    refused(Dataset::new(&x, &[4], Targets::Labels(&y[..2])).unwrap());
    assert!(trainer.predict(&[1.0]).is_err());

    let nothing = Sequential::new(&[3]).softmax().build(0).unwrap();
    let loss = Loss::SparseCategoricalCrossEntropy;
    let error = Trainer::new(nothing, loss, Optimizer::default(), TrainOptions::default()).err().unwrap();
    assert!(error.to_string().contains("no float weights"), "{error}");
}

#[test]
fn divergence_is_an_error() {
    let mut trainer = line(options(1), 1e20);
    let data = Dataset::new(&X, &[1], Targets::Values(&Y)).unwrap();
    let error = trainer.fit(&data, &FitOptions { epochs: 50, ..FitOptions::default() }, &mut go_on).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}
