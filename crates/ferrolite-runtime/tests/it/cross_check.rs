//! Every fast kernel against the reference, on every instruction set of the machine and several thread counts.

use crate::inputs;
use ferrolite_kernels::Isa;
use ferrolite_model::TensorType;
use ferrolite_ops::op::FLOAT_BOUND;
use ferrolite_ops::{OPS, copy_elements};
use ferrolite_runtime::{Interpreter, Options};

#[test]
fn fast_kernels_equal_the_reference() {
    let mut cases = 0;
    let mut fast = 0;
    let mut failures = Vec::new();
    for op in OPS {
        for case in op.cases() {
            let name = format!("{} {}", op.id(), case.name);
            cases += 1;
            let run = |options: Options| -> Result<(Vec<(TensorType, Vec<u8>)>, String), String> {
                let mut it = Interpreter::with_options(case.model.clone(), options).map_err(|e| e.to_string())?;
                inputs::fill(&mut it, 7).map_err(|e| e.to_string())?;
                it.set_profiling(true);
                it.invoke().map_err(|e| e.to_string())?;
                let outputs = (0..it.outputs().len()).filter_map(|i| it.output_tensor(i));
                let outputs = outputs.map(|t| (t.ty, t.bytes.to_vec())).collect();
                Ok((outputs, it.profile().first().map(|p| p.kernel.clone()).unwrap_or_default()))
            };
            let want = match run(Options::reference()) {
                Ok((want, _)) => want,
                Err(e) => {
                    failures.push(format!("{name}: reference: {e}"));
                    continue;
                }
            };
            for isa in Isa::available() {
                for threads in [1, 2, 3] {
                    match run(Options { isa, threads, ..Options::default() }) {
                        Ok((_, kernel)) if kernel == "reference" => {}
                        Ok((got, kernel)) => {
                            fast += 1;
                            for ((ty, got), (_, want)) in got.iter().zip(&want) {
                                if let Some(why) = difference(*ty, got, want) {
                                    failures.push(format!("{name}: {kernel}, {threads} threads: {why}"));
                                }
                            }
                        }
                        Err(e) => failures.push(format!("{name}: {isa:?}, {threads} threads: {e}")),
                    }
                }
            }
        }
    }
    println!("{cases} cases, {fast} runs of fast kernels");
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    assert!(cases > 0 && fast > 0);
}

/// Why two tensors are not equal enough, if they are not.
fn difference(ty: TensorType, got: &[u8], want: &[u8]) -> Option<String> {
    if ty != TensorType::Float32 {
        let first = got.iter().zip(want).position(|(a, b)| a != b);
        return (got != want).then(|| format!("differs at byte {first:?} of {}", want.len()));
    }
    let (got, want) = (copy_elements::<f32>(got), copy_elements::<f32>(want));
    let largest = want.iter().filter(|x| x.is_finite()).fold(0.0f32, |m, x| m.max(x.abs()));
    let at = got.iter().zip(&want).position(|(&a, &b)| !inputs::close(a, b, FLOAT_BOUND * largest))?;
    Some(format!("element {at} is {}, not {} (largest {largest})", got[at], want[at]))
}
