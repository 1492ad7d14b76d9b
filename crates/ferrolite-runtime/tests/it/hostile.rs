//! Malformed and hostile files: errors or results, never a panic, never more memory than the limits allow.

use crate::inputs;
use ferrolite_model::Model;
use ferrolite_runtime::{Interpreter, Limits, Options};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn hostile_files_do_not_panic() {
    let Some(dir) = ferrolite_testkit::opsuite_dir("hostile files") else { return };
    let files = std::fs::read_dir(dir.join("invalid")).expect("the folder can be listed");
    let (mut refused, mut tolerated, mut panicked) = (0, 0, Vec::new());
    for file in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "tflite")) {
        for mut options in [Options::default(), Options::reference()] {
            options.limits = Limits { max_tensor_bytes: 1 << 26, max_total_bytes: 1 << 27, max_iterations: 1000 };
            match catch_unwind(AssertUnwindSafe(|| run(&file, options))) {
                Ok(Ok(())) => tolerated += 1,
                Ok(Err(_)) => refused += 1,
                Err(_) => panicked.push(file.display().to_string()),
            }
        }
    }
    println!("hostile files: {refused} runs refused, {tolerated} tolerated");
    assert!(panicked.is_empty(), "panicked on:\n{}", panicked.join("\n"));
    assert!(refused > 0);
}

fn run(file: &std::path::Path, options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut interpreter = Interpreter::with_options(Model::from_file(file)?, options)?;
    inputs::fill(&mut interpreter, 1)?;
    interpreter.invoke()?;
    interpreter.invoke()?;
    Ok(())
}
