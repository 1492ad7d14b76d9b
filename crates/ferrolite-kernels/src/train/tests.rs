use super::*;
use crate::gemm::ConvShape;
use crate::gemm_f32::tests::random_shape;
use crate::testutil::{Rng, max_error};

#[test]
fn axpy_and_gradients_of_clamping() {
    let mut r = Rng::new(61);
    let pool = ThreadPool::new(2);
    for isa in Isa::available() {
        for n in [0, 1, 15, 16, 37, 50_001] {
            let (x, y0) = (r.f32s(n), r.f32s(n));
            let mut y = y0.clone();
            axpy(&pool, isa, 0.5, &x, &mut y);
            for i in 0..n {
                assert!((y[i] - (0.5 * x[i] + y0[i])).abs() < 1e-6);
            }
            let mut dx = vec![5.0; n];
            relu_grad(&pool, isa, &x, &y0, &mut dx);
            assert!((0..n).all(|i| dx[i] == if x[i] > 0.0 { y0[i] } else { 0.0 }));
            clamp_grad(&pool, isa, &x, &y0, &mut dx, (-0.5, 0.5));
            assert!((0..n).all(|i| dx[i] == if x[i] > -0.5 && x[i] < 0.5 { y0[i] } else { 0.0 }));
        }
    }
}

#[test]
fn sums_of_rows() {
    let mut r = Rng::new(62);
    let pool = ThreadPool::new(2);
    for isa in Isa::available() {
        for (m, n) in [(1, 1), (3, 40), (9, 16), (1000, 33), (0, 5)] {
            let x = r.f32s(m * n);
            let mut out = vec![2.0; n];
            sum_rows(&pool, isa, &x, m, n, &mut out, true);
            let want: Vec<f32> =
                (0..n).map(|c| 2.0 + (0..m).map(|i| f64::from(x[i * n + c])).sum::<f64>() as f32).collect();
            assert!(max_error(&out, &want) < 1e-4);
            sum_rows(&pool, isa, &x, m, n, &mut out, false);
            let want: Vec<f32> = want.iter().map(|w| w - 2.0).collect();
            assert!(max_error(&out, &want) < 1e-4);
        }
    }
}

#[test]
fn optimizers() {
    let mut r = Rng::new(63);
    let pool = ThreadPool::new(2);
    let n = 20_005;
    for isa in Isa::available() {
        let (mut w, g) = (r.f32s(n), r.f32s(n));
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let mut want: Vec<f64> = w.iter().map(|w| f64::from(*w)).collect();
        let (mut wm, mut wv) = (vec![0.0f64; n], vec![0.0f64; n]);
        for t in 1..4 {
            let step = Adam::at_step(0.01, 0.9, 0.999, 1e-7, t);
            adam_step(&pool, isa, &step, &mut w, &mut m, &mut v, &g);
            for i in 0..n {
                let g = f64::from(g[i]);
                wm[i] = 0.9 * wm[i] + 0.1 * g;
                wv[i] = 0.999 * wv[i] + 0.001 * g * g;
                let rate = 0.01 * (1.0 - 0.999f64.powi(t as i32)).sqrt() / (1.0 - 0.9f64.powi(t as i32));
                want[i] -= rate * wm[i] / (wv[i].sqrt() + 1e-7);
            }
        }
        assert!((0..n).all(|i| (f64::from(w[i]) - want[i]).abs() < 2e-6));
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let (mut w, mut vel) = (g.clone(), vec![0.5; n]);
            let step = Sgd { rate: 0.1, momentum, nesterov };
            sgd_step(&pool, isa, &step, &mut w, (momentum > 0.0).then_some(&mut vel[..]), &g);
            for i in 0..n {
                let v = momentum * 0.5 - 0.1 * g[i];
                let want = g[i] + if nesterov { momentum * v - 0.1 * g[i] } else { v };
                assert!((w[i] - want).abs() < 1e-6);
            }
        }
    }
}

/// Every (window row, tap number, image element of channel 0) inside the image.
fn incidence(s: &ConvShape) -> Vec<(usize, usize, usize)> {
    let mut v = Vec::new();
    for row in 0..s.rows() {
        let (x, y, b) = (row % s.out_w, row / s.out_w % s.out_h, row / (s.out_w * s.out_h));
        for t in 0..s.k_h * s.k_w {
            let iy = (y * s.stride.0 + t / s.k_w * s.dilation.0).wrapping_sub(s.pad_top);
            let ix = (x * s.stride.1 + t % s.k_w * s.dilation.1).wrapping_sub(s.pad_left);
            if iy < s.in_h && ix < s.in_w {
                v.push((row, t, ((b * s.in_h + iy) * s.in_w + ix) * s.in_stride));
            }
        }
    }
    v
}

#[test]
fn col2im_is_the_adjoint() {
    let mut r = Rng::new(64);
    let pool = ThreadPool::new(2);
    for _ in 0..50 {
        let s = random_shape(&mut r);
        let k = s.k_h * s.k_w * s.in_c;
        let cols = r.f32s(s.rows() * k);
        let start = r.f32s(s.input_len());
        let mut want = start.clone();
        for (row, t, at) in incidence(&s) {
            for c in 0..s.in_c {
                want[at + c] += cols[row * k + t * s.in_c + c];
            }
        }
        for isa in Isa::available() {
            let mut image = start.clone();
            col2im(&pool, isa, &s, &cols, &mut image);
            assert!(max_error(&image, &want) < 1e-5);
        }
    }
}

#[test]
fn pooling_gradients() {
    let mut r = Rng::new(65);
    let pool = ThreadPool::new(2);
    for _ in 0..50 {
        let mut s = random_shape(&mut r);
        (s.out_c, s.out_stride) = (s.in_c, s.in_c);
        // Few values, so that there are ties.
        let x: Vec<f32> = (0..s.input_len()).map(|_| r.range(0, 3) as f32).collect();
        let dy = r.f32s(s.output_len());
        let (mut max_dx, mut avg_dx) = (vec![1.0; x.len()], vec![1.0; x.len()]);
        let all = incidence(&s);
        for row in 0..s.rows() {
            let taps: Vec<usize> = all.iter().filter(|t| t.0 == row).map(|t| t.2).collect();
            for c in 0..s.in_c {
                let d = dy[row * s.out_stride + c];
                let best = taps.iter().map(|t| t + c).reduce(|a, b| if x[b] > x[a] { b } else { a });
                best.into_iter().for_each(|b| max_dx[b] += d);
                taps.iter().for_each(|t| avg_dx[t + c] += d / taps.len() as f32);
            }
        }
        for isa in Isa::available() {
            let mut dx = vec![1.0; x.len()];
            max_pool2d_grad(&pool, isa, &s, &x, &dy, &mut dx);
            assert!(max_error(&dx, &max_dx) < 1e-5);
            dx.fill(1.0);
            avg_pool2d_grad(&pool, isa, &s, &dy, &mut dx);
            assert!(max_error(&dx, &avg_dx) < 1e-5);
        }
    }
}
