//! State of recurrent operators over several runs.

use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, ModelBuilder, TensorType, schema};
use ferrolite_ops::{OPS, copy_elements};
use ferrolite_runtime::{Interpreter, Options};

/// The basic LSTM kernel with its prior activation and state as variables, or as inputs.
fn basic_lstm(variables: bool) -> Model {
    const CELLS: i32 = 3;
    let mut b = ModelBuilder::new();
    let state = |b: &mut ModelBuilder, name: &str| {
        let (ty, shape) = (TensorType::Float32, [1, CELLS]);
        if variables { b.variable(name, ty, &shape) } else { b.input(name, ty, &shape) }
    };
    let x = b.input("x", TensorType::Float32, &[1, 2]);
    let (activation, cell) = (state(&mut b, "activation"), state(&mut b, "cell"));
    let values: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin()).collect();
    let w = b.constant_f32("w", &[4 * CELLS, 2 + CELLS], &values);
    let bias = b.constant_f32("bias", &[4 * CELLS], &values[..12]);
    let shapes = [[1, CELLS], [1, CELLS], [1, 2 + CELLS], [1, 4 * CELLS]];
    let outputs = shapes.map(|shape| b.tensor("y", TensorType::Float32, &shape));
    let options = BuiltinOptions::LSTMOptions(Box::new(schema::LSTMOptionsT {
        kernel_type: schema::LSTMKernelType::BASIC,
        ..schema::LSTMOptionsT::default()
    }));
    let inputs = [x, activation, w, bias, cell].map(Some);
    b.node(BuiltinOperator::LSTM, 1, options, &inputs, &outputs);
    b.output(outputs[0]);
    b.output(outputs[1]);
    b.build().unwrap()
}

fn read(it: &Interpreter, output: usize) -> Vec<f32> {
    copy_elements(it.output_tensor(output).unwrap().bytes)
}

#[test]
fn a_basic_lstm_updates_the_state_that_is_a_variable() {
    let mut with_variables = Interpreter::new(basic_lstm(true)).unwrap();
    let mut with_inputs = Interpreter::new(basic_lstm(false)).unwrap();
    let mut state = [vec![0.0f32; 3], vec![0.0f32; 3]];
    for step in 0..4 {
        let x: Vec<u8> = [0.5f32, step as f32 - 1.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        with_variables.set_input_bytes(0, &x).unwrap();
        with_inputs.set_input_bytes(0, &x).unwrap();
        for (i, values) in state.iter().enumerate() {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            with_inputs.set_input_bytes(1 + i, &bytes).unwrap();
        }
        with_variables.invoke().unwrap();
        with_inputs.invoke().unwrap();
        state = [read(&with_inputs, 0), read(&with_inputs, 1)];
        assert_eq!([read(&with_variables, 0), read(&with_variables, 1)], state, "step {step}");
    }
}

#[test]
fn state_goes_on_until_it_is_reset() {
    let recurrent = [
        "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "RNN",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "SVDF",
    ];
    for op in OPS.iter().filter(|op| recurrent.contains(&op.id().to_string().as_str())) {
        let case = op.cases().into_iter().find(|case| case.name.contains("33")).unwrap();
        for options in [Options::reference(), Options::default()] {
            let mut it = Interpreter::with_options(case.model.clone(), options).unwrap();
            crate::inputs::fill(&mut it, 3).unwrap();
            it.invoke().unwrap();
            let first = read(&it, 0);
            it.invoke().unwrap();
            assert_ne!(read(&it, 0), first, "{}", op.id());
            it.reset_variables();
            it.invoke().unwrap();
            assert_eq!(read(&it, 0), first, "{}", op.id());
        }
    }
}
