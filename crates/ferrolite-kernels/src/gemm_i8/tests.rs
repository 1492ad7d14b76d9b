use super::*;
use crate::gemm::Layout;
use crate::gemm_f32::tests::random_shape;
use crate::requant::multiply_by_quantized_multiplier;
use crate::testutil::Rng;

struct Case {
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i32>,
    scale: Vec<f32>,
    fbias: Vec<f32>,
    factor: Vec<f64>,
}

fn columns(r: &mut Rng, n: usize) -> Case {
    let special = [i32::MIN, i32::MAX, 0, -5];
    let multiplier = |r: &mut Rng| match r.next() % 16 {
        0 => special[r.usize(0, 4)],
        _ => r.range(1 << 30, i32::MAX),
    };
    let extreme = r.one_in(2);
    Case {
        bias: (0..n).map(|_| (r.next() as i32) >> if extreme { r.range(0, 20) } else { r.range(4, 20) }).collect(),
        multiplier: (0..n).map(|_| if extreme { multiplier(r) } else { r.range(1 << 30, i32::MAX) }).collect(),
        // Half of the cases are of the everyday kind that has a shorter epilogue.
        shift: (0..n).map(|_| if extreme && r.one_in(4) { r.range(-31, 31) } else { r.range(-14, 1) }).collect(),
        scale: (0..n).map(|_| r.f32() * 0.1).collect(),
        fbias: r.f32s(n),
        factor: (0..n)
            .map(|i| match (extreme, i % 9) {
                (true, 0) => 0.5,
                (true, 1) => -3.7,
                (true, 2) => 0.0,
                _ => f64::from(r.f32().abs() + 0.01) / 256.0,
            })
            .collect(),
    }
}

/// Checks all three outputs of `call` against accumulators without zero points of rows.
fn check(
    r: &mut Rng,
    c: &Case,
    n: usize,
    want: &[i32],
    zero_rows: &dyn Fn(&[i32]) -> Vec<i32>,
    rows_per_scale: usize,
    call: &dyn Fn(ColumnsI8<'_>, OutI8<'_>),
    ldc: usize,
) {
    let m = want.len() / n;
    let mut raw = vec![-7; m * ldc];
    call(ColumnsI8::Raw { bias: Some(&c.bias) }, OutI8::I32 { out: &mut raw, ldc });
    let (zero_point, min, max) = (r.range(-128, 128), r.range(-128, 0), r.range(0, 128));
    let mut bytes = vec![99i8; m * ldc];
    let cols = ColumnsI8::Requant { bias: Some(&c.bias), multiplier: &c.multiplier, shift: &c.shift };
    call(cols, OutI8::I8 { out: &mut bytes, ldc, zero_point, min, max });
    let mut reals = vec![99i8; m * ldc];
    call(
        ColumnsI8::Real { bias: Some(&c.bias), factor: &c.factor },
        OutI8::I8 { out: &mut reals, ldc, zero_point, min, max },
    );
    let groups = m.div_ceil(rows_per_scale);
    let row_scale = r.f32s(groups);
    let zeros: Vec<i32> = (0..groups).map(|_| r.range(-20, 20)).collect();
    let moved = zero_rows(&zeros);
    let mut float = [vec![5.0f32; m * ldc], vec![5.0f32; m * ldc]];
    for (i, out) in float.iter_mut().enumerate() {
        let cols = ColumnsI8::Float { scale: &c.scale, bias: (i == 0).then_some(&c.fbias) };
        let row_zero_point = (i == 1).then_some(&zeros[..]);
        call(
            cols,
            OutI8::F32 {
                out,
                ldc,
                row_scale: &row_scale,
                row_zero_point,
                rows_per_scale,
                columns_first: i == 1,
                min: -9.0,
                max: 11.0,
            },
        );
    }
    for i in 0..m {
        for j in 0..ldc {
            let at = i * ldc + j;
            if j >= n {
                assert_eq!((raw[at], bytes[at], reals[at], float[0][at]), (-7, 99, 99, 5.0));
                continue;
            }
            let acc = want[i * n + j].wrapping_add(c.bias[j]);
            assert_eq!(raw[at], acc);
            let q = multiply_by_quantized_multiplier(acc, c.multiplier[j], c.shift[j]);
            let q = q.wrapping_add(zero_point).clamp(min, max);
            assert_eq!(i32::from(bytes[at]), q, "{acc} {} {}", c.multiplier[j], c.shift[j]);
            let q = ((f64::from(acc) * c.factor[j]).round() as i32).saturating_add(zero_point).clamp(min, max);
            assert_eq!(i32::from(reals[at]), q, "{acc} {}", c.factor[j]);
            let (row, column) = (row_scale[i / rows_per_scale], c.scale[j]);
            let f = (want[i * n + j] as f32 * (row * column) + c.fbias[j]).clamp(-9.0, 11.0);
            assert_eq!(float[0][at], f);
            let f = (moved[i * n + j] as f32 * column * row + 0.0).clamp(-9.0, 11.0);
            assert_eq!(float[1][at], f);
        }
    }
}

