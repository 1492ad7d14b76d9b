//! TensorFlow Lite in Rust: train a small network, quantize it with evidence, and run it fast and safely.
//!
//! This crate is the supported API; the crates below it may change at any time. Run a model:
//!
//! ```no_run
//! use ferrolite::{Interpreter, Model};
//!
//! # fn main() -> Result<(), ferrolite::Error> {
//! let mut interpreter = Interpreter::new(Model::from_file("model.tflite")?)?;
//! interpreter.input_mut::<f32>(0)?.fill(0.5);
//! interpreter.invoke()?;
//! println!("{:?}", interpreter.output::<f32>(0)?);
//! # Ok(())
//! # }
//! ```
//!
//! | for | see |
//! |---|---|
//! | reading, writing and building models | [`Model`], [`ModelBuilder`] |
//! | running them | [`Interpreter`], [`Runner`], [`Options`], [`Limits`] |
//! | operators of one's own | [`ops`], [`Catalog::with`] |
//! | inputs and outputs | [`inputs`], [`samples`], [`outputs`], [`images`], [`labels`], [`Array`], [`encoding`] |
//! | training | [`train`] |
//! | quantizing | [`mod@quantize`], [`recipe`], [`mod@compare`] |
//! | everything at once | [`quickstart`], [`report`] |
//! | facts and speed | [`info`], [`mod@bench`], [`roofline`], [`evaluate`] |
//!
//! A model file is untrusted input: reading and running one gives an error or a result, never a panic, and takes no
//! more memory than [`Limits`] allow.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod array;
pub mod bench;
pub mod compare;
pub mod datasets;
pub mod encoding;
mod error;
pub mod evaluate;
pub mod files;
pub mod images;
pub mod info;
pub mod inputs;
pub mod labels;
pub mod metadata;
pub mod outputs;
pub mod quantize;
pub mod quickstart;
pub mod recipe;
pub mod report;
pub mod roofline;
mod runner;
pub mod samples;
pub mod train;

pub use array::Array;
pub use error::Error;
pub use ferrolite_model::{
    BuiltinOperator, BuiltinOptions, Bytes, DimensionMetadata, IndexVector, Model, ModelBuilder, ModelError, Node,
    Quantization, Signature, Sparsity, Subgraph, Tensor, TensorId, TensorType, schema,
};
pub use ferrolite_ops::{Catalog, Element, Resources};
pub use ferrolite_runtime::{
    Delegate, Interpreter, Limits, NodeProfile, Options, Profile, RuntimeError, TensorView, delegates,
};
pub use runner::Runner;

/// What an operator of one's own is made of: implement [`OpDef`](ops::OpDef) and add it by [`Catalog::with`].
///
/// `examples/own_operator.rs` has one that is a function, and one with options and state.
pub mod ops {
    pub use ferrolite_ops::op::{InferResult, StateInputs, reference};
    pub use ferrolite_ops::{
        AlignedBytes, Argument, FastKernel, Inferred, Io, Kernel, NodeView, OpDef, OpError, OpId, Resources, Session,
        Shape, TensorInfo, TensorMut, TensorRef, TensorValue, ensure,
    };
}
