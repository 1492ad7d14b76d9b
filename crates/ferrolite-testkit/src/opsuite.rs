//! Conformance cases: small models with what LiteRT computes.

use crate::array::Array;
use crate::compare::{Tolerance, compare};
use crate::find::{opsuite_dir, skipped};
use crate::npz::Npz;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The conformance suite.
#[derive(Clone, Debug)]
pub struct Opsuite {
    /// Its folder.
    pub dir: PathBuf,
    /// Its cases, in the order of the index.
    pub cases: Vec<Case>,
}

/// The conformance suite for `test`, or `None`, saying that the test is skipped.
pub fn opsuite(test: &str) -> Option<Opsuite> {
    #[derive(Deserialize)]
    struct Index {
        cases: Vec<Case>,
    }
    let dir = opsuite_dir(test)?;
    let index = std::fs::read(dir.join("index.json")).map_err(|error| error.to_string());
    match index.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).map_err(|error| error.to_string())) {
        Ok(Index { cases }) => Some(Opsuite { dir, cases }),
        Err(error) => {
            skipped(test, &format!("index.json: {error}"));
            None
        }
    }
}

/// Whether a case has to run or to be refused.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has to run.
    Ok,
    /// It has to be refused, at load, allocation or invocation, without a crash.
    Error,
}

/// One case of the index.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Name, also of its files.
    pub id: String,
    /// Operator under test; `CUSTOM:x` for custom ones, `(none)` for graphs without operators.
    pub op: String,
    /// All operators of the model.
    #[serde(default)]
    pub ops: Vec<String>,
    /// Group of operators.
    pub family: String,
    /// Short name of the element types.
    pub dtype: String,
    /// How often the same interpreter is invoked.
    pub steps: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// Inputs are resized before allocation.
    pub resize: bool,
    /// Entry points to run.
    #[serde(default)]
    pub signatures: Vec<SignatureNames>,
    /// Whether it has to run.
    pub expected_status: Status,
    /// How far results may be off.
    pub tolerance: Option<Tolerance>,
    /// LiteRT's reference kernel is wrong; only the default one counts.
    #[serde(default)]
    pub reference_wrong: bool,
    /// LiteRT's default kernel is wrong; only the reference one counts.
    #[serde(default)]
    pub default_wrong: bool,
    /// Shapes and types as fed.
    pub inputs: Vec<(Vec<usize>, String)>,
}

/// Names of an entry point.
#[derive(Clone, Debug, Deserialize)]
pub struct SignatureNames {
    /// Its key.
    pub key: String,
    /// Names of its inputs.
    pub inputs: Vec<String>,
    /// Names of its outputs.
    pub outputs: Vec<String>,
}

/// Data of a case.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Shapes to give to inputs before allocation.
    pub resize: Vec<Option<Vec<usize>>>,
    /// One per invocation.
    pub steps: Vec<Step>,
    /// Runs of entry points.
    pub signatures: Vec<SignatureRun>,
    /// How far results may be off.
    pub tolerance: Tolerance,
    /// The reference kernels' outputs are not what the operator means.
    reference_wrong: bool,
}

/// One invocation.
#[derive(Clone, Debug)]
pub struct Step {
    /// In the order of the model's inputs.
    pub inputs: Vec<Array>,
    /// What the reference kernels gave; empty for a case that has to be refused.
    pub reference: Vec<Array>,
    /// What the default kernels gave, where that differs.
    pub default: Option<Vec<Array>>,
}

/// A run of an entry point.
#[derive(Clone, Debug)]
pub struct SignatureRun {
    /// The entry point's key.
    pub key: String,
    /// Inputs by name.
    pub inputs: BTreeMap<String, Array>,
    /// Golden outputs by name.
    pub outputs: BTreeMap<String, Array>,
}

