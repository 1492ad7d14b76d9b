//! Damaged files: every conformance case with a few of its bytes changed is an error or a result, never a panic.
//!
//! `FERROLITE_MUTATIONS=50` damages every file in 50 ways rather than a few, `FERROLITE_SEED` draws others, and
//! `FERROLITE_OPSUITE_ID=text` restricts the run.

use crate::inputs;
use ferrolite_model::Model;
use ferrolite_runtime::{Interpreter, Limits, Options};
use ferrolite_testkit::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// No damaged case, a few kilobytes of tensors within tight limits, may run for longer. Wide: machines are shared.
const HANG: Duration = Duration::from_secs(20);

#[test]
fn damaged_files_do_not_panic() {
    let Some(suite) = ferrolite_testkit::opsuite("damaged files") else { return };
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("FERROLITE_MUTATIONS", 3), number("FERROLITE_SEED", 1));
    let only = std::env::var("FERROLITE_OPSUITE_ID").unwrap_or_default();
    let limits = Limits { max_tensor_bytes: 1 << 20, max_total_bytes: 1 << 22, max_iterations: 200 };
    let (mut ran, mut refused, mut broken) = (0, 0, Vec::new());
    for (index, case) in suite.cases.iter().enumerate().filter(|(_, case)| case.id.contains(&only)) {
        let file = std::fs::read(case.model_path(&suite.dir)).expect("the case can be read");
        for round in 0..rounds {
            let mut rng = Rng::new(seed << 40 | (index as u64) << 16 | round);
            let damaged = damage(&file, &mut rng);
            let base = if round % 2 == 0 { Options::reference() } else { Options::default() };
            let start = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| run(damaged, Options { limits, ..base }))) {
                Ok(Ok(())) => ran += 1,
                Ok(Err(_)) => refused += 1,
                Err(_) => broken.push(format!("{}, round {round}: panic", case.id)),
            }
            if start.elapsed() > HANG {
                broken.push(format!("{}, round {round}: {:?}", case.id, start.elapsed()));
            }
        }
    }
    println!("damaged files: {refused} refused, {ran} ran");
    assert!(broken.is_empty(), "{} (seed {seed}):\n{}", broken.len(), broken.join("\n"));
    assert!(refused > 0);
}

/// Changes one to three places: an aligned 32-bit word to a number that rules are likely to forget, or a byte to any.
fn damage(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    const WORDS: [u32; 14] =
        [0, 1, 2, 3, 5, 8, 17, 255, 65536, 0x7fff_ffff, 0x8000_0000, u32::MAX, u32::MAX - 1, 1 << 30];
    let mut damaged = file.to_vec();
    for _ in 0..=rng.u64() % 3 {
        let at = rng.u64() as usize % damaged.len();
        let word = at & !3;
        if !rng.u64().is_multiple_of(3) && word + 4 <= damaged.len() {
            let value = WORDS[rng.u64() as usize % WORDS.len()];
            damaged[word..word + 4].copy_from_slice(&value.to_le_bytes());
        } else {
            damaged[at] = rng.u64() as u8;
        }
    }
    damaged
}

fn run(file: Vec<u8>, options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut interpreter = Interpreter::with_options(Model::from_bytes(file)?, options)?;
    for seed in 0..2 {
        inputs::fill(&mut interpreter, seed)?;
        interpreter.invoke()?;
    }
    Ok(())
}
