//! What several operators share.

pub mod activation;
pub mod broadcast;
pub mod elementwise;
pub mod fixedpoint;
pub mod lut;
pub mod packed;
pub mod padding;
pub mod requant;
pub mod sigmoid;
pub mod strings;
