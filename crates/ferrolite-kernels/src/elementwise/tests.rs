use super::*;
use crate::isa::Isa;
use crate::pool::ThreadPool;
use crate::testutil::Rng;

/// |got - want| in units in the last place of `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let w = want as f32;
    if got == w || (got.is_nan() && w.is_nan()) {
        return 0.0;
    }
    let ulp = f64::from(f32::from_bits(w.abs().to_bits().max(0x0080_0000) + 1))
        - f64::from(f32::from_bits(w.abs().to_bits().max(0x0080_0000)));
    (f64::from(got) - want).abs() / ulp
}

#[test]
fn transcendental_functions_err_by_two_ulps() {
    let mut r = Rng::new(8);
    let pool = ThreadPool::new(1);
    let mut x: Vec<f32> = (0..20_011).map(|i| r.f32() * [0.1, 1.0, 10.0, 87.0][i % 4]).collect();
    x.extend([0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 88.7, -87.3, 1e-30, 89.0, 0.625]);
    let mut out = vec![0.0; x.len()];
    for isa in Isa::available() {
        let functions: [(Unary, fn(f64) -> f64, f64); 3] = [
            (Unary::Exp, f64::exp, 2.0),
            (Unary::Logistic, |x| 1.0 / (1.0 + (-x).exp()), 3.5),
            (Unary::Tanh, f64::tanh, 2.5),
        ];
        for (op, f, bound) in functions {
            unary_f32(&pool, isa, op, &x, &mut out);
            for (x, got) in x.iter().zip(&out) {
                let want = f(f64::from(*x));
                if want.abs() > 1e-37 {
                    let e = ulps(*got, want);
                    assert!(
                        e <= bound || (want > f64::from(f32::MAX) && got.is_infinite()),
                        "{op:?}({x}) = {got}: {e}"
                    );
                } else if !want.is_nan() {
                    assert!((f64::from(*got) - want).abs() < 1e-37);
                }
            }
        }
    }
}

#[test]
fn unary_operations() {
    let mut r = Rng::new(9);
    let pool = ThreadPool::new(2);
    let x: Vec<f32> = (0..70_003).map(|_| r.f32() * 8.0).collect();
    for isa in Isa::available() {
        let cases: [(Unary, fn(f32) -> f32); 10] = [
            (Unary::Clamp(-1.0, 2.0), |x| x.clamp(-1.0, 2.0)),
            (Unary::Abs, f32::abs),
            (Unary::Neg, |x| -x),
            (Unary::Square, |x| x * x),
            (Unary::Sqrt, f32::sqrt),
            (Unary::Rsqrt, |x| 1.0 / x.sqrt()),
            (Unary::HardSwish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            (Unary::LeakyRelu(0.25), |x| if x > 0.0 { x } else { x * 0.25 }),
            (Unary::Silu, |x| x / (1.0 + (-x).exp())),
            (Unary::GeluTanh, |x| 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044715 * x * x * x)).tanh())),
        ];
        for (op, f) in cases {
            for n in [0, 1, 7, 16, 33, x.len()] {
                let mut out = vec![0.0; n];
                unary_f32(&pool, isa, op, &x[..n], &mut out);
                for (x, y) in x.iter().zip(&out) {
                    let want = f(*x);
                    let near = matches!(op, Unary::Silu | Unary::HardSwish | Unary::Gelu | Unary::GeluTanh);
                    let ok = if near { (y - want).abs() <= 3e-6 } else { *y == want || want.is_nan() };
                    assert!(ok, "{op:?}({x}) = {y}");
                }
                let mut place = x[..n].to_vec();
                unary_f32_inplace(&pool, isa, op, &mut place);
                assert!(place.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan()));
            }
        }
    }
}