#[test]
fn gemm_equals_the_definition() {
    let mut r = Rng::new(21);
    let mut shapes = vec![
        (2, 3, 0),
        (1, 1, 1),
        (5, 3, 1),
        (1, 100, 37),
        (14, 32, 64),
        (15, 33, 5),
        (29, 7, 2),
        (64, 48, 130),
        (3, 16, 500),
    ];
    shapes.extend((0..20).map(|_| (r.usize(1, 40), r.usize(1, 90), r.usize(1, 140))));
    shapes.push((90, 100, 70));
    for threads in [1, 3] {
        let pool = ThreadPool::new(threads);
        for isa in Isa::available() {
            for (i, &(m, n, k)) in shapes.iter().enumerate() {
                let (lda, ldc) = (k + r.usize(0, 3), n + r.usize(0, 5));
                let (a, w) = (r.i8s((m - 1) * lda + k), r.i8s(n * k));
                let c = columns(&mut r, n);
                let (za, zw) = (r.range(-128, 128), if i % 2 == 0 { 0 } else { r.range(-128, 128) });
                let dot = |za: i32, i: usize, j: usize| -> i32 {
                    (0..k).map(|x| (i32::from(a[i * lda + x]) - za) * (i32::from(w[j * k + x]) - zw)).sum()
                };
                let want: Vec<i32> = (0..m * n).map(|e| dot(za, e / n, e % n)).collect();
                let moved = |z: &[i32]| (0..m * n).map(|e| dot(za + z[e / n], e / n, e % n)).collect();
                let t: Vec<i8> = (0..n * k).map(|i| w[i % n * k + i / n]).collect();
                let spec = PackI8::new(isa, n, 1, k, za, zw);
                let call = |cols: ColumnsI8<'_>, out: OutI8<'_>| {
                    let (w, l) = if i % 3 == 0 { (&t, Layout::RowsOfN) } else { (&w, Layout::RowsOfK) };
                    gemm_i8(&pool, &a, m, lda, PackedI8::pack(spec, w, l, cols).as_ref(), out);
                };
                check(&mut r, &c, n, &want, &moved, 1, &call, ldc);
            }
        }
    }
}

#[test]
fn long_depth_of_extremes_is_exact() {
    let pool = ThreadPool::new(1);
    let k = 21_632;
    for isa in Isa::available() {
        for (x, w) in [(-128i8, -128i8), (-128, 127), (127, 127)] {
            let spec = PackI8::new(isa, 1, 1, k, 0, 0);
            let packed = PackedI8::pack(spec, &vec![w; k], Layout::RowsOfK, ColumnsI8::Raw { bias: None });
            let mut out = [0];
            gemm_i8(&pool, &vec![x; k], 1, k, packed.as_ref(), OutI8::I32 { out: &mut out, ldc: 1 });
            assert_eq!(out[0], k as i32 * i32::from(x) * i32::from(w));
        }
    }
}

