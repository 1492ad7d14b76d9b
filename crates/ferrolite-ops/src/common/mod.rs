//! What several operators share.

pub mod activation;
pub mod padding;
pub mod requant;
pub mod strided;
