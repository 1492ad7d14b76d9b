//! Real networks: those whose operators are covered plan and run, and fast kernels agree with the reference.

use crate::inputs;
use ferrolite_model::{Model, TensorType};
use ferrolite_ops::{OpError, copy_elements};
use ferrolite_runtime::{Interpreter, Options, RuntimeError};
use std::sync::Arc;

/// Networks with more multiply-accumulates than this are run by fast kernels only: the reference would take minutes.
const REFERENCE_MACS: u64 = 20_000_000;

#[test]
fn covered_models_run_and_fast_kernels_agree() {
    let Some(zoo) = ferrolite_testkit::zoo("zoo") else { return };
    let (mut ran, mut compared, mut uncovered, mut failures) = (0, 0, 0, Vec::new());
    for entry in zoo.runnable().filter(|m| m.bytes < 30_000_000) {
        let model = match Model::from_file(zoo.path(entry)) {
            Ok(model) => Arc::new(model),
            Err(e) => {
                failures.push(format!("{}: {e}", entry.id));
                continue;
            }
        };
        let mut fast = match Interpreter::new(Arc::clone(&model)) {
            Ok(interpreter) => interpreter,
            Err(RuntimeError::UnknownOperator { .. }) => {
                uncovered += 1;
                continue;
            }
            Err(e @ RuntimeError::Node { source: OpError::Unsupported(_), .. }) => {
                println!("skipped: {} ({e})", entry.id);
                uncovered += 1;
                continue;
            }
            Err(e) => {
                failures.push(format!("{}: {e}", entry.id));
                continue;
            }
        };
        fast.set_profiling(true);
        if let Err(e) = inputs::fill(&mut fast, 3).and_then(|()| fast.invoke()) {
            failures.push(format!("{}: {e}", entry.id));
            continue;
        }
        ran += 1;
        if fast.profile().iter().map(|step| step.macs).sum::<u64>() > REFERENCE_MACS {
            continue;
        }
        let reference = Interpreter::with_options(Arc::clone(&model), Options::reference());
        let outcome = reference.and_then(|mut it| {
            inputs::fill(&mut it, 3)?;
            it.invoke()?;
            Ok(it)
        });
        match outcome {
            Err(e) => failures.push(format!("{}: reference: {e}", entry.id)),
            Ok(reference) => {
                compared += 1;
                if let Some(why) = difference(&fast, &reference) {
                    failures.push(format!("{}: {why}", entry.id));
                }
            }
        }
    }
    println!(
        "zoo: {ran} ran, {compared} compared with the reference, {uncovered} use operators that are not covered yet"
    );
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}

/// Where outputs differ: integers by anything, floats by 1e-4 of the largest output.
fn difference(fast: &Interpreter, reference: &Interpreter) -> Option<String> {
    for i in 0..fast.outputs().len() {
        let (got, want) = (fast.output_tensor(i)?, reference.output_tensor(i)?);
        if got.ty != TensorType::Float32 {
            if got.bytes != want.bytes {
                return Some(format!("output {i} differs"));
            }
            continue;
        }
        let (got, want) = (copy_elements::<f32>(got.bytes), copy_elements::<f32>(want.bytes));
        let largest = want.iter().filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
        if let Some(at) = got.iter().zip(&want).position(|(&a, &b)| !inputs::close(a, b, 1e-4 * largest)) {
            return Some(format!("output {i}, element {at} is {}, not {} (largest {largest})", got[at], want[at]));
        }
    }
    None
}
