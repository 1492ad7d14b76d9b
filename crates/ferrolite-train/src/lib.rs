//! Trains ferrolite models.
//!
//! [`Sequential`] builds a small network, or any float model is taken as it is; [`Trainer`] fits its weights to a
//! [`Dataset`] and exports the same graph with new constants. A training step is an ordinary graph too: [`differentiate`]
//! appends the gradients as nodes, and the same planner and kernels run it.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod autodiff;
mod chunks;
mod data;
mod error;
mod fit;
mod losses;
mod metrics;
mod network;
mod optimizers;
mod parameters;
mod random;
mod step;
mod trainer;

pub use autodiff::{differentiate, remove_dead_nodes};
pub use data::{Dataset, Targets};
pub use error::TrainError;
pub use fit::{BatchProgress, EpochStats, FitOptions, History, Progress};
pub use losses::Loss;
pub use metrics::Scores;
pub use network::{Activation, Padding, Sequential, Window};
pub use optimizers::Optimizer;
pub use random::Rng;
pub use trainer::{TrainOptions, Trainer};
