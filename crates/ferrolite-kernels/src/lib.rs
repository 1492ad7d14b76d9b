//! The arithmetic of ferrolite on slices: instruction set detection, packing, micro-kernels and the thread pool.
//!
//! Nothing here knows a graph. Every public function is safe: it checks dimensions against slices before it calls a kernel,
//! and a kernel is reached only through an [`Isa`], which proves that the CPU has it. Kernels lie in tables of variants, one row
//! per instruction set, from which dispatch and tests are derived.

mod elementwise;
mod fpenv;
mod gemm;
mod gemm_f32;
mod gemm_i8;
mod isa;
mod mem;
pub mod pool;
pub mod requant;
mod simd;
#[cfg(test)]
mod testutil;
mod transpose;

pub use fpenv::{FlushDenormals, flush_denormals};
pub use gemm::{ConvShape, Layout};
pub use gemm_f32::{EpilogueF32, PackF32, PackedF32, PackedF32Ref, conv2d_f32, gemm_f32, kernels_f32};
pub use gemm_i8::{ColumnsI8, OutI8, PackI8, PackedI8, PackedI8Ref, conv2d_i8, gemm_i8, kernels_i8};
pub use isa::{Isa, Level};
pub use pool::ThreadPool;
pub use transpose::{transpose_f32, transpose_into};