#[test]
fn binary_operations_broadcast() {
    let mut r = Rng::new(10);
    let pool = ThreadPool::new(2);
    let ops: [(Binary, fn(f32, f32) -> f32); 8] = [
        (Binary::Add, |a, b| a + b),
        (Binary::Sub, |a, b| a - b),
        (Binary::Mul, |a, b| a * b),
        (Binary::Div, |a, b| a / b),
        (Binary::Min, f32::min),
        (Binary::Max, f32::max),
        (Binary::SquaredDifference, |a, b| (a - b) * (a - b)),
        (Binary::Prelu, |a, b| if a >= 0.0 { a } else { a * b }),
    ];
    // Rows, their width, and length and step of an operand beside one that has all elements.
    let shapes = [
        (1, 1, 1, 0),
        (1, 48, 48, 0),
        (1, 37, 1, 0),
        (1, 60, 12, 0),
        (1, 40_000, 40, 0),
        (1, 39_000, 1300, 0),
        (5, 7, 1, 1),
        (300, 80, 1, 1),
        (9, 64, 2, 2),
        (30, 2049, 3, 3),
        (3, 400, 100, 100),
        (4, 1000, 2, 0),
        (6, 33, 33, 0),
        (7, 3, 1, 0),
    ];
    for isa in Isa::available() {
        for (rows, width, len, step) in shapes {
            let (a, b) = (r.f32s(rows * width), r.f32s((rows - 1) * step + len));
            let all = RowsF32 { data: &a, len: width, step: width };
            let part = RowsF32 { data: &b, len, step };
            for (op, f) in ops {
                let mut out = vec![0.0; rows * width];
                for swapped in [false, true] {
                    let (x, y) = if swapped { (part, all) } else { (all, part) };
                    binary_f32(&pool, isa, op, rows, x, y, &mut out, (-0.75, 0.5));
                    for (i, out) in out.iter().enumerate() {
                        let pair = (a[i], b[i / width * step + i % width % len]);
                        let (x, y) = if swapped { (pair.1, pair.0) } else { pair };
                        assert_eq!(*out, f(x, y).clamp(-0.75, 0.5), "{op:?} {rows} {width} {len} {step}");
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_rows_sum_to_one() {
    let mut r = Rng::new(12);
    let pool = ThreadPool::new(2);
    for isa in Isa::available() {
        for (rows, cols, beta) in [(1, 1, 1.0), (3, 10, 1.0), (2, 1001, 0.5), (7, 16, 2.0), (300, 35, 1.0)] {
            let x: Vec<f32> = (0..rows * cols).map(|_| r.f32() * 20.0).collect();
            let mut out = vec![0.0; x.len()];
            softmax_rows(&pool, isa, &x, cols, beta, &mut out);
            let mut log = vec![0.0; x.len()];
            log_softmax_rows(&pool, isa, &x, cols, &mut log);
            for ((x, y), log) in x.chunks(cols).zip(out.chunks(cols)).zip(log.chunks(cols)) {
                let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let ln = x.iter().map(|v| f64::from(v - max).exp()).sum::<f64>().ln();
                for (x, y) in x.iter().zip(log) {
                    assert!((f64::from(*y) - (f64::from(x - max) - ln)).abs() <= 4e-6);
                }
                let e: Vec<f64> = x.iter().map(|v| (f64::from(v - max) * f64::from(beta)).exp()).collect();
                let sum: f64 = e.iter().sum();
                for (e, y) in e.iter().zip(y) {
                    let want = e / sum;
                    assert!((f64::from(*y) - want).abs() <= want * 3e-6 + 1e-37, "{y} for {want}");
                }
            }
        }
    }
}

#[test]
fn bytes_equal_fixed_point_arithmetic() {
    use crate::requant::multiply_by_quantized_multiplier as times;
    let mut r = Rng::new(13);
    let pool = ThreadPool::new(2);
    for round in 0..60 {
        let signed = round % 2 == 0;
        let lowest = if signed { -128 } else { 0 };
        let byte = |r: &mut Rng| r.range(lowest, lowest + 256);
        let value = |x: u8| if signed { i32::from(x as i8) } else { i32::from(x) };
        // Whole numbers and halves too, where ties are the rule.
        let nice = round % 5 == 0;
        let multiplier = |r: &mut Rng| if nice { 1 << 30 } else { r.range(1 << 30, i32::MAX) };
        let (zeros, output_zero) = ([byte(&mut r), byte(&mut r)], byte(&mut r));
        let low = r.range(lowest, lowest + 100);
        let range = (low, r.range(low, lowest + 256));
        let add = Add8Bit {
            signed,
            subtract: round % 3 == 0,
            zeros,
            factors: [(multiplier(&mut r), r.range(0, 3)), (1 << 30, 0)],
            output: (multiplier(&mut r), r.range(15, 21)),
            output_zero,
            range,
        };
        let mul = Mul8Bit { signed, zeros, factor: (multiplier(&mut r), r.range(0, 10)), output_zero, range };
        for (n, la, lb) in [(65_536, 65_536, 65_536), (90, 90, 1), (1000, 1, 1000), (2000, 2000, 40)] {
            let every = n == 65_536;
            let a: Vec<u8> = (0..la).map(|i| if every { (i / 256) as u8 } else { r.next() as u8 }).collect();
            let b: Vec<u8> = (0..lb).map(|i| if every { i as u8 } else { r.next() as u8 }).collect();
            for isa in Isa::available() {
                let (mut sum, mut product) = (vec![0; n], vec![0; n]);
                add_8bit(&pool, isa, &add, &a, &b, &mut sum);
                mul_8bit(&pool, isa, &mul, &a, &b, &mut product);
                for i in 0..n {
                    let (x, y) = (value(a[i % la]) - zeros[0], value(b[i % lb]) - zeros[1]);
                    let part = |v: i32, f: (i32, i32)| times(v << 20, f.0, -f.1);
                    let (p, q) = (part(x, add.factors[0]), part(y, add.factors[1]));
                    let want = times(if add.subtract { p - q } else { p + q }, add.output.0, -add.output.1);
                    assert_eq!(value(sum[i]), (want + output_zero).clamp(range.0, range.1), "{x} {y} {add:?} {isa}");
                    let want = times(x * y, mul.factor.0, -mul.factor.1);
                    assert_eq!(value(product[i]), (want + output_zero).clamp(range.0, range.1), "{x} {y} {mul:?}");
                }
            }
        }
    }
}
