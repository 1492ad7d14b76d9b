use super::*;
use crate::gemm::Layout;
use crate::isa::pick;
use crate::testutil::Rng;

/// Column `j` of row `i` in f64, and the sum of magnitudes for the bound.
fn dot(row: impl Iterator<Item = (f32, f32)>) -> (f64, f64) {
    row.fold((0.0, 0.0), |(s, m), (x, w)| {
        let p = f64::from(x) * f64::from(w);
        (s + p, m + p.abs())
    })
}

fn close(got: f32, want: f64, magnitude: f64, k: usize) {
    let bound = (magnitude + want.abs() + 1.0) * f64::from(f32::EPSILON) * (k as f64 + 4.0);
    assert!((f64::from(got) - want).abs() <= bound, "{got} for {want}, bound {bound}");
}

#[test]
fn every_row_is_reachable_and_named_by_its_tile() {
    for isa in Isa::available() {
        let v = pick(KERNELS, isa);
        assert!(v.name.contains(&format!("{}x{}", v.run.mr, v.run.nr())), "{}", v.name);
        assert!(v.isa <= isa.level());
    }
}

#[test]
fn gemm_equals_the_definition() {
    let mut r = Rng::new(7);
    let mut shapes = vec![
        (2, 3, 0),
        (1, 1, 1),
        (1, 100, 37),
        (2, 65, 64),
        (14, 32, 8),
        (15, 33, 5),
        (29, 7, 1),
        (64, 48, 130),
        (3, 16, 500),
    ];
    shapes.extend((0..20).map(|_| (r.usize(1, 40), r.usize(1, 90), r.usize(1, 70))));
    shapes.push((150, 160, 70));
    for threads in [1, 3] {
        let pool = ThreadPool::new(threads);
        for isa in Isa::available() {
            for &(m, n, k) in &shapes {
                let (lda, ldc) = (k + r.usize(0, 3), n + r.usize(0, 5));
                let (a, bias) = (r.f32s(m * lda), r.f32s(n));
                let w = r.f32s(n * k);
                let t: Vec<f32> = (0..n * k).map(|i| w[i % n * k + i / n]).collect();
                let add = r.f32s(m * ldc);
                let bias = (m % 2 == 0).then_some(&bias[..]);
                let mut packed = PackedF32::pack(isa, &t, n, 1, k, Layout::RowsOfN, None);
                let mut first = vec![0.0; m * ldc];
                for round in 0..2 {
                    let (wl, layout) = if round == 0 { (&w, Layout::RowsOfK) } else { (&t, Layout::RowsOfN) };
                    packed.repack(wl, layout, bias);
                    let mut out = vec![7.0; m * ldc];
                    let ep = EpilogueF32 { min: -2.0, max: 2.5, add: (k % 2 == 0).then_some(&add[..]) };
                    gemm_f32(&pool, &a, m, lda, packed.as_ref(), &mut out, ldc, ep);
                    for i in 0..m {
                        for j in 0..ldc {
                            let got = out[i * ldc + j];
                            if j >= n {
                                assert_eq!(got, 7.0);
                                continue;
                            }
                            let (s, mag) = dot((0..k).map(|x| (a[i * lda + x], w[j * k + x])));
                            let s = s + f64::from(bias.map_or(0.0, |b| b[j]));
                            let s = s + f64::from(ep.add.map_or(0.0, |d| d[i * ldc + j]));
                            close(got, s.clamp(-2.0, 2.5), mag, k);
                        }
                    }
                    if round == 0 { first = out } else { assert_eq!(first, out, "layouts differ") }
                }
            }
        }
    }
}

#[test]
fn nan_goes_through_the_clamp() {
    let pool = ThreadPool::new(1);
    for isa in Isa::available() {
        let packed = PackedF32::pack(isa, &[1.0], 1, 1, 1, Layout::RowsOfK, None);
        let mut out = [0.0];
        gemm_f32(&pool, &[f32::NAN], 1, 1, packed.as_ref(), &mut out, 1, EpilogueF32::relu());
        assert!(out[0].is_nan());
    }
}

/// Random convolutions: strides, dilations, paddings that leave whole windows outside, pixel strides.
pub(crate) fn random_shape(r: &mut Rng) -> ConvShape {
    let mut s = ConvShape::new(r.usize(1, 3), [r.usize(1, 12), r.usize(1, 12), r.usize(1, 10)], [1, 1], r.usize(1, 40));
    (s.k_h, s.k_w) = (r.usize(1, 5), r.usize(1, 5));
    s.stride = (r.usize(1, 4), r.usize(1, 4));
    s.dilation = if r.one_in(3) { (r.usize(1, 4), r.usize(1, 4)) } else { (1, 1) };
    (s.pad_top, s.pad_left) = (r.usize(0, 4), r.usize(0, 4));
    (s.out_h, s.out_w) = (r.usize(1, 10), r.usize(1, 10));
    if r.one_in(3) {
        s.in_stride += r.usize(0, 4);
        s.out_stride += r.usize(0, 4);
    }
    s
}

#[test]
fn conv_equals_the_definition() {
    let mut r = Rng::new(3);
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    for round in 0..120 {
        let mut s = random_shape(&mut r);
        if round % 10 == 0 {
            (s.in_c, s.in_stride) = (70, 70);
        } else if round % 3 == 1 {
            // Few channels in long lines.
            let channels = r.usize(1, 4);
            (s.in_c, s.in_stride, s.dilation) = (channels, channels, (1, 1));
            (s.in_w, s.out_w, s.stride.1) = (r.usize(1, 60), r.usize(4, 40), r.usize(1, 3));
        }
        let k = s.k_h * s.k_w * s.in_c;
        let (input, filter, bias) = (r.f32s(s.input_len()), r.f32s(s.out_c * k), r.f32s(s.out_c));
        let add = r.f32s(s.output_len());
        for isa in Isa::available() {
            let packed = PackedF32::conv(isa, &s, &filter, Some(&bias));
            let mut out = vec![9.0; s.output_len()];
            let add = (round % 4 == 0).then_some(&add[..]);
            let epilogue = EpilogueF32 { add, ..EpilogueF32::default() };
            conv2d_f32(&pools[round % 2], &s, &input, packed.as_ref(), &mut out, epilogue);
            for row in 0..s.rows() {
                let (x, y, b) = (row % s.out_w, row / s.out_w % s.out_h, row / (s.out_w * s.out_h));
                for o in 0..s.out_c {
                    let (sum, mag) = dot((0..k).map(|i| {
                        let (c, kx, ky) = (i % s.in_c, i / s.in_c % s.k_w, i / (s.in_c * s.k_w));
                        let iy = (y * s.stride.0 + ky * s.dilation.0).wrapping_sub(s.pad_top);
                        let ix = (x * s.stride.1 + kx * s.dilation.1).wrapping_sub(s.pad_left);
                        let inside = iy < s.in_h && ix < s.in_w;
                        let v = if inside { input[((b * s.in_h + iy) * s.in_w + ix) * s.in_stride + c] } else { 0.0 };
                        (v, filter[o * k + i])
                    }));
                    let at = row * s.out_stride + o;
                    close(out[at], sum + f64::from(bias[o]) + f64::from(add.map_or(0.0, |a| a[at])), mag, k);
                }
                if s.out_stride > s.out_c && row + 1 < s.rows() {
                    assert_eq!(out[row * s.out_stride + s.out_c], 9.0);
                }
            }
        }
    }
}
