//! The arithmetic of ferrolite on slices: instruction set detection, packing, micro-kernels and the thread pool.
//!
//! Nothing here knows a graph. Every public function is safe: it checks dimensions against slices before it calls a kernel,
//! and a kernel is reached only through an [`Isa`], which proves that the CPU has it. Kernels lie in tables of variants, one row
//! per instruction set, from which dispatch and tests are derived.

mod attention;
mod batch;
mod blockwise;
mod depthwise;
mod elementwise;
mod fft;
mod fpenv;
mod gemm;
mod gemm_f32;
mod gemm_i8;
mod isa;
mod matvec;
mod mem;
mod peak;
pub mod pool;
mod pool2d;
mod quantize;
mod reduce;
pub mod requant;
mod resize;
mod simd;
#[cfg(test)]
mod testutil;
mod train;
mod transpose;

pub use attention::{Attention, AttentionShape, Head, ScoreStep};
pub use batch::BatchGemmF32;
pub use blockwise::{BlockwiseI8, BlockwiseOut};
pub use depthwise::{
    DepthwiseI8, DepthwiseI16, depthwise_conv2d_f32, depthwise_conv2d_i8, depthwise_conv2d_i16, depthwise_packed_len,
    pack_depthwise_f32,
};
pub use elementwise::{
    Add8Bit, Binary, Mul8Bit, RowsF32, Softmax8Bit, Unary, add_8bit, binary_f32, log_softmax_rows, mul_8bit,
    softmax_rows, unary_f32, unary_f32_inplace,
};
pub use fft::{FFT_LANES, FftLanes, rfft_lanes};
pub use fpenv::{FlushDenormals, flush_denormals};
pub use gemm::{ConvShape, Layout};
pub use gemm_f32::{EpilogueF32, PackF32, PackedF32, PackedF32Ref, conv2d_f32, gemm_f32, kernels_f32};
pub use gemm_i8::{ColumnsI8, OutI8, PackI8, PackedI8, PackedI8Ref, conv2d_i8, gemm_i8, kernels_i8};
pub use isa::{Isa, Level};
pub use matvec::{matvec_f32, matvec_i8};
pub use mem::AlignedBytes;
pub use peak::{Peaks, peak_f32, peak_i8};
pub use pool::ThreadPool;
pub use pool2d::{avg_pool2d_8bit, avg_pool2d_f32, max_pool2d_8bit, max_pool2d_f32};
pub use quantize::{
    dequantize_i8_f32, f16_to_f32, f16_to_f32_scalar, lut_8bit, min_max_f32, quantize_f32_i8, quantize_rows_asymmetric,
    quantize_rows_symmetric,
};
pub use reduce::{Fold, reduce_columns_f32, reduce_rows_f32, sum_columns_8bit, sum_rows_8bit};
pub use resize::{Between, Bilinear};
pub use train::{
    Adam, Sgd, adam_step, avg_pool2d_grad, axpy, clamp_grad, col2im, conv2d_weight_grad, conv2d_weight_grad_kernel,
    max_pool2d_grad, relu_grad, sgd_step, sum_rows,
};
pub use transpose::{transpose_f32, transpose_into};
