//! Speed of the matrix products as a share of what this CPU can multiply: `cargo run --release --example peak`.

use ferrolite_kernels::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The best time of one call of `f`.
fn best(mut f: impl FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < Duration::from_millis(120) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    let f32_shapes = [
        (512, 512, 512),
        (3136, 64, 64),
        (49, 1024, 1024),
        (12544, 16, 96),
        (3136, 24, 144),
        (784, 192, 32),
        (196, 384, 64),
        (1, 1024, 1024),
        (1, 1001, 1280),
        (8, 256, 3872),
        (32, 10, 128),
    ];
    let mut isas = Isa::available();
    isas.dedup_by_key(|i| kernels_f32(*i)[0].0);
    for isa in isas.iter().rev() {
        let peak = 2e-9 * peak_f32(&pools[0], *isa);
        println!("\n{}: peak {peak:.0} GFLOP/s on one thread", kernels_f32(*isa)[0].0);
        for (m, n, k) in f32_shapes {
            let a = vec![1.0f32; m * k];
            let packed = PackedF32::pack(*isa, &vec![0.5; n * k], n, 1, k, Layout::RowsOfK, None);
            let mut out = vec![0.0; m * n];
            let speed: Vec<f64> = pools
                .iter()
                .map(|pool| {
                    let t = best(|| {
                        gemm_f32(pool, &a, m, k, packed.as_ref(), black_box(&mut out), n, EpilogueF32::default());
                    });
                    2e-9 * (m * n * k) as f64 / t
                })
                .collect();
            print_row(&format!("{m}x{n}x{k}"), &speed, peak);
        }
        for shape in conv_shapes() {
            let k = shape.k_h * shape.k_w * shape.in_c;
            let input = vec![1.0f32; shape.batch * shape.in_h * shape.in_w * shape.in_c];
            let packed = PackedF32::conv(*isa, &shape, &vec![0.5; shape.out_c * k], None);
            let mut out = vec![0.0; shape.rows() * shape.out_c];
            let speed: Vec<f64> = pools
                .iter()
                .map(|pool| {
                    let t = best(|| {
                        conv2d_f32(pool, &shape, &input, packed.as_ref(), black_box(&mut out), EpilogueF32::relu());
                    });
                    2e-9 * (shape.rows() * shape.out_c * k) as f64 / t
                })
                .collect();
            print_row(&conv_name(&shape), &speed, peak);
        }
    }
    for isa in Isa::available().iter().rev().filter(|i| i.level() != Level::Avx512) {
        let peak = 2e-9 * peak_i8(&pools[0], *isa);
        println!("\n{}: peak {peak:.0} GOP/s on one thread", kernels_i8(*isa)[0].0);
        for (m, n, k) in f32_shapes {
            let a = vec![1i8; m * k];
            let (multiplier, shift) = (vec![1 << 30; n], vec![-7; n]);
            let cols = ColumnsI8::Requant { bias: None, multiplier: &multiplier, shift: &shift };
            let packed = PackedI8::pack(PackI8::new(*isa, n, 1, k, 3, 0), &vec![2; n * k], Layout::RowsOfK, cols);
            let mut out = vec![0i8; m * n];
            let speed: Vec<f64> = pools
                .iter()
                .map(|pool| {
                    let t = best(|| {
                        let out = OutI8::I8 { out: black_box(&mut out), ldc: n, zero_point: 3, min: -128, max: 127 };
                        gemm_i8(pool, &a, m, k, packed.as_ref(), out);
                    });
                    2e-9 * (m * n * k) as f64 / t
                })
                .collect();
            print_row(&format!("{m}x{n}x{k}"), &speed, peak);
        }
        for shape in conv_shapes() {
            let (k, n) = (shape.k_h * shape.k_w * shape.in_c, shape.out_c);
            let input = vec![1i8; shape.batch * shape.in_h * shape.in_w * shape.in_c];
            let (multiplier, shift) = (vec![1 << 30; n], vec![-7; n]);
            let cols = ColumnsI8::Requant { bias: None, multiplier: &multiplier, shift: &shift };
            let packed = PackedI8::pack(PackI8::conv(*isa, &shape, 3, 0), &vec![2; n * k], Layout::RowsOfK, cols);
            let mut out = vec![0i8; shape.rows() * n];
            let speed: Vec<f64> = pools
                .iter()
                .map(|pool| {
                    let t = best(|| {
                        let out = OutI8::I8 { out: black_box(&mut out), ldc: n, zero_point: 3, min: -128, max: 127 };
                        conv2d_i8(pool, &shape, &input, packed.as_ref(), out);
                    });
                    2e-9 * (shape.rows() * n * k) as f64 / t
                })
                .collect();
            print_row(&conv_name(&shape), &speed, peak);
        }
    }
}

fn conv_shapes() -> Vec<ConvShape> {
    let same = |h: usize, in_c, k: usize, stride, out_c| {
        let mut s = ConvShape::new(1, [h, h, in_c], [k, k], out_c);
        (s.out_h, s.out_w, s.stride) = (h.div_ceil(stride), h.div_ceil(stride), (stride, stride));
        (s.pad_top, s.pad_left) = ((k - 1) / 2, (k - 1) / 2);
        s
    };
    vec![
        same(224, 3, 3, 2, 32),
        same(28, 1, 3, 1, 32),
        same(56, 64, 3, 1, 64),
        same(32, 16, 3, 1, 16),
        same(7, 512, 3, 1, 512),
    ]
}

fn conv_name(s: &ConvShape) -> String {
    format!("conv {0}x{1}x{2} k{3} s{5} -> {4}", s.in_h, s.in_w, s.in_c, s.k_h, s.out_c, s.stride.0)
}

fn print_row(name: &str, speed: &[f64], peak: f64) {
    println!(
        "  {name:<28} {:7.1} G/s  {:3.0} % of peak   2 threads {:7.1} G/s  x{:.2}",
        speed[0],
        100.0 * speed[0] / peak,
        speed[1],
        speed[1] / speed[0]
    );
}
