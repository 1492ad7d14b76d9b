//! What ferrolite's tests share: conformance cases ([`opsuite`]), real models ([`zoo`]), comparers and random numbers.
//!
//! The data lies outside of the repository, in the folders that `FERROLITE_OPSUITE` and `FERROLITE_ZOO` name, or in
//! `shared/` beside the checkout. Where a folder is missing, finders say so on standard output, by name, and return
//! `None`, so that a test is skipped but never silently:
//!
//! ```no_run
//! let Some(suite) = ferrolite_testkit::opsuite("add matches LiteRT") else { return };
//! for case in suite.cases.iter().filter(|case| case.op == "ADD") {
//!     let golden = case.load(&suite.dir).unwrap();
//!     // run the model on golden.steps[0].inputs, then:
//!     // golden.check(0, &outputs).unwrap();
//! }
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod array;
mod compare;
mod find;
mod npz;
mod opsuite;
mod rng;
mod zoo;

pub use array::{Array, Data};
pub use compare::{Tolerance, compare};
pub use find::{opsuite_dir, skipped, zoo_dir};
pub use npz::Npz;
pub use opsuite::{Case, Golden, Opsuite, SignatureNames, SignatureRun, Status, Step, opsuite};
pub use rng::Rng;
pub use zoo::{Port, Zoo, ZooModel, zoo};
