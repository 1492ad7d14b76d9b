//! Runs a model on random values, or on a picture:
//! `cargo run --release -p ferrolite --example run_model -- MODEL.tflite [PICTURE.png]`
//!
//! Without arguments it runs a model that it builds itself.

use ferrolite::{
    BuiltinOperator, BuiltinOptions, Error, Interpreter, Model, ModelBuilder, TensorType, evaluate, images, inputs,
    outputs,
};
use std::path::Path;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let model = match args.first() {
        Some(path) => Model::from_file(path)?,
        None => squash()?,
    };
    let mut interpreter = Interpreter::new(model)?;
    inputs::fill_random(&mut interpreter, 1)?;
    if let (Some(path), Some(input)) = (args.get(1), interpreter.input_tensor(0)) {
        let picture = images::read(Path::new(path))?;
        let values = images::to_tensor(&picture, input.ty, input.shape, input.quantization, None)?;
        interpreter.set_input_bytes(0, &values.bytes)?;
    }
    interpreter.invoke()?;
    for i in 0..interpreter.outputs().len() {
        let Some(tensor) = interpreter.output_tensor(i) else { continue };
        let scores = evaluate::scores(&tensor)?;
        println!("{} {:?}: best is {}", outputs::name(&interpreter, i), tensor.shape, evaluate::best(&scores));
    }
    Ok(())
}

/// One softmax.
fn squash() -> Result<Model, Error> {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[1, 4]);
    let y = b.tensor("y", TensorType::Float32, &[1, 4]);
    let options = ferrolite::schema::SoftmaxOptionsT { beta: 1.0 };
    b.node(BuiltinOperator::SOFTMAX, 1, BuiltinOptions::SoftmaxOptions(Box::new(options)), &[Some(x)], &[y]);
    b.output(y);
    Ok(b.build()?)
}
