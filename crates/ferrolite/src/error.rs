//! The façade's error: what went wrong, and a way out where there is one.

use ferrolite_model::ModelError;
use ferrolite_runtime::RuntimeError;
use ferrolite_train::TrainError;
use std::path::{Path, PathBuf};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model cannot be read, written or is not valid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model file cannot be read or is not valid.
    #[error("{}: {source}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ModelError>,
    },
    /// A model cannot be planned or run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A model cannot be quantized.
    #[error(transparent)]
    Quantize(#[from] ferrolite_quantize::QuantizeError),
    /// A model cannot be trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data file is damaged or not of the form that was expected.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What was asked for does not fit.
    #[error("{problem}")]
    Usage {
        /// What does not fit.
        problem: String,
        /// What to do instead.
        help: Option<String>,
    },
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A refusal of the file system.
    pub fn io(path: &Path, source: std::io::Error) -> Error {
        Error::Io { path: path.to_owned(), source }
    }

    /// A damaged data file.
    pub fn file(path: &Path, problem: impl Into<String>) -> Error {
        Error::File { path: path.to_owned(), problem: problem.into() }
    }

    /// A request that does not fit.
    pub fn usage(problem: impl Into<String>) -> Error {
        Error::Usage { problem: problem.into(), help: None }
    }

    /// The same with advice.
    pub fn usage_with_help(problem: impl Into<String>, help: impl Into<String>) -> Error {
        Error::Usage { problem: problem.into(), help: Some(help.into()) }
    }

    /// The same, about something: a file, an input.
    pub(crate) fn prefixed(self, what: &str) -> Error {
        let help = self.help();
        Error::Usage { problem: format!("{what}: {self}"), help }
    }

    /// A way out, where there is one to name.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Error::Usage { help, .. } => return help.clone(),
            Error::Model(error) => return model_help(error),
            Error::ModelFile { source, .. } => return model_help(source),
            Error::Io { path, source } => return io_help(path, source),
            Error::Runtime(RuntimeError::UnknownOperator { op, .. }) => {
                return Some(format!(
                    "`ferrolite info` lists the model's operators; {op} has to come from Catalog::with in Rust"
                ));
            }
            Error::Runtime(RuntimeError::Limit { .. }) => {
                "if you trust the file, raise Limits in Rust; hostile files ask for much memory"
            }
            Error::Train(TrainError::Diverged { .. }) => "use a smaller learning rate",
            _ => return None,
        };
        Some(help.to_owned())
    }
}

fn model_help(error: &ModelError) -> Option<String> {
    match error {
        ModelError::Io { path, source } => io_help(path, source),
        ModelError::NotTflite(_) => Some("give a .tflite file; its bytes 4 to 7 are \"TFL3\"".to_owned()),
        ModelError::Damaged(_) => {
            Some("the file is incomplete or was altered: download or convert it again".to_owned())
        }
        _ => None,
    }
}

fn io_help(path: &Path, source: &std::io::Error) -> Option<String> {
    let is_missing = source.kind() == std::io::ErrorKind::NotFound;
    is_missing.then(|| format!("is {} the right path?", path.display()))
}
