//! Real models.

use crate::find::{skipped, zoo_dir};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The collection of real models.
#[derive(Clone, Debug)]
pub struct Zoo {
    /// Its folder.
    pub dir: PathBuf,
    /// Its models, in the order of the manifest.
    pub models: Vec<ZooModel>,
}

/// One model of the manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct ZooModel {
    /// Name.
    pub id: String,
    /// File, relative to the folder.
    pub file: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// `model` for trained networks, `unit` for small ones with single features.
    pub kind: String,
    /// What it is for.
    #[serde(default)]
    pub task: Option<String>,
    /// Kind of quantization.
    #[serde(default)]
    pub quantization: Option<String>,
    /// Inputs of the main subgraph.
    pub inputs: Vec<Port>,
    /// Outputs of the main subgraph.
    pub outputs: Vec<Port>,
    /// How often each operator occurs.
    pub ops: BTreeMap<String, usize>,
    /// `OK`, or what LiteRT said when it could not run it.
    pub litert_2_3_0: String,
}

/// An input or output.
#[derive(Clone, Debug, Deserialize)]
pub struct Port {
    /// Name of the tensor.
    pub name: String,
    /// NumPy's name of the element type.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<i64>,
    /// Dimensions with -1 where they are open.
    pub sig: Vec<i64>,
    /// Scale, 0 for none.
    pub scale: f64,
    /// Zero point.
    pub zp: i64,
}

impl Zoo {
    /// The file of a model.
    pub fn path(&self, model: &ZooModel) -> PathBuf {
        self.dir.join(&model.file)
    }

    /// The models that LiteRT runs.
    pub fn runnable(&self) -> impl Iterator<Item = &ZooModel> {
        self.models.iter().filter(|model| model.litert_2_3_0 == "OK")
    }
}

/// The collection of real models for `test`, or `None`, saying that the test is skipped.
pub fn zoo(test: &str) -> Option<Zoo> {
    let dir = zoo_dir(test)?;
    let manifest = std::fs::read(dir.join("manifest.json")).map_err(|error| error.to_string());
    match manifest.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
        Ok(models) => Some(Zoo { dir, models }),
        Err(error) => {
            skipped(test, &format!("manifest.json: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_manifest_is_there() {
        let Some(zoo) = super::zoo("every_file_of_the_manifest_is_there") else { return };
        assert!(zoo.runnable().count() > 0);
        for model in &zoo.models {
            let len = std::fs::metadata(zoo.path(model)).map(|m| m.len()).ok();
            assert_eq!(len, Some(model.bytes), "{}", model.id);
        }
    }
}