impl Case {
    /// The model's file.
    pub fn model_path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.tflite", self.id))
    }

    /// Loads the data.
    ///
    /// # Errors
    /// When the file is missing or does not hold what the index says.
    pub fn load(&self, dir: &Path) -> Result<Golden, String> {
        let npz = Npz::open(&dir.join(format!("{}.npz", self.id)))?;
        let get = |name: &str| npz.get(name).ok_or_else(|| format!("{}: there is no {name}", self.id));
        let resize = (0..self.inputs.len())
            .map(|k| {
                let shape = npz.get(&format!("resize_{k}"))?.to_ints()?;
                Some(shape.into_iter().map(|dim| dim as usize).collect())
            })
            .collect();
        let steps = (0..self.steps)
            .map(|step| {
                let name = |kind: &str, k: usize| match step {
                    0 => format!("{kind}_{k}"),
                    _ => format!("s{step}_{kind}_{k}"),
                };
                let all = |kind: &str| (0..self.outputs).map(|k| get(&name(kind, k))).collect::<Result<Vec<_>, _>>();
                Ok(Step {
                    inputs: (0..self.inputs.len()).map(|k| get(&name("in", k))).collect::<Result<_, String>>()?,
                    reference: all("ref")?,
                    default: all("opt").ok().filter(|outputs| !outputs.is_empty()),
                })
            })
            .collect::<Result<_, String>>()?;
        let signatures = self.signatures.iter().map(|signature| {
            let key = &signature.key;
            let named = |names: &[String], kind: &str| {
                let array = |name: &String| Ok((name.clone(), get(&format!("sig_{key}.{kind}_{name}"))?));
                names.iter().map(array).collect::<Result<_, String>>()
            };
            let (inputs, outputs) = (named(&signature.inputs, "in")?, named(&signature.outputs, "ref")?);
            Ok(SignatureRun { key: key.clone(), inputs, outputs })
        });
        Ok(Golden {
            resize,
            steps,
            signatures: signatures.collect::<Result<_, String>>()?,
            tolerance: self.tolerance.clone().unwrap_or_default(),
            reference_wrong: self.reference_wrong,
        })
    }
}

impl Golden {
    /// Checks the outputs of an invocation: they have to agree with what the reference kernels gave, or with what the
    /// default ones did where the suite says that the reference is wrong.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, step: usize, outputs: &[Array]) -> Result<(), String> {
        match self.steps.get(step) {
            Some(_) if self.reference_wrong => self.check_default(step, outputs),
            Some(golden) => self.agree(step, outputs, &golden.reference),
            None => Err(format!("there is no step {step}")),
        }
    }

    fn agree(&self, step: usize, outputs: &[Array], want: &[Array]) -> Result<(), String> {
        if outputs.len() != want.len() {
            return Err(format!("{} outputs, want {}", outputs.len(), want.len()));
        }
        let mut pairs = outputs.iter().zip(want).enumerate();
        pairs.try_for_each(|(k, (got, want))| {
            compare(got, want, &self.tolerance).map(|_| ()).map_err(|e| format!("step {step}, output {k}: {e}"))
        })
    }

    /// Whether the default kernels gave another result than the reference.
    pub fn has_default(&self, step: usize) -> bool {
        self.steps.get(step).is_some_and(|step| step.default.is_some())
    }

    /// Checks the outputs of an invocation against the default kernels only.
    ///
    /// # Errors
    /// What differs.
    pub fn check_default(&self, step: usize, outputs: &[Array]) -> Result<(), String> {
        let want = self.steps.get(step).and_then(|step| step.default.as_ref());
        self.agree(step, outputs, want.ok_or_else(|| format!("step {step} has no golden of the default kernels"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_loads_and_agrees_with_itself() {
        let Some(suite) = opsuite("every_case_loads_and_agrees_with_itself") else { return };
        assert!(!suite.cases.is_empty());
        for case in &suite.cases {
            let golden = case.load(&suite.dir).unwrap_or_else(|error| panic!("{}: {error}", case.id));
            assert_eq!(golden.steps.len(), case.steps);
            assert!(case.model_path(&suite.dir).is_file());
            for (index, step) in golden.steps.iter().enumerate() {
                for (input, (shape, _)) in step.inputs.iter().zip(&case.inputs) {
                    assert_eq!(&input.shape, shape, "{}", case.id);
                }
                let own = if case.reference_wrong { step.default.as_ref() } else { Some(&step.reference) };
                golden.check(index, own.unwrap()).unwrap_or_else(|error| panic!("{}: {error}", case.id));
            }
        }
    }
}
