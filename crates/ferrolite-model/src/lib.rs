//! The TensorFlow Lite graph.
//!
//! [`Model`] is the one graph type of ferrolite: owned, cloneable, comparable and lossless for what a `.tflite` file
//! holds. Converters produce it, passes map it to another, the runtime compiles it.
//!
//! A file is untrusted input: reading one never panics and never takes more memory than a small multiple of its size;
//! an error names what is wrong and where.

#![deny(missing_docs)]

// The generated code names it.
extern crate alloc;

mod builder;
mod bytes;
mod dump;
mod error;
mod flexbuffer;
mod map;
mod model;
mod read;
mod rewrite;
pub mod schema;
mod skeleton;
mod types;
mod verify;
mod versions;
mod write;

pub use builder::ModelBuilder;
pub use bytes::Bytes;
pub use error::{ModelError, Place};
pub use flexbuffer::{FlexItem, FlexValue, flex_map};
pub use model::*;
pub use rewrite::Moved;
pub use schema::BuiltinOperator;
pub use types::TensorType;
pub use verify::verify;
pub use versions::min_operator_version;
