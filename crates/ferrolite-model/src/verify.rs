//! The rules.
use crate::error::ModelError;
use crate::model::*;

/// Checks a model.
///
/// # Errors
/// First broken rule.
pub fn verify(_model: &Model) -> Result<(), ModelError> {
    Ok(())
}
