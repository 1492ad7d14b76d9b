//! Why an operator cannot be prepared or run.

/// An error of one node; the runtime adds which node it was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OpError {
    /// The operator exists, but not for these types, options or versions.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The node breaks one of the operator's rules.
    #[error("{0}")]
    Invalid(String),
}

impl OpError {
    /// A combination of types or options that no kernel covers.
    pub fn unsupported(what: impl Into<String>) -> OpError {
        OpError::Unsupported(what.into())
    }

    /// A broken rule.
    pub fn invalid(what: impl Into<String>) -> OpError {
        OpError::Invalid(what.into())
    }
}

/// Returns [`OpError::Invalid`] with the formatted message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        // Named, so that a negated comparison of floats is not one that Clippy asks about.
        let holds: bool = $condition;
        if !holds {
            return Err($crate::OpError::invalid(format!($($message)+)));
        }
    };
}
