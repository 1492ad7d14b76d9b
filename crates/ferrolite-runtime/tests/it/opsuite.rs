//! Conformance cases with golden results of LiteRT's kernels.
//!
//! `FERROLITE_OPSUITE_OPS=ADD,MUL` restricts the run, `FERROLITE_OPSUITE_ID=text` too.

use ferrolite_model::{Model, TensorType};
use ferrolite_ops::{OPS, OpId};
use ferrolite_runtime::{Interpreter, Options, RuntimeError};
use ferrolite_testkit::{Array, Case, Golden, Opsuite, Status};
use std::sync::Arc;

/// Cases whose golden is not a result, with the reason.
const NOT_JUDGED: &[(&str, &str)] = &[
    (
        "transpose_conv__i16__b32",
        "LiteRT reads the int32 bias as int64, past its end: the golden depends on what lies behind it in the file",
    ),
    (
        "div__i16__plain_row",
        "without scales LiteRT multiplies by NaN and shifts by more than 31 bits: it gives 1 everywhere",
    ),
];

/// Operators whose reference kernel in LiteRT is wrong although the suite does not say so, with the reason: judged by
/// LiteRT's default kernels.
const REFERENCE_WRONG: &[(&str, &str)] = &[(
    "LOCAL_RESPONSE_NORMALIZATION",
    "the window has to be symmetric, as in TensorFlow; the reference leaves out its last channel",
)];

#[test]
fn reference_kernels_give_the_golden_results() {
    run_suite("opsuite, reference kernels", &Options::reference());
}

#[test]
fn fast_kernels_give_the_golden_results() {
    run_suite("opsuite, fast kernels", &Options { threads: 2, ..Options::default() });
}

fn run_suite(name: &str, options: &Options) {
    let Some(suite) = ferrolite_testkit::opsuite(name) else { return };
    let ops = std::env::var("FERROLITE_OPSUITE_OPS").unwrap_or_default();
    let ops: Vec<&str> = ops.split(',').filter(|op| !op.is_empty()).collect();
    let id = std::env::var("FERROLITE_OPSUITE_ID").unwrap_or_default();
    let (mut passed, mut uncovered, mut failures) = (0, 0, Vec::new());
    for case in &suite.cases {
        if (!ops.is_empty() && !ops.contains(&case.op.as_str())) || !case.id.contains(&id) {
            continue;
        }
        if !case.ops.iter().all(|op| is_covered(op)) {
            uncovered += 1;
            continue;
        }
        if let Some((id, why)) = NOT_JUDGED.iter().find(|(id, _)| *id == case.id) {
            println!("skipped: {id} ({why})");
            continue;
        }
        match run_case(&suite, case, options) {
            Ok(()) => passed += 1,
            Err(why) => failures.push(format!("{}: {why}", case.id)),
        }
    }
    println!("{name}: {passed} pass, {} fail, {uncovered} use operators that are not covered yet", failures.len());
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), failures.len() + passed, failures.join("\n"));
}

fn is_covered(name: &str) -> bool {
    let name = name.strip_prefix("CUSTOM:").unwrap_or(name);
    OPS.iter().any(|op| match op.id() {
        OpId::Builtin(builtin) => builtin.variant_name() == Some(name),
        OpId::Custom(custom) => custom == name,
    })
}

fn run_case(suite: &Opsuite, case: &Case, options: &Options) -> Result<(), String> {
    let golden = case.load(&suite.dir)?;
    let outcome = run_model(suite, case, &golden, options);
    match (case.expected_status, outcome) {
        (Status::Ok, outcome) => outcome,
        (Status::Error, Ok(())) => Err("no error was raised".into()),
        (Status::Error, Err(_)) => Ok(()),
    }
}

