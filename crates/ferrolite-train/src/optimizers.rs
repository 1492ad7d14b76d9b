//! Optimisers: from gradients to new parameters.

use ferrolite_kernels::{Adam, Isa, Sgd, ThreadPool, adam_step, sgd_step};

/// How parameters follow their gradients. The defaults and formulas are Keras'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Optimizer {
    /// Stochastic gradient descent: v ← momentum · v − rate · g; p ← p + v.
    Sgd {
        /// Learning rate.
        learning_rate: f64,
        /// Share of the last step that is kept; 0 for none.
        momentum: f64,
        /// Whether the step looks ahead along the velocity: p ← p + momentum · v − rate · g.
        nesterov: bool,
    },
    /// Adam (Kingma & Ba 2015), with both moments' bias corrected in the step size.
    Adam {
        /// Learning rate.
        learning_rate: f64,
        /// Decay of the mean.
        beta_1: f64,
        /// Decay of the uncentred variance.
        beta_2: f64,
        /// Keeps the denominator from zero.
        epsilon: f64,
    },
}

impl Optimizer {
    /// SGD without momentum.
    pub fn sgd(learning_rate: impl Into<f64>) -> Optimizer {
        Optimizer::Sgd { learning_rate: learning_rate.into(), momentum: 0.0, nesterov: false }
    }

    /// Adam with the usual decays 0.9 and 0.999, and ε = 1e-7.
    pub fn adam(learning_rate: impl Into<f64>) -> Optimizer {
        Optimizer::Adam { learning_rate: learning_rate.into(), beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }

    /// The learning rate.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Optimizer::Sgd { learning_rate, .. } | Optimizer::Adam { learning_rate, .. } => learning_rate,
        }
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        match self {
            Optimizer::Sgd { learning_rate, .. } | Optimizer::Adam { learning_rate, .. } => *learning_rate = rate,
        }
    }

    /// The update of step `t`, counted from 1.
    pub(crate) fn at(&self, t: u64) -> Update {
        match *self {
            Optimizer::Sgd { learning_rate, momentum, nesterov } => {
                Update::Sgd(Sgd { rate: learning_rate as f32, momentum: momentum as f32, nesterov })
            }
            Optimizer::Adam { learning_rate, beta_1, beta_2, epsilon } => {
                Update::Adam(Adam::at_step(learning_rate, beta_1, beta_2, epsilon, t))
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
    Sgd(Sgd),
    Adam(Adam),
}

impl Update {
    /// Moves parameters against gradients; `slots` is the optimiser's memory of these parameters.
    pub(crate) fn apply(&self, pool: &ThreadPool, isa: Isa, values: &mut [f32], slots: [&mut [f32]; 2], g: &[f32]) {
        let [first, second] = slots;
        match self {
            Update::Adam(adam) => adam_step(pool, isa, adam, values, first, second, g),
            Update::Sgd(sgd) => {
                let velocity = (sgd.momentum != 0.0).then_some(first);
                sgd_step(pool, isa, sgd, values, velocity, g);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(optimizer: Optimizer, gradients: &[f32]) -> Vec<f32> {
        let (pool, isa) = (ThreadPool::new(1), Isa::detect());
        let (mut p, mut first, mut second) = ([1.0], [0.0], [0.0]);
        let step = |(t, &g): (usize, &f32)| {
            optimizer.at(t as u64 + 1).apply(&pool, isa, &mut p, [&mut first, &mut second], &[g]);
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
        let momentum = |nesterov| Optimizer::Sgd { learning_rate: 0.1, momentum: 0.9, nesterov };
        assert_close(&steps(momentum(false), &[1.0, 2.0, -1.0]), &[0.9, 0.61, 0.449]);
        // p: 1 - 0.09 - 0.1, then - 0.261 - 0.2
        assert_close(&steps(momentum(true), &[1.0, 2.0]), &[0.81, 0.349]);
    }

    #[test]
    fn adam_by_hand() {
        // Step 1 moves by the rate whatever the gradient. Step 2, g = 1 then 3:
        // m = 0.9·0.1 + 0.1·3 = 0.39, m̂ = 0.39/0.19; v = 0.999·0.001 + 0.001·9 = 0.009999, v̂ = 0.009999/0.001999;
        // m̂/√v̂ = 2.0526316/2.2365154 = 0.9177811.
        assert_close(&steps(Optimizer::adam(0.1), &[1.0, 3.0]), &[0.9, 0.9 - 0.091_778_11]);
    }
}
