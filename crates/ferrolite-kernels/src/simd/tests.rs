use super::*;
use crate::isa::{Isa, Level};
use crate::requant;
use crate::testutil::Rng;

#[inline(always)]
unsafe fn requant_body<V: I32v>(x: &[i32], m: &[i32], s: &[i32], out: &mut [i32]) {
    for i in (0..x.len()).step_by(V::N) {
        // SAFETY: the lengths are multiples of 16.
        unsafe {
            let s = V::load(s[i..].as_ptr());
            let (l, r) = (s.max(V::splat(0)), V::splat(0).sub(s).max(V::splat(0)));
            let y = V::load(x[i..].as_ptr()).shl(l).high_mul(V::load(m[i..].as_ptr())).shr_round(r);
            y.store(out[i..].as_mut_ptr());
        }
    }
}
isa_table!(REQUANT = I "requant_test" requant_body(x: &[i32], m: &[i32], s: &[i32], out: &mut [i32]));

#[test]
fn requantization_of_vectors_is_the_scalar_one() {
    let mut r = Rng::new(11);
    let n = 16 * 4000;
    let edge = [i32::MIN + 1, -1, 0, 1, i32::MAX, 1 << 30, -(1 << 30), i32::MAX - 1];
    let pick = |r: &mut Rng| if r.one_in(4) { edge[r.usize(0, 8)] } else { (r.next() as i32) >> r.range(0, 31) };
    let x: Vec<i32> = (0..n).map(|_| pick(&mut r)).collect();
    let m: Vec<i32> = (0..n).map(|_| pick(&mut r)).collect();
    let s: Vec<i32> = (0..n).map(|_| r.range(-31, 31)).collect();
    for v in REQUANT.iter().filter(|v| v.isa <= Isa::detect().level()) {
        let mut out = vec![0; n];
        // SAFETY: filtered by what the CPU has; lengths are multiples of 16.
        unsafe { (v.run)(&x, &m, &s, &mut out) };
        for i in 0..n {
            let want = requant::multiply_by_quantized_multiplier(x[i], m[i], s[i]);
            assert_eq!(out[i], want, "{}: {} * {} >> {}", v.name, x[i], m[i], s[i]);
        }
    }
    assert_eq!(REQUANT.last().unwrap().isa, Level::Portable);
}

#[inline(always)]
unsafe fn float_body<V: F32v>(x: &[f32], out: &mut [f32]) {
    // SAFETY: `x` has 16 elements and `out` 64.
    unsafe {
        for i in (0..16).step_by(V::N) {
            let v = V::load(x[i..].as_ptr());
            v.round().store(out[i..].as_mut_ptr());
            v.abs().copysign(V::splat(-1.0)).store(out[16 + i..].as_mut_ptr());
            v.scale2(V::splat(-3.0)).store(out[32 + i..].as_mut_ptr());
            v.gt_select(V::splat(0.5), V::splat(1.0), V::splat(2.0)).store(out[48 + i..].as_mut_ptr());
        }
        out[64] = V::load_n(x.as_ptr(), 3).sum();
        out[65] = V::load_n(x.as_ptr(), 3).top();
    }
}
isa_table!(FLOAT = F "float_test" float_body(x: &[f32], out: &mut [f32]));

#[test]
fn float_vectors_agree() {
    let x: Vec<f32> = (0..16).map(|i| (i as f32 - 7.5) * 0.7).chain([]).collect();
    let mut results: Vec<Vec<f32>> = Vec::new();
    for v in FLOAT.iter().filter(|v| v.isa <= Isa::detect().level()) {
        let mut out = vec![0.0; 66];
        // SAFETY: filtered by what the CPU has; the lengths are as the body wants.
        unsafe { (v.run)(&x, &mut out) };
        assert_eq!(out[0], x[0].round_ties_even());
        assert_eq!(out[32], x[0] / 8.0);
        results.push(out);
    }
    for r in &results {
        assert_eq!(r[..64], results[0][..64]);
        assert!((r[64] - results[0][64]).abs() < 1e-5);
        assert_eq!(r[65], results[0][65]);
    }
}
