//! Plans and runs models.
//!
//! [`Interpreter`] compiles a [`Model`](ferrolite_model::Model) into a plan: shapes inferred, constants folded, every
//! node given to a [`Delegate`], memory placed in one arena. Invoking then does arithmetic only.

#![deny(missing_docs)]

mod arena;
mod bands;
pub mod delegate;
pub mod delegates;
mod engine;
mod error;
mod facts;
mod graph;
mod interpreter;
mod limits;
mod plan;
mod profile;

pub use delegate::{Delegate, GraphView, Partition};
pub use error::RuntimeError;
pub use interpreter::{Interpreter, Options, TensorView};
pub use limits::Limits;
pub use profile::{NodeProfile, Profile};
