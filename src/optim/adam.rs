//! Adam: steps along the mean of the gradients, divided by the root of the mean of their squares.

use super::policy::{Direct, Scaled};
use super::state::{Numbers, SlotKind};
use crate::kernels::update::Lanes;
use crate::simd::{Scalar, Simd};

/// Adam's moments, for each element of a parameter: in the step t = 1, 2, … of its array
///
/// ```text
/// m ← β₁ · m + (1−β₁) · d,   v ← β₂ · v + (1−β₂) · d²,   w ← v, or max(w, v) with amsgrad
/// q = (m / (1 − β₁ᵗ)) / (√w / √(1 − β₂ᵗ) + ε)
/// ```
///
/// and the correction times `q` takes the place of the gradient `d`. Corrections scale the step: `q` is the same if all
/// gradients of an array are multiplied by a constant, so on `d` they would do nothing. Moments begin at zero and are
/// kept beside the parameters, with t, also while a rule without them takes its turn.
///
/// Sources: Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015; Reddi, Kale, Kumar, "On the convergence
/// of Adam and beyond", ICLR 2018 (amsgrad); Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// β₁ and β₂: at least 0 and less than 1.
    pub betas: [f64; 2],
    /// ε: finite and ≥ 0. What has no gradient does not move, even with 0.
    pub epsilon: f64,
    /// Whether the largest `v` so far takes the place of `v`.
    pub amsgrad: bool,
}

impl Default for Adam {
    /// β₁ = 0.9, β₂ = 0.999, ε = 1e-8, without amsgrad.
    fn default() -> Self {
        Self { betas: [0.9, 0.999], epsilon: 1e-8, amsgrad: false }
    }
}

const KEPT: SlotKind = SlotKind {
    name: "",
    signed: false,
    of: |_| true,
    numbers: Numbers::Elements,
    wanted: |update| update.adam.is_some(),
    begin: |_, _| 0.0,
    advance: None,
    lasts: true,
};

/// `m`
pub(crate) static FIRST: SlotKind = SlotKind { name: "moment", signed: true, ..KEPT };

/// `v`
pub(crate) static SECOND: SlotKind = SlotKind { name: "square", ..KEPT };

/// `w` of amsgrad.
pub(crate) static LARGEST: SlotKind =
    SlotKind { name: "largest_square", wanted: |update| update.adam.is_some_and(|adam| adam.amsgrad), ..KEPT };

/// `t` of each array.
pub(crate) static STEPS: SlotKind = SlotKind {
    name: "steps",
    numbers: Numbers::Array,
    // In f32 it ends at 2²⁴ steps, long after both powers are nothing beside 1.
    advance: Some(|_, _, [steps, _]| steps + 1.0),
    ..KEPT
};

/// The step of [`Adam`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments<T> {
    pub scaled: Scaled<T>,
    pub first: *mut T,
    pub second: *mut T,
    /// Null without amsgrad.
    pub largest: *mut T,
    pub numbers: Numbered<T>,
}

/// The numbers of a step of [`Adam`], each computed in f64 and rounded once. Numerator and denominator of `q` are
/// multiplied with √(1 − β₂ᵗ), so that nothing is left to do with √w.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered<T> {
    /// β₁ and 1 − β₁.
    first: [T; 2],
    /// β₂ and 1 − β₂.
    second: [T; 2],
    /// ε · √(1 − β₂ᵗ)
    epsilon: T,
    /// The correction times √(1 − β₂ᵗ) / (1 − β₁ᵗ).
    scale: T,
}

impl<T: Scalar> Numbered<T> {
    pub fn new(adam: &Adam, steps: f64, correction: f64) -> Self {
        let [first, second] = adam.betas;
        let root = (1.0 - second.powf(steps)).sqrt();
        let epsilon = T::from_f64(adam.epsilon * root);
        Self {
            first: [first, 1.0 - first].map(T::from_f64),
            second: [second, 1.0 - second].map(T::from_f64),
            // Zero divided by zero would be NaN.
            epsilon: if epsilon < T::MIN_POSITIVE { T::MIN_POSITIVE } else { epsilon },
            scale: T::from_f64(correction * root / (1.0 - first.powf(steps))),
        }
    }
}

impl<T: Scalar> Moments<T> {
    /// Whether it is a step that has a loop of its own: see [`Moments::common`].
    pub fn is_common(&self) -> bool {
        self.scaled.decay.is_none() && self.largest.is_null()
    }

    /// The same where [`Moments::is_common`], told in a way that the compiler sees. A natural gradient has no moments.
    #[inline(always)]
    pub fn common(self) -> Self {
        let scaled = Scaled { natural: None, decay: None, ..self.scaled };
        Self { scaled, largest: std::ptr::null_mut(), ..self }
    }
}

impl<T: Scalar, S: Simd<T>> Direct<T, S> for Moments<T> {
    #[inline(always)]
    unsafe fn direction(self, s: S, at: usize, lanes: Lanes, gradient: S::V, w: S::V) -> S::V {
        let Self { scaled, first, second, largest, numbers } = self;
        let [first, second, largest] = [first.wrapping_add(at), second.wrapping_add(at), largest];
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            let d = scaled.direction(s, at, lanes, gradient, w);
            let [beta, rest] = numbers.first;
            // Without gradients they would stick at subnormal numbers, with which processors are slow.
            let m = s.flush(s.add(s.mul(s.splat(beta), lanes.load(s, first)), s.mul(s.splat(rest), d)));
            lanes.store(s, first, m);
            let [beta, rest] = numbers.second;
            let squares = s.mul(s.splat(rest), s.mul(d, d));
            let mut v = s.flush(s.add(s.mul(s.splat(beta), lanes.load(s, second)), squares));
            lanes.store(s, second, v);
            if !largest.is_null() {
                let place = largest.wrapping_add(at);
                v = s.at_least(v, lanes.load(s, place));
                lanes.store(s, place, v);
            }
            let divisor = s.add(s.sqrt(v), s.splat(numbers.epsilon));
            s.div(s.mul(s.splat(numbers.scale), m), divisor)
        }
    }
}
