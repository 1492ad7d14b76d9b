use ferrolite_model::{Bytes, Model, ModelError};

/// Files of the zoo that no reader accepts: one is not a model, in the other a node writes an input of its subgraph.
const REFUSED: [&str; 2] = ["test_model_broken.bin", "add_shared_tensors.bin"];

#[test]
fn every_file_comes_back_the_same() {
    for path in super::readable_files("every_file_comes_back_the_same") {
        let path = path.display().to_string();
        if REFUSED.iter().any(|name| path.ends_with(name)) {
            assert!(Model::from_file(&path).is_err() && mapped(&path).is_err(), "{path}");
            continue;
        }
        let model = Model::from_file(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(mapped(&path).is_ok_and(|mapped| mapped == model), "{path}: mapping the file gives another model");
        let bytes = model.to_bytes().unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(bytes == model.to_bytes().unwrap(), "{path}: writing is not deterministic");
        let again = Model::from_bytes(bytes).unwrap_or_else(|error| panic!("{path}, written: {error}"));
        assert!(model == again, "{path}: reading back what was written gives another model");
    }
}

fn mapped(path: &str) -> Result<Model, ModelError> {
    Model::from_bytes(Bytes::map_file(path).unwrap())
}

#[test]
fn constants_are_not_copied() {
    let Some(zoo) = ferrolite_testkit::zoo("constants_are_not_copied") else { return };
    let largest = zoo.models.iter().max_by_key(|model| model.bytes).unwrap();
    let file = Bytes::from(std::fs::read(zoo.path(largest)).unwrap());
    let model = Model::from_bytes(file.clone()).unwrap();
    let range = file.as_ptr_range();
    let constants: Vec<_> = model.buffers.iter().filter(|data| !data.is_empty()).collect();
    assert!(!constants.is_empty());
    assert!(constants.iter().all(|data| range.contains(&data.as_ptr())));
}

#[test]
fn a_written_file_replaces_the_old_one() {
    let dir = std::env::temp_dir().join(format!("ferrolite-model-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("model.tflite");
    std::fs::write(&path, "old").unwrap();
    let mut builder = ferrolite_model::ModelBuilder::new();
    let x = builder.input("x", ferrolite_model::TensorType::Float32, &[1]);
    builder.output(x);
    let model = builder.build().unwrap();
    model.write_file(&path).unwrap();
    assert_eq!(Model::from_file(&path).unwrap(), model);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left aside");
    assert!(model.write_file(dir.join("missing/model.tflite")).is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}
