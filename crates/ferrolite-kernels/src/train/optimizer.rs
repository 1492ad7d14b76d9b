//! Optimiser steps, fused: each reads and writes every number once.
#![allow(unsafe_code)]

use crate::elementwise::GRAIN;
use crate::isa::{Isa, pick};
use crate::mem::Shared;
use crate::pool::ThreadPool;
use crate::simd::F32v;
use std::ops::Range;

/// The numbers of a step of Adam. See [`Adam::at_step`] for Keras' bias correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// The learning rate with the bias correction of the step in it.
    pub rate: f32,
    /// The decay of the first moment.
    pub beta1: f64,
    /// The decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

impl Adam {
    /// Step `t` (from 1) as Keras counts: `rate · √(1 - beta2^t) / (1 - beta1^t)`.
    pub fn at_step(rate: f64, beta1: f64, beta2: f64, epsilon: f64, t: u64) -> Adam {
        let t = t.max(1) as f64;
        let corrected = rate * (1.0 - beta2.powf(t)).sqrt() / (1.0 - beta1.powf(t));
        Adam { rate: corrected as f32, beta1, beta2, epsilon: epsilon as f32 }
    }
}

#[inline(always)]
unsafe fn adam<V: F32v>(p: &Adam, w: *mut f32, m: *mut f32, v: *mut f32, g: *const f32, n: usize) {
    // SAFETY: all are good for `n` elements.
    unsafe {
        let (rate, eps) = (V::splat(p.rate), V::splat(p.epsilon));
        let (c1, c2) = (V::splat((1.0 - p.beta1) as f32), V::splat((1.0 - p.beta2) as f32));
        for i in (0..n).step_by(V::N) {
            let left = (n - i).min(V::N);
            let (g, m0, v0) = (V::load_n(g.add(i), left), V::load_n(m.add(i), left), V::load_n(v.add(i), left));
            let m1 = g.sub(m0).fma(c1, m0);
            let v1 = g.mul(g).sub(v0).fma(c2, v0);
            let w1 = V::load_n(w.add(i), left).sub(m1.mul(rate).div(v1.sqrt().add(eps)));
            m1.store_n(m.add(i), left);
            v1.store_n(v.add(i), left);
            w1.store_n(w.add(i), left);
        }
    }
}
crate::simd::isa_table!(
    ADAM = F "adam_f32" adam(p: &Adam, w: *mut f32, m: *mut f32, v: *mut f32, g: *const f32, n: usize)
);

/// One step of Adam: `m += (g - m)(1 - beta1)`, `v += (g² - v)(1 - beta2)`, `weights -= rate · m / (√v + epsilon)`.
///
/// # Panics
/// If the lengths differ.
pub fn adam_step(
    pool: &ThreadPool,
    isa: Isa,
    step: &Adam,
    weights: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    gradient: &[f32],
) {
    let n = weights.len();
    assert!(m.len() == n && v.len() == n && gradient.len() == n);
    let run = pick(ADAM, isa).run;
    let (w, m, v) = (Shared::new(weights), Shared::new(m), Shared::new(v));
    pool.run_chunks(n, GRAIN / 2, &|r: Range<usize>| {
        let at = r.start;
        // SAFETY: picked through an `Isa`; ranges are inside the slices and do not overlap.
        unsafe { run(step, w.at(at), m.at(at), v.at(at), gradient[at..].as_ptr(), r.len()) };
    });
}

/// The numbers of a step of gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The learning rate.
    pub rate: f32,
    /// The share of the velocity that stays; 0 needs no velocity.
    pub momentum: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

#[inline(always)]
unsafe fn sgd<V: F32v>(p: &Sgd, w: *mut f32, velocity: *mut f32, g: *const f32, n: usize) {
    // SAFETY: all are good for `n` elements; a null velocity is not touched.
    unsafe {
        let (rate, momentum) = (V::splat(-p.rate), V::splat(p.momentum));
        for i in (0..n).step_by(V::N) {
            let left = (n - i).min(V::N);
            let step = V::load_n(g.add(i), left).mul(rate);
            let w0 = V::load_n(w.add(i), left);
            let w1 = if velocity.is_null() {
                w0.add(step)
            } else {
                let v = momentum.fma(V::load_n(velocity.add(i), left), step);
                v.store_n(velocity.add(i), left);
                if p.nesterov { w0.add(momentum.fma(v, step)) } else { w0.add(v) }
            };
            w1.store_n(w.add(i), left);
        }
    }
}
crate::simd::isa_table!(SGD = F "sgd_f32" sgd(p: &Sgd, w: *mut f32, velocity: *mut f32, g: *const f32, n: usize));

/// One step of gradient descent as Keras does it: `velocity = momentum · velocity - rate · g`, then `weights += velocity`, or with
/// Nesterov's look ahead `weights += momentum · velocity - rate · g`. Without a velocity: `weights -= rate · g`.
///
/// # Panics
/// If the lengths differ, or there is a momentum but no velocity.
pub fn sgd_step(
    pool: &ThreadPool,
    isa: Isa,
    step: &Sgd,
    weights: &mut [f32],
    velocity: Option<&mut [f32]>,
    gradient: &[f32],
) {
    let n = weights.len();
    assert!(gradient.len() == n && velocity.as_ref().is_none_or(|v| v.len() == n));
    assert!(velocity.is_some() || step.momentum == 0.0, "momentum needs a velocity");
    let run = pick(SGD, isa).run;
    let (w, v) = (Shared::new(weights), velocity.map(Shared::new));
    pool.run_chunks(n, GRAIN / 2, &|r: Range<usize>| {
        let at = r.start;
        let v = v.map_or(std::ptr::null_mut(), |v| v.at(at));
        // SAFETY: picked through an `Isa`; ranges are inside the slices and do not overlap.
        unsafe { run(step, w.at(at), v, gradient[at..].as_ptr(), r.len()) };
    });
}