#[test]
fn conv_equals_the_definition() {
    let mut r = Rng::new(33);
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    for round in 0..80 {
        let mut s = random_shape(&mut r);
        if round % 10 == 0 {
            let c = if round % 20 == 0 { 64 } else { 70 };
            (s.in_c, s.in_stride) = (c, c);
            // Rows of tiles that lie evenly in the input, and some that do not.
            (s.in_w, s.out_w, s.out_h, s.stride.1) = (40, 35, 2, 1);
        }
        let k = s.k_h * s.k_w * s.in_c;
        let (input, w) = (r.i8s(s.input_len()), r.i8s(s.out_c * k));
        let c = columns(&mut r, s.out_c);
        let (za, zw) = (r.range(-100, 100), if round % 2 == 0 { 0 } else { r.range(-128, 128) });
        let pixels = s.out_h * s.out_w;
        let dot = |za: i32, row: usize, o: usize| -> i32 {
            let (x, y, b) = (row % s.out_w, row / s.out_w % s.out_h, row / pixels);
            let mut sum = 0;
            for i in 0..k {
                let (c, kx, ky) = (i % s.in_c, i / s.in_c % s.k_w, i / (s.in_c * s.k_w));
                let iy = (y * s.stride.0 + ky * s.dilation.0).wrapping_sub(s.pad_top);
                let ix = (x * s.stride.1 + kx * s.dilation.1).wrapping_sub(s.pad_left);
                if iy < s.in_h && ix < s.in_w {
                    let v = i32::from(input[((b * s.in_h + iy) * s.in_w + ix) * s.in_stride + c]);
                    sum += (v - za) * (i32::from(w[o * k + i]) - zw);
                }
            }
            sum
        };
        let n = s.out_c;
        let want: Vec<i32> = (0..s.rows() * n).map(|e| dot(za, e / n, e % n)).collect();
        let moved = |z: &[i32]| (0..s.rows() * n).map(|e| dot(za + z[e / n / pixels], e / n, e % n)).collect();
        for isa in Isa::available() {
            let spec = PackI8::conv(isa, &s, za, zw);
            let call = |cols: ColumnsI8<'_>, out: OutI8<'_>| {
                let packed = PackedI8::pack(spec, &w, Layout::RowsOfK, cols);
                conv2d_i8(&pools[round % 2], &s, &input, packed.as_ref(), out);
            };
            check(&mut r, &c, n, &want, &moved, pixels, &call, s.out_stride);
        }
    }
}

#[test]
fn no_channels_and_no_pixels_are_no_trouble() {
    let pool = ThreadPool::new(2);
    for isa in Isa::available() {
        let mut s = ConvShape::new(2, [3, 3, 0], [2, 2], 3);
        let scale = [1.0; 3];
        let cols = ColumnsI8::Float { scale: &scale, bias: Some(&[1.0, 2.0, 3.0]) };
        let packed = PackedI8::pack(PackI8::conv(isa, &s, 0, 0), &[], Layout::RowsOfK, cols);
        let mut out = [0.0; 24];
        let sink = OutI8::F32 {
            out: &mut out,
            ldc: 3,
            row_scale: &[1.0; 2],
            row_zero_point: Some(&[1, 2]),
            rows_per_scale: 4,
            columns_first: false,
            min: -9.0,
            max: 9.0,
        };
        conv2d_i8(&pool, &s, &[], packed.as_ref(), sink);
        assert_eq!(out[21..], [1.0, 2.0, 3.0]);
        s.batch = 0;
        conv2d_i8(&pool, &s, &[], packed.as_ref(), OutI8::I32 { out: &mut [], ldc: 3 });
    }
}
