//! ferrolite
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod array;
pub mod datasets;
mod error;
pub mod files;
pub mod images;
pub mod inputs;
pub mod labels;

pub use array::Array;
pub use error::Error;
