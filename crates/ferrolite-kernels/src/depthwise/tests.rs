use super::*;
use crate::gemm_f32::tests::random_shape;
use crate::gemm_i8::{ColumnsI8, OutI8};
use crate::isa::Isa;
use crate::pool::ThreadPool;
use crate::requant::{multiply_by_quantized_multiplier, multiply_by_quantized_multiplier_i64};
use crate::testutil::Rng;

fn shape(r: &mut Rng, round: usize) -> ConvShape {
    let mut s = random_shape(r);
    if round.is_multiple_of(2) {
        s.in_c = r.usize(1, 70);
        s.in_w += 20;
        s.out_w += 20;
    }
    let multiplier = if r.one_in(3) { r.usize(1, 4) } else { 1 };
    s.out_c = s.in_c * multiplier;
    s.in_stride = s.in_c + if r.one_in(3) { 3 } else { 0 };
    s.out_stride = s.out_c + if r.one_in(3) { 2 } else { 0 };
    s
}

/// Input element and filter element of every tap inside the image.
fn taps(s: &ConvShape, row: usize, o: usize) -> Vec<(usize, usize)> {
    let (x, y, b) = (row % s.out_w, row / s.out_w % s.out_h, row / (s.out_w * s.out_h));
    let mut v = Vec::new();
    for t in 0..s.k_h * s.k_w {
        let iy = (y * s.stride.0 + t / s.k_w * s.dilation.0).wrapping_sub(s.pad_top);
        let ix = (x * s.stride.1 + t % s.k_w * s.dilation.1).wrapping_sub(s.pad_left);
        if iy < s.in_h && ix < s.in_w {
            let c = o / (s.out_c / s.in_c);
            v.push((((b * s.in_h + iy) * s.in_w + ix) * s.in_stride + c, t * s.out_c + o));
        }
    }
    v
}

#[test]
fn float_equals_the_definition() {
    let mut r = Rng::new(41);
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    for round in 0..120 {
        let mut s = shape(&mut r, round);
        if !round.is_multiple_of(3) {
            s.dilation.1 = 1;
            (s.k_w, s.stride.1) = (r.usize(1, 4) * 2 + 1, r.usize(1, 3));
        }
        let (input, filter) = (r.f32s(s.input_len()), r.f32s(s.k_h * s.k_w * s.out_c));
        let bias = r.f32s(s.out_c);
        let bias = (!round.is_multiple_of(3)).then_some(&bias[..]);
        let mut packed = vec![9.0; depthwise_packed_len(&s)];
        pack_depthwise_f32(&s, &filter, bias, &mut packed);
        for isa in Isa::available() {
            let mut out = vec![9.0; s.output_len()];
            depthwise_conv2d_f32(&pools[round % 2], isa, &s, &input, &packed, &mut out, (-1.5, 2.0));
            for row in 0..s.rows() {
                for o in 0..s.out_c {
                    let sum: f64 =
                        taps(&s, row, o).iter().map(|(i, f)| f64::from(input[*i]) * f64::from(filter[*f])).sum();
                    let want = (sum + bias.map_or(0.0, |b| f64::from(b[o]))).clamp(-1.5, 2.0);
                    let got = f64::from(out[row * s.out_stride + o]);
                    assert!((got - want).abs() < 1e-5, "{got} for {want}: {s:?}");
                }
                if s.out_stride > s.out_c && row + 1 < s.rows() {
                    assert_eq!(out[row * s.out_stride + s.out_c], 9.0);
                }
            }
        }
    }
}