fn run_model(suite: &Opsuite, case: &Case, golden: &Golden, options: &Options) -> Result<(), String> {
    let text = |e: RuntimeError| e.to_string();
    let model = Arc::new(Model::from_file(case.model_path(&suite.dir)).map_err(|e| e.to_string())?);
    let mut interpreter = Interpreter::with_options(Arc::clone(&model), options.clone()).map_err(text)?;
    let resize: Vec<(usize, &[usize])> =
        golden.resize.iter().enumerate().filter_map(|(i, shape)| Some((i, shape.as_deref()?))).collect();
    if !resize.is_empty() {
        interpreter.resize_inputs(&resize).map_err(text)?;
    }
    for (index, step) in golden.steps.iter().enumerate() {
        for (i, input) in step.inputs.iter().enumerate() {
            set_input(&mut interpreter, i, input)?;
        }
        interpreter.invoke().map_err(text)?;
        if case.expected_status == Status::Ok {
            let count = interpreter.outputs().len();
            let outputs: Vec<Array> = (0..count).filter_map(|i| output(&interpreter, i)).collect();
            let wrong = REFERENCE_WRONG.iter().any(|(op, _)| *op == case.op) && golden.has_default(index);
            if wrong { golden.check_default(index, &outputs) } else { golden.check(index, &outputs) }?;
        }
    }
    for run in &golden.signatures {
        let mut interpreter =
            Interpreter::for_signature(Arc::clone(&model), &run.key, options.clone()).map_err(text)?;
        let signature = interpreter.signature().cloned().ok_or("no signature")?;
        let position =
            |ids: &[usize], id: usize| ids.iter().position(|&other| other == id).ok_or("not an input or output");
        for (name, id) in &signature.inputs {
            let i = position(interpreter.inputs(), *id)?;
            let input = run.inputs.get(name).ok_or("an input has no data")?;
            interpreter.resize_input(i, &input.shape).map_err(text)?;
        }
        for (name, id) in &signature.inputs {
            let i = position(interpreter.inputs(), *id)?;
            set_input(&mut interpreter, i, &run.inputs[name])?;
        }
        interpreter.invoke().map_err(text)?;
        for (name, id) in &signature.outputs {
            let i = position(interpreter.outputs(), *id)?;
            let got = output(&interpreter, i).ok_or("an output has no data")?;
            ferrolite_testkit::compare(&got, &run.outputs[name], &golden.tolerance)
                .map_err(|e| format!("signature {}, output {name}: {e}", run.key))?;
        }
    }
    Ok(())
}

/// Sets an input; the data of int4 and int2 inputs is stored one element per byte.
fn set_input(interpreter: &mut Interpreter, i: usize, input: &Array) -> Result<(), String> {
    let ty = interpreter.input_tensor(i).ok_or("there is no such input")?.ty;
    let bytes = match ty.bits() {
        bits @ (2 | 4) => pack(&input.bytes(), bits),
        _ => input.bytes(),
    };
    interpreter.set_input_bytes(i, &bytes).map_err(|e| e.to_string())
}

/// Joins the low `bits` of every byte, first element lowest.
fn pack(elements: &[u8], bits: usize) -> Vec<u8> {
    let join = |group: &[u8]| group.iter().rev().fold(0u8, |byte, x| byte << bits | x & ((1 << bits) - 1));
    elements.chunks(8 / bits).map(join).collect()
}

/// An output; narrow integers are unpacked to bytes, as in the stored data.
fn output(interpreter: &Interpreter, i: usize) -> Option<Array> {
    let tensor = interpreter.output_tensor(i)?;
    if tensor.ty == TensorType::String {
        return Some(Array::strings(tensor.shape, Array::parse_strings(tensor.bytes)?));
    }
    let bits = tensor.ty.bits();
    if bits >= 8 {
        return Some(Array::new(tensor.ty, tensor.shape, tensor.bytes.to_vec()));
    }
    let extend = |k: usize| {
        let high = tensor.bytes[k * bits / 8] >> (k * bits % 8) << (8 - bits);
        if tensor.ty == TensorType::UInt4 { high >> (8 - bits) } else { (high as i8 >> (8 - bits)) as u8 }
    };
    let ty = if tensor.ty == TensorType::UInt4 { TensorType::UInt8 } else { TensorType::Int8 };
    let elements = tensor.shape.iter().product();
    Some(Array::new(ty, tensor.shape, (0..elements).map(extend).collect()))
}
