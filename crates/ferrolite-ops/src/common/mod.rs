//! What several operators share.

pub mod activation;
pub mod densify;
pub mod fast_linear;
pub mod fixed_exp;
pub mod hybrid;
pub mod linear;
pub mod operand;
pub mod padding;
pub mod parallel;
pub mod requant;
pub mod scratch;
pub mod strided;
#[cfg(test)]
pub mod testing;
pub mod weights;
pub mod window2d;
