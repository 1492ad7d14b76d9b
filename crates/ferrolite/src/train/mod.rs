//! Training: [`Sequential`] builds a network, [`Trainer`] fits it to a [`Dataset`] and exports a model.

pub mod linear;

pub use ferrolite_train::*;
