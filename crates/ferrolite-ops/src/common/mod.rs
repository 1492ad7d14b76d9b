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
