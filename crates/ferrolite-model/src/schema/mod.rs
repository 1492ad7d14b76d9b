//! The wire format. `generated.rs` is made by `cargo xtask codegen` from `schema/tflite.fbs`; never edit it by hand.

// Generated accessors are `unsafe` inside; they are sound on a buffer that the verifier has accepted, and `read` is the
// only place that makes such a buffer.
#[rustfmt::skip]
#[allow(unsafe_code, missing_docs, unreachable_pub, unsafe_op_in_unsafe_fn, unused_imports, deprecated, mismatched_lifetime_syntaxes)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
mod generated;

pub use generated::tflite::*;
