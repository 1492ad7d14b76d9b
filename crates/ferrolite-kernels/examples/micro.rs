//! Times of the kernels beside the matrix products: `cargo run --release --example micro`.

use ferrolite_kernels::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The best time of one call of `f` in seconds.
fn best(mut f: impl FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < Duration::from_millis(60) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    best
}

fn line(name: &str, t: f64, work: f64, unit: &str) {
    println!("  {name:<36} {:9.1} us  {:7.2} {unit}", t * 1e6, work / t * 1e-9);
}

fn main() {
    let pool = &ThreadPool::new(1);
    for isa in Isa::available().into_iter().rev() {
        println!("{isa}");
        for (h, c, stride, k) in
            [(112, 32, 1, 3), (56, 128, 1, 3), (56, 128, 2, 3), (14, 512, 1, 3), (7, 1024, 1, 3), (28, 120, 1, 5)]
        {
            let mut s = ConvShape::new(1, [h, h, c], [k, k], c);
            s.stride = (stride, stride);
            (s.out_h, s.out_w) = (h.div_ceil(stride), h.div_ceil(stride));
            (s.pad_top, s.pad_left) = (k / 2, k / 2);
            let macs = 2.0 * (s.rows() * c * k * k) as f64;
            // As an arena would: on cache lines.
            let skip = |v: &[f32]| (64 - v.as_ptr() as usize % 64) / 4 % 16;
            let (x, f) = (vec![1.0f32; h * h * c + 16], vec![0.5f32; k * k * c + 16]);
            let (x, f) = (&x[skip(&x)..], &f[skip(&f)..][..k * k * c]);
            let mut out = vec![0.0; s.rows() * c + 16];
            let at = skip(&out);
            let out = &mut out[at..];
            let mut packed = vec![0.0; depthwise_packed_len(&s)];
            pack_depthwise_f32(&s, f, None, &mut packed);
            let t = best(|| depthwise_conv2d_f32(pool, isa, &s, x, &packed, black_box(out), (0.0, 6.0)));
            line(&format!("depthwise f32 {h}x{h}x{c} k{k} s{stride}"), t, macs, "Gop/s");
            let (x, f) = (vec![1i8; h * h * c], vec![2i8; k * k * c]);
            let (m, sh) = (vec![1 << 30; c], vec![-5; c]);
            let cols = ColumnsI8::Requant { bias: None, multiplier: &m, shift: &sh };
            let packed = DepthwiseI8::pack(isa, &s, &f, false, 3, 0, cols);
            let mut out = vec![0i8; s.rows() * c];
            let t = best(|| {
                let o = OutI8::I8 { out: black_box(&mut out), ldc: c, zero_point: 0, min: -128, max: 127 };
                depthwise_conv2d_i8(pool, &s, &x, &packed, o);
            });
            line(&format!("depthwise i8  {h}x{h}x{c} k{k} s{stride}"), t, macs, "Gop/s");
        }
        let n = 100_000;
        let x: Vec<f32> = (0..n).map(|i| i as f32 / 1e4 - 5.0).collect();
        let (mut out, mut bytes) = (vec![0.0f32; n], vec![0i8; n]);
        for op in [Unary::Exp, Unary::Logistic, Unary::Tanh, Unary::Gelu, Unary::Clamp(0.0, 6.0), Unary::HardSwish] {
            let t = best(|| unary_f32(pool, isa, op, &x, black_box(&mut out)));
            line(&format!("{op:?}"), t, n as f64, "G/s");
        }
        let y = x.clone();
        let all = RowsF32 { data: &x, len: 100, step: 100 };
        for (name, len, step) in
            [("add", 100, 100), ("add a row of 100", 100, 0), ("add rows of 1", 1, 1), ("add rows of 2", 2, 2)]
        {
            let other = RowsF32 { data: &y, len, step };
            let t = best(|| binary_f32(pool, isa, Binary::Add, n / 100, all, other, black_box(&mut out), (0.0, 6.0)));
            line(name, t, n as f64, "G/s");
        }
        let t = best(|| softmax_rows(pool, isa, &x, 1000, 1.0, black_box(&mut out)));
        line("softmax of 1000", t, n as f64, "G/s");
        let t = best(|| quantize_f32_i8(pool, isa, &x, 0.1, 3, black_box(&mut bytes)));
        line("quantize", t, n as f64, "G/s");
        let mut sc = vec![0.0; n / 1000];
        let t = best(|| quantize_rows_symmetric(pool, isa, &x, 1000, black_box(&mut bytes), &mut sc));
        line("quantize rows of 1000", t, n as f64, "G/s");
        let t = best(|| dequantize_i8_f32(pool, isa, &bytes, 0.1, 3, black_box(&mut out)));
        line("dequantize", t, n as f64, "G/s");
        let (from, mut to) = (vec![7u8; n], vec![0u8; n]);
        let t = best(|| lut_8bit(pool, &from, &[3; 256], black_box(&mut to)));
        line("lut", t, n as f64, "G/s");
        let (r, c) = (512, 700);
        let x = vec![1.0f32; r * c];
        let mut out = vec![0.0f32; r * c];
        let t = best(|| transpose_f32(pool, isa, &x, r, c, black_box(&mut out)));
        line("transpose 512x700", t, (r * c * 4) as f64, "GB/s");
        let spec = PackF32::new(isa, r, 1, c);
        let mut packed = vec![0.0; spec.packed_len()];
        let t = best(|| _ = black_box(spec.pack(&x, Layout::RowsOfK, None, black_box(&mut packed))));
        line("pack f32 [512][700]", t, (r * c * 4) as f64, "GB/s");
        let t = best(|| _ = black_box(spec.pack(&x, Layout::RowsOfN, None, black_box(&mut packed))));
        line("pack f32 [700][512]", t, (r * c * 4) as f64, "GB/s");
        let x8 = vec![1i8; r * c];
        let spec = PackI8::new(isa, r, 1, c, 0, 0);
        let mut packed = vec![0; spec.packed_len()];
        let raw = ColumnsI8::Raw { bias: None };
        let t = best(|| _ = black_box(spec.pack(&x8, Layout::RowsOfK, raw, black_box(&mut packed))));
        line("pack i8 [512][700]", t, (r * c) as f64, "GB/s");
        let t = best(|| sum_rows(pool, isa, &x, r, c, black_box(&mut out[..c]), false));
        line("sum rows", t, (r * c * 4) as f64, "GB/s");
        let mut s = ConvShape::new(8, [28, 28, 32], [2, 2], 32);
        (s.out_h, s.out_w, s.stride) = (14, 14, (2, 2));
        let (x, mut out) = (vec![1.0f32; s.batch * 28 * 28 * 32], vec![0.0f32; s.rows() * 32]);
        let t = best(|| max_pool2d_f32(pool, isa, &s, &x, black_box(&mut out), (0.0, 6.0)));
        line("max pool 2x2 8x28x28x32", t, x.len() as f64, "G/s");
        let mut dx = x.clone();
        let t = best(|| max_pool2d_grad(pool, isa, &s, &x, &out, black_box(&mut dx)));
        line("its gradient", t, x.len() as f64, "G/s");
        let mut s = ConvShape::new(8, [28, 28, 32], [3, 3], 32);
        (s.out_h, s.out_w, s.pad_top, s.pad_left) = (28, 28, 1, 1);
        let cols = vec![1.0f32; s.rows() * 9 * 32];
        let t = best(|| col2im(pool, isa, &s, &cols, black_box(&mut dx)));
        line("col2im 3x3 8x28x28x32", t, cols.len() as f64 * 4.0, "GB/s");
    }
}
