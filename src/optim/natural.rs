//! The diagonal natural gradient: what it divides by.

use super::state::{Numbers, SlotKind};
use crate::kernels::update::Lanes;
use crate::simd::{Scalar, Simd};

/// The diagonal natural gradient, d-NGD: for each parameter
///
/// ```text
/// F ← (1−c) · F + c · f_lambda · mean_B (∂ℓ_b/∂θ)²
/// ```
///
/// where `ℓ_b` is the loss of example b on a label drawn from the model's own softmax; the step takes `dθ / (F + ε)` in
/// the place of `dθ`. `F` begins at zero. Squared gradients of single examples are summed up in registers and never
/// stored. A step costs one backward pass more, whose gradients of weights cost twice as much as others. `F` is estimated also
/// for a parameter whose factor is 0, which stays where it is: the norm by which all are divided is over `Wex`'s.
///
/// Source: Cornford et al., ICLR 2021, appendix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Natural {
    /// Weight of the newest batch: above 0, at most 1.
    pub c: f64,
    /// Scale of the estimate: finite and above 0.
    pub f_lambda: f64,
    /// ε: finite and above 0.
    pub epsilon: f64,
    /// Whether `1/(F + ε)` is divided by its L2 norm over the layer's `Wex`.
    pub normalised: bool,
}

impl Default for Natural {
    /// What the original experiments used: c = 0.02, f_lambda = 2.5e-5, normalised.
    fn default() -> Self {
        Self { c: 0.02, f_lambda: 2.5e-5, epsilon: 1e-8, normalised: true }
    }
}

/// `F` of the natural gradient.
pub(crate) static FISHER: SlotKind = SlotKind {
    name: "fisher",
    signed: false,
    of: |_| true,
    numbers: Numbers::Elements,
    wanted: |update| update.natural.is_some(),
    begin: |_, _| 0.0,
    advance: None,
    lasts: true,
};

/// `scale / (F + ε)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inverse<T> {
    pub fisher: *const T,
    pub scale: T,
    pub epsilon: T,
}

impl<T: Scalar> Inverse<T> {
    /// `scale · d / (F + ε)` for one vector, `at` elements from the beginning.
    ///
    /// # Safety
    /// `F` is valid for reading these lanes.
    #[inline(always)]
    pub unsafe fn divided<S: Simd<T>>(self, s: S, at: usize, lanes: Lanes, d: S::V) -> S::V {
        // SAFETY: the caller vouches for `F`.
        let fisher = unsafe { lanes.load(s, self.fisher.wrapping_add(at)) };
        s.div(s.mul(s.splat(self.scale), d), s.add(fisher, s.splat(self.epsilon)))
    }
}
