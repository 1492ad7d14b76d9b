//! What several operators share.

pub mod activation;
pub mod backward;
pub mod boxes;
pub mod broadcast;
pub mod cases;
pub mod densify;
pub mod elementwise;
pub mod fast_linear;
pub mod fft;
pub mod fixed_exp;
pub mod flex;
pub mod hybrid;
pub mod inverse_sqrt;
pub mod linear;
pub mod linear_cases;
pub mod lut;
pub mod moves_grad;
pub mod operand;
pub mod packed;
pub mod padding;
pub mod parallel;
pub mod partial_sort;
pub mod philox;
pub mod raw_options;
pub mod requant;
pub mod scratch;
pub mod sigmoid;
pub mod strided;
pub mod strings;
#[cfg(test)]
pub mod testing;
pub mod vector;
pub mod weights;
pub mod window2d;
pub mod window3d;