#[test]
fn int_equals_the_definition() {
    let mut r = Rng::new(42);
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    for round in 0..120 {
        let mut s = shape(&mut r, round);
        if round % 3 == 0 {
            // The everyday filter.
            (s.k_h, s.k_w, s.stride.1, s.dilation) = (3, 3, 1, (1, 1));
        }
        let n = s.out_c;
        let (input, filter) = (r.i8s(s.input_len()), r.i8s(s.k_h * s.k_w * n));
        let input_u8: Vec<i8> = input.iter().map(|x| x ^ -128).collect();
        let bias: Vec<i32> = (0..n).map(|_| (r.next() as i32) >> r.range(8, 24)).collect();
        let mut multiplier: Vec<i32> = (0..n).map(|_| r.range(1 << 30, i32::MAX)).collect();
        if round % 5 == 0 {
            multiplier[0] = i32::MIN;
        }
        let shift: Vec<i32> =
            (0..n).map(|_| if round % 4 == 0 && r.one_in(4) { r.range(-31, 31) } else { r.range(-12, 1) }).collect();
        let (scale, fbias) = (r.f32s(n), r.f32s(n));
        let (row_scale, row_zero) = (r.f32s(s.batch), (0..s.batch).map(|_| r.range(-20, 20)).collect::<Vec<i32>>());
        let (zero, zw) = (r.range(-128, 128), if round % 2 == 0 { 0 } else { r.range(-128, 128) });
        let acc = |row: usize, o: usize, za: i32| -> i32 {
            taps(&s, row, o).iter().map(|(i, f)| (i32::from(input[*i]) - za) * (i32::from(filter[*f]) - zw)).sum()
        };
        for isa in Isa::available() {
            let pool = &pools[round % 2];
            let cols = ColumnsI8::Requant { bias: Some(&bias), multiplier: &multiplier, shift: &shift };
            let packed = DepthwiseI8::pack(isa, &s, &filter, false, zero, zw, cols);
            let unsigned = DepthwiseI8::pack(isa, &s, &filter, true, zero, zw, cols);
            let len = s.output_len();
            let (mut raw, mut bytes, mut float) = (vec![7; len], vec![7i8; len], vec![7.0; len]);
            depthwise_conv2d_i8(pool, &s, &input, &packed, OutI8::I32 { out: &mut raw, ldc: 0 });
            let o = OutI8::I8 { out: &mut bytes, ldc: 0, zero_point: -3, min: -100, max: 120 };
            depthwise_conv2d_i8(pool, &s, &input, &packed, o);
            let mut flipped = bytes.clone();
            let o = OutI8::I8 { out: &mut flipped, ldc: 0, zero_point: -3, min: -100, max: 120 };
            depthwise_conv2d_i8(pool, &s, &input_u8, &unsigned, o);
            // An image's own zero point replaces that of the input.
            let za = if round % 3 == 0 { zero } else { 0 };
            let cols = ColumnsI8::Float { scale: &scale, bias: Some(&fbias) };
            let packed = DepthwiseI8::pack(isa, &s, &filter, false, za, zw, cols);
            let o = OutI8::F32 {
                out: &mut float,
                ldc: 0,
                row_scale: &row_scale,
                row_zero_point: (round % 3 != 0).then_some(&row_zero[..]),
                rows_per_scale: 0,
                columns_first: false,
                min: -1e9,
                max: 1e9,
            };
            depthwise_conv2d_i8(pool, &s, &input, &packed, o);
            for row in 0..s.rows() {
                for o in 0..n {
                    let at = row * s.out_stride + o;
                    let a = acc(row, o, zero).wrapping_add(bias[o]);
                    assert_eq!(raw[at], a);
                    let q = multiply_by_quantized_multiplier(a, multiplier[o], shift[o]).wrapping_add(-3);
                    assert_eq!(i32::from(bytes[at]), q.clamp(-100, 120));
                    assert_eq!(flipped[at], bytes[at] ^ -128);
                    let b = row / (s.out_h * s.out_w);
                    let f = acc(row, o, if round % 3 != 0 { row_zero[b] } else { za }) as f32
                        * (row_scale[b] * scale[o])
                        + fbias[o];
                    assert_eq!(float[at], f);
                }
            }
        }
    }
}

#[test]
fn wide_equals_the_definition() {
    let mut r = Rng::new(43);
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    for round in 0..40 {
        let s = shape(&mut r, round);
        let n = s.out_c;
        let input: Vec<i16> = (0..s.input_len()).map(|_| r.next() as i16).collect();
        let filter = r.i8s(s.k_h * s.k_w * n);
        let bias = |r: &mut Rng| i64::from(r.next() as i32) << r.range(0, 8);
        let channels: Vec<(i64, i32, i32)> =
            (0..n).map(|_| (bias(&mut r), r.range(1 << 30, i32::MAX), r.range(-16, 1))).collect();
        for isa in Isa::available() {
            let packed = DepthwiseI16::pack(isa, &s, &filter, channels.clone());
            let mut out = vec![7; s.output_len()];
            depthwise_conv2d_i16(&pools[round % 2], &s, &input, &packed, &mut out, (-30_000, 32_000));
            for row in 0..s.rows() {
                for o in 0..n {
                    let sum: i64 =
                        taps(&s, row, o).iter().map(|(i, f)| i64::from(input[*i]) * i64::from(filter[*f])).sum();
                    let (bias, multiplier, shift) = channels[o];
                    let want = multiply_by_quantized_multiplier_i64(sum + bias, multiplier, shift);
                    assert_eq!(i32::from(out[row * s.out_stride + o]), want.clamp(-30_000, 32_000));
                }
            }
        }
    }
}
