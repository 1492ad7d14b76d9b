//! What several operators share.

pub mod activation;
pub mod densify;
pub mod hybrid;
pub mod linear;
pub mod padding;
pub mod requant;
pub mod scratch;
#[cfg(test)]
pub mod testing;
pub mod weights;
pub mod window2d;
pub mod strided;
