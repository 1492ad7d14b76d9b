//! Optimisers: from gradients to new parameters.

/// How parameters follow their gradients. The defaults and formulas are Keras'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Optimizer {
    /// Stochastic gradient descent: v ← momentum · v − rate · g; p ← p + v.
    Sgd {
        /// Learning rate.
        learning_rate: f32,
        /// Share of the last step that is kept; 0 for none.
        momentum: f32,
    },
    /// Adam (Kingma & Ba 2015), with both moments' bias corrected in the step size.
    Adam {
        /// Learning rate.
        learning_rate: f32,
        /// Decay of the mean.
        beta_1: f32,
        /// Decay of the uncentred variance.
        beta_2: f32,
        /// Keeps the denominator from zero.
        epsilon: f32,
    },
}

impl Optimizer {
    /// SGD without momentum.
    pub fn sgd(learning_rate: f32) -> Optimizer {
        Optimizer::Sgd { learning_rate, momentum: 0.0 }
    }

    /// Adam with the usual decays 0.9 and 0.999, and ε = 1e-7.
    pub fn adam(learning_rate: f32) -> Optimizer {
        Optimizer::Adam { learning_rate, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> f32 {
        match *self {
            Optimizer::Sgd { learning_rate, .. } | Optimizer::Adam { learning_rate, .. } => learning_rate,
        }
    }

    /// Changes the learning rate: for schedules.
    pub fn set_learning_rate(&mut self, rate: f32) {
        match self {
            Optimizer::Sgd { learning_rate, .. } | Optimizer::Adam { learning_rate, .. } => *learning_rate = rate,
        }
    }

    /// The update of step `t`, counted from 1, with everything that does not depend on the parameter computed.
    pub(crate) fn at(&self, t: u64) -> Update {
        match *self {
            Optimizer::Sgd { learning_rate, momentum } => Update::Sgd { rate: learning_rate, momentum },
            Optimizer::Adam { learning_rate, beta_1, beta_2, epsilon } => {
                let power = |beta: f32| 1.0 - f64::from(beta).powf(t as f64);
                let rate = (f64::from(learning_rate) * power(beta_2).sqrt() / power(beta_1)) as f32;
                Update::Adam { rate, keep_1: 1.0 - beta_1, keep_2: 1.0 - beta_2, epsilon }
            }
        }
    }

    /// How many numbers the optimiser keeps for each parameter.
    pub(crate) fn slots(&self) -> usize {
        match self {
            Optimizer::Sgd { momentum: 0.0, .. } => 0,
            Optimizer::Sgd { .. } => 1,
            Optimizer::Adam { .. } => 2,
        }
    }
}

impl Default for Optimizer {
    /// Adam with learning rate 0.001.
    fn default() -> Self {
        Optimizer::adam(1e-3)
    }
}

/// One step of an optimiser.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Update {
    Sgd { rate: f32, momentum: f32 },
    Adam { rate: f32, keep_1: f32, keep_2: f32, epsilon: f32 },
}

impl Update {
    /// Moves parameters `p` against gradients `g`; `slots` is the optimiser's memory of these parameters.
    pub(crate) fn apply(self, p: &mut [f32], g: &[f32], slots: &mut [Vec<f32>]) {
        match (self, slots) {
            (Update::Sgd { rate, momentum }, [velocity, ..]) => {
                for ((p, v), &g) in p.iter_mut().zip(velocity).zip(g) {
                    *v = momentum * *v - rate * g;
                    *p += *v;
                }
            }
            (Update::Adam { rate, keep_1, keep_2, epsilon }, [mean, variance, ..]) => {
                for (((p, m), v), &g) in p.iter_mut().zip(mean).zip(variance).zip(g) {
                    *m += (g - *m) * keep_1;
                    *v += (g * g - *v) * keep_2;
                    *p -= *m * rate / (v.sqrt() + epsilon);
                }
            }
            (Update::Sgd { rate, .. } | Update::Adam { rate, .. }, _) => {
                p.iter_mut().zip(g).for_each(|(p, &g)| *p -= rate * g);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(optimizer: Optimizer, gradients: &[f32]) -> Vec<f32> {
        let mut p = [1.0];
        let mut slots = vec![vec![0.0]; optimizer.slots()];
        let step = |(t, &g): (usize, &f32)| {
            optimizer.at(t as u64 + 1).apply(&mut p, &[g], &mut slots);
            p[0]
        };
        gradients.iter().enumerate().map(step).collect()
    }

    fn assert_close(given: &[f32], expected: &[f32]) {
        assert!(given.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{given:?} is not {expected:?}");
    }

    #[test]
    fn sgd_with_and_without_momentum() {
        assert_close(&steps(Optimizer::sgd(0.1), &[1.0, 2.0]), &[0.9, 0.7]);
        // v: -0.1, -0.09 - 0.2 = -0.29, -0.261 + 0.1 = -0.161
        let momentum = Optimizer::Sgd { learning_rate: 0.1, momentum: 0.9 };
        assert_close(&steps(momentum, &[1.0, 2.0, -1.0]), &[0.9, 0.61, 0.449]);
    }

    #[test]
    fn adam_by_hand() {
        // Step 1 moves by the rate whatever the gradient. Step 2, g = 1 then 3:
        // m = 0.9·0.1 + 0.1·3 = 0.39, m̂ = 0.39/0.19; v = 0.999·0.001 + 0.001·9 = 0.009999, v̂ = 0.009999/0.001999;
        // m̂/√v̂ = 2.0526316/2.2365154 = 0.9177811.
        assert_close(&steps(Optimizer::adam(0.1), &[1.0, 3.0]), &[0.9, 0.9 - 0.091_778_11]);
    }
}
