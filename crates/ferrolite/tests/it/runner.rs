//! Models as functions of arrays.

use ferrolite::{Array, BuiltinOperator, BuiltinOptions, Model, ModelBuilder, Options, Runner, TensorType, encoding};

/// |x| through a reshape to the file's own shape, which keeps the model from being planned for a batch.
fn fixed(ty: TensorType, rows: i32) -> Model {
    let mut b = ModelBuilder::new();
    let x = b.input("x", ty, &[rows, 2]);
    let to = b.constant("to", TensorType::Int32, &[2], [rows, 2].map(i32::to_le_bytes).concat());
    let shaped = b.tensor("shaped", ty, &[rows, 2]);
    b.node(BuiltinOperator::RESHAPE, 1, BuiltinOptions::NONE, &[Some(x), Some(to)], &[shaped]);
    b.output(shaped);
    b.build().unwrap()
}

/// x + y; the rows of x are open, y has none.
fn shifted() -> Model {
    let mut b = ModelBuilder::new();
    let x = b.input("x", TensorType::Float32, &[-1, 2]);
    let y = b.input("y", TensorType::Float32, &[]);
    let z = b.tensor("z", TensorType::Float32, &[-1, 2]);
    let options = BuiltinOptions::AddOptions(Box::default());
    b.node(BuiltinOperator::ADD, 1, options, &[Some(x), Some(y)], &[z]);
    b.output(z);
    b.build().unwrap()
}

fn runner(model: Model) -> Runner {
    Runner::new(model, 0, Options::default()).unwrap()
}

#[test]
fn an_open_batch_runs_at_once() {
    let mut runner = runner(shifted());
    let y = Array::from_f32(&[], &[10.0]);
    let batch = Array::from_f32(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let results = runner.run(&[(0, batch), (1, y.clone())]).unwrap();
    assert_eq!(results, [Array::from_f32(&[3, 2], &[11.0, 12.0, 13.0, 14.0, 15.0, 16.0])]);
    // A sample has no rows, and neither has its result.
    let results = runner.run(&[(0, Array::from_f32(&[2], &[1.0, 2.0])), (1, y)]).unwrap();
    assert_eq!(results, [Array::from_f32(&[2], &[11.0, 12.0])]);
}

#[test]
fn a_model_for_fixed_rows_runs_in_parts() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    for rows in [1, 2, 4] {
        let batch = Array::from_f32(&[4, 2], &values);
        assert_eq!(runner(fixed(TensorType::Float32, rows)).run(&[(0, batch.clone())]).unwrap(), [batch]);
    }
    let error = runner(fixed(TensorType::Float32, 3)).run(&[(0, Array::from_f32(&[4, 2], &values))]).unwrap_err();
    assert_eq!(error.to_string(), "input \"x\" takes multiples of 3 rows, not 4");
}

#[test]
fn strings_are_cut_and_joined() {
    let words: [&[u8]; 4] = [b"a", b"", b"ccc", b"dd"];
    let batch = Array { ty: TensorType::String, shape: vec![2, 2], bytes: encoding::pack_strings(words).unwrap() };
    assert_eq!(runner(fixed(TensorType::String, 1)).run(&[(0, batch.clone())]).unwrap(), [batch]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut runner = runner(shifted());
    let mut refused = |array: Array| runner.run(&[(0, array)]).unwrap_err().to_string();
    assert_eq!(refused(Array::from_f32(&[2, 3], &[0.0; 6])), "input \"x\" has shape [-1, 2], not [2, 3]");
    assert_eq!(refused(Array::from_f32(&[1, 1, 2], &[0.0; 2])), "input \"x\" has 2 dimensions [-1, 2], not 3");
    let wrong = Array { ty: TensorType::Int8, shape: vec![1, 2], bytes: vec![0; 2] };
    assert_eq!(refused(wrong), "input \"x\" takes float32, not int8");
    assert!(runner.run(&[(7, Array::from_f32(&[], &[0.0]))]).is_err());
    // Too few bytes for the shape.
    assert!(runner.run(&[(0, Array { ty: TensorType::Float32, shape: vec![3, 2], bytes: vec![0; 3] })]).is_err());
    assert!(Runner::new(shifted(), 1, Options::default()).is_err());
}
