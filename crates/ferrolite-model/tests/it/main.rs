//! Reading, writing and rewriting real files, and refusing hostile ones.

mod hostile;
mod rewrite;
mod round_trip;

use std::path::PathBuf;

/// Every `.tflite` file that has to be readable: of the zoo, and of the conformance cases.
fn readable_files(test: &str) -> Vec<PathBuf> {
    let zoo = ferrolite_testkit::zoo(test);
    let suite = ferrolite_testkit::opsuite(test);
    let models = zoo.iter().flat_map(|zoo| zoo.models.iter().map(|model| zoo.path(model)));
    let cases = suite.iter().flat_map(|suite| suite.cases.iter().map(|case| case.model_path(&suite.dir)));
    models.chain(cases).collect()
}
